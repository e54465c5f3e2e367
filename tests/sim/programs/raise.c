/*
 * raise CODE SUBCODE [COUNT] raises EXC_GUARD; raise -e EXCEPTION CODE SUBCODE another exception. Prints the result as JSON
 * before ("thread") and after ("result"); -g FLAGS sets the task's guard behavior first, -2 raises in a second thread.
 */
#include <excsim.h>
#include <mach/mach.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static uint64_t number[3] = {0, 0, 1};
static int exception;

static void *run(void *unused) {
    uint64_t thread;
    pthread_threadid_np(NULL, &thread);
    printf("{\"thread\": %llu}\n", (unsigned long long)thread);
    fflush(stdout);
    kern_return_t result = exception ? excsim_raise_exception(exception, number[0], number[1])
                                     : excsim_raise_many(number[0], number[1], number[2]);
    printf("{\"result\": %d}\n", result);
    return unused;
}

int main(int argc, char **argv) {
    int second = 0;
    for (int option; (option = getopt(argc, argv, "e:g:2")) != -1;) {
        if (option == 'e')
            exception = atoi(optarg);
        else if (option == 'g')
            task_set_exc_guard_behavior(mach_task_self(), (task_exc_guard_behavior_t)strtoul(optarg, NULL, 0));
        else
            second = 1;
    }
    for (int at = 0; at < 3 && optind + at < argc; at++)
        number[at] = strtoull(argv[optind + at], NULL, 0);
    if (second) {
        pthread_t thread;
        pthread_create(&thread, NULL, run, NULL);
        pthread_join(thread, NULL);
    } else {
        run(NULL);
    }
    return 0;
}

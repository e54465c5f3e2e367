/*
 * raise CODE SUBCODE [COUNT] raises EXC_GUARD; raise -e EXCEPTION CODE SUBCODE another exception. Prints as
 * JSON, before it does, what the exception should show, and afterwards the result. -g FLAGS sets the task's
 * guard behavior first, -n the number of times that it is all done, -2 does it in a second thread.
 */
#include <excsim.h>
#include <mach/mach.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static uint64_t number[3] = {0, 0, 1};
static int exception, times = 1;

__attribute__((noinline)) static kern_return_t misuse(void) {
    kern_return_t result = exception ? excsim_raise_exception(exception, number[0], number[1])
                                     : excsim_raise_many(number[0], number[1], number[2]);
    __asm__ volatile("" ::: "memory"); /* no tail call: the site is in this function */
    return result;
}

static void *run(void *unused) {
    uint64_t thread;
    pthread_threadid_np(NULL, &thread);
    printf("{\"thread\": %llu, \"function\": %llu, \"stack\": %llu}\n", (unsigned long long)thread,
           (unsigned long long)(uintptr_t)misuse, (unsigned long long)(uintptr_t)__builtin_frame_address(0));
    fflush(stdout);
    for (int at = 0; at < times; at++) {
        printf("{\"result\": %d}\n", misuse());
        fflush(stdout);
    }
    return unused;
}

int main(int argc, char **argv) {
    int second = 0;
    for (int option; (option = getopt(argc, argv, "e:g:n:2")) != -1;) {
        if (option == 'e') {
            exception = atoi(optarg);
        } else if (option == 'g') {
            task_set_exc_guard_behavior(mach_task_self(),
                                        (task_exc_guard_behavior_t)strtoul(optarg, NULL, 0));
        } else if (option == 'n') {
            times = atoi(optarg);
        } else {
            second = 1;
        }
    }
    for (int at = 0; at < 3 && optind + at < argc; at++) {
        number[at] = strtoull(argv[optind + at], NULL, 0);
    }
    if (second) {
        pthread_t thread;
        pthread_create(&thread, NULL, run, NULL);
        pthread_join(thread, NULL);
    } else {
        run(NULL);
    }
    return 0;
}

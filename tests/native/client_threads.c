/* Eight threads ask to be watched at the same time: one of them does it, and all get its outcome. */
#include <pthread.h>
#include <stdio.h>

#include "excguard_client.h"

#define THREADS 8

static pthread_barrier_t barrier;
static int outcomes[THREADS];

static void *watch(void *outcome) {
    (void)pthread_barrier_wait(&barrier);
    *(int *)outcome = excguard_client_watch_self();
    return NULL;
}

int main(void) {
    pthread_t threads[THREADS];
    (void)pthread_barrier_init(&barrier, NULL, THREADS);
    for (int i = 0; i < THREADS; i++) {
        (void)pthread_create(&threads[i], NULL, watch, &outcomes[i]);
    }
    for (int i = 0; i < THREADS; i++) {
        (void)pthread_join(threads[i], NULL);
        (void)printf("%s\n", excguard_client_outcome_name(outcomes[i]));
    }
    return 0;
}

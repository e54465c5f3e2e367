#include "journal_watch.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "journal_file.h"

#define MAX_WATCHED 16

/* Read by the signal handler: begin is stored last, and cleared first. */
static struct {
    _Atomic uintptr_t begin; /* 0: free */
    _Atomic size_t size;
    _Atomic bool truncated;
} watched[MAX_WATCHED];

static struct sigaction before;
static uintptr_t page_size; /* 0: the handler is not installed */

static void on_bus_error(int number, siginfo_t *info, void *context) {
    int saved = errno;
    uintptr_t address = (uintptr_t)info->si_addr;
    (void)context;
    for (size_t i = 0; i < MAX_WATCHED; i++) {
        uintptr_t begin = atomic_load_explicit(&watched[i].begin, memory_order_acquire);
        if (begin != 0 && address >= begin && address - begin < atomic_load(&watched[i].size)) {
            void *page = (void *)(address - address % page_size);
            int flags = MAP_PRIVATE | MAP_ANON | MAP_FIXED;
            if (mmap(page, page_size, PROT_READ | PROT_WRITE, flags, -1, 0) == page) {
                atomic_store(&watched[i].truncated, true);
                errno = saved;
                return;
            }
        }
    }
    /* Not ours: the instruction is repeated, and the signal does what it would have done. */
    (void)sigaction(number, &before, NULL);
    errno = saved;
}

static size_t place_of(const struct excguard_journal *journal) {
    size_t i = 0;
    while (i < MAX_WATCHED && atomic_load(&watched[i].begin) != (uintptr_t)journal->map) {
        i++;
    }
    return i;
}

void excguard_journal_watch(struct excguard_journal *journal) {
    if (page_size == 0) {
        struct sigaction action;
        memset(&action, 0, sizeof action);
        action.sa_sigaction = on_bus_error;
        action.sa_flags = SA_SIGINFO | SA_ONSTACK;
        sigemptyset(&action.sa_mask);
        page_size = (uintptr_t)sysconf(_SC_PAGESIZE);
        if (sigaction(SIGBUS, &action, &before) != 0) {
            return;
        }
    }
    for (size_t i = 0; i < MAX_WATCHED; i++) {
        if (atomic_load(&watched[i].begin) == 0) {
            atomic_store(&watched[i].size, journal->size);
            atomic_store(&watched[i].truncated, false);
            atomic_store_explicit(&watched[i].begin, (uintptr_t)journal->map, memory_order_release);
            return;
        }
    }
}

void excguard_journal_unwatch(struct excguard_journal *journal) {
    size_t i = place_of(journal);
    if (i < MAX_WATCHED) {
        atomic_store(&watched[i].begin, 0);
    }
}

int excguard_journal_intact(const struct excguard_journal *journal, uint64_t tail, uint64_t seq,
                            uint32_t count) {
    const struct journal_header *header = &journal->map->header;
    /* The tail first: the head never falls behind what it was then. */
    uint64_t stored = atomic_load_explicit(&header->tail, memory_order_acquire);
    uint64_t head = atomic_load_explicit(&header->head, memory_order_acquire);
    size_t place = place_of(journal);
    bool intact = stored == tail && head >= tail && head - tail <= journal->mask + 1 && seq >= tail &&
                  count <= head - seq;
    for (uint32_t i = 0; intact && i < count; i++) {
        const struct excguard_record *record = &journal->map->ring[(seq + i) & journal->mask];
        intact = record->seq == seq + i && record->target_id != 0;
    }
    /* After the reading: it may have been what met the truncation. */
    return intact && (place == MAX_WATCHED || !atomic_load(&watched[place].truncated));
}

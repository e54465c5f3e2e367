/* Making, checking and repairing the journal file. What its parts mean: journal.h, journal_file.h. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "guard.h"
#include "journal.h"
#include "journal_file.h"

#define DEFAULT_CAPACITY 65536u
#define MIN_CAPACITY 8u
#define MAX_CAPACITY 16777216u
#define BLOCK 65536u

struct opening {
    const char *path;
    char *error;
    size_t error_size;
};

__attribute__((format(printf, 3, 4))) static int fail(const struct opening *opening, int status,
                                                      const char *format, ...) {
    int used = snprintf(opening->error, opening->error_size, "%s: ", opening->path);
    if (used >= 0 && (size_t)used < opening->error_size) {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(opening->error + used, opening->error_size - (size_t)used, format, arguments);
        va_end(arguments);
    }
    return status;
}

static int fail_errno(const struct opening *opening, const char *what) {
    int number = errno;
    if (number == ENOSPC || number == EDQUOT || number == EFBIG) {
        return fail(
            opening, EXCGUARD_JOURNAL_NO_SPACE,
            "no space for the journal: %s; free some space, or choose a smaller capacity or another path",
            strerror(number));
    }
    return fail(opening, EXCGUARD_JOURNAL_ERROR, "cannot %s the journal: %s", what, strerror(number));
}

static bool is_capacity(uint32_t capacity) {
    return capacity >= MIN_CAPACITY && capacity <= MAX_CAPACITY && (capacity & (capacity - 1)) == 0;
}

static size_t file_size(uint32_t capacity) {
    return sizeof(struct journal_map) + (size_t)capacity * EXCGUARD_RECORD_SIZE;
}

/* ---- the file ---- */

/* Reads up to `size` bytes. Returns how many there were, or -1. */
static ssize_t read_at(int fd, void *buffer, size_t size, off_t at) {
    size_t done = 0;
    while (done < size) {
        ssize_t count = pread(fd, (char *)buffer + done, size - done, at + (off_t)done);
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count < 0) {
            return -1;
        }
        if (count == 0) {
            break;
        }
        done += (size_t)count;
    }
    return (ssize_t)done;
}

static int write_at(int fd, const void *buffer, size_t size, off_t at) {
    size_t done = 0;
    while (done < size) {
        ssize_t count = pwrite(fd, (const char *)buffer + done, size - done, at + (off_t)done);
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count <= 0) {
            errno = count == 0 ? ENOSPC : errno;
            return -1;
        }
        done += (size_t)count;
    }
    return 0;
}

/*
 * Writes all of the file's blocks, `copy`: with what is in them, otherwise with zeros. A block that was
 * written is allocated, so that no store to the mapping meets a full disk, which would end the process with
 * SIGBUS. Done by plain writes because every system has them (macOS lacks posix_fallocate).
 */
static int write_all_blocks(const struct opening *opening, int fd, size_t size, bool copy) {
    static const char zeros[BLOCK];
    char *block = malloc(BLOCK);
    if (block == NULL) {
        return fail_errno(opening, "allocate");
    }
    int status = EXCGUARD_JOURNAL_OK;
    for (size_t at = 0; at < size && status == EXCGUARD_JOURNAL_OK; at += BLOCK) {
        size_t count = size - at < BLOCK ? size - at : BLOCK;
        if (copy && read_at(fd, block, count, (off_t)at) != (ssize_t)count) {
            status = fail_errno(opening, "read");
        } else if (write_at(fd, copy ? block : zeros, count, (off_t)at) != 0) {
            status = fail_errno(opening, "allocate");
        }
    }
    free(block);
    /* Some file systems put the allocation off until the data is written out. */
    if (status == EXCGUARD_JOURNAL_OK && fsync(fd) != 0) {
        status = fail_errno(opening, "allocate");
    }
    return status;
}

static bool is_all_zero(int fd, size_t size) {
    char block[4096];
    for (size_t at = 0; at < size; at += sizeof block) {
        ssize_t count = read_at(fd, block, sizeof block, (off_t)at);
        for (ssize_t i = 0; i < count; i++) {
            if (block[i] != 0) {
                return false;
            }
        }
        if (count <= 0) {
            return count == 0;
        }
    }
    return true;
}

static uint64_t wall_clock_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/*
 * Zeros first, the header last and in one write: killed at any point, what lies there is either all zero, and
 * the next start makes it again, or complete.
 */
static int make_file(const struct opening *opening, int fd, uint32_t capacity, uint32_t release) {
    union {
        struct journal_header header;
        char bytes[sizeof(struct journal_header)];
    } first;
    if (ftruncate(fd, 0) != 0) {
        return fail_errno(opening, "truncate");
    }
    int status = write_all_blocks(opening, fd, file_size(capacity), false);
    if (status != EXCGUARD_JOURNAL_OK) {
        return status;
    }
    memset(&first, 0, sizeof first);
    first.header.magic = EXCGUARD_JOURNAL_MAGIC;
    first.header.version = EXCGUARD_JOURNAL_VERSION;
    first.header.header_size = sizeof(struct journal_header);
    first.header.record_size = EXCGUARD_RECORD_SIZE;
    first.header.capacity = capacity;
    first.header.hit_slots = EXCGUARD_HIT_SLOTS;
    first.header.release = release;
    first.header.made_ns = first.header.counting_since_ns = wall_clock_ns();
    if (write_at(fd, first.bytes, sizeof first, 0) != 0) {
        return fail_errno(opening, "write");
    }
    return EXCGUARD_JOURNAL_OK;
}

/*
 * Is the file of `size` bytes a journal that this version can use? `capacity`: wanted, 0: any; then what it
 * has.
 */
static int check_header(const struct opening *opening, int fd, size_t size, uint32_t *capacity) {
    union {
        struct journal_header header;
        char bytes[sizeof(struct journal_header)];
    } first;
    ssize_t count = read_at(fd, first.bytes, sizeof first, 0);
    if (count < 0) {
        return fail_errno(opening, "read");
    }
    if ((size_t)count < sizeof first || first.header.magic != EXCGUARD_JOURNAL_MAGIC) {
        return fail(opening, EXCGUARD_JOURNAL_FOREIGN, "not an excguard journal; choose another path");
    }
    if (first.header.version != EXCGUARD_JOURNAL_VERSION) {
        return fail(opening, EXCGUARD_JOURNAL_FOREIGN,
                    "a journal of version %" PRIu32 ", this excguard uses version %u; move the file away",
                    first.header.version, EXCGUARD_JOURNAL_VERSION);
    }
    if (first.header.header_size != sizeof(struct journal_header) ||
        first.header.record_size != EXCGUARD_RECORD_SIZE || first.header.hit_slots != EXCGUARD_HIT_SLOTS ||
        !is_capacity(first.header.capacity)) {
        return fail(opening, EXCGUARD_JOURNAL_CORRUPT, "the journal's header is damaged; move the file away");
    }
    if (*capacity != 0 && *capacity != first.header.capacity) {
        return fail(opening, EXCGUARD_JOURNAL_CAPACITY,
                    "the journal holds %" PRIu32 " records, not %" PRIu32
                    "; set that capacity, or move the file away",
                    first.header.capacity, *capacity);
    }
    *capacity = first.header.capacity;
    if (size != file_size(*capacity)) {
        return fail(opening, EXCGUARD_JOURNAL_CORRUPT,
                    "the journal is %zu bytes long and should be %zu; move the file away", size,
                    file_size(*capacity));
    }
    return EXCGUARD_JOURNAL_OK;
}

/* A journal that was copied as a sparse file has lost blocks that must not be missing. */
static int fill_holes(const struct opening *opening, int fd, size_t size) {
#ifdef SEEK_HOLE
    off_t hole = lseek(fd, 0, SEEK_HOLE);
    if (hole >= 0 && (size_t)hole >= size) {
        return EXCGUARD_JOURNAL_OK;
    }
#endif
    return write_all_blocks(opening, fd, size, true);
}

/* ---- its content ---- */

static int corrupt(const struct opening *opening, const char *what) {
    return fail(opening, EXCGUARD_JOURNAL_CORRUPT, "the journal is damaged (%s); move the file away", what);
}

static const struct excguard_record *record_of(const struct excguard_journal *journal, uint64_t seq) {
    return &journal->map->ring[seq & journal->mask];
}

static int check_ring(const struct opening *opening, const struct excguard_journal *journal) {
    uint64_t head = journal->map->header.head;
    uint64_t tail = journal->map->header.tail;
    if (tail > head || head - tail > journal->mask + 1) {
        return corrupt(opening, "its sequence numbers are inconsistent");
    }
    if (journal->map->header.counters_since > head) {
        return corrupt(opening, "its counters start after its records");
    }
    for (uint64_t seq = tail; seq < head; seq++) {
        const struct excguard_record *record = record_of(journal, seq);
        if (record->seq != seq || record->target_id == 0) {
            return corrupt(opening, "a record is in the wrong place");
        }
    }
    return EXCGUARD_JOURNAL_OK;
}

static bool is_counter_of(const struct journal_hit_counter *counter, const struct excguard_record *record) {
    uint64_t key = excguard_hit_key(record->target_id, record->code);
    uint64_t other = key | EXCGUARD_FLAVOR_OTHER;
    return counter->key == key || counter->key == other || counter->key == EXCGUARD_FLAVOR_OTHER;
}

/* Repeats the writer's last stores for the newest record, which a kill may have prevented. */
static int finish_last_record(const struct opening *opening, struct excguard_journal *journal) {
    uint64_t head = journal->map->header.head;
    if (head == journal->map->header.counters_since) {
        return EXCGUARD_JOURNAL_OK;
    }
    const struct excguard_record *record = record_of(journal, head - 1);
    if (record->seq != head - 1 || record->hit_slot >= EXCGUARD_HIT_SLOTS) {
        return corrupt(opening, "its newest record is in the wrong place");
    }
    struct journal_hit_counter *counter = &journal->map->hits[record->hit_slot];
    if (!is_counter_of(counter, record) || ((uint32_t)counter->recorded != record->count_after &&
                                            (uint32_t)counter->recorded + 1 != record->count_after)) {
        return corrupt(opening, "its newest record and its counter are inconsistent");
    }
    counter->recorded += (uint32_t)counter->recorded != record->count_after;
    if (counter->last_time_ns < record->time_ns) { /* a hit for which the ring had no room can be newer */
        counter->last_time_ns = record->time_ns;
    }
    return EXCGUARD_JOURNAL_OK;
}

/* Every record raised one counter by one; every counter can be found where its key says. */
static int check_counters(const struct opening *opening, const struct excguard_journal *journal) {
    uint64_t recorded = 0;
    for (uint32_t slot = 0; slot < EXCGUARD_HIT_SLOTS; slot++) {
        const struct journal_hit_counter *counter = &journal->map->hits[slot];
        uint64_t key = counter->key;
        recorded += counter->recorded;
        if (key == 0) {
            if (counter->recorded != 0 || counter->lost != 0) {
                return corrupt(opening, "an unused hit counter is not zero");
            }
            continue;
        }
        if (excguard_hit_key(counter->target_id,
                             (uint64_t)counter->guard_type << 61 | (uint64_t)counter->flavor << 32) != key) {
            return corrupt(opening, "a hit counter is inconsistent");
        }
        for (uint32_t at = excguard_hit_home(key); slot != 0 && at != slot;
             at = (at + 1) % EXCGUARD_HIT_SLOTS) {
            if (journal->map->hits[at].key == 0 || journal->map->hits[at].key == key) {
                return corrupt(opening, "a hit counter is in the wrong place");
            }
        }
    }
    if (recorded != journal->map->header.head - journal->map->header.counters_since) {
        return corrupt(opening, "its counters and its records are inconsistent");
    }
    return EXCGUARD_JOURNAL_OK;
}

static bool are_decisions_current(const struct excguard_journal *journal, uint32_t release) {
    for (uint32_t slot = 1; slot < EXCGUARD_HIT_SLOTS; slot++) {
        const struct journal_hit_counter *counter = &journal->map->hits[slot];
        struct excguard_guard guard;
        if (counter->key == 0 || counter->flavor == EXCGUARD_FLAVOR_OTHER) {
            continue;
        }
        excguard_guard_decode(counter->key << 32, release, &guard);
        if (counter->severity != guard.severity || counter->known != (uint32_t)guard.known) {
            return false;
        }
    }
    return true;
}

/* Release 0 from beginning to end, so that a kill in between makes the next start do it again. */
static void reset_counters(struct excguard_journal *journal, uint32_t release) {
    journal->map->header.release = 0;
    atomic_thread_fence(memory_order_seq_cst);
    journal->map->header.counters_since = journal->map->header.head;
    journal->map->header.counting_since_ns = wall_clock_ns();
    memset((void *)journal->map->hits, 0, sizeof journal->map->hits);
    atomic_thread_fence(memory_order_seq_cst);
    journal->map->header.release = release;
}

static int check_and_repair(const struct opening *opening, struct excguard_journal *journal,
                            uint32_t release) {
    int status = check_ring(opening, journal);
    uint32_t written_under = journal->map->header.release;
    if (status == EXCGUARD_JOURNAL_OK && written_under != 0) {
        status = finish_last_record(opening, journal);
        if (status == EXCGUARD_JOURNAL_OK) {
            status = check_counters(opening, journal);
        }
    }
    if (status != EXCGUARD_JOURNAL_OK) {
        return status;
    }
    if (written_under != release || !are_decisions_current(journal, release)) {
        reset_counters(journal, release);
    }
    if (journal->map->hits[0].key == 0) {
        excguard_journal_begin_counter(journal->map, 0, EXCGUARD_FLAVOR_OTHER, release);
    }
    /* A kill while the next record was being written leaves some of it behind. */
    uint64_t head = journal->map->header.head;
    if (head - journal->map->header.tail <= journal->mask) {
        memset(&journal->map->ring[head & journal->mask], 0, EXCGUARD_RECORD_SIZE);
    }
    for (uint32_t slot = 0; slot < EXCGUARD_HIT_SLOTS; slot++) {
        struct journal_hit_counter *counter = &journal->map->hits[slot];
        if (counter->key != 0) {
            counter->record_end =
                excguard_counter_record_end(counter, slot, release); /* whatever the file says */
            excguard_mark_used(journal, slot);
        }
    }
    journal->release = release;
    journal->recovered_until = head;
    journal->full_at = journal->map->header.tail + journal->mask + 1;
    return EXCGUARD_JOURNAL_OK;
}

/* ---- opening ---- */

static int lock_file(const struct opening *opening, int fd, int lock, struct stat *status) {
    if (fstat(fd, status) != 0) {
        return fail_errno(opening, "examine");
    }
    if (!S_ISREG(status->st_mode)) {
        return fail(opening, EXCGUARD_JOURNAL_FOREIGN, "not a regular file; choose another path");
    }
    if (flock(fd, lock | LOCK_NB) != 0) {
        if (errno == EWOULDBLOCK) {
            return fail(opening, EXCGUARD_JOURNAL_LOCKED,
                        "another excguard has this journal open; stop that one, or choose another path");
        }
        return fail_errno(opening, "lock");
    }
    if (fstat(fd, status) != 0) { /* again: the previous owner may have changed it before it unlocked it */
        return fail_errno(opening, "examine");
    }
    if ((size_t)status->st_size > file_size(MAX_CAPACITY)) {
        return fail(opening, EXCGUARD_JOURNAL_CORRUPT, "larger than any journal; move the file away");
    }
    return EXCGUARD_JOURNAL_OK;
}

static int prepare_file(const struct opening *opening, int fd, uint32_t *capacity, uint32_t release,
                        bool *created) {
    struct stat status;
    int locked = lock_file(opening, fd, LOCK_EX, &status);
    if (locked != EXCGUARD_JOURNAL_OK) {
        return locked;
    }
    *created = is_all_zero(fd, (size_t)status.st_size);
    if (*created) {
        *capacity = *capacity != 0 ? *capacity : DEFAULT_CAPACITY;
        int made = make_file(opening, fd, *capacity, release);
        if (made != EXCGUARD_JOURNAL_OK && ftruncate(fd, 0) != 0) {
            return made; /* the file stays, all zero; the next start makes it again */
        }
        return made;
    }
    int checked = check_header(opening, fd, (size_t)status.st_size, capacity);
    return checked != EXCGUARD_JOURNAL_OK ? checked : fill_holes(opening, fd, (size_t)status.st_size);
}

static int map_file(const struct opening *opening, int fd, uint32_t capacity, int sharing,
                    struct excguard_journal *journal) {
    journal->size = file_size(capacity);
    void *base = mmap(NULL, journal->size, PROT_READ | PROT_WRITE, sharing, fd, 0);
    if (base == MAP_FAILED) {
        return fail_errno(opening, "map");
    }
    journal->map = base;
    journal->mask = capacity - 1;
    return EXCGUARD_JOURNAL_OK;
}

int excguard_journal_open(const char *path, uint32_t capacity, uint32_t release,
                          struct excguard_journal **out, char *error, size_t error_size) {
    struct opening opening = {path, error, error_size};
    *out = NULL;
    if (capacity != 0 && !is_capacity(capacity)) {
        return fail(&opening, EXCGUARD_JOURNAL_CAPACITY,
                    "invalid journal capacity %" PRIu32 ": choose a power of two from %u to %u", capacity,
                    MIN_CAPACITY, MAX_CAPACITY);
    }
    struct excguard_journal *journal = calloc(1, sizeof *journal);
    if (journal == NULL) {
        return fail_errno(&opening, "open");
    }
    journal->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    int status = journal->fd < 0 ? fail_errno(&opening, "open")
                                 : prepare_file(&opening, journal->fd, &capacity, release, &journal->created);
    if (status == EXCGUARD_JOURNAL_OK) {
        status = map_file(&opening, journal->fd, capacity, MAP_SHARED, journal);
    }
    if (status == EXCGUARD_JOURNAL_OK) {
        status = check_and_repair(&opening, journal, release);
    }
    if (status != EXCGUARD_JOURNAL_OK) {
        excguard_journal_close(journal);
        return status;
    }
    *out = journal;
    return EXCGUARD_JOURNAL_OK;
}

int excguard_journal_examine(const char *path, uint32_t release, uint64_t *pending, char *error,
                             size_t error_size) {
    struct opening opening = {path, error, error_size};
    struct excguard_journal journal = {.fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)};
    struct stat file;
    uint32_t capacity = 0;
    *pending = 0;
    if (journal.fd < 0) {
        return fail_errno(&opening, "open");
    }
    int status = lock_file(&opening, journal.fd, LOCK_SH, &file);
    bool begun = status == EXCGUARD_JOURNAL_OK && !is_all_zero(journal.fd, (size_t)file.st_size);
    if (begun) {
        status = check_header(&opening, journal.fd, (size_t)file.st_size, &capacity);
    }
    if (begun && status == EXCGUARD_JOURNAL_OK) {
        /* Private: the repair changes this process's copy. */
        status = map_file(&opening, journal.fd, capacity, MAP_PRIVATE, &journal);
    }
    if (begun && status == EXCGUARD_JOURNAL_OK) {
        status = check_and_repair(&opening, &journal, release);
        *pending = journal.map->header.head - journal.map->header.tail;
    }
    if (journal.map != NULL) {
        munmap(journal.map, journal.size);
    }
    close(journal.fd);
    return status;
}

void excguard_journal_close(struct excguard_journal *journal) {
    if (journal == NULL) {
        return;
    }
    if (journal->map != NULL) {
        munmap(journal->map, journal->size);
    }
    if (journal->fd >= 0) {
        close(journal->fd); /* and so unlocks it */
    }
    free(journal);
}

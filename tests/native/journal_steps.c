/*
 * Kills the journal's writer, or its reader, at every instruction: runs one action in a child step by step
 * (ptrace), and whenever a step has changed the file opens a copy of it, as the next start would after a kill
 * at that point.
 *
 *   journal_steps ACTION PATH
 *
 * Prints how many steps there were and how many states of the file. Linux only. Exit status 3: ptrace is not
 * allowed here.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <mach/exception_types.h>

#include "journal.h"
#include "message_handler.h"
#include "must.h"
#include "wire.h"

#define CAPACITY 8u
#define RELEASE 260400u
#define OTHER_RELEASE 101401u
#define INVALID_NAME (UINT64_C(1) << 61 | UINT64_C(0x200) << 32)
#define INVALID_VALUE (UINT64_C(1) << 61 | UINT64_C(0x400) << 32)

static struct excguard_journal *open_journal(const char *path, uint32_t release) {
    struct excguard_journal *journal;
    char error[256];
    if (excguard_journal_open(path, CAPACITY, release, &journal, error, sizeof error) !=
        EXCGUARD_JOURNAL_OK) {
        fprintf(stderr, "%s\n", error);
        exit(1);
    }
    return journal;
}

static void append(struct excguard_journal *journal, uint64_t code, uint64_t number, uint32_t flags) {
    struct excguard_hit hit = {
        .time_ns = 1000 + number,
        .thread_id = 2000 + number,
        .code = code,
        .subcode = 3000 + number,
        .pid = 40,
        .target_id = 5,
        .reply = 5,
        .behavior = 4,
        .flags = flags,
    };
    if ((flags & EXCGUARD_RECORD_STATE) != 0) {
        hit.pc = 4000 + number;
        hit.state_flavor = 6;
        hit.state_count = 68;
    }
    excguard_journal_append(journal, &hit);
}

/* ---- what a copy of the file holds ---- */

struct content {
    uint64_t pending, first_seq, lost;
    uint64_t name_hits, value_hits; /* recorded */
    int last_is_whole;              /* the newest record is what append(INVALID_x, its seq, flags) writes */
};

static struct content content_of(struct excguard_journal *journal, uint32_t last_flags) {
    struct content content = {.pending = excguard_journal_pending(journal),
                              .lost = excguard_journal_lost(journal)};
    static struct excguard_hit_counter hits[EXCGUARD_HIT_SLOTS];
    uint32_t count = excguard_journal_hits(journal, hits, EXCGUARD_HIT_SLOTS);
    for (uint32_t i = 0; i < count; i++) {
        MUST(hits[i].target_id == 5);
        MUST(hits[i].flavor == 0x200 || hits[i].flavor == 0x400);
        *(hits[i].flavor == 0x200 ? &content.name_hits : &content.value_hits) = hits[i].recorded;
    }
    const struct excguard_record *records;
    uint32_t there = excguard_journal_peek(journal, &records, CAPACITY);
    MUST(there == content.pending); /* no action here goes around the ring's end */
    for (uint32_t i = 0; i < there; i++) {
        MUST(records[i].seq == records[0].seq + i);
    }
    if (there > 0) {
        const struct excguard_record *last = &records[there - 1];
        uint64_t number = last->seq;
        int state = (last_flags & EXCGUARD_RECORD_STATE) != 0;
        content.first_seq = records[0].seq;
        for (uint32_t i = 0; i < count; i++) {
            MUST(hits[i].key != ((uint64_t)last->target_id << 32 | last->code >> 32) ||
                 hits[i].last_time_ns >= last->time_ns);
        }
        content.last_is_whole =
            last->time_ns == 1000 + number && last->thread_id == 2000 + number &&
            last->subcode == 3000 + number && last->pid == 40 && last->target_id == 5 && last->reply == 5 &&
            last->behavior == 4 && last->release == RELEASE &&
            last->flags == (last_flags | EXCGUARD_RECORD_KNOWN) &&
            (!state || (last->pc == 4000 + number && last->state_count == 68 && last->lr == 0));
    }
    return content;
}

/* ---- the actions: what was before, what is done, what a kill may leave ---- */

struct action {
    const char *name;
    void (*before)(const char *path);
    void (*act)(const char *path);
    /* 0: as before the action, 1: as after it; anything else does not return. */
    int (*state)(const char *copy);
};

static struct excguard_journal *journal;

static void three_records(const char *path) {
    journal = open_journal(path, RELEASE);
    for (uint64_t number = 0; number < 3; number++) {
        append(journal, INVALID_NAME, number, 0);
    }
}

static void append_known(const char *path) {
    (void)path;
    append(journal, INVALID_NAME, 3, 0);
}

static int state_of_known(const char *copy) {
    struct excguard_journal *opened = open_journal(copy, RELEASE);
    struct content content = content_of(opened, 0);
    MUST(content.pending == 3 || content.pending == 4);
    MUST(content.name_hits == content.pending && content.value_hits == 0);
    MUST(content.lost == 0 && content.first_seq == 0 && content.last_is_whole);
    append(opened, INVALID_NAME, content.pending, 0); /* and life goes on */
    struct content next = content_of(opened, 0);
    MUST(next.pending == content.pending + 1 && next.name_hits == next.pending && next.last_is_whole);
    excguard_journal_close(opened);
    return content.pending == 4;
}

static void append_first_of_its_kind(const char *path) {
    (void)path;
    append(journal, INVALID_VALUE, 3, 0);
}

static int state_of_first(const char *copy) {
    struct excguard_journal *opened = open_journal(copy, RELEASE);
    struct content content = content_of(opened, 0);
    MUST(content.pending == 3 || content.pending == 4);
    MUST(content.name_hits == 3 && content.value_hits == content.pending - 3 && content.last_is_whole);
    excguard_journal_close(opened);
    return content.pending == 4;
}

/* A lap of records with state lies below: what is appended then is written over one of them. */
static void a_lap_of_states(const char *path) {
    journal = open_journal(path, RELEASE);
    for (uint64_t number = 0; number < CAPACITY; number++) {
        append(journal, INVALID_NAME, number, EXCGUARD_RECORD_STATE);
    }
    excguard_journal_advance(journal, CAPACITY);
    append(journal, INVALID_NAME, 8, 0);
}

static void append_with_state(const char *path) {
    (void)path;
    append(journal, INVALID_NAME, 9, EXCGUARD_RECORD_STATE);
}

static int state_of_lap(const char *copy, uint32_t flags) {
    struct excguard_journal *opened = open_journal(copy, RELEASE);
    struct content content = content_of(opened, flags);
    if (content.pending == 1) {
        content = content_of(opened, 0);
    }
    MUST(content.pending == 1 || content.pending == 2);
    MUST(content.name_hits == content.pending + 8 && content.first_seq == 8 && content.last_is_whole);
    excguard_journal_close(opened);
    return content.pending == 2;
}

static int state_of_state(const char *copy) {
    return state_of_lap(copy, EXCGUARD_RECORD_STATE);
}

static void append_state_in_fresh_slot(const char *path) {
    (void)path;
    append(journal, INVALID_NAME, 3, EXCGUARD_RECORD_STATE);
}

static int state_of_fresh(const char *copy) {
    struct excguard_journal *opened = open_journal(copy, RELEASE);
    struct content content = content_of(opened, EXCGUARD_RECORD_STATE);
    int appended = content.pending == 4;
    MUST(content.name_hits == content.pending && (appended ? content.last_is_whole : content.pending == 3));
    if (!appended) { /* what was begun does not show through in what comes in its place */
        append(opened, INVALID_NAME, 3, 0);
        MUST(content_of(opened, 0).last_is_whole);
    }
    excguard_journal_close(opened);
    return appended;
}

static void append_over_state(const char *path) {
    (void)path;
    append(journal, INVALID_NAME, 9, 0);
}

static int state_of_over(const char *copy) {
    return state_of_lap(copy, 0);
}

/* By the receiver's way for the usual message, which writes records itself. */
static struct excguard_message_handler handler;
static _Alignas(8) uint8_t received[EXCGUARD_RECEIVE_SIZE];

static uint32_t pid_of_token(uint32_t token) {
    (void)token;
    return 40;
}

static void receive(uint64_t number) {
    static const uint32_t words[20] = {
        0x80001112, 80, 0x1407, 0x1103, 0, 2408, 1, 0x2a03, 0, 0x110000, 0, 1, 2000, 0, EXC_GUARD, 2,
    };
    uint64_t codes[2] = {INVALID_NAME, 3000 + number};
    uint32_t trailer[13] = {0, sizeof trailer, 0, 0, 1};
    memcpy(received, words, sizeof words);
    memcpy(received + 64, codes, sizeof codes);
    memcpy(received + 80, trailer, sizeof trailer);
    MUST(excguard_handle_message(&handler, received, 1000 + number).verdict == EXCGUARD_ACCEPTED);
}

static void three_answers(const char *path) {
    journal = open_journal(path, RELEASE);
    excguard_message_handler_init(&handler, journal, pid_of_token);
    struct excguard_target *target = excguard_add_target(&handler, 0x1103, 5, 5);
    MUST(target != NULL);
    target->owner = target->id_shifted | 40;
    for (uint64_t number = 0; number < 3; number++) {
        receive(number);
    }
}

static void answer(const char *path) {
    (void)path;
    receive(3);
}

static int state_of_answered(const char *copy) {
    struct excguard_journal *opened = open_journal(copy, RELEASE);
    const struct excguard_record *records;
    uint32_t count = excguard_journal_peek(opened, &records, CAPACITY);
    struct content content = content_of(opened, 0);
    MUST(count == 3 || count == 4);
    MUST(content.name_hits == count && content.lost == 0);
    for (uint32_t i = 0; i < count; i++) {
        MUST(records[i].time_ns == 1000 + i && records[i].thread_id == 2000 &&
             records[i].subcode == 3000 + i);
        MUST(records[i].code == INVALID_NAME && records[i].pid == 40 && records[i].target_id == 5);
        MUST(records[i].reply == 5 && records[i].behavior == 4 && records[i].flags == EXCGUARD_RECORD_KNOWN);
    }
    excguard_journal_close(opened);
    return count == 4;
}

static void full_ring(const char *path) {
    journal = open_journal(path, RELEASE);
    for (uint64_t number = 0; number < CAPACITY; number++) {
        append(journal, INVALID_NAME, number, 0);
    }
}

static void append_to_full(const char *path) {
    (void)path;
    append(journal, INVALID_NAME, 8, 0);
}

static int state_of_full(const char *copy) {
    struct excguard_journal *opened = open_journal(copy, RELEASE);
    struct content content = content_of(opened, 0);
    MUST(content.pending == CAPACITY && content.name_hits == CAPACITY && content.last_is_whole);
    MUST(content.lost <= 1);
    excguard_journal_close(opened);
    return content.lost == 1;
}

static void advance(const char *path) {
    (void)path;
    excguard_journal_advance(journal, 2);
}

static int state_of_advanced(const char *copy) {
    struct excguard_journal *opened = open_journal(copy, RELEASE);
    struct content content = content_of(opened, 0);
    MUST(content.pending == 3 || content.pending == 1);
    MUST(content.first_seq == 3 - content.pending && content.name_hits == 3 && content.last_is_whole);
    excguard_journal_close(opened);
    return content.pending == 1;
}

static void nothing(const char *path) {
    (void)path;
}

static void create(const char *path) {
    journal = open_journal(path, RELEASE);
}

static int state_of_created(const char *copy) {
    struct excguard_journal *opened = open_journal(copy, RELEASE);
    struct content content = content_of(opened, 0);
    MUST(content.pending == 0 && content.name_hits == 0 && content.lost == 0);
    append(opened, INVALID_NAME, 0, 0);
    MUST(content_of(opened, 0).last_is_whole);
    int finished = !excguard_journal_created(opened);
    excguard_journal_close(opened);
    return finished;
}

static void three_records_closed(const char *path) {
    three_records(path);
    excguard_journal_close(journal);
}

static void open_under_another_release(const char *path) {
    journal = open_journal(path, OTHER_RELEASE);
}

static int state_of_reopened(const char *copy) {
    struct excguard_journal *opened = open_journal(copy, OTHER_RELEASE);
    struct content content = content_of(opened, 0);
    MUST(content.pending == 3 && content.name_hits == 0 && content.value_hits == 0 && content.lost == 0);
    MUST(content.last_is_whole);
    excguard_journal_close(opened);
    return 1; /* opening it again leads there from every state in between */
}

static const struct action actions[] = {
    {"append", three_records, append_known, state_of_known},
    {"answer", three_answers, answer, state_of_answered},
    {"first", three_records, append_first_of_its_kind, state_of_first},
    {"state", a_lap_of_states, append_with_state, state_of_state},
    {"fresh", three_records, append_state_in_fresh_slot, state_of_fresh},
    {"over", a_lap_of_states, append_over_state, state_of_over},
    {"full", full_ring, append_to_full, state_of_full},
    {"advance", three_records, advance, state_of_advanced},
    {"create", nothing, create, state_of_created},
    {"reset", three_records_closed, open_under_another_release, state_of_reopened},
};

/* ---- stepping ---- */

/* The file as it is now, mapped, and as it was at the last state. */
struct view {
    const char *bytes;
    size_t size;
    char *last;
    size_t last_size;
};

/* Has the file changed since last? It grows while it is made and is never shorter. */
static int has_changed(struct view *view, const char *path) {
    struct stat status;
    if (stat(path, &status) != 0) {
        return 0; /* not made yet */
    }
    size_t size = (size_t)status.st_size;
    if (view->size != size) {
        if (view->size > 0) {
            munmap((void *)view->bytes, view->size);
        }
        int fd = open(path, O_RDONLY);
        MUST(fd >= 0);
        view->bytes = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
        MUST(view->bytes != MAP_FAILED);
        close(fd);
        view->size = size;
    }
    if (view->last != NULL && view->last_size == size && memcmp(view->bytes, view->last, size) == 0) {
        return 0;
    }
    view->last = realloc(view->last, size + 1);
    MUST(view->last != NULL);
    memcpy(view->last, view->bytes, size);
    view->last_size = size;
    return 1;
}

static void write_copy(const char *path, const struct view *view) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    MUST(fd >= 0 && write(fd, view->last, view->last_size) == (ssize_t)view->last_size);
    close(fd);
}

static _Noreturn void run_child(const struct action *action, const char *path) {
    action->before(path);
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0) {
        _exit(3);
    }
    raise(SIGSTOP);
    action->act(path);
    raise(SIGSTOP);
    _exit(0);
}

int main(int argc, char **argv) {
    const struct action *action = NULL;
    for (size_t i = 0; argc == 3 && i < sizeof actions / sizeof actions[0]; i++) {
        action = strcmp(actions[i].name, argv[1]) == 0 ? &actions[i] : action;
    }
    if (action == NULL) {
        fprintf(stderr, "usage: journal_steps ACTION PATH\n");
        return 2;
    }
    const char *path = argv[2];
    char copy[4096];
    snprintf(copy, sizeof copy, "%s.copy", path);

    pid_t child = fork();
    MUST(child >= 0);
    if (child == 0) {
        run_child(action, path);
    }
    int status;
    MUST(waitpid(child, &status, 0) == child);
    if (WIFEXITED(status)) {
        return WEXITSTATUS(status);
    }
    MUST(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);

    struct view view = {NULL, 0, NULL, 0};
    unsigned long steps = 0, states = 0;
    int before = 0;
    for (;;) {
        if (has_changed(&view, path)) {
            write_copy(copy, &view);
            int state = action->state(copy);
            MUST(state >= before); /* what was done once stays done */
            before = state;
            states++;
        }
        MUST(ptrace(PTRACE_SINGLESTEP, child, NULL, NULL) == 0);
        MUST(waitpid(child, &status, 0) == child);
        MUST(WIFSTOPPED(status));
        if (WSTOPSIG(status) == SIGSTOP) {
            break;
        }
        MUST(WSTOPSIG(status) == SIGTRAP);
        steps++;
    }
    MUST(before == 1); /* the action had its effect before it returned */
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
    unlink(copy);
    printf("%lu %lu\n", steps, states);
    return 0;
}

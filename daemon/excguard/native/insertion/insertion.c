/*
 * The library that excguard inserts into a program; ../insertion.h says what it does.
 *
 * Why: xnu delivers optional and soft guards to the exception ports of a task only if the task's own flags
 * say so, and only the task can set them (task_set_exc_guard_behavior, osfmk/kern/task.c, xnu-11417.121.6).
 * Every failure is silent: the program must not notice.
 */
#include "insertion.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <mach/mach.h>
#include <servers/bootstrap.h>

#include "images.h"

#define DELIVER (TASK_EXC_GUARD_MP_DELIVER | TASK_EXC_GUARD_VM_DELIVER)

_Static_assert(sizeof(struct excguard_insertion_report) == sizeof(mach_msg_header_t) + 36, "no padding");
_Static_assert(sizeof(struct excguard_insertion_image) == 40, "no padding");

static struct {
    mach_port_t server;
    pid_t pid; /* a child of fork inherits this memory, and not the right to the port */
    uint32_t token[2];
    uint32_t flags_before, flags_after;
    kern_return_t result;
    _Atomic uint32_t dropped;
    _Atomic bool late; /* excguard did not receive in time: do not wait for it again */
} process;

/* The images of the start go into one message after the other; they come on the thread of the constructor. */
static struct {
    bool active;
    pthread_t thread;
    mach_msg_id_t id;
    union {
        struct excguard_insertion_report report;
        uint8_t bytes[EXCGUARD_INSERTION_MAX_MESSAGE];
    };
} start;

/* ---- messages ---- */

static void empty(struct excguard_insertion_report *report) {
    report->total_length = sizeof *report;
    report->image_count = 0;
}

/* Adds an image; false if the message of `capacity` bytes has no room for it. */
static bool add_image(struct excguard_insertion_report *report, size_t capacity, const struct image *image) {
    size_t length = strlen(image->path);
    size_t cut = length > EXCGUARD_INSERTION_MAX_PATH ? length - EXCGUARD_INSERTION_MAX_PATH : 0;
    struct excguard_insertion_image entry = {
        .path_length = (uint32_t)(length - cut),
        .load_address = {(uint32_t)image->address, (uint32_t)(image->address >> 32)},
        .size = {(uint32_t)image->size, (uint32_t)(image->size >> 32)},
    };
    entry.entry_size = (sizeof entry + entry.path_length + 3u) & ~3u;
    if (entry.entry_size > capacity - report->total_length) {
        return false;
    }
    if (image->uuid != NULL) {
        memcpy(entry.uuid, image->uuid, sizeof entry.uuid);
    }
    uint8_t *place = (uint8_t *)report + report->total_length;
    memset(place, 0, entry.entry_size);
    memcpy(place, &entry, sizeof entry);
    memcpy(place + sizeof entry, image->path + cut, entry.path_length);
    report->total_length += entry.entry_size;
    report->image_count++;
    return true;
}

static void send_report(struct excguard_insertion_report *report, mach_msg_id_t id,
                        mach_msg_timeout_t timeout) {
    report->header = (mach_msg_header_t){
        .msgh_bits = MACH_MSGH_BITS(MACH_MSG_TYPE_COPY_SEND, 0),
        .msgh_size = report->total_length,
        .msgh_remote_port = process.server,
        .msgh_id = id,
    };
    report->version = EXCGUARD_INSERTION_VERSION;
    memcpy(report->token, process.token, sizeof report->token);
    report->flags_before = process.flags_before;
    report->flags_after = process.flags_after;
    report->result = process.result;
    report->dropped = atomic_load(&process.dropped);
    mach_msg_return_t sent =
        mach_msg(&report->header, MACH_SEND_MSG | MACH_SEND_TIMEOUT, report->total_length, 0, MACH_PORT_NULL,
                 atomic_load(&process.late) ? 0 : timeout, MACH_PORT_NULL);
    if (sent == MACH_SEND_TIMED_OUT) {
        mach_msg_destroy(&report->header); /* the kernel gave the message back, with a right in it */
    }
    if (sent != MACH_MSG_SUCCESS) {
        atomic_fetch_add(&process.dropped, 1);
    }
    atomic_store(&process.late, sent != MACH_MSG_SUCCESS);
}

static void send_start(void) {
    send_report(&start.report, start.id, EXCGUARD_INSERTION_TIMEOUT_MS);
    start.id = EXCGUARD_INSERTION_IMAGES;
    empty(&start.report);
}

static void image_found(const struct image *image) {
    if (getpid() != process.pid) {
        return;
    }
    if (start.active && pthread_equal(start.thread, pthread_self())) {
        if (!add_image(&start.report, sizeof start.bytes, image)) {
            send_start();
            add_image(&start.report, sizeof start.bytes, image);
        }
        return;
    }
    struct {
        struct excguard_insertion_report report;
        uint8_t image[sizeof(struct excguard_insertion_image) + EXCGUARD_INSERTION_MAX_PATH];
    } message;
    empty(&message.report);
    add_image(&message.report, sizeof message, image);
    send_report(&message.report, EXCGUARD_INSERTION_IMAGES, EXCGUARD_INSERTION_LATER_TIMEOUT_MS);
}

/* ---- the constructor ---- */

static void add_delivery(void) {
    task_exc_guard_behavior_t before = 0, after;
    process.result = task_get_exc_guard_behavior(mach_task_self(), &before);
    if (process.result == KERN_SUCCESS) {
        process.result = task_set_exc_guard_behavior(mach_task_self(), before | DELIVER);
    }
    if (task_get_exc_guard_behavior(mach_task_self(), &after) != KERN_SUCCESS) {
        after = before;
    }
    process.flags_before = before;
    process.flags_after = after;
}

/* Takes this library out of the list of libraries to insert, and leaves the others in. */
static void leave_environment(void) {
    const char *list = getenv(INSERTION_LIST);
    char *kept = list != NULL ? malloc(strlen(list) + 1) : NULL;
    unsetenv(EXCGUARD_INSERTION_VARIABLE);
    if (kept == NULL) {
        return;
    }
    size_t size = 0;
    while (*list != '\0') {
        size_t length = strcspn(list, INSERTION_SEPARATORS), name = length;
        while (name > 0 && list[name - 1] != '/') {
            name--;
        }
        bool own = length - name == strlen(INSERTION_NAME) &&
                   strncmp(list + name, INSERTION_NAME, length - name) == 0;
        if (length > 0 && !own) {
            kept[size] = ':';
            memcpy(kept + size + (size > 0), list, length);
            size += length + (size > 0);
        }
        list += length + (list[length] != '\0');
    }
    kept[size] = '\0';
    if (size > 0) {
        setenv(INSERTION_LIST, kept, 1);
    } else {
        unsetenv(INSERTION_LIST);
    }
    free(kept);
}

__attribute__((constructor)) static void insertion(void) {
    uint64_t token;
    unsigned children;
    char service[BOOTSTRAP_MAX_NAME_LEN];
    const char *setting = getenv(EXCGUARD_INSERTION_VARIABLE);
    if (setting == NULL || sscanf(setting, "%16" SCNx64 ",%1u,%127s", &token, &children, service) != 3) {
        return;
    }
    add_delivery();
    if (children == 0) {
        leave_environment();
    }
    if (bootstrap_look_up(bootstrap_port, service, &process.server) != KERN_SUCCESS) {
        return;
    }
    process.pid = getpid();
    process.token[0] = (uint32_t)token;
    process.token[1] = (uint32_t)(token >> 32);
    start.active = true;
    start.thread = pthread_self();
    start.id = EXCGUARD_INSERTION_START;
    empty(&start.report);
    images_watch(image_found);
    send_start();
    start.active = false;
}

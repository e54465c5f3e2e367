/*
 * What the library that excguard inserts into a program (DYLD_INSERT_LIBRARIES; LD_PRELOAD where the kernel
 * is simulated) reports, and how it is configured. Shared by the library, which builds the messages, and by
 * mach/rendezvous/insertion.py, which checks them.
 *
 * The library's constructor, in this order:
 *   1. reads EXCGUARD_INSERTION; without it, or with one that is malformed, it does nothing at all;
 *   2. adds TASK_EXC_GUARD_MP_DELIVER | TASK_EXC_GUARD_VM_DELIVER to the task's flags;
 *   3. unless children are to be watched too, removes itself from the environment: EXCGUARD_INSERTION, and
 * its own path from the variable that loaded it (the variable itself when nothing else is in it);
 *   4. looks the service up and sends EXCGUARD_INSERTION_START, then EXCGUARD_INSERTION_IMAGES as often as
 * there are images left;
 *   5. has dyld call it for images that are added later, and sends EXCGUARD_INSERTION_IMAGES for each.
 *
 * No step may hold the program up: a message of the constructor waits at most EXCGUARD_INSERTION_TIMEOUT_MS
 * for room in the queue, a later one EXCGUARD_INSERTION_LATER_TIMEOUT_MS, and after one that waited in vain
 * the next do not wait at all. A message that could not be sent is counted in `dropped` of the next one. No
 * thread, no signal, no output, no allocation that outlives the constructor. One send right, to the service,
 * is kept. A child of fork reports nothing until it runs another program.
 *
 * The sender is the process that the kernel's audit trailer names; no message says so itself. `token` is that
 * of EXCGUARD_INSERTION, so a report belongs to one launch, whichever descendant of the target sends it.
 */
#ifndef EXCGUARD_INSERTION_H
#define EXCGUARD_INSERTION_H

#include <stdint.h>

#include <mach/message.h>

/*
 * "TOKEN,CHILDREN,SERVICE": 16 lowercase hexadecimal digits; 0 or 1, whether the variables stay for the
 * program's children; the name of the service in the bootstrap name space, at most 127 bytes.
 */
#define EXCGUARD_INSERTION_VARIABLE "EXCGUARD_INSERTION"

#define EXCGUARD_INSERTION_VERSION 1
#define EXCGUARD_INSERTION_START 0x65786973  /* 'exis': the flags, and the first images */
#define EXCGUARD_INSERTION_IMAGES 0x6578696d /* 'exim': more images; the flags are those of the START */
#define EXCGUARD_INSERTION_MAX_MESSAGE 8192  /* bytes, header included, trailer not */
#define EXCGUARD_INSERTION_MAX_PATH 1024     /* bytes of an image's path; a longer one loses its beginning */
#define EXCGUARD_INSERTION_TIMEOUT_MS 250
#define EXCGUARD_INSERTION_LATER_TIMEOUT_MS 20

/*
 * A simple message (not complex) to the service: COPY_SEND, no reply port. All fields are 4 bytes wide, in
 * the byte order of the machine; 64-bit values are two fields, the low half first.
 */
struct excguard_insertion_report {
    mach_msg_header_t header;
    uint32_t version;
    uint32_t total_length; /* of the message, as msgh_size */
    uint32_t token[2];
    uint32_t flags_before; /* task_get_exc_guard_behavior */
    uint32_t flags_after;  /* the same, after step 2 */
    int32_t result;        /* of the first call of step 2 that failed; KERN_SUCCESS: none did */
    uint32_t dropped;      /* messages of this process that could not be sent before this one */
    uint32_t image_count;  /* entries that follow; in a START the first is the program itself */
};

/*
 * An entry: this, then `path_length` bytes of path without a NUL, then zeros up to a multiple of 4. Images of
 * the dyld shared cache are left out: they are at the same address in every process.
 */
struct excguard_insertion_image {
    uint32_t entry_size; /* of the whole entry */
    uint32_t path_length;
    uint32_t load_address[2]; /* of its header */
    uint32_t size[2];         /* bytes from there on to the end of its last segment */
    uint8_t uuid[16];         /* LC_UUID; elsewhere the first 16 bytes of the build id; zeros: it has none */
};

#endif

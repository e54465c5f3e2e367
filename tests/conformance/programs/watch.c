/*
 * Starts a program with an exception port and prints, one JSON object a line, what the kernel sends there
 * until the last process that holds the port has gone; then how the program ended, and how many port names
 * are left over.
 *
 * watch [-b BEHAVIOR] [-f FLAVOR] [-m MASK] [-r REPLY] -- PROGRAM ARGUMENT...
 * REPLY: a number answers with that RetCode; "state" and "same" answer a state behavior with success and a
 * changed or the same state; "drop" releases the message unanswered; "mismatch", "short" and "complex" answer
 * with a malformed reply; "wait" never answers.
 */
#include <mach/mach.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

#define MUST(call)                                                                                          \
    do {                                                                                                    \
        kern_return_t result_ = (call);                                                                     \
        if (result_ != KERN_SUCCESS) {                                                                      \
            fprintf(stderr, "watch: %s: %s (%#x)\n", #call, mach_error_string(result_), (unsigned)result_); \
            exit(99);                                                                                       \
        }                                                                                                   \
    } while (0)

static uint8_t buffer[16384], reply_buffer[16384];

static uint32_t get32(uint32_t at) {
    uint32_t value;
    memcpy(&value, buffer + at, sizeof value);
    return value;
}

static uint64_t get64(uint32_t at) {
    uint64_t value;
    memcpy(&value, buffer + at, sizeof value);
    return value;
}

static unsigned count_names(void) {
    mach_port_name_array_t names;
    mach_port_type_array_t types;
    mach_msg_type_number_t name_count, type_count;
    MUST(mach_port_names(mach_task_self(), &names, &name_count, &types, &type_count));
    MUST(vm_deallocate(mach_task_self(), (vm_address_t)names, name_count * sizeof *names));
    MUST(vm_deallocate(mach_task_self(), (vm_address_t)types, type_count * sizeof *types));
    return name_count;
}

static int pid_of_token(mach_port_t token) {
    mach_port_t task;
    int pid = -1;
    if (task_identity_token_get_task_port(token, TASK_FLAVOR_NAME, &task) == KERN_SUCCESS) {
        pid_for_task(task, &pid);
        MUST(mach_port_deallocate(mach_task_self(), task));
    }
    return pid;
}

/* Only who holds a control port can have a token made for the task. */
static int is_control_port(mach_port_t task) {
    mach_port_t token;
    if (task_create_identity_token(task, &token) != KERN_SUCCESS) {
        return 0;
    }
    MUST(mach_port_deallocate(mach_task_self(), token));
    return 1;
}

/* Where codes and state lie: see mach_exc.defs and exc.defs. */
static void print_message(const mach_msg_header_t *header, int *state_at) {
    int id = header->msgh_id, wide = id > 2404;
    int protected = id == 2408 || id == 2410, control = id == 2405 || id == 2407 || id == 2401 || id == 2403;
    int with_state = id == 2406 || id == 2407 || id == 2410 || id == 2402 || id == 2403;
    uint32_t at = protected ? 48 : control ? 60 : 32, trailer = round_msg(header->msgh_size);
    printf("{\"event\": \"message\", \"id\": %d, \"bits\": %u, \"size\": %u, \"local\": %u", id,
           header->msgh_bits, header->msgh_size, header->msgh_local_port);
    if (protected) {
        printf(", \"thread\": %llu, \"pid\": %d", (unsigned long long)get64(at), pid_of_token(get32(28)));
        at += 8;
    }
    if (control) {
        int pid = -1;
        pid_for_task(get32(40), &pid);
        printf(", \"pid\": %d, \"control\": %d", pid, is_control_port(get32(40)));
    }
    uint32_t codes = at + 8;
    printf(", \"exception\": %u, \"code\": %llu, \"subcode\": %llu", get32(at),
           (unsigned long long)(wide ? get64(codes) : get32(codes)),
           (unsigned long long)(wide ? get64(codes + 8) : get32(codes + 4)));
    *state_at = -1;
    if (with_state) {
        uint32_t flavor = codes + (wide ? 16 : 8);
        *state_at = (int)flavor;
        printf(", \"flavor\": %u, \"count\": %u", get32(flavor), get32(flavor + 4));
        if (get32(flavor) == 4 && get32(flavor + 4) == 42) {
            printf(", \"pc\": %llu, \"sp\": %llu", (unsigned long long)get64(flavor + 8 + 16 * 8),
                   (unsigned long long)get64(flavor + 8 + 7 * 8));
        }
        if (get32(flavor) == 6 && get32(flavor + 4) == 68) {
            printf(", \"pc\": %llu, \"sp\": %llu", (unsigned long long)get64(flavor + 8 + 32 * 8),
                   (unsigned long long)get64(flavor + 8 + 31 * 8));
        }
    }
    printf(", \"trailer\": %u, \"security\": [%u, %u], \"audit\": [", get32(trailer + 4), get32(trailer + 12),
           get32(trailer + 16));
    for (uint32_t word = 0; word < 8; word++) {
        printf("%s%u", word ? ", " : "", get32(trailer + 20 + 4 * word));
    }
    printf("]}\n");
}

static void answer(const mach_msg_header_t *header, const char *how, int state_at) {
    mig_reply_error_t *reply = (mig_reply_error_t *)reply_buffer;
    uint32_t size = sizeof *reply;
    mach_msg_bits_t bits = MACH_MSGH_BITS(MACH_MSG_TYPE_MOVE_SEND_ONCE, 0);
    while (!strcmp(how, "wait")) {
        pause();
    }
    memset(reply_buffer, 0, sizeof reply_buffer);
    reply->NDR = NDR_record;
    reply->RetCode = (kern_return_t)strtol(how, NULL, 0);
    if ((!strcmp(how, "state") || !strcmp(how, "same")) && state_at >= 0) {
        uint32_t words = get32((uint32_t)state_at + 4);
        memcpy(reply_buffer + 36, buffer + state_at, 8 + words * 4);
        size = 44 + words * 4;
        if (!strcmp(how, "state")) {
            reply_buffer[44 + words * 4 - 1] ^= 1;
        }
    } else if (!strcmp(how, "short")) {
        size = 32;
    } else if (!strcmp(how, "complex")) {
        bits |= MACH_MSGH_BITS_COMPLEX;
        memset(reply_buffer + 24, 0, 4);
    }
    reply->Head = (mach_msg_header_t){bits, size, header->msgh_remote_port,
                                      0,    0,    header->msgh_id + (strcmp(how, "mismatch") ? 100 : 101)};
    if (strcmp(how, "drop")) {
        MUST(mach_msg(&reply->Head, MACH_SEND_MSG, size, 0, 0, 0, 0));
    } else {
        MUST(mach_port_deallocate(mach_task_self(), header->msgh_remote_port));
    }
}

int main(int argc, char **argv) {
    long behavior = EXCEPTION_IDENTITY_PROTECTED | (long)MACH_EXCEPTION_CODES, flavor = 0,
         mask = EXC_MASK_ALL;
    const char *how = "5";
    for (int option; (option = getopt(argc, argv, "+b:f:m:r:")) != -1;) {
        if (option == 'b') {
            behavior = strtol(optarg, NULL, 0);
        } else if (option == 'f') {
            flavor = strtol(optarg, NULL, 0);
        } else if (option == 'm') {
            mask = strtol(optarg, NULL, 0);
        } else if (option == 'r') {
            how = optarg;
        } else {
            return 2;
        }
    }
    mach_port_t port, notify, set, previous;
    unsigned before = count_names();
    MUST(mach_port_allocate(mach_task_self(), MACH_PORT_RIGHT_RECEIVE, &port));
    MUST(mach_port_allocate(mach_task_self(), MACH_PORT_RIGHT_RECEIVE, &notify));
    MUST(mach_port_insert_right(mach_task_self(), port, port, MACH_MSG_TYPE_MAKE_SEND));
    MUST(mach_port_allocate(mach_task_self(), MACH_PORT_RIGHT_PORT_SET, &set));
    MUST(mach_port_move_member(mach_task_self(), port, set));
    MUST(mach_port_move_member(mach_task_self(), notify, set));
    posix_spawnattr_t attributes;
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setexceptionports_np(&attributes, (exception_mask_t)mask, port,
                                         (exception_behavior_t)behavior, (thread_state_flavor_t)flavor);
    pid_t pid;
    int error = posix_spawnp(&pid, argv[optind], NULL, &attributes, argv + optind, environ);
    posix_spawnattr_destroy(&attributes);
    if (error) {
        printf("{\"event\": \"refused\", \"errno\": %d}\n", error);
        return 1;
    }
    MUST(mach_port_deallocate(mach_task_self(), port));
    MUST(mach_port_request_notification(mach_task_self(), port, MACH_NOTIFY_NO_SENDERS, 0, notify,
                                        MACH_MSG_TYPE_MAKE_SEND_ONCE, &previous));
    for (mach_msg_header_t *header = (mach_msg_header_t *)buffer;;) {
        int state_at;
        MUST(mach_msg(header, MACH_RCV_MSG | MACH_RCV_TRAILER_ELEMENTS(MACH_RCV_TRAILER_AUDIT), 0,
                      sizeof buffer, set, 0, 0));
        if (header->msgh_id == MACH_NOTIFY_NO_SENDERS) {
            break;
        }
        print_message(header, &state_at);
        fflush(stdout);
        mach_msg_header_t request = *header;
        answer(&request, how, state_at);
        header->msgh_remote_port = MACH_PORT_NULL; /* used up */
        mach_msg_destroy(header);
    }
    int status;
    waitpid(pid, &status, 0);
    printf("{\"event\": \"exit\", \"pid\": %d, \"status\": %d}\n", pid,
           WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status));
    MUST(mach_port_mod_refs(mach_task_self(), port, MACH_PORT_RIGHT_RECEIVE, -1));
    MUST(mach_port_mod_refs(mach_task_self(), notify, MACH_PORT_RIGHT_RECEIVE, -1));
    MUST(mach_port_mod_refs(mach_task_self(), set, MACH_PORT_RIGHT_PORT_SET, -1));
    printf("{\"event\": \"leaked\", \"names\": %d}\n", (int)(count_names() - before));
    return 0;
}

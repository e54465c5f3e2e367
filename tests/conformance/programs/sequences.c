/*
 * Runs sequences of Mach port calls, each in a process of its own, and prints what each call returned, what
 * it gave and which guard exceptions the kernel delivered for it.
 *
 * Standard input, one line a call (tests/conformance/oracle/sequences.py writes it): `row NUMBER POLICY
 * FLAGS` begins a sequence, `run` ends it. A call is its name, its arguments and, behind `=`, the variable
 * that takes the name it gives. An argument is a number, `$N` the name in variable N, `$N^` the same index
 * with another generation.
 *
 * Standard output: `call ROW AT RETURN VALUE...` for each call that returned, `guard ROW AT CODE SUBCODE` for
 * each guard exception, `end ROW STATUS` with the wait status of the process.
 */
#include <mach/mach.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef __APPLE__
#define become(policy) ((policy) ? KERN_NOT_SUPPORTED : KERN_SUCCESS) /* a Mac's process is what it is */
#define deallocate_kernel(name, type)                                    \
    ((void)(name), (void)(type), KERN_NOT_SUPPORTED) /* of fork(2) alone \
                                                      */
#else
#include <excsim.h>
#define become(policy) excsim_set_policy((uint32_t)(policy))
#define deallocate_kernel excsim_deallocate_kernel
#endif

/* Exported by libsystem_kernel and not in the SDK's headers. */
extern mach_msg_return_t mach_msg_overwrite_trap(mach_msg_header_t *msg, mach_msg_option_t option,
                                                 mach_msg_size_t send_size, mach_msg_size_t rcv_size,
                                                 mach_port_name_t rcv_name, mach_msg_timeout_t timeout,
                                                 mach_msg_priority_t priority, mach_msg_header_t *rcv_msg,
                                                 mach_msg_size_t rcv_limit);
extern mach_msg_return_t mach_msg2_internal(void *data, uint64_t option64, uint64_t msgh_bits_and_send_size,
                                            uint64_t msgh_remote_and_local_port, uint64_t msgh_voucher_and_id,
                                            uint64_t desc_count_and_rcv_name, uint64_t rcv_size_and_priority,
                                            uint64_t timeout);
extern mach_port_t mach_reply_port(void);
extern mach_port_t thread_get_special_reply_port(void);

#ifndef MPO_PORT_TYPE_MASK /* SDKs before macOS 26 */
#define MPO_PORT_TYPE_MASK 0x1dc00
#endif
#ifndef MPO_ANONYMOUS_SERVICE /* SDKs before macOS 13 */
#define MPO_ANONYMOUS_SERVICE (MACH_PORT_DEAD - 1)
#endif
#define SELF mach_task_self()

enum {
    CALLS = 96,
    VALUES = 24,
    GUARDS = 64,
    VARIABLES = 32,
    WORDS = 96,       /* of one line */
    BUFFER = 8192,    /* of a message */
    UNANSWERED = 2405 /* the first identifier of mach_exc.defs */
};

/* What the process of a sequence and the thread that handles its exceptions leave for the printing. */
struct shared {
    volatile int at;
    int returned; /* calls */
    struct {
        kern_return_t result;
        int count;
        uint64_t value[VALUES];
    } call[CALLS];
    volatile int guards;
    struct {
        int at;
        uint64_t code, subcode;
    } guard[GUARDS];
};
static struct shared *shared;

static mach_port_name_t variable[VARIABLES];

/* ---- the exception handler ---- */

static mach_port_t exceptions;

static void handle(const uint8_t *message) {
    mach_msg_header_t header;
    uint32_t descriptors = 0;
    memcpy(&header, message, sizeof header);
    const uint8_t *at = message + sizeof header;
    if (header.msgh_bits & MACH_MSGH_BITS_COMPLEX) {
        memcpy(&descriptors, at, sizeof descriptors);
        at += sizeof descriptors + descriptors * sizeof(mach_msg_port_descriptor_t);
    }
    at += sizeof(NDR_record_t);
    if (header.msgh_id == UNANSWERED + 3) {
        at += sizeof(uint64_t); /* the thread's identifier */
    }
    at += 2 * sizeof(uint32_t); /* the exception and the number of codes */
    int index = shared->guards;
    if (index < GUARDS) {
        shared->guard[index].at = shared->at;
        memcpy(&shared->guard[index].code, at, sizeof(uint64_t));
        memcpy(&shared->guard[index].subcode, at + sizeof(uint64_t), sizeof(uint64_t));
        shared->guards = index + 1;
    }
}

static void *serve(void *unused) {
    static uint8_t buffer[BUFFER];
    for (;;) {
        mach_msg_header_t *header = (mach_msg_header_t *)buffer;
        if (mach_msg(header, MACH_RCV_MSG, 0, sizeof buffer, exceptions, 0, 0)) {
            return unused;
        }
        handle(buffer);
        mig_reply_error_t reply = {
            .Head = {MACH_MSGH_BITS(MACH_MSG_TYPE_MOVE_SEND_ONCE, 0), sizeof reply, header->msgh_remote_port,
                     0, 0, header->msgh_id + 100},
            .NDR = NDR_record,
            .RetCode = KERN_FAILURE,
        };
        header->msgh_remote_port = MACH_PORT_NULL;
        mach_msg_destroy(header);
        mach_msg(&reply.Head, MACH_SEND_MSG, sizeof reply, 0, 0, 0, 0);
    }
}

/* ---- one call ---- */

static char *word[WORDS];
static int words;

static uint64_t number(const char *text) {
    if (*text != '$') {
        return *text == '-' ? (uint64_t)strtoll(text, NULL, 0) : strtoull(text, NULL, 0);
    }
    char *end;
    mach_port_name_t name = variable[strtoul(text + 1, &end, 10) % VARIABLES];
    return *end == '^' ? name ^ 0x4 : name;
}

/* The argument, or for messages the field, of this number. */
static uint64_t argument(int at) {
    return at + 1 < words ? number(word[at + 1]) : 0;
}

static uint32_t narrow(int at) {
    return (uint32_t)argument(at);
}

/* The value of `key=value`. */
static const char *field(const char *key) {
    size_t length = strlen(key);
    for (int at = 1; at < words; at++) {
        if (!strncmp(word[at], key, length) && word[at][length] == '=') {
            return word[at] + length + 1;
        }
    }
    return NULL;
}

static uint64_t field_number(const char *key, uint64_t otherwise) {
    const char *text = field(key);
    return text ? number(text) : otherwise;
}

static void give(uint64_t value) {
    int *count = &shared->call[shared->at].count;
    if (*count < VALUES) {
        shared->call[shared->at].value[(*count)++] = value;
    }
}

static uint32_t get32(const uint8_t *at) {
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

static uint8_t buffer[BUFFER];
static mach_port_name_t arrays[8][8]; /* what descriptors of port arrays point to */

/* Appends a descriptor: `descriptor=KIND,NAME,DISPOSITION,TYPE[,CONTEXT,FLAGS]` or
 * `array,DISPOSITION,NAME...` */
static uint8_t *put_descriptor(uint8_t *at, char *text, int index) {
    char *part[12] = {NULL};
    int parts = 0;
    for (char *save, *token = strtok_r(text, ",", &save); token && parts < 12;
         token = strtok_r(NULL, ",", &save)) {
        part[parts++] = token;
    }
    if (!strcmp(part[0], "array")) {
        mach_msg_ool_ports_descriptor_t ports = {
            .address = parts > 2 ? arrays[index % 8] : NULL,
            .copy = MACH_MSG_PHYSICAL_COPY,
            .disposition = (mach_msg_type_name_t)number(part[1]),
            .type = MACH_MSG_OOL_PORTS_DESCRIPTOR,
            .count = (mach_msg_size_t)(parts - 2),
        };
        for (int name = 2; name < parts && name - 2 < 8; name++) {
            arrays[index % 8][name - 2] = (mach_port_name_t)number(part[name]);
        }
        memcpy(at, &ports, sizeof ports);
        return at + sizeof ports;
    }
    uint32_t type = (uint32_t)number(part[3]);
    if (!strcmp(part[0], "guarded")) {
        mach_msg_guarded_port_descriptor_t guarded = {
            .context = (mach_port_context_t)number(part[4]),
            .flags = (mach_msg_guard_flags_t)number(part[5]),
            .disposition = (mach_msg_type_name_t)number(part[2]),
            .type = (mach_msg_descriptor_type_t)type,
            .name = (mach_port_name_t)number(part[1]),
        };
        memcpy(at, &guarded, sizeof guarded);
        return at + sizeof guarded;
    }
    mach_msg_port_descriptor_t port = {
        .name = (mach_port_name_t)number(part[1]),
        .disposition = (mach_msg_type_name_t)number(part[2]),
        .type = (mach_msg_descriptor_type_t)type,
    };
    memcpy(at, &port, sizeof port);
    return at + sizeof port;
}

static void set_variable(const char *key, mach_port_name_t name) {
    const char *text = field(key);
    if (text && *text == '$') {
        variable[strtoul(text + 1, NULL, 10) % VARIABLES] = name;
    }
}

static size_t descriptor_size(const uint8_t *at) {
    return at[11] == MACH_MSG_PORT_DESCRIPTOR ? sizeof(mach_msg_port_descriptor_t)
                                              : sizeof(mach_msg_guarded_port_descriptor_t);
}

/* What was received: identifier, bits, size, ports; then name, type, disposition of each descriptor, or a
 * word. */
static void give_message(void) {
    mach_msg_header_t header;
    memcpy(&header, buffer, sizeof header);
    give((uint32_t)header.msgh_id);
    give(header.msgh_bits);
    give(header.msgh_size);
    give(header.msgh_remote_port);
    give(header.msgh_local_port);
    set_variable("bind.remote", header.msgh_remote_port);
    if (!(header.msgh_bits & MACH_MSGH_BITS_COMPLEX)) {
        give(header.msgh_size >= 36 ? get32(buffer + 32) : 0);
        return;
    }
    uint32_t count = get32(buffer + sizeof header);
    const uint8_t *at = buffer + sizeof(mach_msg_base_t);
    for (uint32_t index = 0; index < count && index < 4; index++) {
        bool guarded = at[11] == MACH_MSG_GUARDED_PORT_DESCRIPTOR;
        uint32_t name = get32(at + (guarded ? 12 : 0));
        give(name);
        give(at[11]);
        give(at[10]);
        if (index == 0) {
            set_variable("bind.desc0", name);
        }
        at += descriptor_size(at);
    }
}

static kern_return_t message(void) {
    uint64_t options = field_number("options", 0);
    uint32_t bits = MACH_MSGH_BITS_SET_PORTS((uint32_t)field_number("remote_type", 0),
                                             (uint32_t)field_number("local_type", 0),
                                             (uint32_t)field_number("voucher_type", 0)) |
                    (uint32_t)field_number("more_bits", 0);
    uint32_t id = (uint32_t)field_number("id", 100);
    mach_port_name_t remote = (mach_port_name_t)field_number("remote", 0);
    mach_port_name_t local = (mach_port_name_t)field_number("local", 0);
    mach_port_name_t voucher = (mach_port_name_t)field_number("voucher", 0);
    uint32_t descriptors = 0;
    memset(buffer, 0, sizeof buffer);
    uint8_t *at = buffer + sizeof(mach_msg_base_t);
    for (int index = 1; index < words; index++) {
        if (!strncmp(word[index], "descriptor=", 11)) {
            at = put_descriptor(at, word[index] + 11, (int)descriptors++);
        }
    }
    const char *count = field("descriptor_count");
    if (descriptors || count) {
        bits |= MACH_MSGH_BITS_COMPLEX;
        descriptors = count ? (uint32_t)number(count) : descriptors;
        memcpy(buffer + sizeof(mach_msg_header_t), &descriptors, sizeof descriptors);
    } else {
        at = buffer + sizeof(mach_msg_header_t);
    }
    at += field_number("body", 0);
    uint32_t size = (uint32_t)field_number("size", (uint64_t)(at - buffer));
    uint32_t receive_size = (uint32_t)field_number("receive_size", options & MACH_RCV_MSG ? BUFFER : 0);
    mach_port_name_t from = (mach_port_name_t)field_number("receive_name", 0);
    mach_port_name_t notify = (mach_port_name_t)field_number("notify", 0);
    if (!(options & MACH_SEND_MSG)) {
        size = 0;
    }
    mach_msg_header_t header = {bits, size, remote, local, voucher, (mach_msg_id_t)id};
    memcpy(buffer, &header, sizeof header);
    const char *trap = field("trap"), *calls = field("mach_msg2");
    kern_return_t result;
    if (trap) {
        result = mach_msg_overwrite_trap((mach_msg_header_t *)buffer, (mach_msg_option_t)options, size,
                                         receive_size, from, 0, notify, NULL, 0);
    } else if (calls) {
        result = mach_msg2_internal(buffer, options | number(calls) | 0x8000000000000000u,
                                    (uint64_t)size << 32 | bits, (uint64_t)local << 32 | remote,
                                    (uint64_t)id << 32 | voucher, (uint64_t)from << 32 | descriptors,
                                    (uint64_t)notify << 32 | receive_size, 0);
    } else {
        result = mach_msg((mach_msg_header_t *)buffer, (mach_msg_option_t)options, size, receive_size, from,
                          0, notify);
    }
    if ((!result && options & MACH_RCV_MSG) || field("showback")) {
        give_message();
    }
    return result;
}

static kern_return_t get_attributes(void) {
    integer_t info[32] = {0};
    mach_msg_type_number_t count = narrow(2);
    kern_return_t result = mach_port_get_attributes(SELF, narrow(0), (int)narrow(1), info, &count);
    if (!result) {
        give(count);
        for (mach_msg_type_number_t at = 0; at < count; at++) {
            give((uint32_t)info[at]);
        }
    }
    return result;
}

static kern_return_t set_attributes(void) {
    integer_t info[32] = {0};
    for (int at = 3; at + 1 < words && at < 32; at++) {
        info[at - 3] = (integer_t)narrow(at);
    }
    return mach_port_set_attributes(SELF, narrow(0), (int)narrow(1), info, narrow(2));
}

static kern_return_t assert_guard(void) {
    mach_port_guard_info_t info = {.mpgi_guard = argument(2)};
    return mach_port_assert_attributes(SELF, narrow(0), (int)narrow(1), (mach_port_info_t)&info,
                                       MACH_PORT_GUARD_INFO_COUNT);
}

static kern_return_t construct(mach_port_name_t *name) {
    mach_service_port_info_data_t service = {.mspi_string_name = "test.excguard.sequences"};
    mach_port_options_t options = {.flags = narrow(0), .service_port_info = &service};
    options.mpl.mpl_qlimit = narrow(1);
    if ((options.flags & MPO_PORT_TYPE_MASK) == MPO_CONNECTION_PORT) {
        options.service_port_name = MPO_ANONYMOUS_SERVICE;
    }
    return mach_port_construct(SELF, &options, argument(2), name);
}

static kern_return_t peek(void) {
    mach_msg_max_trailer_t trailer;
    mach_port_seqno_t seqno = 0;
    mach_msg_size_t size = 0;
    mach_msg_id_t id = 0;
    mach_msg_type_number_t room = words > 3 ? narrow(2) : MACH_MSG_TRAILER_MINIMUM_SIZE;
    kern_return_t result = mach_port_peek(SELF, narrow(0), words > 2 ? narrow(1) : 0, &seqno, &size, &id,
                                          (char *)&trailer, &room);
    if (!result) {
        give((uint32_t)id);
    }
    return result;
}

static int is(const char *name) {
    return !strcmp(word[0], name);
}

static kern_return_t run(mach_port_name_t *name) {
    mach_msg_type_name_t type;
    kern_return_t result;
    if (is("mach_msg")) {
        return message();
    }
    if (is("name")) {
        *name = narrow(0);
        return KERN_SUCCESS;
    }
    if (is("mach_port_allocate")) {
        return mach_port_allocate(SELF, narrow(0), name);
    }
    if (is("mach_port_allocate_name")) {
        return mach_port_allocate_name(SELF, narrow(0), narrow(1));
    }
    if (is("mach_port_construct")) {
        return construct(name);
    }
    if (is("mach_port_destruct")) {
        return mach_port_destruct(SELF, narrow(0), (mach_port_delta_t)narrow(1), argument(2));
    }
    if (is("mach_port_destroy")) {
        return mach_port_destroy(SELF, narrow(0));
    }
    if (is("mach_port_deallocate")) {
        return mach_port_deallocate(SELF, narrow(0));
    }
    if (is("mach_port_deallocate_kernel")) {
        return deallocate_kernel(narrow(0), narrow(1));
    }
    if (is("mach_port_type")) {
        mach_port_type_t found = 0;
        result = mach_port_type(SELF, narrow(0), &found);
        give(found);
        return result;
    }
    if (is("mach_port_get_refs")) {
        mach_port_urefs_t refs = 0;
        result = mach_port_get_refs(SELF, narrow(0), narrow(1), &refs);
        give(refs);
        return result;
    }
    if (is("mach_port_mod_refs")) {
        return mach_port_mod_refs(SELF, narrow(0), narrow(1), (mach_port_delta_t)narrow(2));
    }
    if (is("mach_port_insert_right")) {
        return mach_port_insert_right(SELF, narrow(0), narrow(1), narrow(2));
    }
    if (is("mach_port_extract_right")) {
        result = mach_port_extract_right(SELF, narrow(0), narrow(1), name, &type);
        give(*name);
        give(result ? 0 : type);
        return result;
    }
    if (is("mach_port_guard")) {
        return mach_port_guard(SELF, narrow(0), argument(1), (boolean_t)narrow(2));
    }
    if (is("mach_port_guard_with_flags")) {
        return mach_port_guard_with_flags(SELF, narrow(0), argument(1), argument(2));
    }
    if (is("mach_port_unguard")) {
        return mach_port_unguard(SELF, narrow(0), argument(1));
    }
    if (is("mach_port_swap_guard")) {
        return mach_port_swap_guard(SELF, narrow(0), argument(1), argument(2));
    }
    if (is("mach_port_get_context")) {
        mach_port_context_t context = 0;
        result = mach_port_get_context(SELF, narrow(0), &context);
        give(context);
        return result;
    }
    if (is("mach_port_set_context")) {
        return mach_port_set_context(SELF, narrow(0), argument(1));
    }
    if (is("mach_port_move_member")) {
        return mach_port_move_member(SELF, narrow(0), narrow(1));
    }
    if (is("mach_port_insert_member")) {
        return mach_port_insert_member(SELF, narrow(0), narrow(1));
    }
    if (is("mach_port_extract_member")) {
        return mach_port_extract_member(SELF, narrow(0), narrow(1));
    }
    if (is("mach_port_request_notification")) {
        result = mach_port_request_notification(SELF, narrow(0), (mach_msg_id_t)narrow(1), narrow(2),
                                                narrow(3), narrow(4), name);
        give(*name);
        return result;
    }
    if (is("mach_port_get_attributes")) {
        return get_attributes();
    }
    if (is("mach_port_set_attributes")) {
        return set_attributes();
    }
    if (is("mach_port_assert_attributes")) {
        return assert_guard();
    }
    if (is("mach_port_set_mscount")) {
        return mach_port_set_mscount(SELF, narrow(0), narrow(1));
    }
    if (is("mach_port_get_srights")) {
        mach_port_rights_t rights = 0;
        result = mach_port_get_srights(SELF, narrow(0), &rights);
        give(rights);
        return result;
    }
    if (is("mach_port_peek")) {
        return peek();
    }
    if (is("mach_reply_port")) {
        *name = mach_reply_port();
        return KERN_SUCCESS;
    }
    if (is("thread_get_special_reply_port")) {
        *name = thread_get_special_reply_port();
        return KERN_SUCCESS;
    }
    _exit(98);
}

/* ---- one sequence ---- */

static char script[CALLS][1024];
static int script_length;

static void split(char *line) {
    words = 0;
    for (char *save, *token = strtok_r(line, " \n", &save); token && words < WORDS;
         token = strtok_r(NULL, " \n", &save)) {
        word[words++] = token;
    }
}

static void run_script(uint64_t policy, task_exc_guard_behavior_t flags, unsigned seconds) {
    alarm(seconds); /* for a call that never returns */
    task_exc_guard_behavior_t now = 0;
    if (become(policy) || task_get_exc_guard_behavior(SELF, &now) ||
        task_set_exc_guard_behavior(SELF, now | flags)) {
        _exit(97);
    }
    for (int at = 0; at < script_length; at++) {
        split(script[at]);
        int target = -1;
        if (words > 1 && word[words - 1][0] == '=') {
            target = atoi(word[--words] + 2) % VARIABLES;
        }
        mach_port_name_t name = MACH_PORT_NULL;
        shared->at = at;
        shared->call[at].count = 0;
        shared->call[at].result = run(&name);
        if (target >= 0) {
            variable[target] = name;
            if (!shared->call[at].count) {
                give(name);
            }
        }
        shared->returned = at + 1;
    }
    _exit(0);
}

static void report(const char *row, int status) {
    for (int at = 0; at < shared->returned; at++) {
        printf("call %s %d %d", row, at, shared->call[at].result);
        for (int value = 0; value < shared->call[at].count; value++) {
            printf(" %llu", (unsigned long long)shared->call[at].value[value]);
        }
        printf("\n");
    }
    for (int at = 0; at < shared->guards; at++) {
        printf("guard %s %d %llu %llu\n", row, shared->guard[at].at,
               (unsigned long long)shared->guard[at].code, (unsigned long long)shared->guard[at].subcode);
    }
    printf("end %s %d\n", row, status);
    fflush(stdout);
}

static void run_row(char *line, unsigned seconds) {
    char *row = strtok(line, " \n"), *policy = strtok(NULL, " \n"), *flags = strtok(NULL, " \n");
    int status = 0;
    memset(shared, 0, sizeof *shared);
    pid_t pid = fork();
    if (pid == 0) {
        run_script(strtoull(policy, NULL, 0), (task_exc_guard_behavior_t)strtoul(flags, NULL, 0), seconds);
    }
    waitpid(pid, &status, 0);
    report(row, status);
}

/* sequences [SECONDS]: how long a sequence may take. */
int main(int argc, char **argv) {
    unsigned seconds = argc > 1 ? (unsigned)atoi(argv[1]) : 10;
    static char line[4096], row[64];
    pthread_t handler;
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED || mach_port_allocate(SELF, MACH_PORT_RIGHT_RECEIVE, &exceptions) ||
        mach_port_insert_right(SELF, exceptions, exceptions, MACH_MSG_TYPE_MAKE_SEND)) {
        return 99;
    }
    int behavior = (int)(EXCEPTION_IDENTITY_PROTECTED | MACH_EXCEPTION_CODES);
    if (task_set_exception_ports(SELF, EXC_MASK_GUARD, exceptions, behavior, 0) &&
        task_set_exception_ports(SELF, EXC_MASK_GUARD, exceptions,
                                 (int)(EXCEPTION_DEFAULT | MACH_EXCEPTION_CODES), 0)) { /* before macOS 12 */
        return 99;
    }
    pthread_create(&handler, NULL, serve, NULL);
    while (fgets(line, sizeof line, stdin)) {
        if (!strncmp(line, "row ", 4)) {
            snprintf(row, sizeof row, "%.63s", line + 4);
            script_length = 0;
        } else if (!strcmp(line, "run\n")) {
            run_row(row, seconds);
        } else if (script_length < CALLS && strlen(line) < sizeof script[0]) {
            memcpy(script[script_length++], line, strlen(line) + 1);
        } else {
            return 2;
        }
    }
    return 0;
}

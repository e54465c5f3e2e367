#include "message_handler.h"

#include <mach/exception_types.h>
#include <mach/kern_return.h>
#include <mach/message.h>
#include <mach/notify.h>

#include "journal_inline.h"
#include "kernel_forms.h"

static_assert(sizeof(struct excguard_target) == 64, "an index is a shift");

/* How many records ahead a cache line is fetched: the latency of memory, in records. */
#define PREFETCH 48

/* ---- targets ---- */

/*
 * Where a target is unless names collide. A name is an index and a generation (MACH_PORT_INDEX, mach/port.h).
 */
EXCGUARD_INLINE uint32_t target_home(uint32_t port) {
    return (port >> 8) % EXCGUARD_TARGET_SLOTS;
}

/* What a free slot holds: no message finds it, because this name would be looked for elsewhere. */
static uint32_t free_port(uint32_t slot) {
    return (slot + 1) << 8;
}

/*
 * Here and below, acquire: who sees a port sees what was stored before it (excguard_add_target,
 * watch_senders of receiver.c).
 */
struct excguard_target *excguard_find_target(struct excguard_message_handler *handler, uint32_t port) {
    for (uint32_t i = 0; i < EXCGUARD_TARGET_SLOTS; i++) {
        uint32_t slot = (target_home(port) + i) % EXCGUARD_TARGET_SLOTS;
        struct excguard_target *target = &handler->targets[slot];
        if (atomic_load_explicit(&target->port, memory_order_acquire) == port && port != free_port(slot)) {
            return target;
        }
    }
    return NULL;
}

struct excguard_target *excguard_find_notified(struct excguard_message_handler *handler, uint32_t port) {
    for (uint32_t slot = 0; slot < EXCGUARD_TARGET_SLOTS && port != MACH_PORT_NULL; slot++) {
        struct excguard_target *target = &handler->targets[slot];
        if (atomic_load_explicit(&target->notify_port, memory_order_acquire) == port) {
            return target;
        }
    }
    return NULL;
}

bool excguard_is_target_free(const struct excguard_message_handler *handler,
                             const struct excguard_target *target) {
    return atomic_load_explicit(&target->port, memory_order_acquire) ==
           free_port((uint32_t)(target - handler->targets));
}

struct excguard_target *excguard_add_target(struct excguard_message_handler *handler, uint32_t port,
                                            uint32_t id, uint32_t own_reply) {
    for (uint32_t i = 0; i < EXCGUARD_TARGET_SLOTS; i++) {
        struct excguard_target *target = &handler->targets[(target_home(port) + i) % EXCGUARD_TARGET_SLOTS];
        if (excguard_is_target_free(handler, target) &&
            port != free_port((uint32_t)(target - handler->targets))) {
            target->id_shifted = (uint64_t)id << 32;
            target->own_reply = own_reply;
            target->own_tag = excguard_tag(0, own_reply, 0, EXCEPTION_IDENTITY_PROTECTED, 0);
            /* Relaxed: the release of `port` makes them visible. */
            atomic_store_explicit(&target->owner, target->id_shifted, memory_order_relaxed);
            atomic_store_explicit(&target->no_senders, 0, memory_order_relaxed);
            atomic_store_explicit(&target->notify_port, MACH_PORT_NULL, memory_order_relaxed);
            atomic_store_explicit(&target->port, port, memory_order_release);
            return target;
        }
    }
    return NULL;
}

void excguard_free_target(struct excguard_message_handler *handler, struct excguard_target *target) {
    atomic_store_explicit(&target->port, free_port((uint32_t)(target - handler->targets)),
                          memory_order_seq_cst);
}

void excguard_renew_replies(struct excguard_message_handler *handler) {
    struct excguard_message usual = {.msgh_bits = EXCGUARD_KERNEL_BITS,
                                     .msgh_id = EXCGUARD_ID_RAISE_IDENTITY_PROTECTED};
    excguard_build_reply(&usual, KERN_FAILURE, handler->stateless_reply.bytes);
    usual.msgh_id = EXCGUARD_ID_RAISE_STATE_IDENTITY_PROTECTED;
    excguard_build_reply(&usual, KERN_FAILURE, handler->state_reply.bytes);
}

void excguard_message_handler_init(struct excguard_message_handler *handler, struct excguard_journal *journal,
                                   uint32_t (*pid_of_token)(uint32_t)) {
    excguard_renew_replies(handler);
    handler->journal = journal;
    handler->pid_of_token = pid_of_token;
    for (uint32_t slot = 0; slot < EXCGUARD_TARGET_SLOTS; slot++) {
        excguard_free_target(handler, &handler->targets[slot]);
    }
    for (uint32_t slot = 0; slot < EXCGUARD_THREAD_SLOTS; slot++) {
        handler->threads[slot] = (struct excguard_thread){.thread_id = slot + 1}; /* has another home */
    }
}

static uint32_t find_pid(struct excguard_message_handler *handler, const struct excguard_message *message,
                         const struct excguard_target *target) {
    struct excguard_thread *thread = &handler->threads[message->thread_id % EXCGUARD_THREAD_SLOTS];
    bool seen = thread->thread_id == message->thread_id;
    uint32_t pid = seen ? (uint32_t)thread->owner : handler->pid_of_token(message->task_token);
    if (pid != 0) {
        *thread = (struct excguard_thread){message->thread_id, target->id_shifted | pid};
    }
    return pid;
}

/* ---- any message ---- */

static uint32_t find_verdict(const struct excguard_message *message, const struct excguard_target *target) {
    if (target == NULL) {
        return EXCGUARD_UNKNOWN_PORT;
    }
    if (message->verdict > EXCGUARD_UNREGISTERED_BEHAVIOR || message->verdict == EXCGUARD_INSECURE_BEHAVIOR) {
        return message->verdict;
    }
    if (message->sender != EXCGUARD_SENDER_KERNEL) {
        return EXCGUARD_SENDER_NOT_KERNEL;
    }
    if (message->verdict == EXCGUARD_ACCEPTED && message->exception != EXC_GUARD) {
        return EXCGUARD_NOT_GUARD;
    }
    /* Of the notifications we ask for no-senders alone; send-once comes when such a request is taken back. */
    if (message->verdict == EXCGUARD_NOTIFICATION && message->msgh_id != MACH_NOTIFY_NO_SENDERS &&
        message->msgh_id != MACH_NOTIFY_SEND_ONCE) {
        return EXCGUARD_UNEXPECTED_NOTIFICATION;
    }
    return message->verdict;
}

/* Returns the RetCode of the reply. */
static uint32_t record_hit(struct excguard_message_handler *handler, const struct excguard_message *message,
                           const struct excguard_target *target, uint64_t now_ns) {
    uint32_t pid = find_pid(handler, message, target);
    uint32_t own_pid = (uint32_t)atomic_load_explicit(&target->owner, memory_order_relaxed);
    bool own = pid != 0 && pid == own_pid;
    struct excguard_hit hit = {
        .time_ns = now_ns,
        .thread_id = message->thread_id,
        .code = message->code,
        .subcode = message->subcode,
        .pid = pid,
        .target_id = (uint32_t)(target->id_shifted >> 32),
        .reply = own && message->behavior == EXCEPTION_IDENTITY_PROTECTED ? target->own_reply : KERN_FAILURE,
        .behavior = message->behavior,
        .state_flavor = message->state_flavor,
        .state_count = message->state_count,
        .pc = message->pc,
        .lr = message->lr,
        .sp = message->sp,
    };
    if (pid == 0) {
        hit.flags |= EXCGUARD_RECORD_PID_UNKNOWN;
    } else if (!own && own_pid != 0) {
        hit.flags |= EXCGUARD_RECORD_INHERITED;
    }
    if ((message->present & EXCGUARD_HAS_STATE) != 0) {
        hit.flags |= EXCGUARD_RECORD_STATE;
    }
    if ((message->present & EXCGUARD_HAS_REGISTERS) != 0) {
        hit.flags |= EXCGUARD_RECORD_REGISTERS;
    }
    excguard_journal_append(handler->journal, &hit);
    return hit.reply;
}

/* By the parser: whatever is not of a known form, well formed or not. */
__attribute__((noinline)) static struct excguard_handled_message
handle_any(struct excguard_message_handler *handler, const uint8_t *bytes, uint64_t now_ns) {
    struct excguard_message message;
    excguard_parse(bytes, EXCGUARD_RECEIVE_SIZE, 0, &message);
    struct excguard_target *target = excguard_find_target(handler, message.local_port);
    if (target == NULL && message.verdict == EXCGUARD_NOTIFICATION) {
        target = excguard_find_notified(handler, message.local_port);
    }
    uint32_t verdict = find_verdict(&message, target);
    uint32_t ret_code = KERN_FAILURE;
    if (verdict == EXCGUARD_ACCEPTED) {
        ret_code = record_hit(handler, &message, target, now_ns);
    } else if (verdict != EXCGUARD_NOTIFICATION) {
        excguard_journal_reject(handler->journal, verdict);
    }
    excguard_build_reply(&message, (int32_t)ret_code, handler->other_reply.bytes);
    return (struct excguard_handled_message){&handler->other_reply, verdict};
}

/* ---- the usual messages ---- */

/*
 * The element of `array` that is `offset` bytes from its beginning. The compiler cannot see how
 * `offset` was computed: otherwise gcc computes the address of each field again, and saves registers for
 * it.
 */
#define ELEMENT(array, offset)                                   \
    __extension__({                                              \
        size_t offset_ = (offset);                               \
        __asm__("" : "+r"(offset_));                             \
        (__typeof__(&(array)[0]))((uintptr_t)(array) + offset_); \
    })

/*
 * A message of a known form, when everything about it is as usual: the target at its home, the thread one of
 * its own process that was seen before, the counter at its home, room in the ring. Otherwise false, and
 * nothing is done. `state_key`: of its thread state (thread_state.h), 0 without one. Makes no calls, and
 * loads most things where they are stored, so that few registers have to be saved.
 */
EXCGUARD_INLINE bool handle_form(struct excguard_message_handler *handler, const uint8_t *bytes,
                                 uint64_t now_ns, uint64_t state_key) {
    uint32_t port = excguard_load32(bytes + offsetof(mach_msg_header_t, msgh_local_port));
    const struct excguard_target *target = ELEMENT(handler->targets, target_home(port) * sizeof *target);
    if (__builtin_expect(atomic_load_explicit(&target->port, memory_order_acquire) != port, 0)) {
        return false;
    }
    uint64_t thread_id = excguard_load64(bytes + EXCGUARD_PROTECTED(thread_id));
    const struct excguard_thread *thread =
        ELEMENT(handler->threads, thread_id % EXCGUARD_THREAD_SLOTS * sizeof *thread);
    /* Relaxed: a number by itself, which excguard_receiver_set_pid may change at any time. */
    uint64_t owner = atomic_load_explicit(&target->owner, memory_order_relaxed);
    if (__builtin_expect(thread->thread_id != thread_id, 0) || __builtin_expect(thread->owner != owner, 0)) {
        return false;
    }
    struct excguard_journal *journal = handler->journal;
    struct journal_map *map = journal->map;
    uint64_t seq = excguard_journal_head(map);
    const uint8_t *codes = bytes + EXCGUARD_PROTECTED(code);
    uint64_t key = target->id_shifted | excguard_load32(codes + 4);
    struct journal_hit_counter *counter = ELEMENT(map->hits, excguard_hit_home(key) * sizeof *counter);
    /* Relaxed: this thread alone stores keys. */
    if (__builtin_expect(seq == journal->full_at, 0) ||
        __builtin_expect(atomic_load_explicit(&counter->key, memory_order_relaxed) != key, 0)) {
        return false;
    }
    struct excguard_record *record = ELEMENT(map->ring, (seq & journal->mask) * sizeof *record);
    /*
     * Fetch a record's line early: it is a lap old, and out of the caches. Beyond the ring's end this
     * does no harm.
     */
    __builtin_prefetch(record + PREFETCH, 1);
    struct journal_entry entry = {.time_ns = now_ns};
    memcpy(&entry.offender, thread, sizeof entry.offender);
    uint8_t *reply;
    if (state_key == 0) {
        reply = handler->stateless_reply.bytes;
        excguard_store32(reply + offsetof(struct excguard_reply, RetCode), target->own_reply);
        entry.tag = target->own_tag;
    } else {
        __builtin_prefetch(&record[PREFETCH].state_flavor, 1);
        struct excguard_registers registers;
        if (!excguard_read_registers((uint32_t)(state_key >> 32), (uint32_t)state_key,
                                     bytes + EXCGUARD_PROTECTED(old_state), &registers)) {
            return false;
        }
        const excguard_pair state_and_pc = {excguard_load64(bytes + EXCGUARD_PROTECTED(flavor)),
                                            registers.pc};
        const excguard_pair sp_and_lr = {registers.sp, registers.lr};
        memcpy(&record->state_flavor, &state_and_pc, sizeof state_and_pc);
        memcpy(&record->sp, &sp_and_lr, sizeof sp_and_lr);
        reply = handler->state_reply.bytes; /* which says KERN_FAILURE already */
        entry.tag = excguard_tag(0, KERN_FAILURE, EXCGUARD_RECORD_STATE | EXCGUARD_RECORD_REGISTERS,
                                 EXCEPTION_STATE_IDENTITY_PROTECTED, 0);
    }
    excguard_store32(reply + offsetof(struct excguard_reply, Head.msgh_remote_port),
                     excguard_load32(bytes + offsetof(mach_msg_header_t, msgh_remote_port)));
    excguard_journal_write(map, record, seq, counter, entry, codes);
    return true;
}

/*
 * The forms with thread state; a function of its own, so that the shorter one is not slowed down by its
 * needs.
 */
__attribute__((noinline)) static struct excguard_handled_message
handle_state_form(struct excguard_message_handler *handler, const uint8_t *bytes, uint64_t now_ns) {
#define TRY_FORM(key)                                                                           \
    if (excguard_is_state_form(bytes, key)) {                                                   \
        if (handle_form(handler, bytes, now_ns, key)) {                                         \
            return (struct excguard_handled_message){&handler->state_reply, EXCGUARD_ACCEPTED}; \
        }                                                                                       \
        return handle_any(handler, bytes, now_ns);                                              \
    }
    TRY_FORM(EXCGUARD_ARM_STATE64)
    TRY_FORM(EXCGUARD_X86_STATE64)
    TRY_FORM(EXCGUARD_ARM_UNIFIED)
    TRY_FORM(EXCGUARD_X86_UNIFIED)
#undef TRY_FORM
    return handle_any(handler, bytes, now_ns);
}

struct excguard_handled_message excguard_handle_message(struct excguard_message_handler *handler,
                                                        const uint8_t bytes[EXCGUARD_RECEIVE_SIZE],
                                                        uint64_t now_ns) {
    if (__builtin_expect(excguard_is_stateless_form(bytes) && handle_form(handler, bytes, now_ns, 0), 1)) {
        return (struct excguard_handled_message){&handler->stateless_reply, EXCGUARD_ACCEPTED};
    }
    return handle_state_form(handler, bytes, now_ns);
}

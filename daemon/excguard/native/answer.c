#include "answer.h"

#include <mach/exception_types.h>
#include <mach/kern_return.h>
#include <mach/message.h>
#include <mach/notify.h>

#include "journal_inline.h"
#include "kernel_forms.h"
#include "reply.h"

static_assert(sizeof(struct excguard_target) == 64, "an index is a shift");

/* Records ahead whose line is fetched; what memory takes to answer, in records. */
#define PREFETCH 48

/* ---- whose it is ---- */

/* Where a target is unless names collide. A name is an index and a generation (MACH_PORT_INDEX, mach/port.h). */
EXCGUARD_INLINE uint32_t target_home(uint32_t port)
{
    return (port >> 8) % EXCGUARD_TARGET_SLOTS;
}

/* What a free slot holds: no message finds it, because this name would be looked for elsewhere. */
static uint32_t free_port(uint32_t slot)
{
    return (slot + 1) << 8;
}

struct excguard_target *excguard_find_target(struct excguard_answerer *answerer, uint32_t port)
{
    for (uint32_t i = 0; i < EXCGUARD_TARGET_SLOTS; i++) {
        uint32_t slot = (target_home(port) + i) % EXCGUARD_TARGET_SLOTS;
        struct excguard_target *target = &answerer->targets[slot];
        if (atomic_load_explicit(&target->port, memory_order_acquire) == port && port != free_port(slot)) {
            return target;
        }
    }
    return NULL;
}

struct excguard_target *excguard_find_notified(struct excguard_answerer *answerer, uint32_t port)
{
    for (uint32_t slot = 0; slot < EXCGUARD_TARGET_SLOTS && port != MACH_PORT_NULL; slot++) {
        struct excguard_target *target = &answerer->targets[slot];
        if (atomic_load_explicit(&target->notify_port, memory_order_acquire) == port) {
            return target;
        }
    }
    return NULL;
}

bool excguard_is_target_free(const struct excguard_answerer *answerer, const struct excguard_target *target)
{
    return atomic_load_explicit(&target->port, memory_order_acquire) ==
           free_port((uint32_t)(target - answerer->targets));
}

struct excguard_target *excguard_add_target(struct excguard_answerer *answerer, uint32_t port, uint32_t id,
                                            uint32_t own_reply)
{
    for (uint32_t i = 0; i < EXCGUARD_TARGET_SLOTS; i++) {
        struct excguard_target *target = &answerer->targets[(target_home(port) + i) % EXCGUARD_TARGET_SLOTS];
        if (excguard_is_target_free(answerer, target) && port != free_port((uint32_t)(target - answerer->targets))) {
            target->id_shifted = (uint64_t)id << 32;
            target->own_reply = own_reply;
            target->own_tag = excguard_tag(0, own_reply, 0, EXCEPTION_IDENTITY_PROTECTED, 0);
            atomic_store_explicit(&target->pid, 0, memory_order_relaxed);
            atomic_store_explicit(&target->no_senders, 0, memory_order_relaxed);
            atomic_store_explicit(&target->notify_port, MACH_PORT_NULL, memory_order_relaxed);
            atomic_store_explicit(&target->port, port, memory_order_release);
            return target;
        }
    }
    return NULL;
}

void excguard_free_target(struct excguard_answerer *answerer, struct excguard_target *target)
{
    atomic_store_explicit(&target->port, free_port((uint32_t)(target - answerer->targets)), memory_order_seq_cst);
}

void excguard_answerer_init(struct excguard_answerer *answerer, struct excguard_journal *journal,
                            uint32_t (*pid_of_token)(uint32_t))
{
    answerer->journal = journal;
    answerer->pid_of_token = pid_of_token;
    for (uint32_t slot = 0; slot < EXCGUARD_TARGET_SLOTS; slot++) {
        excguard_free_target(answerer, &answerer->targets[slot]);
    }
    for (uint32_t slot = 0; slot < EXCGUARD_PID_SLOTS; slot++) {
        answerer->pids[slot] = (struct excguard_pid_entry){.thread_id = slot + 1}; /* has another home */
    }
}

static uint32_t find_pid(struct excguard_answerer *answerer, uint64_t thread_id, uint32_t task_token)
{
    struct excguard_pid_entry *entry = &answerer->pids[thread_id % EXCGUARD_PID_SLOTS];
    if (entry->thread_id == thread_id) {
        return (uint32_t)entry->pid;
    }
    uint32_t pid = answerer->pid_of_token(task_token);
    if (pid != 0) {
        *entry = (struct excguard_pid_entry){thread_id, pid};
    }
    return pid;
}

/* ---- anything ---- */

static uint32_t judge(const struct excguard_message *message, const struct excguard_target *target)
{
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

static uint32_t record_hit(struct excguard_answerer *answerer, const struct excguard_message *message,
                           const struct excguard_target *target, uint64_t now_ns, uint8_t reply[EXCGUARD_REPLY_SIZE])
{
    uint32_t pid = find_pid(answerer, message->thread_id, message->task_token);
    uint64_t own_pid = atomic_load_explicit(&target->pid, memory_order_relaxed);
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
    excguard_journal_append(answerer->journal, &hit);
    excguard_build_reply(message, (int32_t)hit.reply, reply);
    return EXCGUARD_ACCEPTED;
}

/* By the parser: whatever is not of a known form, well formed or not. */
__attribute__((noinline)) static uint32_t answer_any(struct excguard_answerer *answerer, const uint8_t *bytes,
                                                     uint64_t now_ns, uint8_t reply[EXCGUARD_REPLY_SIZE])
{
    struct excguard_message message;
    excguard_parse(bytes, EXCGUARD_RECEIVE_SIZE, 0, &message);
    struct excguard_target *target = excguard_find_target(answerer, message.local_port);
    if (target == NULL && message.verdict == EXCGUARD_NOTIFICATION) {
        target = excguard_find_notified(answerer, message.local_port);
    }
    uint32_t verdict = judge(&message, target);
    if (verdict == EXCGUARD_ACCEPTED) {
        return record_hit(answerer, &message, target, now_ns, reply);
    }
    if (verdict != EXCGUARD_NOTIFICATION) {
        excguard_journal_reject(answerer->journal, verdict);
    }
    excguard_build_reply(&message, KERN_FAILURE, reply);
    return verdict;
}

/* ---- the usual ---- */

/*
 * A message of a known form, when everything about it is as usual: the target at its home, the thread one of its own
 * process that was seen before, the counter at its home, room in the ring. Otherwise false, and nothing is done.
 * Makes no calls, and loads most things where they are stored, so that few registers have to be saved.
 */
EXCGUARD_INLINE bool answer_form(struct excguard_answerer *answerer, const uint8_t *bytes, uint64_t now_ns,
                                 int32_t msgh_id, uint64_t state_key, uint8_t reply[EXCGUARD_REPLY_SIZE])
{
    uint32_t port = excguard_load32(bytes + offsetof(mach_msg_header_t, msgh_local_port));
    const struct excguard_target *target = &answerer->targets[target_home(port)];
    if (__builtin_expect(atomic_load_explicit(&target->port, memory_order_acquire) != port, 0)) {
        return false;
    }
    uint64_t thread_id = excguard_load64(bytes + EXCGUARD_PROTECTED(thread_id));
    const struct excguard_pid_entry *thread = &answerer->pids[thread_id % EXCGUARD_PID_SLOTS];
    uint64_t pid = thread->pid;
    if (__builtin_expect(thread->thread_id != thread_id, 0) ||
        __builtin_expect(atomic_load_explicit(&target->pid, memory_order_relaxed) != pid, 0)) {
        return false;
    }
    struct excguard_journal *journal = answerer->journal;
    struct journal_map *map = journal->map;
    uint64_t seq = excguard_journal_head(map);
    const uint8_t *codes = bytes + EXCGUARD_PROTECTED(code);
    uint64_t key = target->id_shifted | excguard_load32(codes + 4);
    struct journal_hit_counter *counter = &journal->hits[excguard_hit_home(key)];
    if (__builtin_expect(seq == journal->full_at, 0) ||
        __builtin_expect(atomic_load_explicit(&counter->key, memory_order_relaxed) != key, 0)) {
        return false;
    }
    struct excguard_record *record = &journal->ring[seq & journal->mask];
    /* Bring a record's line in good time: it is a lap old, and out of the caches. Beyond the ring's end it does no
     * harm. */
    __builtin_prefetch(record + PREFETCH, 1);
    struct journal_entry entry = {
        .time_ns = now_ns,
        .thread_id = thread_id,
        .owner = target->id_shifted | pid,
        .release_shifted = journal->release_shifted,
    };
    uint32_t ret_code;
    if (msgh_id == EXCGUARD_ID_RAISE_IDENTITY_PROTECTED) {
        if (__builtin_expect((record->flags & EXCGUARD_RECORD_STATE) != 0, 0)) {
            return false; /* the second line wants clearing */
        }
        ret_code = target->own_reply;
        entry.tag = target->own_tag;
    } else {
        __builtin_prefetch(&record[PREFETCH].pc, 1);
        struct excguard_registers registers;
        uint32_t flavor = (uint32_t)(state_key >> 32);
        uint32_t count = (uint32_t)state_key;
        if (!excguard_read_registers(flavor, count, bytes + EXCGUARD_PROTECTED(old_state), &registers)) {
            return false;
        }
        record->pc = registers.pc;
        record->lr = registers.lr;
        record->sp = registers.sp;
        record->state_flavor = flavor;
        record->state_count = count;
        ret_code = KERN_FAILURE;
        entry.tag = excguard_tag(0, ret_code, EXCGUARD_RECORD_STATE | EXCGUARD_RECORD_REGISTERS,
                                 EXCEPTION_STATE_IDENTITY_PROTECTED, 0);
    }
    excguard_journal_write(map, record, seq, counter, entry, codes);
    excguard_write_reply(bytes, msgh_id, (int32_t)ret_code, reply);
    return true;
}

/* The forms with thread state; a function of its own, so that the shorter one is not slowed down by its needs. */
__attribute__((noinline)) static uint32_t answer_state(struct excguard_answerer *answerer, const uint8_t *bytes,
                                                       uint64_t now_ns, uint8_t reply[EXCGUARD_REPLY_SIZE])
{
    const int32_t id = EXCGUARD_ID_RAISE_STATE_IDENTITY_PROTECTED;
#define TRY_FORM(key)                                                                                                \
    case EXCGUARD_STATE_FORM_SIZE(key):                                                                              \
        if (excguard_is_state_form(bytes, key) && answer_form(answerer, bytes, now_ns, id, key, reply)) {            \
            return EXCGUARD_ACCEPTED;                                                                                \
        }                                                                                                            \
        break
    switch (excguard_load32(bytes + offsetof(mach_msg_header_t, msgh_size))) {
        TRY_FORM(EXCGUARD_ARM_STATE64);
        TRY_FORM(EXCGUARD_X86_STATE64);
        TRY_FORM(EXCGUARD_ARM_UNIFIED);
        TRY_FORM(EXCGUARD_X86_UNIFIED);
    default:
        break;
    }
#undef TRY_FORM
    return answer_any(answerer, bytes, now_ns, reply);
}

uint32_t excguard_answer(struct excguard_answerer *answerer, const uint8_t bytes[EXCGUARD_RECEIVE_SIZE],
                         uint64_t now_ns, uint8_t reply[EXCGUARD_REPLY_SIZE])
{
    if (__builtin_expect(excguard_is_stateless_form(bytes) &&
                             answer_form(answerer, bytes, now_ns, EXCGUARD_ID_RAISE_IDENTITY_PROTECTED, 0, reply),
                         1)) {
        return EXCGUARD_ACCEPTED;
    }
    return answer_state(answerer, bytes, now_ns, reply);
}

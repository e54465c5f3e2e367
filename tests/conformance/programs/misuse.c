/*
 * misuse [-g FLAGS] [-n TIMES] [-2] SCENARIO: breaks one rule of Mach and prints, as JSON, the name that it
 * did so with ("port", before the misuse), and what came of it ("result") if it lives. Apple's functions
 * only: the same on a Mac.
 */
#include <sys/mman.h>

#include "scenario.h"

static kern_return_t send_with_voucher(mach_port_t voucher) {
    mach_msg_header_t message = {MACH_MSGH_BITS_SET(MACH_MSG_TYPE_COPY_SEND, 0, MACH_MSG_TYPE_COPY_SEND, 0),
                                 sizeof message,
                                 receive_right(MPO_INSERT_SEND_RIGHT, 0),
                                 0,
                                 voucher,
                                 1};
    return mach_msg(&message, MACH_SEND_MSG, sizeof message, 0, 0, 0, 0);
}

static void *name_itself(void *to) {
    mach_port_t port = mach_thread_self();
    if (write(*(int *)to, &port, sizeof port) == sizeof port) {
        pause();
    }
    return NULL;
}

static mach_port_t port_of_new_thread(void) {
    static int ends[2];
    mach_port_t port = MACH_PORT_NULL;
    pthread_t thread;
    if (pipe(ends) || pthread_create(&thread, NULL, name_itself, &ends[1]) ||
        read(ends[0], &port, sizeof port) != sizeof port) {
        exit(99);
    }
    return port;
}

/* INVALID_NAME */
SCENARIO(deallocate_no_name, no_name(), mach_port_deallocate(SELF, port))
SCENARIO(mod_refs_no_name, no_name(), mach_port_mod_refs(SELF, port, MACH_PORT_RIGHT_SEND, 1))
SCENARIO(destroy_no_name, no_name(), mach_port_destroy(SELF, port))
SCENARIO(destruct_no_name, no_name(), mach_port_destruct(SELF, port, 0, 0))
SCENARIO(guard_no_name, no_name(), mach_port_guard(SELF, port, GUARD, 0))
SCENARIO(move_no_name, no_name(), mach_port_move_member(SELF, port, port_set()))
SCENARIO(move_to_no_name, receive_right(0, 0), mach_port_move_member(SELF, port, no_name()))
/* INVALID_RIGHT */
SCENARIO(deallocate_receive, receive_right(0, 0), mach_port_deallocate(SELF, port))
SCENARIO(mod_refs_wrong_right, send_right(), mach_port_mod_refs(SELF, port, MACH_PORT_RIGHT_RECEIVE, -1))
SCENARIO(mod_refs_send_of_receive, receive_right(0, 0),
         mach_port_mod_refs(SELF, port, MACH_PORT_RIGHT_SEND, -1))
SCENARIO(mod_refs_no_set, receive_right(0, 0), mach_port_mod_refs(SELF, port, MACH_PORT_RIGHT_PORT_SET, -1))
SCENARIO(destruct_send, send_right(), mach_port_destruct(SELF, port, 0, 0))
SCENARIO(destruct_without_send, receive_right(0, 0), mach_port_destruct(SELF, port, -1, 0))
SCENARIO(guard_send, send_right(), mach_port_guard(SELF, port, GUARD, 0))
SCENARIO(move_send, send_right(), mach_port_move_member(SELF, port, port_set()))
SCENARIO(move_to_no_set, receive_right(0, 0), mach_port_move_member(SELF, receive_right(0, 0), port))
/* INVALID_VALUE */
SCENARIO(mod_refs_underflow, send_right(), mach_port_mod_refs(SELF, port, MACH_PORT_RIGHT_SEND, -9))
SCENARIO(mod_refs_receive_twice, receive_right(0, 0),
         mach_port_mod_refs(SELF, port, MACH_PORT_RIGHT_RECEIVE, -2))
SCENARIO(destruct_underflow, receive_right(MPO_INSERT_SEND_RIGHT, 0), mach_port_destruct(SELF, port, -3, 0))
/* guards */
SCENARIO(destroy_guarded, receive_right(MPO_CONTEXT_AS_GUARD, GUARD),
         mach_port_mod_refs(SELF, port, MACH_PORT_RIGHT_RECEIVE, -1))
SCENARIO(destruct_wrong_guard, receive_right(MPO_CONTEXT_AS_GUARD, GUARD),
         mach_port_destruct(SELF, port, 0, WRONG))
SCENARIO(destroy_name_guarded, receive_right(MPO_CONTEXT_AS_GUARD, GUARD), mach_port_destroy(SELF, port))
SCENARIO(set_context_strict, receive_right(MPO_CONTEXT_AS_GUARD | MPO_STRICT, GUARD),
         mach_port_set_context(SELF, port, 1))
SCENARIO(swap_guard_strict, receive_right(MPO_CONTEXT_AS_GUARD | MPO_STRICT, GUARD),
         mach_port_swap_guard(SELF, port, GUARD, 1))
SCENARIO(unguard_unguarded, receive_right(0, 0), mach_port_unguard(SELF, port, GUARD))
SCENARIO(unguard_wrong, receive_right(MPO_CONTEXT_AS_GUARD, GUARD), mach_port_unguard(SELF, port, WRONG))
SCENARIO(swap_guard_wrong, receive_right(MPO_CONTEXT_AS_GUARD, GUARD),
         mach_port_swap_guard(SELF, port, WRONG, 1))
SCENARIO(guard_twice, receive_right(MPO_CONTEXT_AS_GUARD, GUARD), mach_port_guard(SELF, port, 1, 0))
/* moving */
SCENARIO(move_immovable_receive, receive_right(MPO_CONTEXT_AS_GUARD | MPO_IMMOVABLE_RECEIVE, GUARD),
         send_with_descriptor(port, MACH_MSG_TYPE_MOVE_RECEIVE))
SCENARIO(move_exception_port, receive_right(MPO_EXCEPTION_PORT, 0),
         send_with_descriptor(port, MACH_MSG_TYPE_MOVE_RECEIVE))
/* messages */
SCENARIO(send_wrong_right, send_right(), send_with_descriptor(port, MACH_MSG_TYPE_MAKE_SEND))
SCENARIO(send_move_once_of_send, send_right(), send_with_descriptor(port, MACH_MSG_TYPE_MOVE_SEND_ONCE))
SCENARIO(send_bad_reply, no_name(), send_with_reply_port(port, MACH_MSG_TYPE_MAKE_SEND_ONCE))
SCENARIO(send_bad_reply_right, send_right(), send_with_reply_port(port, MACH_MSG_TYPE_MAKE_SEND_ONCE))
SCENARIO(send_bad_voucher, send_right(), send_with_voucher(port))
SCENARIO(receive_on_send, send_right(), receive_on(port))
SCENARIO(receive_on_no_name, no_name(), receive_on(port))
SCENARIO(receive_on_former, receive_right(MPO_INSERT_SEND_RIGHT, 0),
         (send_with_descriptor(port, MACH_MSG_TYPE_MOVE_RECEIVE), receive_on(port)))
/* notifications */
SCENARIO(port_destroyed_twice, receive_right(0, 0),
         (request(port, MACH_NOTIFY_PORT_DESTROYED, receive_right(0, 0)),
          request(port, MACH_NOTIFY_PORT_DESTROYED, receive_right(0, 0))))
SCENARIO(port_destroyed_immovable, receive_right(MPO_CONTEXT_AS_GUARD | MPO_IMMOVABLE_RECEIVE, GUARD),
         request(port, MACH_NOTIFY_PORT_DESTROYED, receive_right(0, 0)))
SCENARIO(no_senders_of_notification_port, receive_right(MPO_NOTIFICATION_PORT, 0),
         request(port, MACH_NOTIFY_NO_SENDERS, receive_right(0, 0)))
SCENARIO(notify_exception_port, receive_right(MPO_EXCEPTION_PORT, 0),
         request(receive_right(0, 0), MACH_NOTIFY_NO_SENDERS, port))
static kern_return_t send_guarded_descriptor(mach_port_t port, mach_port_context_t context, unsigned flags) {
    struct {
        mach_msg_base_t base;
        mach_msg_guarded_port_descriptor_t port;
    } message = {
        .base = {{MACH_MSGH_BITS(MACH_MSG_TYPE_MAKE_SEND, 0) | MACH_MSGH_BITS_COMPLEX, sizeof message,
                  receive_right(0, 0), 0, 0, 1},
                 {1}},
        .port = {.name = port,
                 .context = context,
                 .flags = flags,
                 .disposition = MACH_MSG_TYPE_MOVE_RECEIVE,
                 .type = MACH_MSG_GUARDED_PORT_DESCRIPTOR},
    };
    return mach_msg(&message.base.header, MACH_SEND_MSG, sizeof message, 0, 0, 0, 0);
}

/* what hardened tasks may not do */
static kern_return_t send_to_service(mach_port_t service) {
    mach_port_t reply = receive_right(0, 0);
    printf("{\"reply\": %u}\n", reply);
    fflush(stdout);
    mach_msg_header_t message = {MACH_MSGH_BITS(MACH_MSG_TYPE_COPY_SEND, MACH_MSG_TYPE_MAKE_SEND_ONCE),
                                 sizeof message,
                                 service,
                                 reply,
                                 0,
                                 1};
    return mach_msg(&message, MACH_SEND_MSG, sizeof message, 0, 0, 0, 0);
}

static kern_return_t construct_entitled_port(void) {
    mach_port_options_t options = {.flags = MPO_CONNECTION_PORT_WITH_PORT_ARRAY};
    mach_port_t port;
    return mach_port_construct(SELF, &options, 0, &port);
}

static kern_return_t set_exception_port(mach_port_t port, exception_behavior_t behavior) {
    return task_set_exception_ports(SELF, EXC_MASK_BAD_ACCESS, port, behavior | (int)MACH_EXCEPTION_CODES, 0);
}

SCENARIO(move_task_port, SELF, send_with_descriptor(port, MACH_MSG_TYPE_COPY_SEND))
static mach_port_t special_port(int which) {
    mach_port_t port;
    MUST(task_get_special_port(SELF, which, &port));
    return port;
}

SCENARIO(move_read_port, special_port(TASK_READ_PORT), send_with_descriptor(port, MACH_MSG_TYPE_COPY_SEND))
SCENARIO(move_name_port, special_port(TASK_NAME_PORT), send_with_descriptor(port, MACH_MSG_TYPE_COPY_SEND))
SCENARIO(bootstrap_is_own_task, SELF, task_set_special_port(SELF, TASK_BOOTSTRAP_PORT, port))
SCENARIO(guarded_descriptor_of_another, receive_right(MPO_CONTEXT_AS_GUARD, GUARD),
         send_guarded_descriptor(port, WRONG, MACH_MSG_GUARD_FLAGS_IMMOVABLE_RECEIVE))
SCENARIO(guarded_descriptor_of_guarded, receive_right(MPO_CONTEXT_AS_GUARD, GUARD),
         send_guarded_descriptor(port, 0, MACH_MSG_GUARD_FLAGS_UNGUARDED_ON_SEND))
SCENARIO(guarded_descriptor_of_send, send_right(),
         send_guarded_descriptor(port, GUARD, MACH_MSG_GUARD_FLAGS_IMMOVABLE_RECEIVE))
extern mach_port_t thread_get_special_reply_port(void);
SCENARIO(move_special_reply_port, thread_get_special_reply_port(),
         send_with_descriptor(port, MACH_MSG_TYPE_MOVE_RECEIVE))
SCENARIO(reply_port_in_body, receive_right(MPO_REPLY_PORT, 0),
         send_with_descriptor(port, MACH_MSG_TYPE_MAKE_SEND))
/* A task starts with two references to its own port since macOS 26. */
static void keep_one_reference(mach_port_t port) {
    mach_port_urefs_t refs;
    MUST(mach_port_get_refs(SELF, port, MACH_PORT_RIGHT_SEND, &refs));
    MUST(mach_port_mod_refs(SELF, port, MACH_PORT_RIGHT_SEND, 1 - (mach_port_delta_t)refs));
}

SCENARIO(deallocate_task_port, SELF, (keep_one_reference(port), mach_port_deallocate(SELF, port)))
SCENARIO(deallocate_main_thread, mach_thread_self(),
         (keep_one_reference(port), mach_port_deallocate(SELF, port)))
SCENARIO(deallocate_thread, port_of_new_thread(),
         (keep_one_reference(port), mach_port_deallocate(SELF, port)))
SCENARIO(deallocate_own_reference, mach_thread_self(), mach_port_deallocate(SELF, port))
SCENARIO(destroy_task_port, SELF, mach_port_destroy(SELF, port))
SCENARIO(move_send_pinned, SELF,
         (keep_one_reference(port), send_with_descriptor(port, MACH_MSG_TYPE_MOVE_SEND)))
SCENARIO(insecure_behavior, receive_right(MPO_INSERT_SEND_RIGHT, 0),
         set_exception_port(port, EXCEPTION_DEFAULT))
SCENARIO(secure_behavior, receive_right(MPO_INSERT_SEND_RIGHT, 0),
         set_exception_port(port, EXCEPTION_IDENTITY_PROTECTED))
SCENARIO(object_without_reply_port, receive_right(0, 0),
         mach_msg(&(mach_msg_header_t){MACH_MSGH_BITS(MACH_MSG_TYPE_COPY_SEND, MACH_MSG_TYPE_MAKE_SEND_ONCE),
                                       sizeof(mach_msg_header_t), SELF, port, 0, 1},
                  MACH_SEND_MSG, sizeof(mach_msg_header_t), 0, 0, 0, 0))
SCENARIO(service_without_reply_port,
         receive_right(MPO_ENFORCE_REPLY_PORT_SEMANTICS | MPO_INSERT_SEND_RIGHT, 0), send_to_service(port))
SCENARIO(construct_entitled, 0, construct_entitled_port())

/* no misuse: the flags that the task started with, as a result */
static kern_return_t guard_flags(mach_port_t *out) {
    task_exc_guard_behavior_t flags;
    *out = MACH_PORT_NULL;
    MUST(task_get_exc_guard_behavior(SELF, &flags));
    return (kern_return_t)flags;
}

/* double deallocation, as people do it */
static kern_return_t double_deallocate(mach_port_t *out) {
    mach_port_t port = dead_name();
    MUST(mach_port_deallocate(SELF, port));
    *out = port;
    announce(port);
    return mach_port_deallocate(SELF, port);
}

/* memory that is given back twice; the address takes the place of a name */
static kern_return_t deallocate_gap(mach_port_t *out) {
    size_t size = (size_t)getpagesize();
    void *page = mmap(NULL, size, PROT_READ, MAP_PRIVATE | MAP_ANON, -1, 0);
    *out = MACH_PORT_NULL;
    announce(*out);
    printf("{\"address\": %llu}\n", (unsigned long long)(uintptr_t)page);
    fflush(stdout);
    munmap(page, size);
    return vm_deallocate(SELF, (vm_address_t)page, size);
}

static const struct scenario_row rows[] = {
    {"deallocate_gap", deallocate_gap},
    {"move_task_port", move_task_port},
    {"move_read_port", move_read_port},
    {"move_name_port", move_name_port},
    {"bootstrap_is_own_task", bootstrap_is_own_task},
    {"guarded_descriptor_of_another", guarded_descriptor_of_another},
    {"guarded_descriptor_of_guarded", guarded_descriptor_of_guarded},
    {"guarded_descriptor_of_send", guarded_descriptor_of_send},
    {"move_special_reply_port", move_special_reply_port},
    {"reply_port_in_body", reply_port_in_body},
    {"deallocate_task_port", deallocate_task_port},
    {"destroy_task_port", destroy_task_port},
    {"deallocate_main_thread", deallocate_main_thread},
    {"deallocate_thread", deallocate_thread},
    {"deallocate_own_reference", deallocate_own_reference},
    {"move_send_pinned", move_send_pinned},
    {"insecure_behavior", insecure_behavior},
    {"secure_behavior", secure_behavior},
    {"object_without_reply_port", object_without_reply_port},
    {"service_without_reply_port", service_without_reply_port},
    {"construct_entitled", construct_entitled},
    {"guard_flags", guard_flags},
    {"double_deallocate", double_deallocate},
    {"deallocate_no_name", deallocate_no_name},
    {"mod_refs_no_name", mod_refs_no_name},
    {"destroy_no_name", destroy_no_name},
    {"destruct_no_name", destruct_no_name},
    {"guard_no_name", guard_no_name},
    {"move_no_name", move_no_name},
    {"move_to_no_name", move_to_no_name},
    {"deallocate_receive", deallocate_receive},
    {"mod_refs_wrong_right", mod_refs_wrong_right},
    {"mod_refs_send_of_receive", mod_refs_send_of_receive},
    {"mod_refs_no_set", mod_refs_no_set},
    {"destruct_send", destruct_send},
    {"destruct_without_send", destruct_without_send},
    {"guard_send", guard_send},
    {"move_send", move_send},
    {"move_to_no_set", move_to_no_set},
    {"mod_refs_underflow", mod_refs_underflow},
    {"mod_refs_receive_twice", mod_refs_receive_twice},
    {"destruct_underflow", destruct_underflow},
    {"destroy_guarded", destroy_guarded},
    {"destruct_wrong_guard", destruct_wrong_guard},
    {"destroy_name_guarded", destroy_name_guarded},
    {"set_context_strict", set_context_strict},
    {"swap_guard_strict", swap_guard_strict},
    {"unguard_unguarded", unguard_unguarded},
    {"unguard_wrong", unguard_wrong},
    {"swap_guard_wrong", swap_guard_wrong},
    {"guard_twice", guard_twice},
    {"move_immovable_receive", move_immovable_receive},
    {"move_exception_port", move_exception_port},
    {"send_wrong_right", send_wrong_right},
    {"send_move_once_of_send", send_move_once_of_send},
    {"send_bad_reply", send_bad_reply},
    {"send_bad_reply_right", send_bad_reply_right},
    {"send_bad_voucher", send_bad_voucher},
    {"receive_on_send", receive_on_send},
    {"receive_on_no_name", receive_on_no_name},
    {"receive_on_former", receive_on_former},
    {"port_destroyed_twice", port_destroyed_twice},
    {"port_destroyed_immovable", port_destroyed_immovable},
    {"no_senders_of_notification_port", no_senders_of_notification_port},
    {"notify_exception_port", notify_exception_port},
};

int main(int argc, char **argv) {
    return run_scenario(argc, argv, rows, sizeof rows / sizeof *rows,
                        TASK_EXC_GUARD_MP_DELIVER | TASK_EXC_GUARD_VM_DELIVER);
}

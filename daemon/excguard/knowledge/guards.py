"""What each guard is about: the rule, why programs break it, how to mend them, what people call it.

One entry a rule, under its guard type and its newest name. What its numbers are, and on which releases, is in
flavors.csv; how its target and payload are laid out is in payload.py.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from excguard.knowledge import flavors

GUIDE = "doc/mach_ipc/guard_exceptions.md (Apple's guide, in xnu since 15.4)"
IPC_PAGE = "developer.apple.com/documentation/xcode/conforming-to-mach-ipc-security-restrictions"
GUARD_PAGE = "developer.apple.com/documentation/xcode/exc_guard"
NEWER = "newer public kernel sources"


class Guard(NamedTuple):
    """The page of one rule.

    Attributes:
        rule: What went wrong, to follow the name and a colon.
        causes: Usual causes.
        advice: How to mend it.
        sources: Where this is from, beside the header that declares the number.
        aliases: Other names: ReportCrash's, Apple's documentation's, older ones.
        reported: The words ReportCrash prints for it ("" for none known).
        notes: Where sources disagree, and what changed between releases.
    """

    rule: str
    causes: tuple[str, ...] = ()
    advice: str = "No source says more; look at the top frames of the thread for the call that was refused."
    sources: tuple[str, ...] = (GUIDE,)
    aliases: tuple[str, ...] = ()
    reported: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


_STALE_NAME = (
    "the name was deallocated before, and a copy of it was kept and used again (a use after free)",
    "the right was deallocated twice: once by hand and once by a framework that owned it",
    "two threads deallocate or use the same name without a lock",
)
_OWNERSHIP = (
    "Find who owns the right. Set the variable to MACH_PORT_NULL where it is deallocated, release it "
    "once, and use "
    "mach_port_deallocate for send rights and mach_port_destruct for receive rights in place of "
    "mach_port_mod_refs."
)
_REPLY_PORT = (
    "Let XPC, or stubs that MIG generates, make the call. In hand-written code receive the reply on "
    "a port made with "
    "mach_port_construct and MPO_REPLY_PORT, one a thread, and send it with MACH_MSG_TYPE_MAKE_SEND_ONCE."
)
_UNSAID = (
    "Declared by the SDK only: no public source says more. Read the top frames for the call, and "
    "compare with a "
    "release before this flavor existed."
)
_UNUSED = "The header marks it unused: it is declared, but no public kernel raises it."

MACH_PORT: dict[str, Guard] = {
    "NONE": Guard(
        "no rule: the value stands for none, and no public kernel raises it",
        sources=("osfmk/mach/port.h (27.0 SDK)",),
        advice=(
            "It should not occur: check that the code was read whole. The severity is only that of the range "
            "in which the number lies."
        ),
    ),
    "DESTROY": Guard(
        "a guarded receive right was destroyed without its guard",
        (
            (
                "another owner's port was destroyed: after a stale name was reused, or by closing ports "
                "by number"
            ),
            (
                "mach_port_destroy or mach_port_mod_refs on a port that mach_port_guard, "
                "MPO_CONTEXT_AS_GUARD or a "
                "guarded descriptor protects, as XPC connections do"
            ),
        ),
        "Destroy the port with mach_port_destruct and its guard value; if it is not yours, look for "
        "the stale name. " + _OWNERSHIP,
        reported=("DESTROY",),
    ),
    "MOD_REFS": Guard(
        "the last send right of a pinned port would have been given up",
        (
            "a thread or task control port (mach_thread_self, mach_task_self) was deallocated once too often",
            "pthread_mach_thread_np's port was deallocated, although the caller does not own it",
        ),
        "Take away the surplus mach_port_deallocate. mach_task_self() is not to be deallocated; "
        "mach_thread_self() "
        "once a call; ports from pthread_mach_thread_np never.",
        reported=("OVER_DEALLOC", "MOD_REFS"),
        aliases=("OVER_DEALLOC",),
        notes=(
            (
                "Before macOS 11.3 the rule was another: the references of a guarded receive right "
                "were changed with "
                "mach_port_mod_refs, and the payload is the guard."
            ),
            (
                "Apple's guide gives the copy-in operation as 0x03 in the top byte; the kernel "
                "headers said 0x04 up to "
                "macOS 15.5 and 0x03 since the 26.4 SDK. Newer sources pass the number without shifting it."
            ),
        ),
    ),
    "INVALID_OPTIONS": Guard(
        "mach_msg was called with options that the process's policy does not allow",
        (
            (
                "the old mach_msg trap is called directly: by a copy of its assembly, a hook, or a "
                "runtime that is older "
                "than the system"
            ),
            (
                "mach_msg2 options claim another kind of destination (kernel object or message queue) "
                "than the port is"
            ),
            "a translated (Rosetta) process with an injected Mach exception handler",
        ),
        "Call mach_msg of libSystem in place of traps of your own, and update crash handlers and "
        "hooks that make "
        "Mach calls. Look at the options in the payload: exactly one of SEND_KOBJECT_CALL, SEND_MQ_CALL and "
        "SEND_DK_CALL must be set and fit the port.",
        reported=("INVALID_OPTIONS",),
        notes=(
            "The payload is 0 before macOS 15.4. The policy bits in it moved between 15.x and 26.",
            "Unnamed by ReportCrash up to macOS 14.x.",
        ),
    ),
    "SET_CONTEXT": Guard(
        "the context of a strictly guarded port was changed",
        (
            (
                "mach_port_set_context or mach_port_swap_guard on a port made with MPO_STRICT and "
                "MPO_CONTEXT_AS_GUARD"
            ),
        ),
        "Leave the context of ports alone that another library made (XPC's, for one). " + _OWNERSHIP,
        reported=("SET_CONTEXT",),
    ),
    "THREAD_SET_STATE": Guard(
        "thread state was set in a way that the process's policy forbids",
        (
            "thread_set_state, or thread_create_running, on a hardened process or a platform binary",
            (
                "an exception handler in another process replied with changed state, or called "
                "thread_set_state on the "
                "thread that waits for it"
            ),
            "code injection tools and scripting additions that start threads in other processes",
        ),
        "Do not set thread state. In an exception handler register EXCEPTION_IDENTITY_PROTECTED and "
        "reply without "
        "state. Debuggers need the target's com.apple.security.get-task-allow entitlement and "
        "Developer Mode.",
        sources=(GUIDE, IPC_PAGE),
        reported=("THREAD_SET_STATE",),
        notes=(
            (
                "Target and payload are 0 before macOS 26. The guide gives reasons in the top byte "
                "of the payload; newer "
                "sources pass 0."
            ),
        ),
    ),
    "EXCEPTION_BEHAVIOR_ENFORCE": Guard(
        "an exception port was set with a behavior that hands out control ports",
        (
            (
                "a crash reporter registers EXCEPTION_DEFAULT or EXCEPTION_STATE_IDENTITY in a "
                "hardened process or a "
                "process of Apple's"
            ),
            "thread_swap_exception_ports or posix_spawn attributes with such a behavior",
        ),
        "Register EXCEPTION_IDENTITY_PROTECTED (macOS 12 and later), "
        "EXCEPTION_STATE_IDENTITY_PROTECTED (15 and later) "
        "or EXCEPTION_STATE, and turn the task identity token into a port with "
        "task_identity_token_get_task_port. "
        "Update the crash reporting library.",
        sources=(GUIDE, IPC_PAGE),
        aliases=("SET_EXCEPTION_BEHAVIOR",),
        reported=("SET_EXCEPTION_BEHAVIOR",),
        notes=(
            "1 << 24 on macOS 14.0 and 14.1, 6 since 14.2.",
            (
                "On macOS 14.2 to 14.5 the target is the low half of a kernel address, not a port "
                "name; on 14.6 to 15.x it "
                "is 0. ReportCrash prints it as a mach port all the same."
            ),
        ),
    ),
    "SERVICE_PORT_VIOLATION_FATAL": Guard(
        "the receive right of a service port was moved by a process that is not launchd",
        ("a receive right from bootstrap_check_in was put into a message",),
        "Keep a service's receive right in the process that checked in.",
    ),
    "UNGUARDED": Guard(
        "a guard operation was done on a port that is not guarded",
        (
            (
                "mach_port_unguard, or a guarded descriptor, for a port whose guard is gone or that is "
                "another port by now"
            ),
        ),
        "Match every mach_port_guard with one mach_port_unguard. " + _OWNERSHIP,
        reported=("UNGUARDED",),
    ),
    "KOBJECT_REPLY_PORT_SEMANTICS": Guard(
        (
            "a hardened process sent a message to the kernel with something else than a reply port for "
            "the answer"
        ),
        (
            (
                "hand-written mach_msg calls to task, thread, host or IOKit ports that receive on an "
                "ordinary port"
            ),
        ),
        "Use libSystem's functions, or MIG's stubs, to call the kernel. " + _REPLY_PORT,
        sources=(GUIDE, IPC_PAGE),
        reported=("KOBJECT_REPLY_PORT_SEMANTICS",),
    ),
    "REQUIRE_REPLY_PORT_SEMANTICS": Guard(
        "a message to a service that asks for real reply ports named another kind of port for the answer",
        (
            (
                "hand-written mach_msg calls to a launchd service or to the bootstrap port that "
                "receive the answer on an "
                "ordinary port"
            ),
            "a send right in place of a send-once right for the reply",
        ),
        _REPLY_PORT,
        sources=(GUIDE, IPC_PAGE),
        reported=("REQUIRE_REPLY_PORT_SEMANTICS",),
        notes=(
            "Soft 0x800000 on macOS 13.0 to 15.5, fatal 0xa since 26.0.",
            (
                "The guide calls the target the name that the call was made on; newer sources pass "
                "the name under which "
                "the receiver knows the destination."
            ),
        ),
    ),
    "RESTRICT_VOUCHER_OPERATIONS": Guard(
        "a voucher command that is not on the kernel's list was used", advice=_UNSAID, sources=(NEWER,)
    ),
    "MACH_EXC_THREAD_SET_STATE": Guard(
        "the reply to an exception message changed another process's thread state without the right to",
        (
            (
                "an exception handler that was registered with a state behavior replies with success "
                "and state from "
                "another process"
            ),
        ),
        "Register EXCEPTION_IDENTITY_PROTECTED and reply without thread state.",
        notes=("Soft 0x100007 on macOS 26.4, fatal 0xc in the 27.0 SDK.",),
    ),
    "MOVE_WEAK_REPLY_PORT_FATAL": Guard(
        "a weak reply port's receive right was moved out of the process",
        advice="Receive replies in the task that sent the message. " + _UNSAID,
        sources=("osfmk/mach/port.h (27.0 SDK)",),
    ),
    "INCORRECT_GUARD": Guard(
        "a guarded port was used with another guard value than its own",
        (
            "the name was reused and is now another library's guarded port",
            "mach_port_unguard, mach_port_swap_guard or mach_port_destruct with a wrong or changed context",
        ),
        "Pass the value that mach_port_guard or mach_port_construct got; the payload is the right one. "
        + _OWNERSHIP,
        reported=("INCORRECT_GUARD",),
    ),
    "BOOTSTRAP_PORT_NOTIFICATION": Guard(
        "the bootstrap port was named where a notification was to be sent",
        advice=_UNSAID,
        sources=("osfmk/mach/port.h (27.0 SDK)", NEWER),
    ),
    "CV_INVALID_EXCEPTION_PORT": Guard(
        "a contained process set an exception port of a kind that it may not use",
        advice="Make exception ports with MPO_EXCEPTION_PORT. " + _UNSAID,
        sources=("osfmk/mach/port.h (27.0 SDK)",),
    ),
    "IMMOVABLE": Guard(
        "a right that may not leave the process was put into a message",
        (
            "mach_task_self() or mach_thread_self() was sent to another process",
            "the receive right of an immovable port (a reply, exception or service port) was moved",
            "a reply port was sent with another disposition than send-once",
        ),
        "Do not send control ports. Give other processes a task identity token "
        "(task_create_identity_token), or a "
        "name, read or inspect port; keep receive rights where they were made.",
        sources=(GUIDE, IPC_PAGE),
        aliases=("ILLEGAL_MOVE",),
        reported=("ILLEGAL_MOVE",),
        notes=("The payload is 0 or the port's guard before macOS 26.",),
    ),
    "RESTRICT_VOUCHER_RECIPE_SIZE": Guard(
        "a voucher recipe is larger than the kernel allows", advice=_UNSAID, sources=(NEWER,)
    ),
    "RESTRICT_INLINE_PORT_DESCRIPTORS": Guard(
        "a message carries more inline port descriptors than the kernel allows",
        advice="Send fewer rights in one message. " + _UNSAID,
        sources=(NEWER,),
    ),
    "STRICT_REPLY": Guard(
        "a message that was sent with strict reply rules broke them",
        (
            (
                "MACH_MSG_STRICT_REPLY with a reply right that is not send-once, or a reply with another "
                "persona's voucher"
            ),
        ),
        "The rules apply only when the enforce_strict_reply boot argument is set; take it away, or "
        "send replies "
        "with the voucher that came with the request.",
        sources=(GUIDE, "osfmk/mach/port.h MPG_FLAGS_STRICT_REPLY_*"),
        reported=("STRICT_REPLY",),
        notes=(
            (
                "Up to macOS 15.5 the kernel or-s the top bits of the persona into the reason byte, "
                "and drops the rest "
                "of the persona."
            ),
        ),
    ),
    "INVALID_NOTIFICATION_REQ": Guard(
        "a notification was asked for on a port whose type does not have it",
        ("mach_port_request_notification for MACH_NOTIFY_PORT_DESTROYED on an immovable or reply port",),
        "Ask for the notification on an ordinary port, or drop it: a port that cannot move cannot come back.",
        reported=("INVALID_NOTIFICATION_REQ",),
    ),
    "INVALID_MPO_ENTITLEMENT": Guard(
        "mach_port_construct was asked for a port type that the process has no entitlement for",
        ("MPO_WEAK_REPLY_PORT or MPO_CONNECTION_PORT_WITH_PORT_ARRAY without the entitlement",),
        "Ask for an ordinary type: MPO_REPLY_PORT for replies, XPC for connections.",
        reported=("INVALID_MPO_ENTITLEMENT",),
    ),
    "DESCRIPTOR_VIOLATION": Guard(
        "a message carries an out-of-line array of ports that the process's policy forbids",
        (
            "a MIG interface passes arrays of ports (mach_port_array_t)",
            "rights in such an array are moved or made in place of copied",
        ),
        "Use XPC, or pass each port in a descriptor of its own. Within one MIG interface an array "
        "must be alone in its "
        "message, copied (COPY_SEND), and its destination made with MPO_CONNECTION_PORT_WITH_PORT_ARRAY.",
        sources=(GUIDE, IPC_PAGE),
        aliases=("OOL_PORT_ARRAY",),
        reported=("DESCRIPTOR_VIOLATION", "OOL_PORT_ARRAY"),
    ),
    "MSG_FILTERED": Guard(
        "the sandbox does not let the process send this message",
        ("a sandboxed or filtered process calls a service or kernel routine outside of its profile",),
        "Leave out the call, or ask for the entitlement that allows it. Senders that can live with a "
        "refusal pass "
        "MACH_SEND_FILTER_NONFATAL and get MACH_SEND_MSG_FILTERED instead.",
        reported=("MSG_FILTERED",),
        notes=(
            "The payload is 0 before macOS 15.4.",
            (
                "On macOS 11.0.1 to 11.2 the header's bound makes it optional, but the kernel killed "
                "for it all the same "
                "(xnu-7195.50.7 mach_port_guard_ast)."
            ),
        ),
    ),
    "INVALID_RIGHT": Guard(
        "a port name was used for something that needs another right than it holds",
        (
            "mach_port_deallocate on a receive right (it leaks the right; mach_port_destruct destroys it)",
            "receiving on a name without the receive right, or a port set call on a port",
            "the name was reused by another right after it had been freed",
        ),
        "Compare the rights in the payload with what the call needs. " + _OWNERSHIP,
        reported=("INVALID_RIGHT",),
        notes=("The payload is 0 up to macOS 15.5; the reason byte came with 26.",),
    ),
    "INVALID_NAME": Guard(
        "a port name was used for which the process holds no right",
        _STALE_NAME,
        _OWNERSHIP,
        reported=("INVALID_NAME",),
        notes=("Reports in the wild call 0x200 INCORRECT_GUARD; that is 0x10.",),
    ),
    "INVALID_VALUE": Guard(
        "the count of a port's references would have left its range",
        (
            "mach_port_mod_refs or mach_port_destruct took more references than there are",
            "send rights were added in a loop and never released, up to 65535",
            "mach_port_peek with a trailer larger than its buffer",
        ),
        "Look for the leak or the surplus release: the payload gives the change and the count. " + _OWNERSHIP,
        reported=("INVALID_VALUE",),
        notes=(
            "The payload is 0 up to macOS 15.5.",
            (
                "The guide puts the entry's whole ie_bits in the low bits; newer sources pass the count "
                "of references."
            ),
        ),
    ),
    "INVALID_ARGUMENT": Guard(
        "a port that is guarded was guarded again",
        ("mach_port_guard on a port that a library guarded, or twice by the same code",),
        "Guard a port once, where it is made. " + _OWNERSHIP,
        aliases=("ALREADY_GUARDED",),
        reported=("INVALID_ARGUMENT",),
        notes=("The payload is 0 before macOS 15.4.",),
    ),
    "RIGHT_EXISTS": Guard(
        "declared, never raised", advice=_UNUSED, sources=("osfmk/mach/port.h (27.0 SDK)",)
    ),
    "KERN_NO_SPACE": Guard(
        "declared, never raised", advice=_UNUSED, sources=("osfmk/mach/port.h (27.0 SDK)",)
    ),
    "KERN_FAILURE": Guard(
        "a port-destroyed notification was asked for that the system's policy does not allow",
        (
            "a second MACH_NOTIFY_PORT_DESTROYED registration for one port",
            "such a registration for a service port by another process than launchd",
        ),
        "Register once, and only for ports that you made.",
        aliases=("INVALID_PDREQUEST",),
        reported=("KERN_FAILURE",),
        notes=(
            (
                "The payload is 0 up to macOS 15.5. The guide puts the reason in the top byte; newer "
                "sources pass it "
                "unshifted."
            ),
        ),
    ),
    "KERN_RESOURCE": Guard(
        "declared, never raised", advice=_UNUSED, sources=("osfmk/mach/port.h (27.0 SDK)",)
    ),
    "SEND_INVALID_REPLY": Guard(
        "a message's reply port is not a right that can be sent in that way",
        (
            "msgh_local_port names a port that was freed, or a right that the disposition does not fit",
            "a reply port was sent as a send right in place of a send-once right",
        ),
        "Send MACH_MSG_TYPE_MAKE_SEND_ONCE of a receive right that lives until the answer is there. "
        + _OWNERSHIP,
        reported=("SEND_INVALID_REPLY",),
        notes=("The payload is 0 up to macOS 15.5.",),
    ),
    "SEND_INVALID_VOUCHER": Guard(
        "a message's voucher port is no voucher, or was not sent as a copied or moved send right",
        ("msgh_voucher_port holds a stale name, or memory that was not cleared",),
        "Clear the header before filling it in, and pass MACH_MSGH_BITS_VOUCHER with a voucher only.",
        reported=("SEND_INVALID_VOUCHER",),
        notes=(
            (
                "Apple's guide gives it 0x40000 and SEND_INVALID_RIGHT 0x20000; the headers of every "
                "release since 10.15 "
                "say 0x20000 and 0x40000. On 10.14 it was 0x10000, the value of SEND_INVALID_REPLY too."
            ),
            "The payload is 0 up to macOS 15.5.",
        ),
    ),
    "SEND_INVALID_RIGHT": Guard(
        "a port descriptor of a message names a right that cannot be sent in that way",
        (
            (
                "the disposition does not fit: make-send without the receive right, move-send of a right "
                "that is gone"
            ),
            "a descriptor holds a stale name",
        ),
        "Match disposition and right: MAKE_SEND needs the receive right, COPY_SEND and MOVE_SEND a "
        "send right. " + _OWNERSHIP,
        reported=("SEND_INVALID_RIGHT",),
        notes=(
            (
                "Apple's guide gives it 0x20000 and SEND_INVALID_VOUCHER 0x40000; the headers of "
                "every release since 10.15 "
                "say 0x40000 and 0x20000. On 10.14 it was 0x20000."
            ),
            "The payload is 0 up to macOS 15.5.",
        ),
    ),
    "RCV_INVALID_NAME": Guard(
        "a message was to be received on a name that holds neither a receive right nor a port set",
        (
            "the port was destroyed by another thread while or before a thread received on it",
            *_STALE_NAME[:1],
        ),
        "Stop the receiving thread before the port is destroyed. " + _OWNERSHIP,
        reported=("RCV_INVALID_NAME",),
        notes=("0x40000 on macOS 10.14, 0x80000 since 10.15.",),
    ),
    "RCV_INVALID_NOTIFY": Guard(
        "a message was to be received with a notify port that the process does not hold",
        advice="The flavor is gone since 10.15: drop MACH_RCV_NOTIFY.",
        sources=("osfmk/mach/port.h (xnu-4903)",),
    ),
    "RCV_GUARDED_DESC": Guard(
        "a guarded port descriptor came for a receiver that did not ask for them",
        ("mach_msg without MACH_RCV_GUARDED_DESC on a port to which guarded descriptors are sent",),
        (
            "Pass MACH_RCV_GUARDED_DESC and handle such descriptors, or stop sending them. Development "
            "kernels only."
        ),
        reported=("RCV_GUARDED_DESC",),
        notes=(
            (
                "On macOS 10.15 to 11.x, which had no bound of optional flavors yet, "
                "TASK_EXC_GUARD_MP_FATAL made it "
                "fatal."
            ),
        ),
    ),
    "SERVICE_PORT_VIOLATION_NON_FATAL": Guard(
        "the receive right of a service port was moved by a process that is not launchd",
        advice="Keep a service's receive right in the process that checked in. " + _UNUSED,
        sources=("osfmk/mach/port.h (15.4 to 27.0 SDK)",),
    ),
    "WEAK_REPLY_PORT": Guard(
        "a weak reply port was made",
        advice="Make real reply ports (MPO_REPLY_PORT). The 27.0 SDK marks it unused.",
        sources=("osfmk/mach/port.h (27.0 SDK)", "xnu-11417.121.6 osfmk/ipc/mach_port.c"),
        aliases=("PROVISIONAL_REPLY_PORT",),
        notes=("PROVISIONAL_REPLY_PORT up to 26.0.",),
    ),
    "OOL_PORT_ARRAY_CREATION": Guard(
        "an out-of-line array of ports was sent, as telemetry counts it",
        advice="See DESCRIPTOR_VIOLATION, which refuses such arrays. The 27.0 SDK marks it unused.",
        sources=("osfmk/mach/port.h (27.0 SDK)",),
    ),
    "MOVE_WEAK_REPLY_PORT": Guard(
        "a weak reply port's receive right was moved out of a process with enhanced security",
        ("a reply port from MPO_WEAK_REPLY_PORT was put into a message with MOVE_RECEIVE",),
        "Receive replies in the task that sent the message.",
        aliases=("MOVE_PROVISIONAL_REPLY_PORT",),
        notes=("MOVE_PROVISIONAL_REPLY_PORT on 26.0. The 27.0 SDK marks it unused and has a fatal 0xd.",),
    ),
    "REPLY_PORT_SINGLE_SO_RIGHT": Guard(
        "a second send-once right of a reply port was made while the first was out",
        ("one reply port serves two requests at a time",),
        "Use one reply port a thread, and a new one for each request in flight.",
    ),
    "INVALID_NOTIFICATION_PORT": Guard(
        "a notification was to be sent to a port whose type may not receive any",
        ("mach_port_request_notification with a reply, exception or timer port as the notify port",),
        "Give notifications an ordinary port, or one made with MPO_NOTIFICATION_PORT.",
    ),
    "CV_NOTIFICATION_PORT_REQ": Guard(
        "a contained process asked for a notification to a port that is no notification port",
        ("mach_port_request_notification with an ordinary port in a process of a containment vessel",),
        "Make the notify port with MPO_NOTIFICATION_PORT.",
        notes=("The guide gives a port name and a port type; newer sources pass 0 for both.",),
    ),
}
MACH_PORT["MOD_REFS_NON_FATAL"] = MACH_PORT["MOD_REFS"]._replace(
    aliases=("OVERDEALLOC_SOFT",),
    reported=("OVERDEALLOC_SOFT",),
    notes=("As MOD_REFS, but the process goes on.", *MACH_PORT["MOD_REFS"].notes[1:]),
)
MACH_PORT["IMMOVABLE_NON_FATAL"] = MACH_PORT["IMMOVABLE"]._replace(
    aliases=("ILLEGALMOVE_SOFT",),
    reported=("ILLEGALMOVE_SOFT",),
    notes=("As IMMOVABLE, but the process goes on.", *MACH_PORT["IMMOVABLE"].notes),
)
MACH_PORT["PROVISIONAL_REPLY_PORT"] = MACH_PORT["WEAK_REPLY_PORT"]._replace(
    aliases=("WEAK_REPLY_PORT",), notes=("WEAK_REPLY_PORT since the 26.4 SDK.",)
)
MACH_PORT["MOVE_PROVISIONAL_REPLY_PORT"] = MACH_PORT["MOVE_WEAK_REPLY_PORT"]._replace(
    aliases=("MOVE_WEAK_REPLY_PORT",), notes=("MOVE_WEAK_REPLY_PORT since the 26.4 SDK.",)
)

_FD_CAUSES = (
    (
        "a descriptor number that was closed is used again, and belongs to a library (SQLite, "
        "libdispatch, the network "
        "stack) by now"
    ),
    "a loop over all descriptor numbers, as before an exec",
    "descriptor 0, 1 or 2 was closed at the start, and a guarded file took its place",
)
_FD_ADVICE = (
    "Close each descriptor once, set the variable to -1, keep 0 to 2 open (on /dev/null), and close "
    "inherited "
    "descriptors with POSIX_SPAWN_CLOEXEC_DEFAULT in place of a loop. The guard id tells whose it is."
)
_FD_SOURCES = ("bsd/kern/kern_guarded.c (xnu-11417.121.6)", GUARD_PAGE)


def _fd(rule: str, *causes: str, advice: str = _FD_ADVICE, reported: str) -> Guard:
    return Guard(rule, (*causes, *_FD_CAUSES), advice, _FD_SOURCES, reported=(reported,))


FD: dict[str, Guard] = {
    "CLOSE": _fd(
        "a guarded file descriptor was closed",
        "close, or dup2 onto the number, by code that is not its owner",
        reported="CLOSE",
    ),
    "DUP": _fd(
        "a guarded file descriptor was duplicated", "dup, fcntl(F_DUPFD) or opening /dev/fd/N", reported="DUP"
    ),
    "NOCLOEXEC": _fd(
        "the close-on-exec flag of a guarded file descriptor was cleared",
        "fcntl(F_SETFD, 0) on a number that is another library's by now",
        reported="NOCLOEXEC",
    ),
    "SOCKET_IPC": _fd(
        "a guarded file descriptor was sent over a socket", "sendmsg with SCM_RIGHTS", reported="SOCKET_IPC"
    ),
    "FILEPORT": _fd(
        "a guarded file descriptor was made into a fileport", "fileport_makeport", reported="FILEPORT"
    ),
    "MISMATCH": _fd(
        "a guarded file descriptor was used with another guard than its own",
        "guarded_close_np or change_fdguard_np with a wrong guard",
        reported="MISMATCH",
    ),
    "WRITE": _fd(
        "a guarded file descriptor was written to",
        "write on a number that is a database by now",
        reported="WRITE",
    ),
}

_VN_SOURCES = ("bsd/kern/kern_guarded.c (xnu-11417.121.6)",)
_VN_ADVICE = (
    "Leave files alone that another process guards while it runs: move or replace them through their "
    "owner, or "
    "while it is stopped. Kernels check this only when built with vnode guards."
)


def _vn(rule: str, *causes: str) -> Guard:
    return Guard(rule, causes, _VN_ADVICE, _VN_SOURCES)


VN: dict[str, Guard] = {
    "RENAME_TO": _vn(
        "a file was renamed onto a guarded one", "an atomic replace of a file that a process guards"
    ),
    "RENAME_FROM": _vn("a guarded file was renamed", "a backup or cleaning tool moved it away"),
    "UNLINK": _vn("a guarded file was deleted", "a cleaning tool deleted a database that is in use"),
    "WRITE_OTHER": _vn(
        "a guarded file was opened for writing by another process", "two programs on one database"
    ),
    "TRUNC_OTHER": _vn("a guarded file was truncated by another process", "a log cleaner emptied it"),
    "LINK": _vn("a hard link to a guarded file was made", "a backup tool links files"),
    "EXCHDATA": _vn(
        "a guarded file's contents were exchanged with another's", "exchangedata or renamex_np(RENAME_SWAP)"
    ),
    "PERMISSIONS": Guard(
        "permissions of a file were changed that the file system watches",
        ("chmod, chown or an ACL change on such a file",),
        "Leave its permissions as the system set them. APFS raises it, and it never kills.",
        _VN_SOURCES,
        aliases=("VNG_PERMISSIONS",),
    ),
}

_VM_SOURCES = ("osfmk/vm/vm_map.c, osfmk/mach/vm_statistics.h (xnu-11417.121.6)",)
_RECLAIM = Guard(
    "",
    (
        (
            "memory of the allocator was overwritten: the ring that malloc shares with the kernel lies "
            "in the process"
        ),
        "the process unmapped or protected memory that it had given to malloc",
    ),
    "Look for a stray write: run with Guard Malloc or AddressSanitizer, and look for munmap or "
    "vm_deallocate of "
    "memory that another owner uses.",
    ("osfmk/vm/vm_reclaim.c (xnu-8792.41.9 to 11417.121.6)",),
    notes=("Always kills: the kernel ends the process itself (reclaim_kill_with_reason).",),
)
_SEC = Guard(
    "",
    (
        (
            "memory that the system protects (tagged, executable or input/output memory) was used in a "
            "way it forbids"
        ),
    ),
    "No public source says more than the name: look at the top frames for the mapping call that was refused.",
    ("osfmk/mach/vm_statistics.h",),
)
_MTE = Guard(
    "",
    ("an overflow or a use after free: the pointer's tag is not the memory's",),
    "Treat it as memory corruption at the address in the payload: run with AddressSanitizer or "
    "malloc's tagging "
    "diagnostics, and look at who freed that block.",
    ("osfmk/mach/vm_statistics.h (26.4 SDK)", NEWER),
)
_COW = Guard(
    "",
    ("a copy-on-write copy was asked for in a process that has them turned off",),
    "Map the memory shared, or copy its bytes.",
    ("osfmk/mach/vm_statistics.h (27.0 SDK)",),
)

VIRT_MEMORY: dict[str, Guard] = {
    "DEALLOC_GAP": Guard(
        "memory was deallocated in a range that has a hole",
        (
            "munmap or vm_deallocate twice for one range",
            "a wrong length or address, or two allocators that share a range",
        ),
        "Unmap each range once, with the address and length that mmap gave. The payload is the first "
        "address that "
        "was not mapped.",
        _VM_SOURCES,
        reported=("DEALLOC_GAP",),
    ),
    "RECLAIM_COPYIO_FAILURE": _RECLAIM._replace(
        rule="the kernel could not read the ring of memory to be reclaimed"
    ),
    "RECLAIM_INDEX_FAILURE": _RECLAIM._replace(
        rule="an index in the ring of memory to be reclaimed is out of order"
    ),
    "RECLAIM_DEALLOCATE_FAILURE": _RECLAIM._replace(
        rule="memory that was given up for reclaiming could not be deallocated"
    ),
    "RECLAIM_ACCOUNTING_FAILURE": _RECLAIM._replace(
        rule="more memory was reclaimed than the process had counted", sources=(NEWER,)
    ),
    "SEC_LOOKUP_DENIED": _SEC._replace(rule="a look-up of protected memory was denied"),
    "SEC_RANGE_DENIED": _SEC._replace(rule="an operation on a range with protected memory was denied"),
    "SEC_ACCESS_FAULT": _SEC._replace(rule="an access to protected memory was refused"),
    "SEC_ASYNC_ACCESS_FAULT": _SEC._replace(
        rule="an access to protected memory was refused, and noticed later"
    ),
    "SEC_COPY_DENIED": _SEC._replace(rule="copying protected memory was denied"),
    "SEC_SHARING_DENIED": _SEC._replace(rule="sharing protected memory was denied"),
    "SEC_IOPL_ON_EXEC_PAGE": _SEC._replace(rule="input/output was to be done on an executable page"),
    "SEC_EXEC_ON_IOPL_PAGE": _SEC._replace(rule="a page was to be executed while input/output is done on it"),
    "SEC_UPL_WRITE_ON_EXEC_REGION": _SEC._replace(rule="input/output was to write to an executable region"),
    "LARGE_ALLOCATION_TELEMETRY": Guard(
        "an allocation went over the limit of a process with guard objects",
        ("one very large allocation in a process with com.apple.security.hardened-process.guard-objects",),
        "Allocate less at once. It counts only: the process goes on.",
        ("osfmk/mach/vm_statistics.h (26.4 and 27.0 SDK)", NEWER),
        notes=("0xd in the 26.4 SDK, 0x10 in the 27.0 SDK.",),
    ),
    "COW_DEFEATURED_COPY_DENIED": _COW._replace(rule="a copy-on-write copy was denied"),
    "COW_DEFEATURED_EXTRACT_DENIED": _COW._replace(
        rule="memory of this kind may not be taken out of the map"
    ),
    "COW_DEFEATURED_SHARE_MAP_AS_COPY_DENIED": _COW._replace(
        rule="a memory entry made for sharing was mapped as a copy"
    ),
    "MTE_SYNC_FAULT": _MTE._replace(rule="a memory tag check failed"),
    "MTE_ASYNC_USER_FAULT": _MTE._replace(rule="a memory tag check failed, and was noticed later"),
    "MTE_ASYNC_KERN_FAULT": _MTE._replace(
        rule=(
            "a memory tag check failed while the kernel worked on the process's memory, and was noticed later"
        )
    ),
    "GUARD_OBJECT_ASYNC_USER_FAULT": _MTE._replace(
        rule="a guard object between allocations was touched, and noticed later",
        causes=("an overflow into the guard that the allocator put behind a block",),
    ),
    "GUARD_OBJECT_ASYNC_KERN_FAULT": _MTE._replace(
        rule="a guard object was touched while the kernel worked on the process's memory",
        causes=("a system call was given a buffer that runs into a guard",),
    ),
}

USER = Guard(
    "the program, or a library in it, reported a fault of its own and went on",
    ("os_fault_with_payload: libSystem, WebKit and others report a broken assumption in this way",),
    (
        "Read the namespace and the reason string of the report: they are the library's own. The process "
        "went on."
    ),
    ("bsd/kern/kern_exit.c abort_with_payload_internal, bsd/sys/reason.h (xnu-11417.121.6)",),
    notes=(
        "A process reports at most five such faults.",
        (
            "Reports carry the namespace's own number in the termination reason, not the EXC_GUARD "
            "code; the code is "
            "the first of the exception codes."
        ),
    ),
)

REJECTED_SC = Guard(
    "a system call was made that the process had forbidden itself",
    ("debug_syscall_reject: tests and daemons of Apple's mask system calls that they must not make",),
    (
        "Leave out the call named in the payload, or take it out of the mask. Only Apple's internal "
        "systems raise it."
    ),
    ("bsd/kern/kern_debug.c (xnu-11417.121.6)",),
    notes=("Kills only in crash mode (kern.debug_syscall_rejection_mode 2) or when the mask asks for it.",),
)

_BY_TYPE = {"MACH_PORT": MACH_PORT, "FD": FD, "VN": VN, "VIRT_MEMORY": VIRT_MEMORY}


def page(guard_type: str | None, flavor: str | None) -> Guard | None:
    """The entry of a flavor by name, or of a guard type without flavors; None when there is none."""
    if guard_type == "USER":
        return USER
    if guard_type == "REJECTED_SC":
        return REJECTED_SC
    return _BY_TYPE.get(guard_type or "", {}).get(flavor or "")


@cache
def _index() -> dict[str, tuple[flavors.Flavor, ...]]:
    found: dict[str, list[flavors.Flavor]] = {}
    for flavor in sorted(flavors.table(), key=lambda flavor: (-flavor.last, -flavor.first)):
        entry = page(flavor.guard_type, flavor.name)
        aliases = (*entry.aliases, *entry.reported) if entry else ()
        # COW_DEFEATURED_FIRST and such mark the ends of a range: they stand for the flavor there.
        meant = flavor if entry else flavors.at(flavor.guard_type, flavor.value, flavor.first)[0]
        for name in dict.fromkeys((flavor.name, flavor.kernel_name, *aliases)):
            spelled = found.setdefault(flavors.canonical(name), [])
            if meant not in spelled:
                spelled.append(meant)
    return {name: tuple(flavors) for name, flavors in found.items()}


@cache
def names() -> dict[str, str]:
    """Every name of a flavor in its `flavors.canonical` form, with how to show it."""
    shown = {key: found[0].name for key, found in _index().items()}
    for flavor in flavors.table():
        if entry := page(flavor.guard_type, flavor.name):
            shown |= {flavors.canonical(alias): alias for alias in (*entry.aliases, *entry.reported)}
    return shown | {flavors.canonical(f.kernel_name): f.name for f in flavors.table() if f.role == "flavor"}


def named(name: str, guard_type: str | None = None) -> tuple[flavors.Flavor, ...]:
    """Every flavor with a name, newest first: the kernel's, ReportCrash's or that of Apple's documentation.

    A flavor's own name comes before another's alias. Spellings are those of `flavors.canonical`.
    """
    wanted = flavors.canonical(name)
    mine = [f for f in _index().get(wanted, ()) if guard_type in {None, f.guard_type}]
    return tuple(sorted(mine, key=lambda f: wanted != flavors.canonical(f.kernel_name)))

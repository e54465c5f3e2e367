"""Targets and payloads of Mach port guards.

Up to macOS 15.5 from the raise sites of each kernel (`mach_port_guard_exception` in osfmk/ipc, xnu-4903 to
xnu-11417.121.6); for 26.0 and 26.1 from running osfmk/ipc of xnu-12377; above from Apple's guide
(doc/mach_ipc/guard_exceptions.md) and newer sources. Where those disagree both readings are listed.
"""

from __future__ import annotations

from excguard.knowledge import names
from excguard.knowledge.guards.layout import (
    ALWAYS_ZERO,
    ALWAYS_ZERO_TARGET,
    DOCUMENTED,
    HEADER,
    INFERRED,
    OBSERVED,
    UNEXPECTED_TARGET,
    UNSTATED_TARGET,
    ZERO,
    Part,
    Payload,
    Target,
    When,
    bare,
    reason,
    rest,
)
from excguard.knowledge.releases import pack

_M11_3 = pack(11, 3)
_M13 = pack(13)
_M14_2 = pack(14, 2)
_M14_6 = pack(14, 6)
_M15 = pack(15)
_M15_3 = pack(15, 3)
_M15_4 = pack(15, 4)
_M26 = pack(26)
_M26_4 = pack(26, 4)

# Targets

PORT_NAME = (
    Target(
        "name of the port that the call was made on",
        "port name %(value)#x (%(value)d) in the task that raised it, usually mach_task_self()",
        "on port %(value)#x",
        confidence=OBSERVED,
        when=bare(0x203),
    ),
    Target("name of the port that the call was made on", "no port name was passed (0)", when=ZERO),
    Target(
        "name of the port that the call was made on",
        "the dead port name, MACH_PORT_DEAD",
        "on MACH_PORT_DEAD",
        confidence=HEADER,
        when=bare(0xFFFFFFFF),
    ),
    Target(
        "name of the port that the call was made on",
        "port name %(value)#x (%(value)d) in the task that raised it",
        "on port %(value)#x",
    ),
)
UNKNOWN = (
    Target(
        "no source says",
        "%(value)#x; most flavors have a port name here, but this one is in no table",
        confidence=INFERRED,
    ),
)
_UNSTATED = (UNSTATED_TARGET,)
_ZERO = (ALWAYS_ZERO_TARGET, UNEXPECTED_TARGET)

_STATE = (
    Target(
        "the thread state flavor",
        "the thread state flavor that was set: %(words)s",
        "(flavor %(words)s)",
        names.state_flavor,
        first=_M26,
        when=When("", lambda value: value != 0),
    ),
    Target("always 0", "always zero before macOS 26", confidence=HEADER, before=_M26, when=ZERO),
    Target("the thread state flavor", "no thread state flavor was passed (0)", confidence=HEADER, when=ZERO),
    UNEXPECTED_TARGET,
)

_RECEIVERS_NAME = (
    Target(
        "name of the destination in its receiver's name space",
        "%(value)#x, the name of the destination in the name space of its receiver (1 for a kernel "
        "object), not a name of the task that raised it",
        confidence=HEADER,
        first=_M26,
    ),
    *PORT_NAME,
)

_SERVICE_PORT = (
    ALWAYS_ZERO_TARGET,
    Target(
        "always 0; on the first 26.x the number of the policy, 7",
        "the number of the policy, 7, which the first kernels of macOS 26 pass",
        confidence=HEADER,
        first=_M26,
        when=bare(7),
    ),
    UNEXPECTED_TARGET,
)


def _message_words(value: int, _release: int) -> str:
    known = names.message(value)
    return f"message id {value:#x}" + (f" ({known})" if known else "")


_NOTIFICATION_PORT = (
    Target("the notification port, or 0", "zero", confidence=HEADER, when=ZERO),
    Target(
        "the notification port, or 0",
        "%(value)#x; the guide calls it a port name, but the kernel source passes the low half of the "
        "notification port's kernel address",
        confidence=INFERRED,
    ),
)

TARGETS: dict[str, tuple[Target, ...]] = {
    "INVALID_OPTIONS": (
        Target(
            "message id, when sent with the old mach_msg trap; else 0",
            "zero: a mach_msg2 call, which passes no message id here",
            when=ZERO,
        ),
        Target(
            "message id, when sent with the old mach_msg trap; else 0",
            "the id of the message that was sent with the old mach_msg trap: %(words)s",
            "(%(words)s)",
            _message_words,
        ),
    ),
    "THREAD_SET_STATE": _STATE,
    "MACH_EXC_THREAD_SET_STATE": _STATE,
    "EXCEPTION_BEHAVIOR_ENFORCE": (
        Target(
            "the exception behavior",
            "the exception behavior that was asked for: %(words)s",
            "(%(words)s)",
            names.behavior,
            first=_M26,
            when=When("", lambda value: value & 0x1FFFFFFF in names.BEHAVIORS),
        ),
        Target(
            "always 0",
            "always zero on macOS 14.6 to 15.x",
            confidence=HEADER,
            first=_M14_6,
            before=_M26,
            when=ZERO,
        ),
        Target(
            "the low half of a kernel address",
            "%(value)#x is the low half of a kernel address, not a port name (macOS 14.2 to 14.5 pass one "
            "by mistake)",
            confidence=HEADER,
            first=_M14_2,
            before=_M14_6,
        ),
        Target(
            "the exception behavior",
            "%(value)#x is not an exception behavior, which macOS 26 has here",
            confidence=INFERRED,
            first=_M26,
        ),
        UNSTATED_TARGET,
    ),
    "SERVICE_PORT_VIOLATION_FATAL": _SERVICE_PORT,
    "SERVICE_PORT_VIOLATION_NON_FATAL": _SERVICE_PORT,
    "KOBJECT_REPLY_PORT_SEMANTICS": _RECEIVERS_NAME,
    "REQUIRE_REPLY_PORT_SEMANTICS": _RECEIVERS_NAME,
    "PROVISIONAL_REPLY_PORT": _ZERO,
    "INVALID_NOTIFICATION_REQ": (
        Target(
            "IOT_* type of the port that the notification was asked on",
            "the type of the port that the notification was asked on: %(words)s",
            "(%(words)s)",
            names.port_type,
        ),
    ),
    "INVALID_MPO_ENTITLEMENT": (
        Target(
            "MPO_* flags passed to mach_port_construct",
            "the flags passed to mach_port_construct: %(words)s",
            "(%(words)s)",
            names.construct_flags,
        ),
    ),
    "DESCRIPTOR_VIOLATION": (
        Target(
            "bits 63..40 of the message's options: IPC_SPACE_POLICY_* of the sender",
            "the policy of the sender's port name space: %(words)s",
            words=names.sender_policy,
        ),
    ),
    "MSG_FILTERED": (
        Target(
            "the low half of the destination's kernel address",
            "%(value)#x is the low half of the destination's kernel address, not a port name (macOS 15.3 "
            "and later)",
            confidence=HEADER,
            first=_M15_3,
        ),
        Target(
            "a port name, or the low half of the destination's kernel address",
            "%(value)#x, the name of the destination or the low half of its kernel address: which one "
            "macOS 15.0 to 15.2 passes is not known",
            confidence=INFERRED,
            first=_M15,
            before=_M15_3,
        ),
        *PORT_NAME,
    ),
    "INVALID_NOTIFICATION_PORT": _NOTIFICATION_PORT,
    "CV_NOTIFICATION_PORT_REQ": _NOTIFICATION_PORT,
    "NONE": (Target("number of the IPC policy", "IPC policy number %(value)d", confidence=HEADER),),
    **dict.fromkeys(
        (
            "RESTRICT_VOUCHER_OPERATIONS",
            "MOVE_WEAK_REPLY_PORT_FATAL",
            "BOOTSTRAP_PORT_NOTIFICATION",
            "CV_INVALID_EXCEPTION_PORT",
            "RESTRICT_VOUCHER_RECIPE_SIZE",
            "RESTRICT_INLINE_PORT_DESCRIPTORS",
            "OOL_PORT_ARRAY_CREATION",
            "WEAK_REPLY_PORT",
            "RIGHT_EXISTS",
            "KERN_NO_SPACE",
            "KERN_RESOURCE",
        ),
        _UNSTATED,
    ),
}

# Payloads

_NOTHING = Payload((), when=ZERO)
_NOTHING_BEFORE_26 = Payload((), before=_M26)

_DISPOSITION = Part(
    31, 0, "disposition", "MACH_MSG_TYPE_*: how the right was to be sent", words=names.disposition
)


def _reason_part(values: dict[int, str], text: str = "which rule", confidence: str = DOCUMENTED) -> Part:
    return Part(63, 56, "reason", text, values, confidence=confidence)


def _entry(base: int = 0, *, top: bool = True) -> tuple[Part, ...]:
    """ie_bits, the kernel's entry for a port name (osfmk/ipc/ipc_entry.h); without `top` its low 24 bits."""
    generation = Part(
        base + 31,
        base + 24,
        "generation",
        "generation of the name, of no meaning to the caller",
        words=names.generation,
        confidence=HEADER,
        optional=True,
    )
    return (
        Part(
            base + 20,
            base + 16,
            "rights",
            "the rights that the name holds",
            words=names.entry_rights,
            confidence=HEADER,
            shift=16,
        ),
        Part(base + 15, base, "user_references", "how many of them", words=names.held, confidence=HEADER),
        Part(
            base + 23,
            base + 21,
            "entry_flags",
            "flags of the name, since macOS 26",
            words=names.entry_flags,
            confidence=HEADER,
            optional=True,
            shift=21,
        ),
        *((generation,) if top else ()),
    )


def _guard(
    text: str = "the context value that guards the port", *, confidence: str = DOCUMENTED
) -> tuple[Part]:
    return (Part(63, 0, "guard", text, words=names.context(text), confidence=confidence),)


_PINNED = {
    1: "a deallocate call would have dropped the last send right of a pinned port",
    2: "a destroy call would have dropped the last send right of a pinned port",
    3: "sending the right in a message would have dropped the last send right of a pinned port",
}
_MOD_REFS = (
    _NOTHING,
    Payload(
        (Part(63, 0, "operation", "what would have dropped the right", _PINNED),),
        first=_M26,
        when=bare(*_PINNED),
    ),
    Payload(
        # Renumbered with the 26.4 SDK, where nothing is 4; the guide has the shifted form on 26 too.
        (Part(63, 56, "operation", "what would have dropped the right", _PINNED | {4: _PINNED[3]}),),
        first=_M11_3,
        when=When(
            "only the top byte is set", lambda value: value & 2**56 - 1 == 0 and value >> 56 in range(1, 5)
        ),
    ),
    Payload(
        # ipc_right_delta raises DESTROY in its place since xnu-11417.101.15.
        _guard(
            "the context value of a guarded receive right whose references were changed", confidence=HEADER
        ),
        before=_M15_4,
    ),
)

_INVALID_RIGHT = {
    1: "a receive right was needed, and the name holds none",
    2: "mach_port_mod_refs named a right that the name does not hold",
    3: (
        "mach_port_destruct was called on a name without the receive right, or for send rights it does not "
        "hold"
    ),
    4: "a message carried a right that the name cannot give in that way",
    5: "mach_port_deallocate was called on a name that holds no send, send-once or dead-name right",
    6: "a kernel object of another type was expected",
    7: "a receive right was named for a port set operation, and the name holds none",
    8: "a port set was named, and the name is not one",
}
_INVALID_RIGHT_REASON = _reason_part(_INVALID_RIGHT, "which call failed")
_RIGHT = Part(55, 32, "right", "MACH_PORT_RIGHT_* that was named", names.RIGHTS)
_COPYIN = Part(
    55, 32, "copyin_reason", "in which place of a message or call", names.COPYIN_REASONS, confidence=HEADER
)
_INVALID_RIGHT_ROWS = (
    _NOTHING_BEFORE_26,
    _NOTHING,
    Payload(
        (Part(63, 0, "reason", "which call failed", _INVALID_RIGHT, confidence=HEADER),),
        first=_M26,
        when=bare(1),
    ),
    Payload((_INVALID_RIGHT_REASON,), first=_M26, when=reason(1)),
    Payload((_INVALID_RIGHT_REASON, _RIGHT, *_entry()), first=_M26, when=reason(2)),
    Payload((_INVALID_RIGHT_REASON, *_entry()), first=_M26, when=reason(3, 5, 7, 8)),
    Payload(
        (_INVALID_RIGHT_REASON, _COPYIN, _DISPOSITION),
        first=_M26,
        when=When("reason 0x4", lambda value: value >> 56 == 4 and value & 0xFFFFFFFF in names.DISPOSITIONS),
    ),
    Payload(
        (_INVALID_RIGHT_REASON, _COPYIN, *_entry()),
        first=_M26,
        when=When("reason 0x4, as the guide has it", lambda value: value >> 56 == 4),
    ),
    Payload(
        (
            _INVALID_RIGHT_REASON,
            Part(55, 32, "expected_type", "IKOT_* type that was expected", words=names.port_type),
            Part(31, 0, "actual_type", "IKOT_* type of the port", words=names.port_type),
        ),
        first=_M26,
        when=reason(6),
    ),
    Payload((_INVALID_RIGHT_REASON,), first=_M26, when=rest(lambda value: value >> 56 > 8)),
)

_INVALID_VALUE = {
    1: "mach_port_peek asked for a trailer that it cannot have",
    2: "mach_port_mod_refs would have taken the count of references out of range",
    3: "mach_port_destruct would have taken the count of send rights out of range",
}
_INVALID_VALUE_REASON = _reason_part(_INVALID_VALUE, "which call failed")
_SEND_RIGHTS_DELTA = Part(
    55, 32, "delta", "low 24 bits of the change of send rights", words=names.delta(24, "send rights")
)
_INVALID_VALUE_ROWS = (
    _NOTHING_BEFORE_26,
    _NOTHING,
    Payload(
        (
            _INVALID_VALUE_REASON,
            Part(55, 32, "trailer_type", "low 24 bits of the trailer type", words=names.trailer_type),
            Part(31, 0, "trailer_size", "room for the trailer, in bytes", words=names.room),
        ),
        first=_M26,
        when=reason(1),
    ),
    Payload(
        (
            _INVALID_VALUE_REASON,
            _RIGHT,
            Part(
                31,
                16,
                "delta",
                "low 16 bits of the change of references",
                words=names.delta(16, "references"),
            ),
            Part(15, 0, "user_references", "how many there were", words=names.held),
        ),
        first=_M26,
        when=reason(2),
    ),
    Payload(
        (
            _INVALID_VALUE_REASON,
            _SEND_RIGHTS_DELTA,
            Part(31, 0, "user_references", "how many send rights there were", words=names.held),
        ),
        first=_M26,
        when=When("reason 0x3", lambda value: value >> 56 == 3 and value & 0xFFFFFFFF <= 0xFFFF),
    ),
    Payload(
        (_INVALID_VALUE_REASON, _SEND_RIGHTS_DELTA, *_entry()),
        first=_M26,
        when=When("reason 0x3, as the guide has it", lambda value: value >> 56 == 3),
    ),
    Payload((_INVALID_VALUE_REASON,), first=_M26, when=rest(lambda value: value >> 56 > 3)),
)

_KERN_FAILURE = {
    1: "only launchd may ask for port-destroyed notifications on service ports",
    2: "port-destroyed notifications of service ports must go to a notification port",
    3: "the notification port is not launchd's",
    4: "a port-destroyed notification is already registered",
}

_SEND_INVALID_RIGHT = {
    1: "a port descriptor",
    2: "an out-of-line port array descriptor",
    3: "a guarded port descriptor",
}

_IMMOVABLE = (
    Payload(
        # Of no port type, so that it is the same on 26.
        (_reason_part({1: "the port is pinned"}, "why", HEADER),),
        first=_M11_3,
        when=bare(1 << 56),
    ),
    Payload((), before=_M26, when=ZERO),
    Payload(
        (Part(63, 0, "right", "the right", {0: "a receive right"}, confidence=HEADER),), first=_M26, when=ZERO
    ),
    Payload(
        (Part(55, 32, "port_type", "IOT_* or IKOT_* type of the port", words=names.port_type), _DISPOSITION),
        first=_M26,
    ),
    Payload(_guard(confidence=HEADER), before=_M26),
)

_MASK = Part(
    31, 0, "exception_mask", "EXC_MASK_* that the port was to be set for", words=names.exception_mask
)

_STATE_REASONS = {
    1: "from an exception handler in another process",
    2: "with a flavor that changes the CPU registers",
    3: "on a thread that took a fatal pointer authentication exception",
}

_SERVICE_PORT_NAME = (Payload((Part(31, 0, "port", "name of the service port", words=names.service_port),)),)

_DESCRIPTORS = {
    1: "an out-of-line port array may be sent with COPY_SEND only",
    2: "more than one out-of-line port array in a message",
    3: "the destination is not a port that may receive an out-of-line port array",
}
_DESCRIPTOR_REASON = _reason_part(_DESCRIPTORS)

_STRICT_REPLY = {
    0x01: "INVALID_REPLY_DISP",
    0x02: "INVALID_REPLY_PORT",
    0x04: "INVALID_VOUCHER",
    0x08: "NO_BANK_ATTR",
    0x10: "MISMATCHED_PERSONA",
}
_STRICT_REPLY_REASON = _reason_part(_STRICT_REPLY, "MPG_FLAGS_STRICT_REPLY_*", HEADER)
_PERSONA = Part(
    31,
    0,
    "reply_context",
    "the persona that the destination expected",
    words=names.persona_expected,
    confidence=HEADER,
)

_MESSAGE_ID = Part(63, 0, "message_id", "msgh_id of the message", words=names.message_id)
_OPTIONS = Part(
    63,
    0,
    "options",
    "MACH64_* options of the mach_msg call",
    words=names.message_options,
    meant=sum(names.MESSAGE_OPTIONS) | names.TRAILER_MASK,
)

PAYLOADS: dict[str, tuple[Payload, ...]] = {
    "NONE": (Payload((Part(63, 0, "detail", "detail of the policy", words=names.policy_detail),)),),
    "DESTROY": (Payload(_guard()),),
    "MOD_REFS": _MOD_REFS,
    "MOD_REFS_NON_FATAL": _MOD_REFS[:-1],  # of pinned ports alone
    "INVALID_OPTIONS": (
        Payload(
            (
                _OPTIONS,
                Part(
                    51,
                    40,
                    "policy",
                    "policy of the sender's port name space",
                    words=names.options_policy,
                    confidence=HEADER,
                ),
                Part(
                    39,
                    37,
                    "policy",
                    "policies that the kernel added",
                    words=names.message_policies,
                    confidence=HEADER,
                    optional=True,
                    shift=37,
                ),
            ),
            first=_M26,
            # Every name space of macOS 26 has its DEFAULT bit.
            when=When("bit 40 is set", lambda value: bool(value >> names.SPACE_POLICY_SHIFT & 1)),
        ),
        Payload(
            (
                _OPTIONS,
                Part(
                    57,
                    49,
                    "policy",
                    "policies that the kernel added",
                    words=names.old_message_policies,
                    confidence=HEADER,
                    optional=True,
                    shift=49,
                ),
            ),
            first=_M15_4,
            before=_M26,
        ),
        Payload((_OPTIONS,), first=_M26, when=rest(lambda value: value != 0)),
        Payload((), before=_M15_4),
    ),
    "SET_CONTEXT": (Payload(_guard()),),
    "THREAD_SET_STATE": (
        _NOTHING,
        Payload(
            (_reason_part(_STATE_REASONS, "why it was forbidden, as the guide has it; kernels pass 0"),),
            first=_M26,
            when=When("only the top byte is set", lambda value: value & 2**56 - 1 == 0),
        ),
    ),
    "EXCEPTION_BEHAVIOR_ENFORCE": (Payload((_MASK,), first=_M26), Payload((), before=_M26)),
    "SERVICE_PORT_VIOLATION_FATAL": _SERVICE_PORT_NAME,
    "SERVICE_PORT_VIOLATION_NON_FATAL": _SERVICE_PORT_NAME,
    "UNGUARDED": ALWAYS_ZERO,
    "KOBJECT_REPLY_PORT_SEMANTICS": ALWAYS_ZERO,
    "REQUIRE_REPLY_PORT_SEMANTICS": (
        Payload(
            (
                Part(
                    63,
                    0,
                    "destination",
                    "the destination of the message",
                    {0: "a service port", 1: "the bootstrap port"},
                ),
            ),
            first=_M26,
        ),
        Payload((), before=_M26),
    ),
    "MACH_EXC_THREAD_SET_STATE": (
        Payload((Part(31, 0, "pid", "process that replied; 0 without an audit token", words=names.replier),)),
    ),
    "INCORRECT_GUARD": (Payload(_guard()),),
    "IMMOVABLE": _IMMOVABLE,
    "IMMOVABLE_NON_FATAL": _IMMOVABLE,
    "RESTRICT_INLINE_PORT_DESCRIPTORS": (
        Payload(
            (
                Part(
                    31,
                    0,
                    "count",
                    "inline port descriptors in the message",
                    words=names.counted("inline port descriptors in one message"),
                    confidence=INFERRED,
                ),
            )
        ),
    ),
    "STRICT_REPLY": (
        _NOTHING,
        Payload((_STRICT_REPLY_REASON, _DISPOSITION), when=reason(0x01)),
        Payload(
            (
                _STRICT_REPLY_REASON,
                Part(31, 0, "kern_return", "what copying in returned", names.KERN_RETURNS, confidence=HEADER),
            ),
            when=reason(0x02),
        ),
        Payload((_STRICT_REPLY_REASON, _PERSONA), when=reason(0x04, 0x08)),
        Payload(
            (
                _STRICT_REPLY_REASON,
                _PERSONA,
                Part(
                    55,
                    32,
                    "persona",
                    "the persona that was sent",
                    words=names.persona_sent,
                    confidence=HEADER,
                ),
            ),
            first=_M26,
            when=reason(0x10),
        ),
        Payload((_STRICT_REPLY_REASON, _PERSONA), before=_M26, when=reason(0x10)),
        Payload(
            (
                # Up to 15.5 the kernel or-s bits of the persona into the reason by mistake.
                Part(
                    63,
                    56,
                    "reason",
                    "MPG_FLAGS_STRICT_REPLY_*, with bits of a persona",
                    words=lambda value, _release: names.bits(value, _STRICT_REPLY),
                    confidence=HEADER,
                ),
                Part(
                    31,
                    0,
                    "detail",
                    "the persona, or what the reason says",
                    words=names.hexadecimal,
                    confidence=HEADER,
                ),
            ),
            before=_M26,
        ),
    ),
    "INVALID_NOTIFICATION_REQ": (
        Payload((Part(31, 0, "notification", "MACH_NOTIFY_* that was asked for", names.NOTIFICATIONS),)),
    ),
    "INVALID_MPO_ENTITLEMENT": ALWAYS_ZERO,
    "DESCRIPTOR_VIOLATION": (
        _NOTHING,
        Payload((_DESCRIPTOR_REASON, _DISPOSITION), when=reason(1)),
        Payload(
            (
                _DESCRIPTOR_REASON,
                Part(31, 0, "count", "arrays in the message", words=names.counted("arrays")),
            ),
            when=reason(2),
        ),
        Payload(
            (
                _DESCRIPTOR_REASON,
                Part(
                    31,
                    0,
                    "port_type",
                    "IOT_* type of the destination",
                    words=lambda value, release: f"{names.port_type(value, release)}, the destination's",
                ),
            ),
            when=reason(3),
        ),
        Payload((_DESCRIPTOR_REASON,), when=rest(lambda value: value >> 56 > 3)),
    ),
    "MSG_FILTERED": (Payload((_MESSAGE_ID,), first=_M15_4), Payload((), before=_M15_4)),
    "INVALID_RIGHT": _INVALID_RIGHT_ROWS,
    "INVALID_NAME": ALWAYS_ZERO,
    "INVALID_VALUE": _INVALID_VALUE_ROWS,
    "INVALID_ARGUMENT": (
        Payload(_guard("the context value that already guards the port"), first=_M15_4),
        Payload((), before=_M15_4),
    ),
    "KERN_FAILURE": (
        _NOTHING_BEFORE_26,
        _NOTHING,
        Payload(
            (Part(63, 0, "reason", "which rule", _KERN_FAILURE, confidence=HEADER),),
            first=_M26,
            when=bare(*_KERN_FAILURE),
        ),
        Payload(
            (_reason_part(_KERN_FAILURE, "which rule, as the guide has it"),),
            first=_M26,
            when=When("the top byte is set", lambda value: value >> 56 != 0),
        ),
    ),
    "SEND_INVALID_REPLY": (
        _NOTHING_BEFORE_26,
        _NOTHING,
        Payload(
            (
                _DISPOSITION,
                Part(
                    55,
                    32,
                    "rights",
                    "what the name holds",
                    {0: "none: the name has no entry", 0xFFFFFF: "the same name as the voucher"},
                    confidence=HEADER,
                ),
            ),
            first=_M26,
            when=When("bits 55..32 are 0 or 0xffffff", lambda value: value >> 32 & 0xFFFFFF in {0, 0xFFFFFF}),
        ),
        Payload((_DISPOSITION, *_entry(32, top=False)), first=_M26),
    ),
    "SEND_INVALID_VOUCHER": (_NOTHING_BEFORE_26, _NOTHING, Payload((_DISPOSITION,), first=_M26)),
    "SEND_INVALID_RIGHT": (
        _NOTHING_BEFORE_26,
        _NOTHING,
        Payload((_reason_part(_SEND_INVALID_RIGHT, "where the right stood"), _DISPOSITION), first=_M26),
    ),
    "RCV_INVALID_NAME": ALWAYS_ZERO,
    "RCV_INVALID_NOTIFY": ALWAYS_ZERO,
    "RCV_GUARDED_DESC": ALWAYS_ZERO,
    "PROVISIONAL_REPLY_PORT": ALWAYS_ZERO,
    "MOVE_WEAK_REPLY_PORT": ALWAYS_ZERO,
    "MOVE_PROVISIONAL_REPLY_PORT": ALWAYS_ZERO,
    "REPLY_PORT_SINGLE_SO_RIGHT": (
        Payload(
            (_COPYIN, _DISPOSITION),
            when=When("reason 0x4", lambda value: value >> 56 == 4),
        ),
        Payload(
            (
                Part(
                    31,
                    0,
                    "copyin_reason",
                    "in which place of a message, as the guide has it",
                    names.COPYIN_REASONS,
                ),
            )
        ),
    ),
    **dict.fromkeys(
        ("INVALID_NOTIFICATION_PORT", "CV_NOTIFICATION_PORT_REQ"),
        (
            _NOTHING,
            Payload(
                (
                    Part(
                        31,
                        0,
                        "port_type",
                        "IOT_* type of the notification port",
                        words=lambda value, release: (
                            f"{names.port_type(value, release)}, the notification port's"
                        ),
                    ),
                )
            ),
        ),
    ),
}

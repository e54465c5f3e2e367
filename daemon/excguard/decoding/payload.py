"""What the target and the payload of a guard violation say, down to the last field.

One small function a layout: `(value, release) -> fields`. The kernel changes what it passes from release to
release, so each function knows the era in which its reading holds; a value that its era does not explain is
shown as it is. Layouts above macOS 15.5 are from Apple's guide (doc/mach_ipc/guard_exceptions.md) and from
newer kernel sources, and where those disagree both readings are accepted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from excguard.knowledge import names
from excguard.knowledge.releases import NEWEST, pack

if TYPE_CHECKING:
    from collections.abc import Callable

DOCUMENTED = "documented"
HEADER = "header"
OBSERVED = "observed"
INFERRED = "inferred"
CONFIDENCES = {
    DOCUMENTED: "Apple's documents say so",
    HEADER: "read in Apple's headers or kernel sources",
    OBSERVED: "seen in real reports",
    INFERRED: "concluded from the above",
}

_M11_3 = pack(11, 3)
_M12 = pack(12)
_M14_2 = pack(14, 2)
_M14_6 = pack(14, 6)
_M15_4 = pack(15, 4)
_M26 = pack(26)


class Field(msgspec.Struct, frozen=True):
    """One field of a target or payload.

    Attributes:
        name: "reason", "disposition", "user_references" ...
        value: The bits of the field, as an unsigned number.
        text: What they say.
        confidence: A key of CONFIDENCES.
    """

    name: str
    value: int
    text: str
    confidence: str


class Target(msgspec.Struct, frozen=True):
    """What the target is.

    Attributes:
        short: For use in a sentence: "on port 0x2703", "on fd 3"; "" when the target says nothing.
        meaning: What it is, in full.
        confidence: A key of CONFIDENCES.
    """

    short: str
    meaning: str
    confidence: str


# Targets


def target(guard_type: str, flavor: str | None, value: int, release: int) -> Target:
    """What the target of a flavor (by name; None when it has none) means on a release."""
    if guard_type == "MACH_PORT":
        reader = _PORT_TARGETS.get(flavor, _port_name) if flavor else _unknown_target
        return reader(value, release)
    if guard_type == "VIRT_MEMORY":
        return _memory_target(flavor, value)
    return _TARGETS[guard_type](value, release)


def _port_name(value: int, _release: int) -> Target:
    if value == 0:
        return Target("", "no port name was passed (0)", DOCUMENTED)
    if value == 0xFFFFFFFF:
        return Target("on MACH_PORT_DEAD", "the dead port name, MACH_PORT_DEAD", HEADER)
    return Target(
        f"on port {value:#x}", f"port name {value:#x} ({value}) in the task that raised it", DOCUMENTED
    )


def _always_zero(value: int, _release: int) -> Target:
    if value == 0:
        return Target("", "always zero for this flavor", DOCUMENTED)
    return Target("", f"{value:#x}; zero was expected, no source says what else it can be", INFERRED)


def _unsaid_target(value: int, _release: int) -> Target:
    return Target("", f"{value:#x}; no source says what the target of this flavor is", INFERRED)


def _unknown_target(value: int, _release: int) -> Target:
    return Target(
        "", f"{value:#x}; most flavors have a port name here, but no table knows this one", INFERRED
    )


def _behavior_target(value: int, release: int) -> Target:
    known = value & 0x1FFFFFFF in names.BEHAVIORS
    untold = release == NEWEST  # the newest meaning, unless the value can only be an older one's
    if release < _M14_2:
        return _unsaid_target(value, release)
    if release < _M14_6 or (untold and value and not known):
        return Target(
            "",
            (
                f"{value:#x} is the low half of a kernel address, no port name (macOS 14.2 to 14.5 passed "
                "one by mistake)"
            ),
            INFERRED if untold else HEADER,
        )
    if value == 0 and (untold or release < _M26):
        return Target("", "always zero on macOS 14.6 to 15.x", HEADER)
    if not known:
        return Target("", f"{value:#x} is no exception behavior, which macOS 26 has here", INFERRED)
    return Target(
        f"({behavior(value)})",
        f"the exception behavior that was asked for: {behavior(value)}",
        DOCUMENTED if release >= _M26 else INFERRED,
    )


def _state_target(value: int, _release: int) -> Target:
    if value == 0:
        return Target("", "always zero before macOS 26", HEADER)
    return Target(
        f"(flavor {state_flavor(value)})",
        f"the thread state flavor that was set: {state_flavor(value)}",
        DOCUMENTED,
    )


def _options_target(value: int, _release: int) -> Target:
    if value == 0:
        return Target("", "zero: a mach_msg2 call, which passes no message id here", DOCUMENTED)
    known = names.message(value)
    shown = f"message id {value:#x}" + (f" ({known})" if known else "")
    return Target(
        f"({shown})", f"the id of the message that was sent with the old mach_msg trap: {shown}", DOCUMENTED
    )


def _type_target(value: int, release: int) -> Target:
    shown = port_type(value, release)
    return Target(
        f"({shown})", f"the type of the port that the notification was asked on: {shown}", DOCUMENTED
    )


def _construct_target(value: int, _release: int) -> Target:
    shown = construct_flags(value)
    return Target(f"({shown})", f"the flags passed to mach_port_construct: {shown}", DOCUMENTED)


def _policy_target(value: int, _release: int) -> Target:
    shown = space_policy(value)
    return Target("", f"the policy of the sender's port name space: {shown}", DOCUMENTED)


def _notify_target(value: int, _release: int) -> Target:
    if value == 0:
        return Target("", "zero", HEADER)
    return Target(
        "",
        f"{value:#x}; the guide calls it a port name, but the kernel source passes the low half of the "
        "notification port's kernel address",
        INFERRED,
    )


_PORT_TARGETS: dict[str, Callable[[int, int], Target]] = {
    "INVALID_OPTIONS": _options_target,
    "THREAD_SET_STATE": _state_target,
    "MACH_EXC_THREAD_SET_STATE": _state_target,
    "EXCEPTION_BEHAVIOR_ENFORCE": _behavior_target,
    "SERVICE_PORT_VIOLATION_FATAL": _always_zero,
    "SERVICE_PORT_VIOLATION_NON_FATAL": _always_zero,
    "PROVISIONAL_REPLY_PORT": _always_zero,
    "INVALID_NOTIFICATION_REQ": _type_target,
    "INVALID_MPO_ENTITLEMENT": _construct_target,
    "DESCRIPTOR_VIOLATION": _policy_target,
    "INVALID_NOTIFICATION_PORT": _notify_target,
    "CV_NOTIFICATION_PORT_REQ": _notify_target,
    "NONE": _unsaid_target,
    "RESTRICT_VOUCHER_OPERATIONS": _unsaid_target,
    "MOVE_WEAK_REPLY_PORT_FATAL": _unsaid_target,
    "BOOTSTRAP_PORT_NOTIFICATION": _unsaid_target,
    "CV_INVALID_EXCEPTION_PORT": _unsaid_target,
    "RESTRICT_VOUCHER_RECIPE_SIZE": _unsaid_target,
    "RESTRICT_INLINE_PORT_DESCRIPTORS": _unsaid_target,
    "OOL_PORT_ARRAY_CREATION": _unsaid_target,
    "WEAK_REPLY_PORT": _unsaid_target,
    "RIGHT_EXISTS": _unsaid_target,
    "KERN_NO_SPACE": _unsaid_target,
    "KERN_RESOURCE": _unsaid_target,
}


def _fd_target(value: int, _release: int) -> Target:
    return Target(f"on fd {signed(value, 32)}", f"file descriptor {signed(value, 32)}", HEADER)


def _namespace_target(value: int, _release: int) -> Target:
    name = names.NAMESPACES.get(value)
    shown = f"in namespace {name or value}"
    return Target(shown, f"reason namespace {value}" + (f", {name}" if name else ", unknown"), HEADER)


def _pid_target(value: int, _release: int) -> Target:
    return Target(f"of pid {signed(value, 32)}", f"process {signed(value, 32)}, which owns the guard", HEADER)


def _trap_target(value: int, _release: int) -> Target:
    kind = {0: "a Unix system call", 1: "a Mach trap"}.get(value, "unknown")
    return Target("", f"{value}: the payload is the number of {kind}", HEADER)


_TARGETS: dict[str, Callable[[int, int], Target]] = {
    "FD": _fd_target,
    "USER": _namespace_target,
    "VN": _pid_target,
    "REJECTED_SC": _trap_target,
}


def _memory_target(flavor: str | None, value: int) -> Target:
    if flavor and flavor.startswith(("MTE_", "GUARD_OBJECT_")):
        soft = (
            "; in soft mode: a report is written and the process goes on, though the flavor counts as fatal"
        )
        code = f"machine exception code {value & 0xFFFFF:#x}"
        return Target("", code + (soft if value & 0x100000 else ""), HEADER)
    if value == 0:
        return Target("", "not used by this guard type", HEADER)
    return Target("", f"{value:#x}; the header says it is not used", HEADER)


# Payloads


def fields(guard_type: str, flavor: str | None, value: int, release: int) -> tuple[Field, ...]:
    """The payload of a flavor (by name) taken apart; in one field whole where no source says how."""
    if guard_type == "MACH_PORT":
        reader = _PORT_PAYLOADS.get(flavor or "", _unsaid)
    elif guard_type == "VIRT_MEMORY":
        reader = _MEMORY_PAYLOADS.get(flavor or "", _unsaid if flavor is None else _address)
    else:
        reader = _PAYLOADS[guard_type]
    return tuple(reader(value, release))


def syscall_fields(value: int, *, mach_trap: bool) -> tuple[Field, ...]:
    """The payload of REJECTED_SC: its reading hangs on the target."""
    name = names.syscall(value, mach_trap=mach_trap)
    kind = "mach_trap" if mach_trap else "system_call"
    return (Field(kind, value, name or "not in the table", HEADER),)


def _unsaid(value: int, _release: int) -> list[Field]:
    if value == 0:
        return []
    return [Field("payload", value, "no source says what the payload of this flavor is", INFERRED)]


def _zero(value: int, _release: int) -> list[Field]:
    if value == 0:
        return []
    return [Field("payload", value, "zero was expected for this flavor", INFERRED)]


def _guard(value: int, _release: int) -> list[Field]:
    return [Field("guard", value, "the context value that guards the port" + _as_address(value), DOCUMENTED)]


def _guard_since_15_4(value: int, release: int) -> list[Field]:
    if release < _M15_4 and value == 0:
        return []
    return [
        Field(
            "guard", value, "the context value that already guards the port" + _as_address(value), DOCUMENTED
        )
    ]


_PINNED = {
    1: "a deallocate call would have dropped the last send right of a pinned port",
    2: "a destroy call would have dropped the last send right of a pinned port",
    3: "sending the right in a message would have dropped the last send right of a pinned port",
}


def _mod_refs(value: int, release: int) -> list[Field]:
    if value == 0:
        return []
    reason = value >> 56
    bare = reason == 0 and value in _PINNED and release >= _M26
    if bare:  # newer sources pass the flag itself, not in the top byte as the guide says
        reason = value
    if reason == 4 and value & 2**56 - 1 == 0:
        reason = 3  # renumbered with the 26.4 SDK, where nothing is 4
    if reason in _PINNED and release >= _M11_3 and (bare or value & 2**56 - 1 == 0):
        return [Field("operation", value if bare else value >> 56, _PINNED[reason], DOCUMENTED)]
    if release < pack(13):
        return [
            Field(
                "guard",
                value,
                "the context value of a guarded receive right whose references were changed"
                + _as_address(value),
                HEADER,
            )
        ]
    return [Field("payload", value, "unknown operation", INFERRED)]


_INVALID_RIGHT = {
    1: "a receive right was needed, and the name holds none",
    2: "mach_port_mod_refs asked for a right that the name does not hold",
    3: (
        "mach_port_destruct was called on a name without the receive right, or for send rights it does "
        "not hold"
    ),
    4: "a message carried a right that the name cannot give in that way",
    5: "mach_port_deallocate was called on a name that holds no send, send-once or dead-name right",
    6: "a kernel object of another type was expected",
    7: "a receive right was named for a port set operation, and the name holds none",
    8: "a port set was named, and the name is none",
}


def _invalid_right(value: int, release: int) -> list[Field]:
    reason = value >> 56
    if value == 1 and release >= _M26:
        return [Field("reason", 1, _INVALID_RIGHT[1], HEADER)]
    if reason == 0:
        return _zero(value, release)
    found = [_reason(reason, _INVALID_RIGHT, release)]
    middle, low = value >> 32 & 0xFFFFFF, value & 0xFFFFFFFF
    if reason == 2:
        found += [
            Field("right", middle, names.RIGHTS.get(middle, "unknown right"), DOCUMENTED),
            *entry_bits(low),
        ]
    elif reason == 4:
        found.append(Field("copyin_reason", middle, names.COPYIN_REASONS.get(middle, "unknown"), HEADER))
        # the guide says ie_bits; newer sources pass the disposition
        found += [disposition(low)] if low in names.DISPOSITIONS else entry_bits(low)
    elif reason == 6:
        found += [
            Field("expected_type", middle, port_type(middle, release), DOCUMENTED),
            Field("actual_type", low, port_type(low, release), DOCUMENTED),
        ]
    elif reason != 1:
        found += entry_bits(low)
    return found


_INVALID_VALUE = {
    1: "mach_port_peek asked for a trailer that it cannot have",
    2: "mach_port_mod_refs would have taken the count of references out of range",
    3: "mach_port_destruct would have taken the count of send rights out of range",
}


def _invalid_value(value: int, release: int) -> list[Field]:
    reason = value >> 56
    if reason == 0:
        return _zero(value, release)
    found = [_reason(reason, _INVALID_VALUE, release)]
    middle, low = value >> 32 & 0xFFFFFF, value & 0xFFFFFFFF
    if reason == 1:
        found += [
            Field("trailer_type", middle, f"requested trailer {middle:#x}", DOCUMENTED),
            Field("trailer_size", low, f"room for {low} bytes", DOCUMENTED),
        ]
    elif reason == 2:
        delta = value >> 16 & 0xFFFF
        found += [
            Field("right", middle, names.RIGHTS.get(middle, "unknown right"), DOCUMENTED),
            Field("delta", delta, f"{signed(delta, 16):+d} references", DOCUMENTED),
            Field("user_references", value & 0xFFFF, f"{value & 0xFFFF} held", DOCUMENTED),
        ]
    elif reason == 3:
        found += [
            Field("delta", middle, f"{signed(middle, 24):+d} send rights", DOCUMENTED),
            *([] if low > 0xFFFF else [Field("user_references", low, f"{low} held", DOCUMENTED)]),
            *(entry_bits(low) if low > 0xFFFF else []),
        ]
    return found


_KERN_FAILURE = {
    1: "only launchd may ask for port-destroyed notifications on service ports",
    2: "port-destroyed notifications of service ports must go to a notification port",
    3: "the notification port is not launchd's",
    4: "a port-destroyed notification is already registered",
}


def _kern_failure(value: int, release: int) -> list[Field]:
    if (
        value in _KERN_FAILURE and release >= _M26
    ):  # newer sources pass it bare, the guide puts it in the top byte
        return [Field("reason", value, _KERN_FAILURE[value], HEADER)]
    if value >> 56:
        return [_reason(value >> 56, _KERN_FAILURE, release)]
    return _zero(value, release)


def _send_invalid_reply(value: int, release: int) -> list[Field]:
    if value == 0:
        return []
    if release < _M26:
        return _zero(value, release)
    return [disposition(value & 0xFFFFFFFF), *entry_bits(value >> 32)]


def _send_invalid_voucher(value: int, release: int) -> list[Field]:
    if value == 0:
        return []
    return [disposition(value)] if release >= _M26 else _zero(value, release)


_SEND_INVALID_RIGHT = {
    1: "a port descriptor",
    2: "an out-of-line port array descriptor",
    3: "a guarded port descriptor",
}


def _send_invalid_right(value: int, release: int) -> list[Field]:
    if value >> 56 == 0:
        return _zero(value, release)
    return [_reason(value >> 56, _SEND_INVALID_RIGHT, release), disposition(value & 0xFFFFFFFF)]


def _immovable(value: int, release: int) -> list[Field]:
    if value == 0:
        return []
    if value == 1 << 56 and release >= _M11_3:  # of no port type, so that it can be nothing else on 26 either
        return [Field("reason", 1, "the port is pinned", HEADER)]
    if release < _M26:
        return [Field("guard", value, "the context value that guards the port" + _as_address(value), HEADER)]
    kind = value >> 32 & 0xFFFFFF
    return [
        Field("port_type", kind, port_type(kind, release), DOCUMENTED),
        disposition(value & 0xFFFFFFFF),
    ]


def _options(value: int, release: int) -> list[Field]:
    if value == 0:
        return [] if release < _M15_4 else [Field("options", 0, "none", DOCUMENTED)]
    trailer = value >> 24 & 0xF
    request = ["MACH_RCV_TRAILER_" + (names.TRAILER_ELEMENTS.get(trailer) or str(trailer))] if trailer else []
    # macOS 26 always sets the space's DEFAULT bit; 15.4 and 15.5 have their policy bits elsewhere
    new_policies = bool(value >> names.SPACE_POLICY_SHIFT & 1)
    policies = names.MESSAGE_POLICIES if new_policies else names.OLD_MESSAGE_POLICIES
    space = value >> names.SPACE_POLICY_SHIFT & 0xFFF if new_policies else 0
    rest = value & ~(0xF << 24) & ~(space << names.SPACE_POLICY_SHIFT)
    named = " | ".join(name for name in [_known(rest, names.MESSAGE_OPTIONS), *request] if name)
    found = [Field("options", value, named or "none", DOCUMENTED)]
    if space:
        found.append(Field("policy", space, space_policy(space, "MACH64_POLICY_"), HEADER))
    if named := _known(rest, policies):
        found.append(Field("policy", rest & sum(policies), named, HEADER))
    if unknown := rest & ~sum(names.MESSAGE_OPTIONS) & ~sum(policies):
        found.append(Field("unknown_bits", unknown, "bits that no table names", INFERRED))
    return found


def _mask(value: int, release: int) -> list[Field]:
    if value == 0 and release < _M26:
        return []
    named = _known(
        value, {1 << number: name.replace("EXC_", "EXC_MASK_") for number, name in names.EXCEPTIONS.items()}
    )
    rest = value & ~sum(1 << number for number in names.EXCEPTIONS)
    text = " | ".join(part for part in (named, f"{rest:#x}" if rest else "") if part) or "none"
    return [Field("exception_mask", value, text, DOCUMENTED if release >= _M26 else INFERRED)]


_STATE_REASONS = {
    1: "from an exception handler in another process",
    2: "with a flavor that changes the CPU registers",
    3: "on a thread that took a fatal pointer authentication exception",
}


def _thread_set_state(value: int, release: int) -> list[Field]:
    if value == 0:
        return []
    if value & 2**56 - 1 == 0:
        return [_reason(value >> 56, _STATE_REASONS, release)]
    return _zero(value, release)


def _replier(value: int, _release: int) -> list[Field]:
    text = (
        f"process {value}, which replied to the exception" if value else "no audit token came with the reply"
    )
    return [Field("pid", value, text, DOCUMENTED)]


def _violator(value: int, _release: int) -> list[Field]:
    return [Field("port", value, f"port name {value:#x} of the service port", DOCUMENTED)]


def _notification(value: int, _release: int) -> list[Field]:
    return [Field("notification", value, names.NOTIFICATIONS.get(value, "unknown notification"), DOCUMENTED)]


def _notify_type(value: int, release: int) -> list[Field]:
    if value == 0:
        return []
    return [Field("port_type", value, port_type(value, release) + ", the notification port's", DOCUMENTED)]


_DESCRIPTORS = {
    1: "an out-of-line port array may be sent with COPY_SEND only",
    2: "more than one out-of-line port array in a message",
    3: "the destination is no port that may receive an out-of-line port array",
}


def _descriptor(value: int, release: int) -> list[Field]:
    reason, rest = value >> 56, value & 2**56 - 1
    if value == 0:
        return []
    found = [_reason(reason, _DESCRIPTORS, release)]
    if reason == 1:
        found.append(disposition(rest))
    elif reason == 2:
        found.append(Field("count", rest, f"{rest} arrays", DOCUMENTED))
    elif reason == 3:
        found.append(Field("port_type", rest, port_type(rest, release) + ", the destination's", DOCUMENTED))
    else:
        found.append(Field("detail", rest, "unknown", INFERRED))
    return found


_STRICT_REPLY = {
    0x01: "INVALID_REPLY_DISP",
    0x02: "INVALID_REPLY_PORT",
    0x04: "INVALID_VOUCHER",
    0x08: "NO_BANK_ATTR",
    0x10: "MISMATCHED_PERSONA",
}


def _strict_reply(value: int, release: int) -> list[Field]:
    reason, low = value >> 56, value & 0xFFFFFFFF
    if value == 0:
        return []
    if reason not in _STRICT_REPLY:  # up to 15.5 bits of the persona are or-ed into the reason by mistake
        return [
            Field("reason", reason, names.bits(reason, _STRICT_REPLY), HEADER),
            Field("detail", low, "", HEADER),
        ]
    found = [Field("reason", reason, _STRICT_REPLY[reason], HEADER)]
    if reason == 0x01:
        found.append(disposition(low))
    elif reason == 0x02:
        found.append(Field("kern_return", low, names.KERN_RETURNS.get(low, f"{low:#x}"), HEADER))
    else:
        found.append(Field("reply_context", low, f"persona {low} was expected by the destination", HEADER))
    if reason == 0x10 and release >= _M26:
        found.append(
            Field("persona", value >> 32 & 0xFFFFFF, f"persona {value >> 32 & 0xFFFFFF} was sent", HEADER)
        )
    return found


def _message_id(value: int, release: int) -> list[Field]:
    if value == 0 and release < _M15_4:
        return []
    known = names.message(value)
    return [Field("message_id", value, f"{value}" + (f", {known}" if known else ""), DOCUMENTED)]


def _reply_semantics(value: int, release: int) -> list[Field]:
    if release < _M26:
        return _zero(value, release)
    text = {0: "a service port", 1: "the bootstrap port"}.get(value, "unknown")
    return [Field("destination", value, text, DOCUMENTED)]


def _single_reply(value: int, release: int) -> list[Field]:
    if value >> 56 == 4:  # newer sources pack it as for INVALID_RIGHT
        return _invalid_right(value, release)[1:]
    return [Field("copyin_reason", value, names.COPYIN_REASONS.get(value, "unknown"), DOCUMENTED)]


def _inline_ports(value: int, _release: int) -> list[Field]:
    return [Field("count", value, f"{value} inline port descriptors in one message", INFERRED)]


_PORT_PAYLOADS: dict[str, Callable[[int, int], list[Field]]] = {
    "DESTROY": _guard,
    "MOD_REFS": _mod_refs,
    "MOD_REFS_NON_FATAL": _mod_refs,
    "INVALID_OPTIONS": _options,
    "SET_CONTEXT": _guard,
    "THREAD_SET_STATE": _thread_set_state,
    "EXCEPTION_BEHAVIOR_ENFORCE": _mask,
    "SERVICE_PORT_VIOLATION_FATAL": _violator,
    "SERVICE_PORT_VIOLATION_NON_FATAL": _violator,
    "UNGUARDED": _zero,
    "KOBJECT_REPLY_PORT_SEMANTICS": _zero,
    "REQUIRE_REPLY_PORT_SEMANTICS": _reply_semantics,
    "MACH_EXC_THREAD_SET_STATE": _replier,
    "INCORRECT_GUARD": _guard,
    "IMMOVABLE": _immovable,
    "IMMOVABLE_NON_FATAL": _immovable,
    "RESTRICT_INLINE_PORT_DESCRIPTORS": _inline_ports,
    "STRICT_REPLY": _strict_reply,
    "INVALID_NOTIFICATION_REQ": _notification,
    "INVALID_MPO_ENTITLEMENT": _zero,
    "DESCRIPTOR_VIOLATION": _descriptor,
    "MSG_FILTERED": _message_id,
    "INVALID_RIGHT": _invalid_right,
    "INVALID_NAME": _zero,
    "INVALID_VALUE": _invalid_value,
    "INVALID_ARGUMENT": _guard_since_15_4,
    "KERN_FAILURE": _kern_failure,
    "SEND_INVALID_REPLY": _send_invalid_reply,
    "SEND_INVALID_VOUCHER": _send_invalid_voucher,
    "SEND_INVALID_RIGHT": _send_invalid_right,
    "RCV_INVALID_NAME": _zero,
    "RCV_INVALID_NOTIFY": _zero,
    "RCV_GUARDED_DESC": _zero,
    "PROVISIONAL_REPLY_PORT": _zero,
    "MOVE_WEAK_REPLY_PORT": _zero,
    "MOVE_PROVISIONAL_REPLY_PORT": _zero,
    "REPLY_PORT_SINGLE_SO_RIGHT": _single_reply,
    "INVALID_NOTIFICATION_PORT": _notify_type,
    "CV_NOTIFICATION_PORT_REQ": _notify_type,
}

WELL_KNOWN_GUARDS = {
    0x08FD4DBFADE2DEAD: "the guard of SQLite's database files",  # read it as "(8) a fd for db, dead"
}
"""Guard ids of file descriptors that reports and their stacks agree on; no header declares them."""


def _guard_id(value: int, _release: int) -> list[Field]:
    if known := WELL_KNOWN_GUARDS.get(value):
        return [Field("guard", value, known, OBSERVED)]
    if _as_address(value):
        text = (
            "looks like an address: libraries guard with the address of a variable of their own, as "
            "libdispatch "
            "does for its kqueue and corecrypto for its random device"
        )
        return [Field("guard", value, text, INFERRED)]
    return [
        Field("guard", value, "the id that the descriptor was guarded with; not a well-known one", HEADER)
    ]


def _vnode_guard(value: int, _release: int) -> list[Field]:
    return [Field("guard", value, "the id that the file was guarded with", HEADER)]


def _reason_code(value: int, _release: int) -> list[Field]:
    return [Field("reason_code", value, "a number of the namespace's own", HEADER)]


_PAYLOADS: dict[str, Callable[[int, int], list[Field]]] = {
    "FD": _guard_id,
    "USER": _reason_code,
    "VN": _vnode_guard,
    "REJECTED_SC": lambda value, _release: list(syscall_fields(value, mach_trap=False)),
}


def _address(value: int, _release: int) -> list[Field]:
    return [Field("address", value, f"address {value:#x}", HEADER)]


def _gap(value: int, _release: int) -> list[Field]:
    return [Field("offset", value, f"first address of the gap, {value:#x}", HEADER)]


def _copyio(value: int, _release: int) -> list[Field]:
    return [Field("errno", value, names.ERRNOS.get(value, "unknown error"), HEADER)]


def _index(value: int, _release: int) -> list[Field]:
    return [Field("index", value, f"the index that was found out of order: {value}", HEADER)]


def _kern_return(value: int, _release: int) -> list[Field]:
    return [Field("kern_return", value, names.KERN_RETURNS.get(value, "unknown"), HEADER)]


def _size(value: int, _release: int) -> list[Field]:
    return [Field("size", value, f"{value} bytes", HEADER)]


_MEMORY_PAYLOADS: dict[str, Callable[[int, int], list[Field]]] = {
    "DEALLOC_GAP": _gap,
    "RECLAIM_COPYIO_FAILURE": _copyio,
    "RECLAIM_INDEX_FAILURE": _index,
    "RECLAIM_DEALLOCATE_FAILURE": _kern_return,
    "RECLAIM_ACCOUNTING_FAILURE": _size,
    "LARGE_ALLOCATION_TELEMETRY": _size,
}


# Parts that several layouts share


def _reason(reason: int, table: dict[int, str], release: int) -> Field:
    known = table.get(reason)
    if known is None:
        return Field("reason", reason, "unknown reason", INFERRED)
    return Field("reason", reason, known, DOCUMENTED if release >= _M26 else INFERRED)


def _known(value: int, table: dict[int, str]) -> str:
    return " | ".join(name for bit, name in sorted(table.items()) if value & bit)


def _as_address(value: int) -> str:
    return ", which looks like an address" if 0x1_0000_0000 <= value < 0x8000_0000_0000 else ""


def signed(value: int, width: int) -> int:
    """A two's complement number of that many bits."""
    return value - (1 << width) if value >> (width - 1) else value


def disposition(value: int) -> Field:
    """MACH_MSG_TYPE_*: in which way a right was to be sent."""
    name = names.DISPOSITIONS.get(value)
    return Field("disposition", value, name or "unknown disposition", DOCUMENTED)


def entry_bits(value: int) -> list[Field]:
    """ie_bits, the kernel's entry for a port name: which rights it holds, with how many user references."""
    rights = value & 0x1F0000
    found = [
        Field("rights", rights, _known(value, names.ENTRY_RIGHTS) or "none: the name holds no right", HEADER),
        Field("user_references", value & 0xFFFF, f"{value & 0xFFFF} held", HEADER),
    ]
    if value & 0xE00000:
        found.append(Field("entry_flags", value & 0xE00000, _known(value, names.ENTRY_FLAGS), HEADER))
    if value >> 24:
        found.append(
            Field("generation", value >> 24, "generation of the name, of no meaning to the caller", HEADER)
        )
    return found


def port_type(value: int, release: int) -> str:
    """An IPC object type in words."""
    return names.port_type(value, release) or f"unknown port type {value}"


def behavior(value: int) -> str:
    """An exception behavior in words: "EXCEPTION_DEFAULT | MACH_EXCEPTION_CODES"."""
    base = names.BEHAVIORS.get(value & 0x1FFFFFFF, f"{value & 0x1FFFFFFF:#x}")
    return " | ".join([base, *(name for bit, name in names.BEHAVIOR_FLAGS.items() if value & bit)])


def state_flavor(value: int) -> str:
    """A thread state flavor in words; the numbers overlap, so both architectures are named."""
    arm, x86 = names.THREAD_STATES_ARM.get(value), names.THREAD_STATES_X86.get(value)
    named = " on arm64, ".join(name for name in (arm, x86) if name)
    if arm and x86:
        return f"{value}, {named} on x86_64"
    return f"{value}, {named} on {'arm64' if arm else 'x86_64'}" if named else f"{value}, unknown"


def construct_flags(value: int) -> str:
    """mach_port_construct flags in words."""
    kind = names.CONSTRUCT_TYPES.get(value & names.CONSTRUCT_TYPE_MASK)
    rest = value & ~names.CONSTRUCT_TYPE_MASK if kind else value
    options = names.bits(rest, names.CONSTRUCT_FLAGS) if rest else ""
    return " | ".join(part for part in (kind, options) if part)


def space_policy(value: int, prefix: str = "IPC_SPACE_POLICY_") -> str:
    """ipc_space_policy_t in words."""
    version = value & 0x700
    named = [prefix + name for bit, name in names.SPACE_POLICIES.items() if value & bit]
    if version:
        known = names.SPACE_POLICY_VERSIONS.get(version)
        named.append(prefix + known if known else f"version bits {version:#x}")
    rest = value & ~0x7FF
    if rest:
        named.append(f"{rest:#x}")
    return " | ".join(named) or "none"


# How targets and payloads are laid out, for pages that explain a flavor


class Part(msgspec.Struct, frozen=True):
    """Some bits of a payload.

    Attributes:
        high: The highest bit, counted from 0; likewise low.
        name: As the field that `fields` makes of it.
        text: What it holds.
        values: The values that it can have, where they are few.
    """

    high: int
    low: int
    name: str
    text: str
    values: dict[int, str] = {}


_ENTRY = "ie_bits: rights in bits 20..16, user references in 15..0, generation in 31..24"
_DISPOSITION = Part(31, 0, "disposition", "MACH_MSG_TYPE_*: the way in which the right was to be sent")
_GUARD_PART = (Part(63, 0, "guard", "the context value that guards the port"),)

_PORT_LAYOUTS: dict[str, tuple[Part, ...]] = {
    "DESTROY": _GUARD_PART,
    "SET_CONTEXT": _GUARD_PART,
    "INCORRECT_GUARD": _GUARD_PART,
    "INVALID_ARGUMENT": _GUARD_PART,
    "MOD_REFS": (Part(63, 56, "operation", "what would have given the right up", _PINNED),),
    "INVALID_OPTIONS": (
        Part(63, 32, "policy", "MACH64_* options of mach_msg2, and the policy that the kernel added"),
        Part(31, 0, "options", "MACH_SEND_* and MACH_RCV_*"),
    ),
    "THREAD_SET_STATE": (Part(63, 56, "reason", "why it was forbidden", _STATE_REASONS),),
    "EXCEPTION_BEHAVIOR_ENFORCE": (
        Part(31, 0, "exception_mask", "EXC_MASK_* that the port was to be set for"),
    ),
    "SERVICE_PORT_VIOLATION_FATAL": (Part(31, 0, "port", "name of the service port"),),
    "REQUIRE_REPLY_PORT_SEMANTICS": (
        Part(
            63, 0, "destination", "whom the message was for", {0: "a service port", 1: "the bootstrap port"}
        ),
    ),
    "MACH_EXC_THREAD_SET_STATE": (Part(31, 0, "pid", "process that replied; 0 without an audit token"),),
    "IMMOVABLE": (Part(55, 32, "port_type", "IOT_* or IKOT_* type of the port"), _DISPOSITION),
    "STRICT_REPLY": (
        Part(63, 56, "reason", "MPG_FLAGS_STRICT_REPLY_*", _STRICT_REPLY),
        Part(55, 32, "persona", "of the voucher that was sent (MISMATCHED_PERSONA, since 26)"),
        Part(31, 0, "detail", "disposition, kern_return or the persona that was expected"),
    ),
    "INVALID_NOTIFICATION_REQ": (
        Part(31, 0, "notification", "MACH_NOTIFY_* that was asked for", names.NOTIFICATIONS),
    ),
    "DESCRIPTOR_VIOLATION": (
        Part(63, 56, "reason", "which rule", _DESCRIPTORS),
        Part(55, 0, "detail", "disposition, count of arrays, or type of the destination"),
    ),
    "MSG_FILTERED": (Part(31, 0, "message_id", "msgh_id of the message"),),
    "INVALID_RIGHT": (
        Part(63, 56, "reason", "which call failed", _INVALID_RIGHT),
        Part(55, 32, "right", "the right asked for (2), the copyin reason (4), the type expected (6)"),
        Part(31, 0, "rights", f"{_ENTRY}; the disposition (4) or the type found (6)"),
    ),
    "INVALID_VALUE": (
        Part(63, 56, "reason", "which call failed", _INVALID_VALUE),
        Part(55, 32, "right", "the right (2), the trailer asked for (1), the change of send rights (3)"),
        Part(31, 16, "delta", "the change of references (2)"),
        Part(15, 0, "user_references", "how many there were (2, 3)"),
    ),
    "KERN_FAILURE": (Part(63, 56, "reason", "which rule", _KERN_FAILURE),),
    "SEND_INVALID_REPLY": (Part(55, 32, "rights", f"low 24 bits of {_ENTRY}"), _DISPOSITION),
    "SEND_INVALID_VOUCHER": (_DISPOSITION,),
    "SEND_INVALID_RIGHT": (
        Part(63, 56, "reason", "where the right stood", _SEND_INVALID_RIGHT),
        _DISPOSITION,
    ),
    "REPLY_PORT_SINGLE_SO_RIGHT": (
        Part(31, 0, "copyin_reason", "in which place of a message", names.COPYIN_REASONS),
    ),
    "INVALID_NOTIFICATION_PORT": (Part(31, 0, "port_type", "IOT_* type of the notification port"),),
    "CV_NOTIFICATION_PORT_REQ": (Part(31, 0, "port_type", "IOT_* type of the notification port"),),
    "RESTRICT_INLINE_PORT_DESCRIPTORS": (Part(31, 0, "count", "inline port descriptors in the message"),),
}
_PORT_LAYOUTS["MOD_REFS_NON_FATAL"] = _PORT_LAYOUTS["MOD_REFS"]
_PORT_LAYOUTS["IMMOVABLE_NON_FATAL"] = _PORT_LAYOUTS["IMMOVABLE"]
_PORT_LAYOUTS["SERVICE_PORT_VIOLATION_NON_FATAL"] = _PORT_LAYOUTS["SERVICE_PORT_VIOLATION_FATAL"]

_TYPE_LAYOUTS: dict[str, tuple[Part, ...]] = {
    "FD": (Part(63, 0, "guard", "the id that the descriptor was guarded with", WELL_KNOWN_GUARDS),),
    "USER": (Part(63, 0, "reason_code", "a number of the namespace's own"),),
    "VN": (Part(63, 0, "guard", "the id that the file was guarded with"),),
    "REJECTED_SC": (Part(63, 0, "system_call", "number of the system call or Mach trap"),),
}

_MEMORY_LAYOUTS: dict[str, tuple[Part, ...]] = {
    "DEALLOC_GAP": (Part(63, 0, "offset", "first address of the gap"),),
    "RECLAIM_COPYIO_FAILURE": (Part(63, 0, "errno", "error of the copy"),),
    "RECLAIM_INDEX_FAILURE": (Part(63, 0, "index", "the index out of order"),),
    "RECLAIM_DEALLOCATE_FAILURE": (Part(63, 0, "kern_return", "what deallocating returned"),),
    "RECLAIM_ACCOUNTING_FAILURE": (Part(63, 0, "size", "bytes that the process had counted"),),
    "LARGE_ALLOCATION_TELEMETRY": (Part(63, 0, "size", "bytes allocated"),),
}

_TARGET_TEXTS: dict[Callable[[int, int], Target], str] = {
    _port_name: "name of the port that the call was made on",
    _always_zero: "always 0",
    _unsaid_target: "no source says",
    _behavior_target: "the exception behavior (since 26; before, see the notes)",
    _state_target: "the thread state flavor (since 26; before, 0)",
    _options_target: "message id, when sent with the old mach_msg trap; else 0",
    _type_target: "IOT_* type of the port that the notification was asked on",
    _construct_target: "MPO_* flags passed to mach_port_construct",
    _policy_target: "IPC_SPACE_POLICY_* of the sender",
    _notify_target: "the notification port; in newer sources the low half of its kernel address",
    _fd_target: "the file descriptor",
    _namespace_target: "reason namespace, OS_REASON_*",
    _pid_target: "process that owns the guard",
    _trap_target: "1 for a Mach trap, 0 for a Unix system call",
}


def target_text(guard_type: str, flavor: str | None) -> str:
    """What the target of a flavor is, in a few words."""
    if guard_type == "VIRT_MEMORY":
        tagged = flavor is not None and flavor.startswith(("MTE_", "GUARD_OBJECT_"))
        return "machine exception code; bit 20 in soft mode" if tagged else "not used"
    reader = (
        _PORT_TARGETS.get(flavor or "", _port_name) if guard_type == "MACH_PORT" else _TARGETS[guard_type]
    )
    return _TARGET_TEXTS[reader]


def layout(guard_type: str, flavor: str | None) -> tuple[Part, ...]:
    """How the payload of a flavor is laid out; () where it is always 0 or no source says."""
    if guard_type == "MACH_PORT":
        return _PORT_LAYOUTS.get(flavor or "", ())
    if guard_type == "VIRT_MEMORY":
        return _MEMORY_LAYOUTS.get(flavor or "", (Part(63, 0, "address", "the address"),))
    return _TYPE_LAYOUTS[guard_type]


def payload_text(guard_type: str, flavor: str | None) -> str:
    """What the payload of a flavor is, in a few words, where it has no parts."""
    if layout(guard_type, flavor):
        return ""
    if guard_type == "MACH_PORT" and _PORT_PAYLOADS.get(flavor or "", _unsaid) is _zero:
        return "always 0"
    return "no source says"

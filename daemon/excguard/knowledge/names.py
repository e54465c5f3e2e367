"""Names of the numbers that guard targets and payloads carry.

Values are those of the 27.0 SDK's headers unless a comment says otherwise; they have been the same since each
was introduced, except where a table is split by era.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import TYPE_CHECKING

from excguard.knowledge import releases, tables

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

RIGHTS = {
    0: "MACH_PORT_RIGHT_SEND",
    1: "MACH_PORT_RIGHT_RECEIVE",
    2: "MACH_PORT_RIGHT_SEND_ONCE",
    3: "MACH_PORT_RIGHT_PORT_SET",
    4: "MACH_PORT_RIGHT_DEAD_NAME",
    5: "MACH_PORT_RIGHT_LABELH",
}
"""MACH_PORT_RIGHT_* (mach/port.h)."""

ENTRY_RIGHTS = {
    0x10000: "MACH_PORT_TYPE_SEND",
    0x20000: "MACH_PORT_TYPE_RECEIVE",
    0x40000: "MACH_PORT_TYPE_SEND_ONCE",
    0x80000: "MACH_PORT_TYPE_PORT_SET",
    0x100000: "MACH_PORT_TYPE_DEAD_NAME",
}
"""The capability bits of an entry's ie_bits, MACH_PORT_TYPE(right) (mach/port.h, osfmk/ipc/ipc_entry.h)."""

ENTRY_FLAGS = {
    0x200000: "was once a receive right",
    0x400000: "pinned send right",
    0x800000: "immovable send right",
}
"""Bits above them since macOS 26 (osfmk/ipc/ipc_entry.h IE_BITS_EXTYPE_MASK, newer sources)."""

DISPOSITIONS = {
    16: "MACH_MSG_TYPE_MOVE_RECEIVE",
    17: "MACH_MSG_TYPE_MOVE_SEND",
    18: "MACH_MSG_TYPE_MOVE_SEND_ONCE",
    19: "MACH_MSG_TYPE_COPY_SEND",
    20: "MACH_MSG_TYPE_MAKE_SEND",
    21: "MACH_MSG_TYPE_MAKE_SEND_ONCE",
    22: "MACH_MSG_TYPE_COPY_RECEIVE",
    24: "MACH_MSG_TYPE_DISPOSE_RECEIVE",
    25: "MACH_MSG_TYPE_DISPOSE_SEND",
    26: "MACH_MSG_TYPE_DISPOSE_SEND_ONCE",
}
"""MACH_MSG_TYPE_* (mach/message.h)."""

COPYIN_REASONS = {
    0: "no reason given",
    1: "destination of a message",
    2: "reply port of a message",
    3: "voucher of a message",
    4: "port descriptor",
    5: "guarded port descriptor",
    6: "out-of-line port array descriptor",
    7: "message to the kernel, or port argument of a call of it",
}
"""ipc_copyin_op_t (osfmk/ipc/ipc_object.h, newer sources; not stable)."""

BEHAVIORS = {
    1: "EXCEPTION_DEFAULT",
    2: "EXCEPTION_STATE",
    3: "EXCEPTION_STATE_IDENTITY",
    4: "EXCEPTION_IDENTITY_PROTECTED",
    5: "EXCEPTION_STATE_IDENTITY_PROTECTED",
}
BEHAVIOR_FLAGS = {
    0x80000000: "MACH_EXCEPTION_CODES",
    0x40000000: "MACH_EXCEPTION_ERRORS",
    0x20000000: "MACH_EXCEPTION_BACKTRACE_PREFERRED",
}
EXCEPTIONS = {
    1: "EXC_BAD_ACCESS",
    2: "EXC_BAD_INSTRUCTION",
    3: "EXC_ARITHMETIC",
    4: "EXC_EMULATION",
    5: "EXC_SOFTWARE",
    6: "EXC_BREAKPOINT",
    7: "EXC_SYSCALL",
    8: "EXC_MACH_SYSCALL",
    9: "EXC_RPC_ALERT",
    10: "EXC_CRASH",
    11: "EXC_RESOURCE",
    12: "EXC_GUARD",
    13: "EXC_CORPSE_NOTIFY",
}
"""EXC_* (mach/exception_types.h); EXC_MASK_x is 1 << EXC_x."""

NOTIFICATIONS = {
    65: "MACH_NOTIFY_PORT_DELETED",
    66: "MACH_NOTIFY_SEND_POSSIBLE",
    69: "MACH_NOTIFY_PORT_DESTROYED",
    70: "MACH_NOTIFY_NO_SENDERS",
    71: "MACH_NOTIFY_SEND_ONCE",
    72: "MACH_NOTIFY_DEAD_NAME",
}
"""mach/notify.h."""

CONSTRUCT_FLAGS = {
    0x01: "MPO_CONTEXT_AS_GUARD",
    0x02: "MPO_QLIMIT",
    0x04: "MPO_TEMPOWNER",
    0x08: "MPO_IMPORTANCE_RECEIVER",
    0x10: "MPO_INSERT_SEND_RIGHT",
    0x20: "MPO_STRICT",
    0x40: "MPO_DENAP_RECEIVER",
    0x80: "MPO_IMMOVABLE_RECEIVE",
    0x100: "MPO_FILTER_MSG",
    0x200: "MPO_TG_BLOCK_TRACKING",
    0x2000: "MPO_ENFORCE_REPLY_PORT_SEMANTICS",
}
CONSTRUCT_TYPE_MASK = 0x1DC00
CONSTRUCT_TYPES = {
    0x0: "MPO_PORT",
    0x400: "MPO_SERVICE_PORT",
    0x800: "MPO_CONNECTION_PORT",
    0x1000: "MPO_REPLY_PORT",
    0x4000: "MPO_WEAK_REPLY_PORT",
    0x4400: "MPO_NOTIFICATION_PORT",
    0x8000: "MPO_EXCEPTION_PORT",
    0x10000: "MPO_CONNECTION_PORT_WITH_PORT_ARRAY",
}
"""MPO_* (mach/port.h): option bits, and since macOS 26 a port type in the bits of MPO_PORT_TYPE_MASK."""

MESSAGE_OPTIONS = {
    0x1: "MACH64_SEND_MSG",
    0x2: "MACH64_RCV_MSG",
    0x4: "MACH64_RCV_LARGE",
    0x8: "MACH64_RCV_LARGE_IDENTITY",
    0x10: "MACH64_SEND_TIMEOUT",
    0x20: "MACH64_SEND_OVERRIDE",
    0x40: "MACH64_SEND_INTERRUPT",
    0x80: "MACH64_SEND_NOTIFY",
    0x100: "MACH64_RCV_TIMEOUT",
    0x200: "MACH64_MSG_STRICT_REPLY",
    0x400: "MACH64_RCV_INTERRUPT",
    0x800: "MACH64_RCV_VOUCHER",
    0x1000: "MACH64_RCV_GUARDED_DESC",
    0x4000: "MACH64_RCV_SYNC_WAIT",
    0x8000: "MACH64_RCV_SYNC_PEEK",
    0x10000: "MACH64_SEND_FILTER_NONFATAL",
    0x20000: "MACH64_SEND_TRAILER",
    0x40000: "MACH64_SEND_NOIMPORTANCE",
    0x80000: "MACH64_SEND_IMPORTANCE",
    0x100000: "MACH64_SEND_SYNC_OVERRIDE",
    0x200000: "MACH64_SEND_PROPAGATE_QOS",
    0x400000: "MACH64_SEND_KERNEL",
    0x800000: "MACH64_SEND_SYNC_BOOTSTRAP_CHECKIN",
    0x1_0000_0000: "MACH64_MSG_VECTOR",
    0x2_0000_0000: "MACH64_SEND_KOBJECT_CALL",
    0x4_0000_0000: "MACH64_SEND_MQ_CALL",
    0x8_0000_0000: "MACH64_SEND_ANY",
    0x10_0000_0000: "MACH64_SEND_DK_CALL",
    0x1000_0000_0000_0000: "MACH64_RCV_LINEAR_VECTOR",
    0x2000_0000_0000_0000: "MACH64_RCV_STACK",
    0x4000_0000_0000_0000: "MACH64_PEEK_MSG",
    0x8000_0000_0000_0000: "MACH64_MACH_MSG2",
}
"""MACH64_* (mach/message.h; bits 32 and up from xnu-11417.121.6 osfmk/mach/message.h)."""

TRAILER_MASK = 0xF000000
TRAILER_ELEMENTS = {0: "", 1: "SEQNO", 2: "SENDER", 3: "AUDIT", 4: "CTX", 7: "AV", 8: "LABELS"}
"""MACH_RCV_TRAILER_* , bits 27..24 of the options (mach/message.h)."""

OLD_MESSAGE_POLICIES = {
    0x0002_0000_0000_0000: "MACH64_POLICY_KERNEL_EXTENSION",
    0x0004_0000_0000_0000: "MACH64_POLICY_FILTER_NON_FATAL",
    0x0008_0000_0000_0000: "MACH64_POLICY_FILTER_MSG",
    0x0010_0000_0000_0000: "MACH64_POLICY_DEFAULT",
    0x0020_0000_0000_0000: "MACH64_POLICY_SIMULATED",
    0x0040_0000_0000_0000: "MACH64_POLICY_TRANSLATED",
    0x0080_0000_0000_0000: "MACH64_POLICY_HARDENED",
    0x0100_0000_0000_0000: "MACH64_POLICY_RIGID",
    0x0200_0000_0000_0000: "MACH64_POLICY_PLATFORM",
}
"""What the kernel adds to the options on macOS 15.4 to 15.x (xnu-11417.121.6 osfmk/mach/message.h)."""

MESSAGE_POLICIES = {
    0x20_0000_0000: "MACH64_POLICY_KERNEL_EXTENSION",
    0x40_0000_0000: "MACH64_POLICY_FILTER_NON_FATAL",
    0x80_0000_0000: "MACH64_POLICY_FILTER_MSG",
}
"""The same on macOS 26, where bits 40 and up hold the space's policy (newer sources)."""

SPACE_POLICY_SHIFT = 40
_MACH_MSG2_OF_POLICY = 0x800000
"""MACH64_MACH_MSG2, bit 63 of the options, among bits 63..40."""

SPACE_POLICIES = {
    0x01: "DEFAULT",
    0x02: "ENHANCED",
    0x04: "PLATFORM",
    0x08: "CONTAINED",
    0x10: "KERNEL",
    0x20: "SIMULATED",
    0x40: "TRANSLATED",
    0x80: "OPTED_OUT",
}
"""ipc_space_policy_t since macOS 26 (osfmk/ipc/ipc_types.h, newer sources; not stable)."""

SPACE_POLICY_VERSIONS = {
    0x100: "ENHANCED_V0",  # hardened runtime
    0x200: "ENHANCED_V1",  # browser entitlements
    0x300: "ENHANCED_V2",  # platform restrictions, as 27.0 numbers it
    0x400: "ENHANCED_V2 (as 26.0 numbers it; ENHANCED_V3 as 27.0 does)",
}
"""Which level of enhanced security the space has (the same headers)."""

THREAD_STATES_ARM = {
    1: "ARM_THREAD_STATE",
    2: "ARM_VFP_STATE",
    3: "ARM_EXCEPTION_STATE",
    4: "ARM_DEBUG_STATE",
    6: "ARM_THREAD_STATE64",
    7: "ARM_EXCEPTION_STATE64",
    9: "ARM_THREAD_STATE32",
    10: "ARM_EXCEPTION_STATE64_V2",
    14: "ARM_DEBUG_STATE32",
    15: "ARM_DEBUG_STATE64",
    16: "ARM_NEON_STATE",
    17: "ARM_NEON_STATE64",
    18: "ARM_CPMU_STATE64",
    27: "ARM_PAGEIN_STATE",
    28: "ARM_SME_STATE",
}
"""mach/arm/thread_status.h."""

THREAD_STATES_X86 = {
    1: "x86_THREAD_STATE32",
    2: "x86_FLOAT_STATE32",
    3: "x86_EXCEPTION_STATE32",
    4: "x86_THREAD_STATE64",
    5: "x86_FLOAT_STATE64",
    6: "x86_EXCEPTION_STATE64",
    7: "x86_THREAD_STATE",
    8: "x86_FLOAT_STATE",
    9: "x86_EXCEPTION_STATE",
    10: "x86_DEBUG_STATE32",
    11: "x86_DEBUG_STATE64",
    12: "x86_DEBUG_STATE",
    16: "x86_AVX_STATE32",
    17: "x86_AVX_STATE64",
    18: "x86_AVX_STATE",
    19: "x86_AVX512_STATE32",
    20: "x86_AVX512_STATE64",
    21: "x86_AVX512_STATE",
    22: "x86_PAGEIN_STATE",
    23: "x86_THREAD_FULL_STATE64",
    24: "x86_INSTRUCTION_STATE",
    25: "x86_LAST_BRANCH_STATE",
}
"""mach/i386/thread_status.h."""

KERN_RETURNS = {
    0: "KERN_SUCCESS",
    1: "KERN_INVALID_ADDRESS",
    2: "KERN_PROTECTION_FAILURE",
    3: "KERN_NO_SPACE",
    4: "KERN_INVALID_ARGUMENT",
    5: "KERN_FAILURE",
    6: "KERN_RESOURCE_SHORTAGE",
    7: "KERN_NOT_RECEIVER",
    8: "KERN_NO_ACCESS",
    9: "KERN_MEMORY_FAILURE",
    10: "KERN_MEMORY_ERROR",
    11: "KERN_ALREADY_IN_SET",
    12: "KERN_NOT_IN_SET",
    13: "KERN_NAME_EXISTS",
    14: "KERN_ABORTED",
    15: "KERN_INVALID_NAME",
    16: "KERN_INVALID_TASK",
    17: "KERN_INVALID_RIGHT",
    18: "KERN_INVALID_VALUE",
    19: "KERN_UREFS_OVERFLOW",
    20: "KERN_INVALID_CAPABILITY",
    21: "KERN_RIGHT_EXISTS",
    22: "KERN_INVALID_HOST",
    23: "KERN_MEMORY_PRESENT",
    24: "KERN_MEMORY_DATA_MOVED",
    25: "KERN_MEMORY_RESTART_COPY",
    26: "KERN_INVALID_PROCESSOR_SET",
    27: "KERN_POLICY_LIMIT",
    28: "KERN_INVALID_POLICY",
    29: "KERN_INVALID_OBJECT",
    30: "KERN_ALREADY_WAITING",
    31: "KERN_DEFAULT_SET",
    32: "KERN_EXCEPTION_PROTECTED",
    33: "KERN_INVALID_LEDGER",
    34: "KERN_INVALID_MEMORY_CONTROL",
    35: "KERN_INVALID_SECURITY",
    36: "KERN_NOT_DEPRESSED",
    37: "KERN_TERMINATED",
    38: "KERN_LOCK_SET_DESTROYED",
    39: "KERN_LOCK_UNSTABLE",
    40: "KERN_LOCK_OWNED",
    41: "KERN_LOCK_OWNED_SELF",
    42: "KERN_SEMAPHORE_DESTROYED",
    43: "KERN_RPC_SERVER_TERMINATED",
    44: "KERN_RPC_TERMINATE_ORPHAN",
    45: "KERN_RPC_CONTINUE_ORPHAN",
    46: "KERN_NOT_SUPPORTED",
    47: "KERN_NODE_DOWN",
    48: "KERN_NOT_WAITING",
    49: "KERN_OPERATION_TIMED_OUT",
    50: "KERN_CODESIGN_ERROR",
    51: "KERN_POLICY_STATIC",
    52: "KERN_INSUFFICIENT_BUFFER_SIZE",
    53: "KERN_DENIED",
    54: "KERN_MISSING_KC",
    55: "KERN_INVALID_KC",
    56: "KERN_NOT_FOUND",
    57: "KERN_INVALID_GUARD_OBJECT_SLOT",
}
"""mach/kern_return.h; 47 (KERN_NODE_DOWN) and 57 are the newest readings of their numbers."""

ERRNOS = {1: "EPERM", 4: "EINTR", 9: "EBADF", 12: "ENOMEM", 14: "EFAULT", 22: "EINVAL", 35: "EAGAIN"}
"""sys/errno.h, those that payloads can carry."""

NAMESPACES = {
    1: "JETSAM",
    2: "SIGNAL",
    3: "CODESIGNING",
    4: "HANGTRACER",
    5: "TEST",
    6: "DYLD",
    7: "LIBXPC",
    8: "OBJC",
    9: "EXEC",
    10: "SPRINGBOARD",
    11: "TCC",
    12: "REPORTCRASH",
    13: "COREANIMATION",
    14: "AGGREGATED",
    15: "RUNNINGBOARD",
    16: "SKYWALK",
    17: "SETTINGS",
    18: "LIBSYSTEM",
    19: "FOUNDATION",
    20: "WATCHDOG",
    21: "METAL",
    22: "WATCHKIT",
    23: "GUARD",
    24: "ANALYTICS",
    25: "SANDBOX",
    26: "SECURITY",
    27: "ENDPOINTSECURITY",
    28: "PAC_EXCEPTION",
    29: "BLUETOOTH_CHIP",
    30: "PORT_SPACE",
    31: "WEBKIT",
    32: "BACKLIGHTSERVICES",
    33: "MEDIA",
    34: "ROSETTA",
    35: "LIBIGNITION",
    36: "BOOTMOUNT",
    38: "REALITYKIT",
    39: "AUDIO",
    40: "WAKEBOARD",
    41: "CORERC",
    42: "SELF_RESTRICT",
    43: "ARKIT",
}
"""OS_REASON_* (xnu-11417.121.6 bsd/sys/reason.h)."""

MESSAGES = {
    0xD4A: "task_threads",
    0xD4D: "task_info",
    0xE13: "thread_get_state",
    0x12C4: "mach_vm_read",
    0x12C8: "mach_vm_read_overwrite",
    2405: "mach_exception_raise",
    2406: "mach_exception_raise_state",
    2407: "mach_exception_raise_state_identity",
    2408: "mach_exception_raise_identity_protected",
    2409: "mach_exception_raise_backtrace",
    2410: "mach_exception_raise_state_identity_protected",
}
"""Message ids that the kernel's own policies name (osfmk/ipc/ipc_policy.c), and those of mach_exc.defs."""

SUBSYSTEMS = (
    (64, "notify"),
    (123, "audit_triggers"),
    (200, "mach_host"),
    (400, "host_priv"),
    (600, "host_security"),
    (1000, "clock"),
    (1200, "clock_priv"),
    (2050, "upl"),
    (2401, "exc"),
    (2405, "mach_exc"),
    (2800, "iokit"),
    (3000, "processor"),
    (3200, "mach_port"),
    (3400, "task"),
    (3600, "thread_act"),
    (3800, "vm_map"),
    (4000, "processor_set"),
    (4800, "mach_vm"),
    (4900, "memory_entry"),
    (5400, "mach_voucher"),
    (6000, "UNDRequest"),
    (8000, "task_restartable"),
    (27000, "task_access"),
    (617200, "semaphore"),
    (716200, "mach_eventlink"),
)
"""First message ids of the kernel's MIG subsystems (`subsystem` lines of xnu-11417.121.6 osfmk/**/*.defs)."""


def message(number: int) -> str:
    """A message id in words: the routine, or the subsystem it falls in; "" when it is in none."""
    if number in NOTIFICATIONS:
        return NOTIFICATIONS[number]
    if number in MESSAGES:
        return MESSAGES[number]
    for base, name in reversed(SUBSYSTEMS):
        if base <= number < base + 100:
            return f"routine {number - base} of MIG subsystem {name}"
    return ""


def bits(value: int, table: Mapping[int, str]) -> str:
    """The names of the set bits joined by " | ", with bits that the table does not have as hex."""
    found = []
    for bit, name in table.items():
        if value & bit:
            found.append(name)
            value &= ~bit
    if value:
        found.append(f"{value:#x}")
    return " | ".join(found) or "none"


@cache
def _syscalls() -> dict[tuple[str, int], str]:
    return {(row["kind"], int(row["number"])): row["name"] for row in tables.rows("syscalls.csv")}


def syscall(number: int, *, mach_trap: bool) -> str | None:
    """The name of a system call or Mach trap, None when unknown (numbers of xnu-11417.121.6)."""
    return _syscalls().get(("mach" if mach_trap else "unix", number))


@cache
def _port_types() -> list[tuple[int, int, dict[int, str]]]:
    """(first release, last release, names) of each table, oldest first."""
    found: dict[tuple[int, int], dict[int, str]] = {}
    for row in tables.rows("port_types.csv"):
        last = releases.parse_version(row["last_macos"]) if row["last_macos"] else releases.NEWEST
        era = (releases.parse_version(row["first_macos"]), last)
        found.setdefault(era, {})[int(row["number"])] = row["name"]
    return [(*era, types) for era, types in sorted(found.items())]


# The functions below put one value of a target or a payload in words: (value, release) -> text.


def policy_detail(_detail: int, _release: int) -> str:
    """The payload of policy telemetry: no source says what it means for each policy."""
    return "its meaning depends on the policy"


@lru_cache(maxsize=4096)
def port_type(number: int, release: int) -> str:
    """The IPC object type of a number; between two tables that differ both are named.

    The numbers are not stable: they changed with macOS 26.0, and again between 26.1 and 26.4.
    """
    eras = _port_types()
    earlier = [types for first, _, types in eras if first <= release] or [eras[0][2]]
    last = max((last for first, last, _ in eras if first <= release), default=0)
    named = earlier[-1].get(number)
    later = next((types for first, _, types in eras if first > release), None)
    if later is not None and release > releases.covers_until(last) and (other := later.get(number)) != named:
        return f"{named or 'an unknown port type'} or {other or 'an unknown port type'} ({number})"
    return named or f"unknown port type {number}"


def disposition(value: int, _release: int) -> str:
    """MACH_MSG_TYPE_*: how a right was to be sent."""
    return DISPOSITIONS.get(value, "unknown disposition")


def behavior(value: int, _release: int) -> str:
    """An exception behavior: "EXCEPTION_DEFAULT | MACH_EXCEPTION_CODES"."""
    base = BEHAVIORS.get(value & 0x1FFFFFFF, f"{value & 0x1FFFFFFF:#x}")
    return " | ".join([base, *(name for bit, name in BEHAVIOR_FLAGS.items() if value & bit)])


_EXCEPTION_MASKS = {1 << number: name.replace("EXC_", "EXC_MASK_") for number, name in EXCEPTIONS.items()}


def exception_mask(value: int, _release: int) -> str:
    """EXC_MASK_* flags."""
    return bits(value, _EXCEPTION_MASKS)


def state_flavor(value: int, _release: int) -> str:
    """A thread state flavor; the numbers overlap, so both architectures are named."""
    arm, x86 = THREAD_STATES_ARM.get(value), THREAD_STATES_X86.get(value)
    named = " on arm64, ".join(name for name in (arm, x86) if name)
    if arm and x86:
        return f"{value}, {named} on x86_64"
    return f"{value}, {named} on {'arm64' if arm else 'x86_64'}" if named else f"{value}, unknown"


def construct_flags(value: int, _release: int) -> str:
    """Flags of mach_port_construct."""
    kind = CONSTRUCT_TYPES.get(value & CONSTRUCT_TYPE_MASK)
    rest = value & ~CONSTRUCT_TYPE_MASK if kind else value
    options = bits(rest, CONSTRUCT_FLAGS) if rest else ""
    return " | ".join(part for part in (kind, options) if part)


def space_policy(value: int, prefix: str = "IPC_SPACE_POLICY_") -> str:
    """ipc_space_policy_t."""
    version = value & 0x700
    named = [prefix + name for bit, name in SPACE_POLICIES.items() if value & bit]
    if version:
        known = SPACE_POLICY_VERSIONS.get(version)
        named.append(prefix + known if known else f"version bits {version:#x}")
    rest = value & ~0x7FF
    if rest:
        named.append(f"{rest:#x}")
    return " | ".join(named) or "none"


def sender_policy(value: int, _release: int) -> str:
    """Bits 63..40 of the options of a message: the policy of the sender's space, and mach_msg2's bit."""
    mach_msg2 = value & _MACH_MSG2_OF_POLICY
    return space_policy(value & ~_MACH_MSG2_OF_POLICY) + (", sent by mach_msg2" if mach_msg2 else "")


def options_policy(value: int, _release: int) -> str:
    """The space's policy inside the options of a message."""
    return space_policy(value, "MACH64_POLICY_")


def message_options(value: int, release: int) -> str:
    """The options of a mach_msg call, without the policies that the kernel adds to them."""
    del release
    trailer = value >> 24 & 0xF
    named = " | ".join(name for bit, name in MESSAGE_OPTIONS.items() if value & bit)
    if trailer:
        named += (
            (" | " if named else "") + "MACH_RCV_TRAILER_" + (TRAILER_ELEMENTS.get(trailer) or str(trailer))
        )
    return named or "none"


def message_policies(value: int, _release: int) -> str:
    """Policies that the kernel of macOS 26 adds to the options."""
    return bits(value, MESSAGE_POLICIES)


def old_message_policies(value: int, _release: int) -> str:
    """Policies that the kernel of macOS 15.4 and 15.5 adds to the options."""
    return bits(value, OLD_MESSAGE_POLICIES)


def message_id(value: int, _release: int) -> str:
    """A msgh_id, which the kernel extends by its sign."""
    known = message(value & 0xFFFFFFFF)
    return f"{value - 2**64 if value >> 63 else value}" + (f", {known}" if known else "")


def entry_rights(value: int, _release: int) -> str:
    """The rights of ie_bits."""
    return bits(value, ENTRY_RIGHTS) if value else "none: the name holds no right"


def entry_flags(value: int, _release: int) -> str:
    """The flags of ie_bits."""
    return bits(value, ENTRY_FLAGS)


def generation(_value: int, _release: int) -> str:
    """The generation of ie_bits."""
    return "generation of the name, of no meaning to the caller"


def held(value: int, _release: int) -> str:
    """A count of references."""
    return f"{value} held"


def room(value: int, _release: int) -> str:
    """A size of a buffer."""
    return f"room for {value} bytes"


def trailer_type(value: int, _release: int) -> str:
    """A trailer type."""
    return f"requested trailer {value:#x}"


def persona_expected(value: int, _release: int) -> str:
    """The persona of a reply."""
    return f"persona {value} was expected by the destination"


def persona_sent(value: int, _release: int) -> str:
    """The persona of a voucher."""
    return f"persona {value} was sent"


def replier(value: int, _release: int) -> str:
    """The process that replied to an exception."""
    return (
        f"process {value}, which replied to the exception" if value else "no audit token came with the reply"
    )


def service_port(value: int, _release: int) -> str:
    """The name of a service port."""
    return f"port name {value:#x} of the service port"


def mach_trap(value: int, _release: int) -> str:
    """The name of a Mach trap."""
    return syscall(value, mach_trap=True) or "not in the table"


def system_call(value: int, _release: int) -> str:
    """The name of a Unix system call."""
    return syscall(value, mach_trap=False) or "not in the table"


def fault_code(value: int, _release: int) -> str:
    """The machine exception code of a memory fault."""
    return f"machine exception code {value & 0xFFFFF:#x}"


def gap(value: int, _release: int) -> str:
    """The start of a hole in a range."""
    return f"first address of the gap, {value:#x}"


def index(value: int, _release: int) -> str:
    """An index of the ring of memory to be reclaimed."""
    return f"the index that was found out of order: {value}"


def address(value: int, _release: int) -> str:
    """An address."""
    return f"address {value:#x}"


def size(value: int, _release: int) -> str:
    """A number of bytes."""
    return f"{value} bytes"


def hexadecimal(value: int, _release: int) -> str:
    """A number that nothing more is known of."""
    return f"{value:#x}"


def signed(value: int, width: int) -> int:
    """A two's complement number of `width` bits."""
    return value - (1 << width) if value >> (width - 1) else value


def delta(width: int, what: str) -> Callable[[int, int], str]:
    """For a change of a count, of which the kernel passes the low `width` bits."""
    return lambda value, _release: f"{signed(value, width):+d} {what}, by its low {width} bits"


def counted(what: str) -> Callable[[int, int], str]:
    """For a number of things."""
    return lambda value, _release: f"{value} {what}"


def context(what: str) -> Callable[[int, int], str]:
    """For the guard of a port, which often is an address."""
    return lambda value, _release: what + (", which looks like an address" if is_address(value) else "")


def is_address(value: int) -> bool:
    """Whether a number may be an address of a 64-bit process."""
    return 0x1_0000_0000 <= value < 0x8000_0000_0000

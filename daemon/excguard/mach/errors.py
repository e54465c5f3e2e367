"""Return codes of Mach functions, as exceptions that carry the code's name.

Mach functions answer with one 32-bit number out of four families: `kern_return_t` (small numbers),
`mach_msg_return_t` (0x1000xxxx), MIG's own errors (negative) and those of bootstrap (1100 and up). The
numbers do not overlap, so one table names them all; a number that is not in it is shown as a number.
"""

from typing import Final

from excguard.knowledge.names import KERN_RETURNS

KERN_SUCCESS: Final = 0

# mach/message.h (macOS 26.4 SDK).
_MACH_MSG: Final = {
    0x10000001: "MACH_SEND_IN_PROGRESS",
    0x10000002: "MACH_SEND_INVALID_DATA",
    0x10000003: "MACH_SEND_INVALID_DEST",
    0x10000004: "MACH_SEND_TIMED_OUT",
    0x10000005: "MACH_SEND_INVALID_VOUCHER",
    0x10000007: "MACH_SEND_INTERRUPTED",
    0x10000008: "MACH_SEND_MSG_TOO_SMALL",
    0x10000009: "MACH_SEND_INVALID_REPLY",
    0x1000000A: "MACH_SEND_INVALID_RIGHT",
    0x1000000B: "MACH_SEND_INVALID_NOTIFY",
    0x1000000C: "MACH_SEND_INVALID_MEMORY",
    0x1000000D: "MACH_SEND_NO_BUFFER",
    0x1000000E: "MACH_SEND_TOO_LARGE",
    0x1000000F: "MACH_SEND_INVALID_TYPE",
    0x10000010: "MACH_SEND_INVALID_HEADER",
    0x10000011: "MACH_SEND_INVALID_TRAILER",
    0x10000012: "MACH_SEND_INVALID_CONTEXT",
    0x10000013: "MACH_SEND_INVALID_OPTIONS",
    0x10000015: "MACH_SEND_INVALID_RT_OOL_SIZE",
    0x10000016: "MACH_SEND_NO_GRANT_DEST",
    0x10000017: "MACH_SEND_MSG_FILTERED",
    0x10000018: "MACH_SEND_AUX_TOO_SMALL",
    0x10000019: "MACH_SEND_AUX_TOO_LARGE",
    0x10004001: "MACH_RCV_IN_PROGRESS",
    0x10004002: "MACH_RCV_INVALID_NAME",
    0x10004003: "MACH_RCV_TIMED_OUT",
    0x10004004: "MACH_RCV_TOO_LARGE",
    0x10004005: "MACH_RCV_INTERRUPTED",
    0x10004006: "MACH_RCV_PORT_CHANGED",
    0x10004007: "MACH_RCV_INVALID_NOTIFY",
    0x10004008: "MACH_RCV_INVALID_DATA",
    0x10004009: "MACH_RCV_PORT_DIED",
    0x1000400A: "MACH_RCV_IN_SET",
    0x1000400B: "MACH_RCV_HEADER_ERROR",
    0x1000400C: "MACH_RCV_BODY_ERROR",
    0x1000400D: "MACH_RCV_INVALID_TYPE",
    0x1000400E: "MACH_RCV_SCATTER_SMALL",
    0x1000400F: "MACH_RCV_INVALID_TRAILER",
    0x10004011: "MACH_RCV_IN_PROGRESS_TIMED",
    0x10004012: "MACH_RCV_INVALID_REPLY",
    0x10004013: "MACH_RCV_INVALID_ARGUMENTS",
}

# mach/message.h: MACH_MSG_MASK, what a send or receive error may say beside itself: which resource ran short.
_MACH_MSG_SHORTAGE: Final = {
    0x2000: "MACH_MSG_IPC_SPACE",
    0x1000: "MACH_MSG_VM_SPACE",
    0x0800: "MACH_MSG_IPC_KERNEL",
    0x0400: "MACH_MSG_VM_KERNEL",
}
_MACH_MSG_MASK: Final = 0x3E00

# mach/mig_errors.h (macOS 26.4 SDK).
_MIG: Final = {
    -300: "MIG_TYPE_ERROR",
    -301: "MIG_REPLY_MISMATCH",
    -302: "MIG_REMOTE_ERROR",
    -303: "MIG_BAD_ID",
    -304: "MIG_BAD_ARGUMENTS",
    -305: "MIG_NO_REPLY",
    -306: "MIG_EXCEPTION",
    -307: "MIG_ARRAY_TOO_LARGE",
    -308: "MIG_SERVER_DIED",
    -309: "MIG_TRAILER_ERROR",
}

# servers/bootstrap.h (macOS 26.4 SDK).
_BOOTSTRAP: Final = {
    1100: "BOOTSTRAP_NOT_PRIVILEGED",
    1101: "BOOTSTRAP_NAME_IN_USE",
    1102: "BOOTSTRAP_UNKNOWN_SERVICE",
    1103: "BOOTSTRAP_SERVICE_ACTIVE",
    1104: "BOOTSTRAP_BAD_COUNT",
    1105: "BOOTSTRAP_NO_MEMORY",
    1106: "BOOTSTRAP_NO_CHILDREN",
}

_NAMES: Final = KERN_RETURNS | _MACH_MSG | _MIG | _BOOTSTRAP

# What to do about the codes that a user of excguard can meet and fix. Advice for one function comes first.
_ADVICE: Final = {
    "task_for_pid": {
        "KERN_FAILURE": "the process is another user's, is hardened, or does not exist; on macOS the caller "
        "needs root or the com.apple.security.cs.debugger entitlement, the process "
        "com.apple.security.get-task-allow",
    },
    "": {
        "KERN_INVALID_NAME": "the task holds no right of that name: it was already released",
        "KERN_INVALID_RIGHT": "the right of that name is of another kind, or does not allow this operation",
        "KERN_INVALID_TASK": "the process has ended",
        "KERN_TERMINATED": "the process or thread has ended",
        "KERN_DENIED": "the process is hardened and accepts no exception port from others; "
        "its own entitlements decide that (com.apple.security.only-one-exception-port)",
        "KERN_NO_SPACE": "the task's port name space is full: rights are leaking",
        "KERN_RESOURCE_SHORTAGE": "the kernel is short of memory or ports; try again",
        "MACH_SEND_INVALID_DEST": "the receiver is gone",
        "MACH_RCV_PORT_DIED": "the port was destroyed while a thread waited on it",
        "MIG_SERVER_DIED": "the other end died before it replied",
        "BOOTSTRAP_UNKNOWN_SERVICE": "no such service in this bootstrap name space; check its name, "
        "and that its launchd job is loaded in this session",
        "BOOTSTRAP_SERVICE_ACTIVE": "another process has checked in under this name; stop it first",
        "BOOTSTRAP_NOT_PRIVILEGED": "launchd does not allow this process to offer this service; name it "
        "under MachServices in the property list of the job",
    },
}


def symbolic_name(code: int) -> str:
    """The constant behind a return code of any Mach function: ``"KERN_INVALID_NAME"``.

    Codes of `mach_msg` keep their resource bits (``"MACH_RCV_BODY_ERROR|MACH_MSG_VM_SPACE"``). A code that is
    not in the tables is shown as a number: ``"0x1f4"``.
    """
    if code == KERN_SUCCESS:
        return "KERN_SUCCESS"
    if code in _NAMES:
        return _NAMES[code]
    bare = _MACH_MSG.get(code & ~_MACH_MSG_MASK)
    if bare and not code & _MACH_MSG_MASK & ~sum(_MACH_MSG_SHORTAGE):
        return "|".join([bare, *(name for bit, name in _MACH_MSG_SHORTAGE.items() if code & bit)])
    return hex(code)


class MachError(Exception):
    """A Mach function that did not succeed.

    Attributes:
        function: its name: ``"mach_port_construct"``.
        kern_return: what it returned.
        name: that number's constant, see `symbolic_name`.
        advice: what may be done about it, in a sentence without a full stop; empty where nothing general can
            be said.
    """

    def __init__(self, function: str, kern_return: int) -> None:
        """Describe ``function`` having returned ``kern_return``."""
        self.function = function
        self.kern_return = kern_return
        self.name = symbolic_name(kern_return)
        self.advice = _ADVICE.get(function, {}).get(self.name) or _ADVICE[""].get(self.name, "")
        known = f" ({self.kern_return})" if not self.name.startswith("0x") else ""
        super().__init__(f"{function}: {self.name}{known}" + (f": {self.advice}" if self.advice else ""))

    def __reduce__(self) -> tuple[type["MachError"], tuple[str, int]]:
        """Pickle by what it was made from."""
        return type(self), (self.function, self.kern_return)


class UnsupportedReleaseError(Exception):
    """The running macOS is too old for what was asked."""


def check(function: str, kern_return: int) -> None:
    """Raise `MachError` unless ``kern_return``, which ``function`` has returned, is success."""
    if kern_return != KERN_SUCCESS:
        raise MachError(function, kern_return)

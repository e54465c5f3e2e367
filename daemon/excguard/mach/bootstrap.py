"""Finding and offering services by name: the bootstrap port, which launchd answers."""

from excguard.mach.errors import check
from excguard.mach.ports import ReceiveRight, SendRight
from excguard.native import ffi, lib


def check_in(name: str) -> ReceiveRight:
    """Take over the port of a service that this process offers.

    What is sent to it before a process has checked in waits in its queue. Such a port is launchd's: it must
    never become an exception port (see `excguard.mach.exception_ports.construct_exception_port`).

    Raises:
        MachError: ``BOOTSTRAP_SERVICE_ACTIVE``: another process offers it; ``BOOTSTRAP_NOT_PRIVILEGED``.
        ValueError: a name that is too long for bootstrap.
    """
    port = ffi.new("mach_port_t *")
    check("bootstrap_check_in", lib.bootstrap_check_in(_bootstrap_port(), _encoded(name), port))
    return ReceiveRight(port[0], movable=False)


def look_up(name: str) -> SendRight:
    """A send right to the service of that name.

    Raises:
        MachError: ``BOOTSTRAP_UNKNOWN_SERVICE``: there is none.
        ValueError: a name that is too long for bootstrap.
    """
    port = ffi.new("mach_port_t *")
    check("bootstrap_look_up", lib.bootstrap_look_up(_bootstrap_port(), _encoded(name), port))
    return SendRight(port[0])


def _encoded(name: str) -> bytes:
    encoded = name.encode()
    # servers/bootstrap.h: name_t is char[128] (BOOTSTRAP_MAX_NAME_LEN), the final NUL within.
    if not 0 < len(encoded) < 128 or b"\0" in encoded:
        raise ValueError(f"invalid service name {name!r}: 1 to 127 bytes, no NUL")
    return encoded


def _bootstrap_port() -> int:
    return int(lib.bootstrap_port)

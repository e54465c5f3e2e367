"""Bare messages, for tests that keep to no protocol."""

from excguard.mach.ports import ReceiveRight
from excguard.native import ffi, lib

GOOD = 0x676F6F64


def receive(port: ReceiveRight, timeout: float = 20.0) -> int:
    """The id of a message that arrives; the message is destroyed."""
    buffer = ffi.new("uint64_t[]", 64)
    header = ffi.cast("mach_msg_header_t *", buffer)
    options = lib.MACH_RCV_MSG | lib.MACH_RCV_TIMEOUT
    result = lib.mach_msg(header, options, 0, 512, port.name, int(timeout * 1000), 0)
    assert result == 0, hex(result)
    lib.mach_msg_destroy(header)
    return int(header.msgh_id)


def send(message: bytes) -> int:
    """Send a whole message, header included; what mach_msg returns."""
    buffer = ffi.new("uint64_t[]", (len(message) + 7) // 8)
    ffi.buffer(buffer)[: len(message)] = message
    header = ffi.cast("mach_msg_header_t *", buffer)
    options = lib.MACH_SEND_MSG | lib.MACH_SEND_TIMEOUT
    result = int(lib.mach_msg(header, options, len(message), 0, 0, 100, 0))
    if result == 0x10000004:  # MACH_SEND_TIMED_OUT: its rights came back
        lib.mach_msg_destroy(header)
    return result

"""What every message has, in bytes: its header, and the audit trailer that says who sent it."""

import struct
from typing import Final

from excguard.knowledge.record import Record

HEADER: Final = struct.Struct("=IIIIIi")  # mach_msg_header_t
_TRAILER: Final = struct.Struct("=II4x8x8I")  # mach_msg_audit_trailer_t


class MalformedError(ValueError):
    """A message that violates the protocol; the text says how."""


class Sender(Record):
    """The sender of a message: the audit token that the kernel appended."""

    token: tuple[int, ...]

    @property
    def pid(self) -> int:
        """`audit_token_to_pid` of bsm/libbsm.h: field 5."""
        return self.token[5]

    @property
    def is_kernel(self) -> bool:
        """Whether it is KERNEL_AUDIT_TOKEN_VALUE of mach/message.h."""
        return not any(self.token)


def sender_of(received: bytes) -> Sender:
    """The sender of the message.

    Raises:
        MalformedError: an audit trailer is missing.
    """
    size = HEADER.unpack_from(received)[1]
    at = (size + 3) & ~3  # round_msg: where the kernel puts the trailer
    if size < HEADER.size or at + _TRAILER.size > len(received):
        raise MalformedError("no room for a trailer")
    kind, trailer_size, *token = _TRAILER.unpack_from(received, at)
    if kind != 0 or trailer_size < _TRAILER.size:  # MACH_MSG_TRAILER_FORMAT_0
        raise MalformedError("no audit trailer")
    return Sender(tuple(token))

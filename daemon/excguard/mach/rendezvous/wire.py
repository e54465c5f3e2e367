"""The messages of a rendezvous, in bytes: requests to a server are checked here, its replies are built.

Nothing here calls the kernel. Numbers are native-endian: both ends are on one machine. The layouts are those
of `client/excguard_client.h` (and mach/message.h); the replies are parsed there.
"""

import enum
import struct
from collections.abc import Sequence
from typing import Final

from excguard.knowledge.record import Record
from excguard.mach.rendezvous import insertion
from excguard.mach.rendezvous.insertion import InsertionReport
from excguard.mach.rendezvous.message import HEADER, MalformedError, Sender, sender_of
from excguard.native import lib

_REQUEST: Final = struct.Struct("=III")  # behind the header: version, total length, flags
_REGISTERED: Final = struct.Struct("=IIIi")  # behind the header: version, total length, outcome, result
_DEAD_NAME: Final = struct.Struct("=8xI")  # behind the header: NDR record, name
_COUNT: Final = struct.Struct("=I")  # mach_msg_body_t
_DESCRIPTOR: Final = struct.Struct("=I4x2xBB")  # mach_msg_port_descriptor_t
_TAIL: Final = struct.Struct("=III")  # version, total length, status


RECEIVE_SIZE: Final = insertion.RECEIVE_SIZE
"""Bytes of a receive buffer: reports of the inserted library are the longest messages."""

# mach/message.h: MACH_MSGH_BITS_REMOTE_MASK.
_REMOTE_MASK: Final = 0x1F


class Protocol(enum.Enum):
    """The protocol of a message."""

    EXCGUARD = "excguard"
    CHROMIUM = "chromium"
    """Generation 3 of Chromium's base/apple/mach_port_rendezvous.h."""


class Request(Record):
    """A request for ports.

    Attributes:
        sender: the requesting process.
        protocol: of the request, and so of the reply.
        version: of the protocol; another version than ours gets a reply, but no ports.
        wants_data: whether a Chromium client requests the Info.plist.
    """

    sender: Sender
    protocol: Protocol
    version: int = 0
    wants_data: bool = False


class Report(Record):
    """A child reports the result of `excguard_client_watch_self`: an outcome and a kern_return_t."""

    sender: Sender
    outcome: int
    result: int


class DeadName(Record):
    """A dead-name notification of the kernel."""

    name: int


class Cancelled(Record):
    """A send-once notification: a request for a dead-name notification was cancelled."""


class Settle(Record):
    """The server's message to itself, which comes after everything that was sent before it."""

    sender: Sender


Message = Request | Report | InsertionReport | DeadName | Cancelled | Settle


def parse(received: bytes, protocol: Protocol) -> Message:
    """Check a received message.

    Args:
        received: the message and its trailer.
        protocol: of the port that received it.

    Raises:
        MalformedError: the message is invalid. The caller still owns all rights in it.
    """
    if len(received) < HEADER.size:
        raise MalformedError("shorter than a header")
    bits, size, remote, _local, _voucher, msgh_id = HEADER.unpack_from(received)
    sender = sender_of(received)
    if bits & lib.MACH_MSGH_BITS_COMPLEX:
        raise MalformedError("complex: requests carry no rights and no memory")
    if sender.is_kernel:
        if msgh_id == lib.MACH_NOTIFY_DEAD_NAME and size == HEADER.size + _DEAD_NAME.size:
            return DeadName(_DEAD_NAME.unpack_from(received, HEADER.size)[0])
        if msgh_id == lib.MACH_NOTIFY_SEND_ONCE:
            return Cancelled()
        raise MalformedError(f"unrequested notification {msgh_id}")
    if protocol is Protocol.EXCGUARD and msgh_id == lib.EXCGUARD_RENDEZVOUS_REGISTERED:
        return _report(received, size, remote, sender)
    if protocol is Protocol.EXCGUARD and insertion.is_report(msgh_id):
        return insertion.parse(received, sender)
    if protocol is Protocol.EXCGUARD and msgh_id == insertion.SETTLE:
        if (size, remote) != (HEADER.size, lib.MACH_PORT_NULL):
            raise MalformedError(f"{size} bytes, or a reply right, in a message that has neither")
        return Settle(sender)
    return _request(received, protocol, sender)


def _request(received: bytes, protocol: Protocol, sender: Sender) -> Request:
    bits, size, remote, _local, _voucher, msgh_id = HEADER.unpack_from(received)
    expected = (
        {lib.EXCGUARD_RENDEZVOUS_REQUEST: HEADER.size + _REQUEST.size}
        if protocol is Protocol.EXCGUARD
        else dict.fromkeys((lib.EXCGUARD_CHROMIUM_REQUEST, lib.EXCGUARD_CHROMIUM_REQUEST_PLIST), HEADER.size)
    )
    if msgh_id not in expected:
        raise MalformedError(f"unknown msgh_id {msgh_id:#x}")
    if size != expected[msgh_id]:
        raise MalformedError(f"{size} bytes instead of {expected[msgh_id]}")
    # Before a claim: a request without a usable reply right must not use up the ports of a child.
    if remote in (lib.MACH_PORT_NULL, lib.MACH_PORT_DEAD):
        raise MalformedError("no reply right")
    if bits & _REMOTE_MASK != lib.MACH_MSG_TYPE_PORT_SEND_ONCE:
        raise MalformedError("a reply right that is not send-once")
    if protocol is Protocol.CHROMIUM:
        return Request(sender, protocol, wants_data=msgh_id == lib.EXCGUARD_CHROMIUM_REQUEST_PLIST)
    version, total_length, flags = _REQUEST.unpack_from(received, HEADER.size)
    if total_length != size:
        raise MalformedError(f"a total length of {total_length} in {size} bytes")
    if flags and version == lib.EXCGUARD_RENDEZVOUS_VERSION:
        raise MalformedError(f"unknown flags {flags:#x}")
    return Request(sender, protocol, version=version)


def _report(received: bytes, size: int, remote: int, sender: Sender) -> Report:
    if size != HEADER.size + _REGISTERED.size:
        raise MalformedError(f"{size} bytes instead of {HEADER.size + _REGISTERED.size}")
    if remote != lib.MACH_PORT_NULL:
        raise MalformedError("unexpected reply right")
    version, total_length, outcome, result = _REGISTERED.unpack_from(received, HEADER.size)
    if version != lib.EXCGUARD_RENDEZVOUS_VERSION or total_length != size:
        raise MalformedError(f"version {version} and a total length of {total_length} in {size} bytes")
    if outcome >= lib.EXCGUARD_CLIENT_OUTCOME_COUNT:
        raise MalformedError(f"unknown outcome {outcome}")
    return Report(sender, outcome, result)


def build_reply(reply_port: int, ports: Sequence[tuple[int, int, int]], *, status: int) -> bytes:
    """The reply to a request.

    Args:
        reply_port: the send-once right that came with it; sending moves it.
        ports: key, name and disposition of each.
        status: one of the first ``EXCGUARD_CLIENT_`` outcomes.
    """
    size = HEADER.size + _COUNT.size + len(ports) * (_DESCRIPTOR.size + 4) + _TAIL.size
    tail = _TAIL.pack(lib.EXCGUARD_RENDEZVOUS_VERSION, size, status)
    keys = _keys(ports)
    return _head(reply_port, size, lib.EXCGUARD_RENDEZVOUS_REPLY, ports) + tail + keys


def build_chromium_reply(reply_port: int, ports: Sequence[tuple[int, int, int]], data: bytes) -> bytes:
    """The reply in Chromium's protocol, which has no status: only the number of ports.

    ``data`` of more than 18 KiB is left out, as there.
    """
    if len(data) > lib.EXCGUARD_CHROMIUM_MAX_DATA:
        data = b""
    # 64 bits at an offset that is never a multiple of 8: bytes, then.
    tail = _keys(ports) + struct.pack("=Q", len(data)) + data + bytes(-len(data) % 4)
    size = HEADER.size + _COUNT.size + len(ports) * _DESCRIPTOR.size + len(tail)
    return _head(reply_port, size, lib.EXCGUARD_CHROMIUM_REPLY, ports) + tail


def _head(reply_port: int, size: int, msgh_id: int, ports: Sequence[tuple[int, int, int]]) -> bytes:
    bits = lib.MACH_MSG_TYPE_MOVE_SEND_ONCE | lib.MACH_MSGH_BITS_COMPLEX
    header = HEADER.pack(bits, size, reply_port, lib.MACH_PORT_NULL, lib.MACH_PORT_NULL, msgh_id)
    descriptors = b"".join(
        _DESCRIPTOR.pack(name, disposition, lib.MACH_MSG_PORT_DESCRIPTOR) for _, name, disposition in ports
    )
    return header + _COUNT.pack(len(ports)) + descriptors


def _keys(ports: Sequence[tuple[int, int, int]]) -> bytes:
    return struct.pack(f"={len(ports)}I", *(key for key, _, _ in ports))

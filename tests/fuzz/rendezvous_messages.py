"""Well-formed messages of the rendezvous protocols, as their receivers have them."""

import struct

from excguard.mach.rendezvous import insertion, wire
from excguard.native import lib

TRAILER = struct.pack("=II12x8I", 0, 52, 0, 0, 0, 0, 0, 4242, 0, 1)
KERNEL_TRAILER = struct.pack("=II44x", 0, 52)


def received(message: bytes, trailer: bytes = TRAILER) -> bytes:
    """A message as its receiver has it: no destination, and a trailer behind it."""
    bits, size, _, _, _, msgh_id = wire.HEADER.unpack_from(message)
    header = wire.HEADER.pack(bits & lib.MACH_MSGH_BITS_COMPLEX, size, 0, 77, 0, msgh_id)
    return header + message[wire.HEADER.size :] + bytes(-len(message) % 4) + trailer + bytes(8)


def replies() -> list[tuple[int, bytes]]:
    """Protocol and message."""
    ports = [(key, 0x1000 + key, 16 + key % 3) for key in range(lib.EXCGUARD_RENDEZVOUS_MAX_PORTS)]
    found = [(0, wire.build_reply(9, ports[:count], status=0)) for count in (0, 1, 2, len(ports))]
    found += [(0, wire.build_reply(9, [], status=status)) for status in range(1, 5)]
    found += [(1, wire.build_chromium_reply(9, ports[:count], b"")) for count in range(7)]
    found += [(1, wire.build_chromium_reply(9, ports[:1], b"<plist>" * 9))]
    return [(protocol, received(message)) for protocol, message in found]


def requests() -> list[tuple[int, bytes]]:
    """Protocol and message, with a send-once reply right."""
    own = struct.pack("=III", 1, 36, 0)
    attached = struct.pack("=IIIi", 1, 40, 0, 0)
    image = struct.pack("=IIQQ16s", 48, 5, 4096, 4096, bytes(range(16))) + b"/path" + bytes(3)
    inserted = struct.pack("=IIQIIiII", 1, 60 + 2 * len(image), 7, 0, 17, 0, 0, 2) + 2 * image
    rows = [
        (0, lib.EXCGUARD_RENDEZVOUS_REQUEST, 0x2203, own, TRAILER),
        (0, lib.EXCGUARD_RENDEZVOUS_REGISTERED, 0, attached, TRAILER),
        (0, lib.EXCGUARD_INSERTION_START, 0, inserted, TRAILER),
        (0, lib.EXCGUARD_INSERTION_IMAGES, 0, inserted, TRAILER),
        (0, lib.MACH_NOTIFY_DEAD_NAME, 0, struct.pack("=8xI", 7), KERNEL_TRAILER),
        (0, lib.MACH_NOTIFY_SEND_ONCE, 0, b"", KERNEL_TRAILER),
        (1, lib.EXCGUARD_CHROMIUM_REQUEST, 0x2203, b"", TRAILER),
        (1, lib.EXCGUARD_CHROMIUM_REQUEST_PLIST, 0x2203, b"", TRAILER),
        (0, insertion.SETTLE, 0, b"", TRAILER),
    ]
    return [
        (
            protocol,
            wire.HEADER.pack(18 if reply else 0, 24 + len(body), reply, 0x1103, 0, msgh_id) + body + trailer,
        )
        for protocol, msgh_id, reply, body, trailer in rows
    ]

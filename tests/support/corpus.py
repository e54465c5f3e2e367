"""Messages to test with: the golden ones as a kernel sends them, notifications, mutations of both."""

from __future__ import annotations

import json
import random
import struct
from typing import TYPE_CHECKING, Any

from tests.support import DATA

if TYPE_CHECKING:
    from collections.abc import Iterator

KERNEL_TOKENS = struct.pack("<2I8I", 0, 1, *[0] * 8)
AUDIT_TRAILER = struct.pack("<3I", 0, 52, 7) + KERNEL_TOKENS
USER_TRAILER = struct.pack("<3I2I8I", 0, 52, 7, 501, 20, 501, 501, 20, 501, 20, 4321, 100, 9)

NDR = bytes([0, 0, 0, 0, 1, 0, 0, 0])
NOTIFICATION_IDS = {
    "port_deleted": 65,
    "send_possible": 66,
    "port_destroyed": 69,
    "no_senders": 70,
    "send_once": 71,
    "dead_name": 72,
}


def golden() -> list[dict[str, Any]]:
    """The recorded messages of MIG's own stubs."""
    return [json.loads(line) for line in (DATA / "mach_exc_golden.jsonl").read_text().splitlines()]


def layouts() -> dict[str, Any]:
    """Field offsets, sizes and checks of the subsystem."""
    found: dict[str, Any] = json.loads((DATA / "mach_exc_layouts.json").read_text())
    return found


def request(message: dict[str, Any]) -> bytes:
    """A golden message as it is received, without a trailer."""
    return bytes.fromhex(message["request_hex"])


def header(
    size: int, msgh_id: int, *, bits: int = 0x1112, remote: int = 0, local: int = 0x1103, voucher: int = 0
) -> bytes:
    """A mach_msg_header_t."""
    return struct.pack("<5Ii", bits, size, remote, local, voucher, msgh_id)


def notification(name: str, value: int = 1) -> bytes:
    """A notification as the kernel sends it, with its trailer."""
    msgh_id = NOTIFICATION_IDS[name]
    if name == "send_once":
        return header(24, msgh_id) + AUDIT_TRAILER
    if name == "port_destroyed":
        body = struct.pack("<4I", 1, value, 0, 16 << 16)
        return header(40, msgh_id, bits=0x80001112) + body + AUDIT_TRAILER
    return header(36, msgh_id) + NDR + struct.pack("<I", value) + AUDIT_TRAILER


def seeds() -> list[bytes]:
    """Well formed messages of every kind, from the kernel and from users."""
    requests = [request(message) for message in golden()]
    return [
        *requests,
        *[bytes.fromhex(m["request_hex"] + m["trailer_hex"]) for m in golden()],
        *[one + AUDIT_TRAILER for one in requests],
        *[one + USER_TRAILER for one in requests],
        *[notification(name) for name in NOTIFICATION_IDS],
    ]


# Values that a field's checks are about, and their neighbors.
_BOUNDARIES = [0, 1, 2, 3, 8, 17, 18, 24, 36, 51, 52, 53, 63, 64, 80, 1296, 1297, 2405, 2410, 2411]
_EXTREME = [0x7FFFFFFF, 0x80000000, 0xFFFFFFFC, 0xFFFFFFFF]


def mutate(message: bytes, rng: random.Random) -> bytes:
    """One to three changes that a message may suffer."""
    changed = bytearray(message)
    for _ in range(rng.randint(1, 3)):
        words = len(changed) // 4
        kind = rng.randrange(6)
        if kind == 0 and words:
            at = rng.randrange(words) * 4
            changed[at : at + 4] = struct.pack("<I", rng.choice(_BOUNDARIES + _EXTREME))
        elif kind == 1 and words:
            at = rng.randrange(words) * 4
            value = struct.unpack_from("<I", changed, at)[0] + rng.choice([-8, -4, -1, 1, 4, 8])
            changed[at : at + 4] = struct.pack("<I", value & 0xFFFFFFFF)
        elif kind == 2 and changed:
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
        elif kind == 3:
            del changed[rng.randrange(len(changed) + 1) :]
        elif kind == 4:
            changed += rng.randbytes(rng.choice([1, 4, 8, 52]))
        elif changed:
            at = rng.randrange(len(changed))
            del changed[at : at + rng.choice([1, 4, 8])]
    return bytes(changed)


def one_word_changed() -> Iterator[bytes]:
    """Messages from the kernel with one word changed to a value that a check is about."""
    for message in golden():
        if message["msgh_id"] not in (2408, 2410) or message["args"]["exception"] != 12:
            continue
        whole = request(message) + AUDIT_TRAILER
        words = [*range(0, 92, 4), *range(len(whole) - 52, len(whole), 4)]
        for at in words:
            old = struct.unpack_from("<I", whole, at)[0]
            for value in {*_BOUNDARIES, *_EXTREME, old ^ 1, old ^ 1 << 16, old ^ 1 << 24, old ^ 1 << 31}:
                yield whole[:at] + struct.pack("<I", value) + whole[at + 4 :]


def mutations(count: int, seed: int) -> Iterator[bytes]:
    """``count`` mutated seeds, the same ones for the same ``seed``."""
    rng = random.Random(seed)  # noqa: S311 - to be repeatable
    sources = seeds()
    for _ in range(count):
        yield mutate(rng.choice(sources), rng)

"""fuzz.py FIRST LAST: sends the kernel requests that no client library would make, and some that one would.

A process for each seed from FIRST to LAST, because a misuse that the kernel takes for fatal ends it. Standard
library only, and no import of excguard, so that it starts fast.
"""

from __future__ import annotations

import os
import random
import re
import socket
import struct
import sys
from pathlib import Path

HEADER = struct.Struct("<II3Q8Q")  # struct wire_request
REPLY = struct.Struct("<iIIIQQ")  # struct wire_reply
WIRE = Path(__file__).parents[3] / "daemon" / "simulator" / "wire.h"
OPS = re.findall(
    r"^    (WIRE_[A-Z_]+)(?: = 1)?,", WIRE.read_text().split("enum wire_op")[1].split("}")[0], re.MULTILINE
)
OP = {name.removeprefix("WIRE_"): number for number, name in enumerate(OPS, 1)}
WAITS = 0.004  # seconds that a call may wait before it is left alone
SELF = 0x203

NAMES = [0, 0xFFFFFFFF, SELF, 0x307, 0x107, 0x10003, 0xFFFFFF03]
NUMBERS = [*range(33), 64, 255, 1024, 65535, 65536, -1, -2, 1 << 31, 1 << 63]
KINDS = range(16, 22)  # dispositions
FLAGS = [
    0,
    0,
    1,
    2,
    0x10,
    0x12,
    0x20,
    0x24,
    0x40,
    0x80,
    0x100,
    0x400,
    0x1000,
    0x2000,
    0x8000,
    0x10000,
    0x100000,
]
OPTIONS = [0x101, 0x102, 0x103, 0x111, 0x112, 0x113, 0x03000103, 0x04000113, 0x117, 0x11F, 0xFFFFFFFF]
BEHAVIORS = [0x80000001, 0x80000002, 0x80000003, 0x80000004, 0x80000005, 1, 2, 3, 4, 6]
MALFORMED = 0.01  # of the requests
REQUESTS = 300  # of one process


class Fuzzer:
    """A process with some threads and the names it has learnt."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)  # noqa: S311
        self.names: list[int] = []
        self.connections = [self.connect() for _ in range(3)]

    def name(self) -> int:
        if self.names and self.chance.random() < 0.9:
            return self.chance.choice(self.names[-24:])
        return self.chance.choice(NAMES)

    def word(self) -> int:
        return self.name() if self.chance.random() < 0.4 else self.chance.choice(NUMBERS) & 0xFFFFFFFFFFFFFFFF

    def pick(self, *values: int) -> int:
        return self.chance.choice(values)

    def message(self) -> bytes:
        """A Mach message that is nearly right."""
        body = b""
        bits = self.pick(*KINDS) | self.pick(0, 0, *KINDS) << 8
        if self.chance.random() < 0.5:
            bits |= 0x80000000
            count = self.pick(0, 1, 1, 2, 5)
            body = struct.pack("<I", self.pick(count, count, count, 0x10000000))
            for _ in range(count):
                kind, disposition = self.pick(*[0] * 12, 1, 2, 4, 9), self.pick(*KINDS)
                body += struct.pack("<IIHBB", self.name(), 0, 0, disposition, kind)
        body += self.chance.randbytes(4 * self.pick(0, 0, 3, 10, 300))
        size = 24 + len(body) + self.pick(*[0] * 12, 4, -4)
        identity = self.pick(70, *range(2501, 2511), 2408, -1)
        ports = [self.name(), self.name() if bits & 0xFF00 else self.pick(0, 0, 0, self.name())]
        return struct.pack("<IIIIIi", bits, size, *ports, 0, identity) + body

    def request(self) -> bytes:
        if self.chance.random() < MALFORMED:
            return self.chance.randbytes(self.pick(0, 1, 16, 88, 89, 200, 5000))
        op = self.pick(
            OP["MSG"], OP["PORT_CONSTRUCT"], *[self.chance.randrange(len(OPS) + 2) for _ in range(6)]
        )
        task = SELF if self.chance.random() < 0.9 else self.word()
        arguments = [task, self.name(), *(self.word() for _ in range(5))]
        if op == OP["MSG"]:
            payload = self.message() if self.chance.random() < 0.6 else b""
            option = self.pick(*OPTIONS) | 1 if payload else self.pick(*OPTIONS) & ~1
            room = self.pick(0, 20, 24, 100, 4096, 4096, 4096, 0xFFFFFFFF)
            arguments = [option, len(payload), room, self.name(), self.pick(0, 0, 1), self.name(), 0]
        else:
            payload = self.payload()
            self.shape(op, arguments)
        size = len(payload) if self.chance.random() > MALFORMED else self.chance.randrange(1 << 32)
        words = [argument & 0xFFFFFFFFFFFFFFFF for argument in arguments]
        return HEADER.pack(op, size, 1, 2, 3, *words, 0) + payload

    def payload(self) -> bytes:
        if self.chance.random() < 0.8:
            return self.chance.choice([b"", b"name\0"])
        return self.chance.choice(
            [b"kern.version\0", b"\0", b"name", self.chance.randbytes(40), bytes(65536)]
        )

    def shape(self, op: int, arguments: list[int]) -> None:
        """Makes the arguments of a call likely ones."""
        if op == OP["PORT_CONSTRUCT"]:
            arguments[1:4] = [self.pick(*FLAGS) | self.pick(*FLAGS), self.pick(0, 1, 2, 16), self.word()]
        elif op in {OP["PORT_INSERT_RIGHT"], OP["PORT_EXTRACT_RIGHT"]}:
            arguments[2:4] = [self.pick(arguments[1], self.pick(*KINDS)), self.pick(*KINDS)]
        elif op == OP["PORT_REQUEST_NOTIFICATION"]:
            arguments[2:6] = [self.pick(*range(64, 73)), self.pick(0, 1, 2), self.name(), self.pick(*KINDS)]
        elif op == OP["TASK_FOR_PID"]:
            arguments[1] = os.getpid()
        elif op in {OP["TASK_SET_EXCEPTION_PORTS"], OP["TASK_SWAP_EXCEPTION_PORTS"]}:
            flavor = self.pick(0, 1, 4, 6, 7, 13)
            arguments[1:] = [self.pick(0x1000, 0x3FFE), self.name(), self.pick(*BEHAVIORS), flavor, 16, 0]
        elif op == OP["RAISE"]:
            code = 1 << 61 | self.pick(0x200, 0x100, 0x100, 4, 7) << 32 | 0x103
            arguments[:4] = [self.pick(12, 12, 12, 1), code, self.word(), self.pick(0, 1, 3)]
        elif OPS[op - 1 : op] and OPS[op - 1].startswith("WIRE_BOOTSTRAP"):
            arguments[0] = self.pick(0x307, 0x307, 0x307, arguments[1])

    def learn(self, reply: bytes) -> None:
        result, size, _, _, value, _ = REPLY.unpack_from(reply)
        if result == 0 and 0x100 <= value <= 0xFFFFFFFF:
            self.names.append(value)
        if size >= 24:
            self.names += [name for name in struct.unpack_from("<II", reply, REPLY.size + 8) if name]

    def step(self) -> None:
        at = self.chance.randrange(len(self.connections))
        try:
            self.connections[at].send(self.request())
            reply = self.connections[at].recv(1 << 17)
            if reply:
                self.learn(reply)
                return
        except (TimeoutError, ConnectionError):
            pass  # it waits for what will not come, or it was thrown out
        if self.chance.random() < 0.5:  # while another thread may end the wait
            self.connections[at].close()
        self.connections[at] = self.connect()

    def connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        connection.connect(os.environ["EXCSIM_SOCKET"])
        connection.send(HEADER.pack(OP["HELLO"], 0, 0, 0, 0, 1, os.getpid(), 0, 0, 0, 0, 0, 0))
        connection.recv(1 << 17)
        connection.settimeout(WAITS)
        return connection


def live(seed: int) -> None:
    fuzzer = Fuzzer(seed)
    for _ in range(REQUESTS):
        fuzzer.step()


def main(first: int, last: int) -> None:
    for seed in range(first, last + 1):
        pid = os.fork()
        if pid == 0:
            live(seed)
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if status > 0:
            sys.exit(f"seed {seed}: exit status {status}")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))

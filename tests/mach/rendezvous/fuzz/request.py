"""Atheris over the server's parser of requests.

    python -m tests.mach.rendezvous.fuzz.request -max_total_time=600 CORPUS

The first byte chooses the protocol, the rest is a message as it was received. Needs ``pip install atheris``.
"""

import sys
from pathlib import Path

import atheris
import msgspec

from excguard import decode
from excguard.config import Delivery
from excguard.decoding.site import Site
from excguard.knowledge.guard_behavior import GuardBehavior
from excguard.mach.rendezvous import insertion, wire
from excguard.targets.delivery import Plan
from excguard.targets.executable import Executable
from excguard.targets.program import Program

VIOLATION = decode(0x2000020000002703)

# By hand: imports of a package that is installed for editing pass atheris by.
for holder, names in (
    (wire, ("sender_of", "parse", "_request", "_report")),
    (insertion, ("parse", "_images")),
    (Program, ("take", "_place", "_images_at", "_remember")),
):
    for name in names:
        setattr(holder, name, atheris.instrument_func(getattr(holder, name)))

program = Program(Plan(Delivery.INSERT, Executable(Path("/bin/app")), GuardBehavior(0), library=Path("/lib")))


def parse(data: bytes) -> None:
    """Whatever arrives is one of six messages or malformed; anything else ends the fuzzer.

    What a report of the inserted library says is taken, and its places are asked for.
    """
    if not data:
        return
    protocol = wire.Protocol.CHROMIUM if data[0] & 1 else wire.Protocol.EXCGUARD
    try:
        message = wire.parse(data[1:], protocol)
    except wire.MalformedError:
        return
    if isinstance(message, wire.DeadName | wire.Cancelled | wire.Settle):
        return
    if isinstance(message, insertion.InsertionReport) and message.sender.pid < 1 << 31:  # as the kernel's are
        program.take(message)
        addresses = [image.address + image.size // 2 for image in message.images[:4]]
        site = Site.of(VIOLATION, program.place(message.sender.pid, addresses), program.name_of(1))
        msgspec.json.encode([site.id, str(site), site.place and site.place.fields()])
    if message.sender.is_kernel:
        raise AssertionError("the kernel asks for nothing")
    if isinstance(message, wire.Request) and message.protocol is not protocol:
        raise AssertionError("an answer in another protocol")


atheris.Setup(sys.argv, parse)
atheris.Fuzz()

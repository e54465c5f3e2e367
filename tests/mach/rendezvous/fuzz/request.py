"""Atheris over the server's parser of requests.

    python -m tests.mach.rendezvous.fuzz.request -max_total_time=600 CORPUS

The first byte chooses the protocol, the rest is a message as it was received. Needs ``pip install atheris``.
"""

import sys

import atheris

from excguard.mach.rendezvous import insertion, wire

# By hand: imports of a package that is installed for editing pass atheris by.
for module, names in (
    (wire, ("sender_of", "parse", "_request", "_report")),
    (insertion, ("parse", "_images")),
):
    for name in names:
        setattr(module, name, atheris.instrument_func(getattr(module, name)))


def parse(data: bytes) -> None:
    """Whatever arrives is one of five messages or malformed; anything else ends the fuzzer."""
    if not data:
        return
    protocol = wire.Protocol.CHROMIUM if data[0] & 1 else wire.Protocol.EXCGUARD
    try:
        message = wire.parse(data[1:], protocol)
    except wire.MalformedError:
        return
    if isinstance(message, wire.DeadName | wire.Cancelled):
        return
    if message.sender.is_kernel:
        raise AssertionError("the kernel asks for nothing")
    if isinstance(message, wire.Request) and message.protocol is not protocol:
        raise AssertionError("an answer in another protocol")


atheris.Setup(sys.argv, parse)
atheris.Fuzz()

"""A program that is watched only after it was started: it does what its standard input says, a line each.

    handlers       says who handles its guards: the name of the port in its own name space, or "none"
    handler        makes a port of its own the handler
    NAME           commits that misuse of `excguard.misuse`

It answers each line with one, and begins with its pid.
"""

import os
import sys

from excguard.knowledge.exception_behavior import Behavior
from excguard.mach import exception_ports, host
from excguard.misuse import MISUSES


def main() -> None:
    own = None
    say(str(os.getpid()))
    for line in sys.stdin:
        word = line.strip()
        if word == "handlers":
            found = exception_ports.get()
            say(" ".join(str(handler.port.name) for handler in found if handler.port) or "none")
            for handler in found:
                if handler.port:
                    handler.port.close()
        elif word == "handler":
            own = exception_ports.construct_exception_port(host.running())
            with own.make_send() as send:
                exception_ports.set_port(host.running(), send, Behavior.IDENTITY_PROTECTED)
            say(str(own.name))
        else:
            MISUSES[word].commit()
            say(f"did {word}")


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


main()

"""A target that was added to a supervisor."""

import asyncio
from dataclasses import dataclass, field

from excguard.config import Target
from excguard.mach.ports import ReceiveRight
from excguard.targets.program import Program


@dataclass(eq=False)
class SupervisedTarget:
    """A target and its exception port, for as long as a supervisor has it.

    Attributes:
        target: what was added.
        foreground: it gets standard input, and the terminal behind it if there is one; the others read
            /dev/null.
        port: its exception port; the supervisor's.
        program: the last start of its program; None before the first.
        pid: the process that its program runs as; 0 while there is none.
        starts: how many times its program was started.
        stopping: set when it is to end for good.
    """

    target: Target
    foreground: bool
    port: ReceiveRight
    program: Program | None = None
    pid: int = 0
    starts: int = 0
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

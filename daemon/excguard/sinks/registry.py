"""The sinks that a configuration can ask for: to add one, name its opener here."""

from collections.abc import Callable
from typing import Final

from excguard.config import Config
from excguard.mach.host import Host
from excguard.pipeline.sink import Sink
from excguard.sinks import log
from excguard.sinks.line_output import Complain

Opener = Callable[[Config, Host, Complain], Sink | None]
"""Opens the sink that a configuration asks for, None when it asks for none. Raises OSError.

What goes wrong later, and must reach a person although the sink cannot write, goes to the `Complain`.
"""

OPENERS: Final[tuple[Opener, ...]] = (log.open_file,)


def open_sinks(config: Config, host: Host, complain: Complain) -> list[Sink]:
    """Open all sinks that ``config`` asks for, or none. Raises OSError."""
    opened: list[Sink] = []
    try:
        opened.extend(sink for opener in OPENERS if (sink := opener(config, host, complain)) is not None)
    except OSError:
        for sink in opened:
            sink.close()
        raise
    return opened

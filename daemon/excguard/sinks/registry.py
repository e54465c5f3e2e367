"""The sinks that a configuration can ask for: to add one, name its opener here."""

import os
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


def _otlp(config: Config, host: Host, complain: Complain) -> Sink | None:
    if not config.otlp.enabled:
        return None
    from excguard.sinks import otlp, otlp_settings  # noqa: PLC0415 - with a client of HTTP, which few need

    return otlp.OtlpSink(otlp_settings.read(config.otlp.endpoint, os.environ), host, complain)


def _webhook(config: Config, _host: Host, complain: Complain) -> Sink | None:
    if not (config.webhook.url or config.webhook.url_file):
        return None
    from excguard.sinks import webhook  # noqa: PLC0415 - likewise

    return webhook.open_webhook(config, complain)


OPENERS: Final[tuple[Opener, ...]] = (log.open_file, _otlp, _webhook)


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

"""The structured log: one line a hit, one line for whatever else happens, through structlog.

The events and their fields are an interface: queries rest on them. ``guard_hit`` is a hit in full,
``guard_hits_suppressed`` the count of a site's further hits; the rest is about excguard itself.
"""

import functools
import os
import time
from collections.abc import Callable, Mapping, MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from excguard.config import Config, Log
from excguard.decoding.violation import PER_HIT, Violation
from excguard.knowledge.severity import Severity
from excguard.mach.host import Host
from excguard.pipeline.hit import Hit, rfc3339
from excguard.pipeline.sink import Level, Sink
from excguard.pipeline.suppressed import Suppressed
from excguard.process.terminal_output import terminal_width, wants_color
from excguard.sinks.console import ConsoleForm
from excguard.sinks.hit_line import HitLines
from excguard.sinks.line_output import Complain, LineOutput

if TYPE_CHECKING:
    from excguard.sinks.lean_structlog import structlog

Event = MutableMapping[str, Any]
Form = Callable[[Event], str]
Filter = Callable[[Level, str], bool]

VIOLATION_FIELDS = (
    "guard_type",
    "flavor",
    "flavor_name",
    "kernel_name",
    *PER_HIT,
    "severity",
    "summary",
)
"""What a line has of a violation, of what `Violation.to_dict` gives."""

_STANDARD_OUTPUT = 1
_STANDARD_ERROR = 2


def json_form(event: Event) -> str:
    """One JSON object, its keys in the order of the event."""
    return msgspec.json.encode(event).decode()


def every_event(_level: Level, _name: str) -> bool:
    """Accepts every event."""
    return True


class EventLog(Sink):
    """Hits and events in, lines out. Nothing is written before `flush`."""

    durable: ClassVar[bool] = True

    def __init__(  # noqa: PLR0913 - what a line is made of
        self,
        output: LineOutput,
        *,
        kernel: str,
        release: str,
        form: Form = json_form,
        accepts: Filter = every_event,
        name: str = "log",
        explain: bool = False,
        first: int | None = None,
    ) -> None:
        """Write to ``output`` in ``form``.

        Args:
            output: the destination; closed with the log.
            kernel: goes with every summary of hits, as with every hit.
            release: likewise.
            form: makes a line of an event.
            accepts: whether an event, by its level and name, is written; hits always are.
            name: what metrics call the log.
            explain: whether hits have their usual causes and the fix.
            first: hits of a site that come in full in a window, at most; None: as many as the configuration
                says.
        """
        self.name = name
        self.output = output
        self._accepts = accepts
        self._first = first
        self._kernel = kernel
        self._release = release
        self._form = form
        self._lines = HitLines(self._hit_event) if form is json_form else None
        self._explain = explain
        self._advise = explain or isinstance(form, ConsoleForm)

    @functools.cached_property
    def _logger(self) -> "structlog.BoundLogger":
        """What makes events of calls. Made for the first event: in most runs there are hits at most."""
        from excguard.sinks.lean_structlog import structlog  # noqa: PLC0415 - takes 50 million instructions

        form = self._form
        logger: structlog.BoundLogger = structlog.wrap_logger(
            self.output,
            processors=[
                structlog.processors.add_log_level,
                _stamp,
                lambda _logger, _method, event: form(event),
            ],
            wrapper_class=structlog.BoundLogger,
            context_class=dict,
            cache_logger_on_first_use=True,
        )
        return logger

    def limits(self, log: Log) -> Log:
        """See `Sink.limits`."""
        return log if self._first is None else msgspec.structs.replace(log, first=min(log.first, self._first))

    @property
    def failures(self) -> int:
        """Writes that failed."""
        return self.output.failures

    @property
    def progress(self) -> int:
        """Bytes that were written."""
        return self.output.progress

    def hit(self, hit: Hit) -> None:
        """``guard_hit``: one hit, in full."""
        self.output.msg(self._form(self._hit_event(hit)) if self._lines is None else self._lines.line(hit))

    def suppressed(self, group: Suppressed, target: str, violation: Violation) -> None:
        """``guard_hits_suppressed``: how many hits of a site were counted instead of written.

        ``violation`` is the first of them. A group of several sites has no flavor, code or advice to show.
        """
        fields: dict[str, Any] = {"timestamp": rfc3339(group.last_ns), "target": target, "count": group.hits}
        if group.site is None:
            fields["summary"] = "Hits of many different sites; the metrics count them by flavor."
        else:
            fields |= violation.select(name for name in VIOLATION_FIELDS if name not in PER_HIT)
            if group.site.pc:
                fields["pc"] = f"{group.site.pc:#x}"
        fields |= {
            "kernel": self._kernel,
            "release": self._release,
            "source": group.source,
            "first_timestamp": rfc3339(group.first_ns),
            "first_seq": group.first_seq,
            "last_seq": group.last_seq,
            "recovered": bool(group.seqs),
        }
        if group.seqs:
            fields["seqs"] = ",".join(f"{a}-{b}" if a != b else f"{a}" for a, b in group.seqs)
        severity = Severity.of(violation.severity if group.site else None)
        self.output.msg(self._form(_event(severity, "guard_hits_suppressed", fields)))

    def event(self, level: Level, name: str, fields: Mapping[str, Any]) -> None:
        """Any other event, if this log accepts it."""
        if self._accepts(level, name):
            getattr(self._logger, level)(name, **fields)

    def flush(self) -> bool:
        """Write what has gathered; False when some of it has to wait."""
        return self.output.flush()

    def close(self) -> bool:
        """Flush for the last time; False when lines were left unwritten."""
        return self.output.close()

    def reopen(self, path: Path | None = None) -> Callable[[], None]:
        """Open the log again, after a rotation or at another ``path``. For any thread.

        Returns:
            What makes the exchange: to be called on the sink's thread, so that lines from before still go
            to the old file.

        Raises:
            OSError: it cannot be opened; the old one stays in use.
        """
        successor = self.output.successor(path)

        def exchange() -> None:
            if successor is not None:
                self.output.go_on_in(successor)

        return exchange

    def _hit_event(self, hit: Hit) -> Event:
        fields = hit.select(VIOLATION_FIELDS)
        if self._explain:
            fields["causes"] = list(hit.violation.causes)
        if self._advise:
            fields["advice"] = hit.violation.advice
        return _event(hit.severity, "guard_hit", fields)


def open_file(config: Config, host: Host, complain: Complain) -> EventLog | None:
    """The log file that ``config`` names; None when it names none. Raises OSError."""
    if not config.log.path:
        return None
    output = LineOutput.open(Path(config.log.path), complain)
    return _log(output, host, config.log, every_event, "log")


def open_standard_error(
    host: Host, settings: Log, complain: Complain, accepts: Filter = every_event
) -> EventLog:
    """A log on standard error, which stays open when the log is closed.

    In the form for people it has the first hit of a site in full, and counts the others.
    """
    output = LineOutput(_STANDARD_ERROR, "standard error", complain)
    return _log(output, host, settings, accepts, "stderr", first=1)


def open_standard_output(host: Host, settings: Log, complain: Complain) -> EventLog:
    """A log on standard output, which stays open when the log is closed."""
    output = LineOutput(_STANDARD_OUTPUT, "standard output", complain)
    return _log(output, host, settings, every_event, "stdout")


def _log(  # noqa: PLR0913 - as `EventLog`
    output: LineOutput,
    host: Host,
    settings: Log,
    accepts: Filter,
    name: str,
    *,
    first: int | None = None,
) -> EventLog:
    chosen: Form = json_form
    if settings.format == "console" or (settings.format == "auto" and os.isatty(output.fd)):
        chosen = ConsoleForm(color=wants_color(output.fd), width=terminal_width(output.fd))
    return EventLog(
        output,
        kernel=host.kernel,
        release=f"macOS {host.release}",
        form=chosen,
        accepts=accepts,
        name=name,
        explain=settings.explain,
        first=first if isinstance(chosen, ConsoleForm) else None,
    )


def _event(severity: Severity, name: str, fields: dict[str, Any]) -> Event:
    """An event as structlog makes others; its processors cost more than the line."""
    return {"timestamp": fields.pop("timestamp"), "level": severity.log_level, "event": name, **fields}


def _stamp(_logger: object, _method: str, event: Event) -> Event:
    """Put timestamp, level and event first, where readers look for them."""
    timestamp = event.pop("timestamp", None) or rfc3339(time.time_ns())
    return {"timestamp": timestamp, "level": event.pop("level"), "event": event.pop("event"), **event}

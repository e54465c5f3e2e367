"""The structured log: one line a hit, one line for whatever else happens, through structlog.

The events and their fields are an interface: people's queries rest on them. ``guard_hit`` is a hit written
whole, ``guard_hits_suppressed`` the count of a site's further hits; the rest tells the story of excguard
itself.
"""

import time
from collections.abc import Callable, MutableMapping
from typing import Any

import msgspec
import structlog

from excguard.decoding.violation import PER_HIT, Violation
from excguard.knowledge.severity import LogLevel, Severity
from excguard.pipeline.hit import Hit, rfc3339
from excguard.pipeline.rate_limit import Suppressed
from excguard.sinks.console import ConsoleForm
from excguard.sinks.line_output import LineOutput

Level = LogLevel
Event = MutableMapping[str, Any]
Form = Callable[[Event], str]
Tells = Callable[[Level, str], bool]

_VIOLATION_FIELDS = (
    "guard_type",
    "flavor",
    "flavor_name",
    "kernel_name",
    *PER_HIT,
    "severity",
    "summary",
)
"""What a line has of a violation, of what `Violation.to_dict` gives."""


def json_form(event: Event) -> str:
    """One JSON object, its keys in the order of the event."""
    return msgspec.json.encode(event).decode()


def tell_all(_level: Level, _name: str) -> bool:
    """Of every event."""
    return True


class EventLog:
    """Events in, lines out. Nothing is written before `flush`."""

    def __init__(
        self,
        output: LineOutput,
        *,
        kernel: str,
        release: str,
        form: Form = json_form,
        tells: Tells = tell_all,
    ) -> None:
        """Write to ``output`` in ``form``.

        Args:
            output: where to.
            kernel: goes with every summary of hits, as with every hit.
            release: likewise.
            form: makes a line of an event.
            tells: whether an event, by its level and name, is for whoever reads this; hits always are.
        """
        self.output = output
        self._tells = tells
        self._kernel = kernel
        self._release = release
        self._advise = isinstance(form, ConsoleForm)
        self._logger = structlog.wrap_logger(
            output,
            processors=[
                structlog.processors.add_log_level,
                _stamp,
                lambda _logger, _method, event: form(event),
            ],
            wrapper_class=structlog.BoundLogger,
            context_class=dict,
            cache_logger_on_first_use=True,
        )

    def hit(self, hit: Hit) -> None:
        """``guard_hit``: one hit, whole."""
        violation = hit.violation
        fields = {
            "timestamp": rfc3339(hit.time_ns),
            "target": hit.target,
            "pid": hit.pid,
            "thread_id": hit.thread_id,
            **violation.select(_VIOLATION_FIELDS),
            **hit.circumstances(),
        }
        self._write(Severity.of(violation.severity).log_level, "guard_hit", violation, fields)

    def suppressed(self, group: Suppressed, target: str, violation: Violation) -> None:
        """``guard_hits_suppressed``: how many hits of a site were counted instead of written.

        ``violation`` is the first of them. A group of several sites has no flavor, code or advice to show.
        """
        fields: dict[str, Any] = {"timestamp": rfc3339(group.last_ns), "target": target, "count": group.hits}
        if group.site is None:
            fields["summary"] = "Hits of many different sites; the metrics count them by flavor."
        else:
            fields |= violation.select(name for name in _VIOLATION_FIELDS if name not in PER_HIT)
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
        self._write(severity.log_level, "guard_hits_suppressed", None, fields)

    def event(self, level: Level, name: str, **fields: Any) -> None:  # noqa: ANN401 - whatever JSON can say
        """Any other event."""
        if self._tells(level, name):
            getattr(self._logger, level)(name, **fields)

    def flush(self) -> bool:
        """Write what has gathered; False when some of it has to wait."""
        return self.output.flush()

    def _write(self, level: Level, name: str, violation: Violation | None, fields: dict[str, Any]) -> None:
        if self._advise and violation is not None:
            fields["advice"] = violation.advice
        getattr(self._logger, level)(name, **fields)


def _stamp(_logger: object, _method: str, event: Event) -> Event:
    """Put timestamp, level and event first, where people look for them."""
    timestamp = event.pop("timestamp", None) or rfc3339(time.time_ns())
    return {"timestamp": timestamp, "level": event.pop("level"), "event": event.pop("event"), **event}

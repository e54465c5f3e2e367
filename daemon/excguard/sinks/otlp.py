"""Hits as log records of OpenTelemetry: OTLP over HTTP, in its JSON encoding.

A record is an event: ``app.crash`` for a hit that kills the program, ``excguard.guard_hit`` for another, and
``excguard.guard_hits_suppressed`` for the count of further hits of a site (`excguard.hits`). A hit that the
log repeats has the same `excguard.seq`.

Best-effort: what the receiver does not take is kept for a while within bounds, then dropped and counted.
"""

import gzip
import os
import socket
import time
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from excguard import __version__
from excguard.decoding.violation import Violation
from excguard.knowledge.severity import Severity
from excguard.mach.host import Host
from excguard.pipeline.hit import Hit
from excguard.pipeline.suppressed import Suppressed
from excguard.sinks.http_sender import Backoff, Sender
from excguard.sinks.line_output import Complain
from excguard.sinks.otlp_settings import Settings
from excguard.sinks.remote_sink import RemoteSink

_BATCH: Final = 512  # records in a request
_MAX_WAITING: Final = 8192  # records; what comes while so many wait is dropped
_CLOSING: Final = 0.8  # seconds for the last request
_ARCHITECTURES: Final = {"x86_64": "amd64"}  # as the conventions name it

# SeverityNumber of opentelemetry/proto/logs/v1/logs.proto.
_NUMBERS: Final = {Severity.FATAL: 21, Severity.OPTIONAL: 13, Severity.SOFT: 9, Severity.UNKNOWN: 13}


class _Record(NamedTuple):
    target: str
    hits: int  # that it stands for
    json: bytes


class OtlpSink(RemoteSink):
    """Sends hits to a collector, or to a store that takes OTLP itself.

    Attributes:
        name: see `Sink`.
        durable: see `Sink`.
    """

    name = "otlp"
    unit = "records"

    def __init__(
        self, settings: Settings, host: Host, complain: Complain, backoff: Backoff | None = None
    ) -> None:
        """Prepare; nothing is connected.

        Args:
            settings: where to, and how.
            host: the running system, which the records name.
            complain: receives one line when sending begins to fail, and when it works again.
            backoff: when to try again.

        Raises:
            ValueError: the address is not one of http or https.
        """
        super().__init__(f"OTLP: {settings.url}", complain)
        self._sender = Sender(
            settings.url,
            headers={"Content-Type": "application/json", **settings.headers},
            timeout=settings.timeout,
            context=settings.context,
        )
        self._settings = settings
        self._host = host
        self._backoff = backoff or Backoff()
        self._records: list[_Record] = []

    def hit(self, hit: Hit) -> None:
        """Take one hit."""
        severity, violation = hit.severity, hit.violation
        attributes: dict[str, Any] = {
            "exception.type": f"EXC_GUARD {violation.flavor_name or violation.guard_type or 'unknown'}",
            "exception.message": violation.summary,
            "excguard.guard_type": violation.guard_type,
            "excguard.flavor": violation.flavor_name,
            "excguard.severity": severity.value,
            **{f"excguard.{name}": value for name, value in violation.select(_SELECTED).items()},
            "excguard.source": hit.source,
            "excguard.seq": hit.seq,
            "excguard.recovered": hit.recovered,
            "excguard.kernel": hit.kernel,
            "thread.id": hit.thread_id,
            "process.pid": hit.pid,
        }
        if hit.executable is not None:
            attributes["process.executable.name"] = os.path.basename(hit.executable)  # noqa: PTH119 - text
            attributes["process.executable.path"] = hit.executable
        if hit.frames:
            attributes["exception.stacktrace"] = "\n".join(hit.frames)
        if hit.place is not None:
            attributes |= {f"excguard.{name}": value for name, value in hit.place.fields().items()}
        if (site := hit.site) is not None:
            attributes["excguard.site_id"] = site.id
        event = "app.crash" if severity is Severity.FATAL else "excguard.guard_hit"
        self._add(hit.target, hit.time_ns, severity, event, violation.summary, attributes)

    def suppressed(self, group: Suppressed, target: str, violation: Violation) -> None:
        """Take the count of the further hits of a site."""
        known = violation if group.site else None
        severity = Severity.of(known.severity if known else None)
        attributes: dict[str, Any] = {
            "excguard.hits": group.hits,
            "excguard.guard_type": known and known.guard_type,
            "excguard.flavor": known and known.flavor_name,
            "excguard.severity": severity.value,
            "excguard.source": group.source,
            "excguard.seq": group.first_seq,
            "excguard.last_seq": group.last_seq,
        }
        text = (
            f"{group.hits} further hits: {known.summary}"
            if known
            else f"{group.hits} further hits of many sites"
        )
        self._add(target, group.last_ns, severity, "excguard.guard_hits_suppressed", text, attributes)

    def flush(self) -> bool:
        """Send what was taken; False when some of it has to wait."""
        while self._records:
            if not self._backoff.ready:
                return False
            if not self._send(self._records[:_BATCH], None):
                return False
        return True

    def close(self) -> bool:
        """Send for the last time. What is left then is dropped, and counted."""
        end = time.monotonic() + _CLOSING
        while self._records and time.monotonic() < end:
            if not self._send(self._records[:_BATCH], _CLOSING):
                break
        self._dropped += _hits(self._records)
        complete = not self._records
        self._records.clear()
        return complete

    def _send(self, records: list[_Record], timeout: float | None) -> bool:
        """One request; False when the records have to be sent again."""
        body, headers = self._body(records), {}
        if self._settings.compress:
            body, headers = gzip.compress(body, 6), {"Content-Encoding": "gzip"}
        answer = self._sender.post(body, headers, timeout=timeout)
        if answer.accepted:
            rejected, reason = _rejected(answer.body, len(records))
            # The answer does not say which records were refused: a summary among them counts as one hit.
            self._dropped += rejected if rejected < len(records) else _hits(records)
            self._sent += len(records) - rejected
            self._backoff.worked()
            self._say(f"{rejected} of {len(records)} records refused: {reason}" if rejected else "")
            del self._records[: len(records)]
            return True
        self._failures += 1
        if answer.retryable:
            self._backoff.failed(answer.retry_after)
            self._say(answer.error)
            return False
        self._say(f"{answer.error} {_message(answer.body)}".strip() + f"; {len(records)} records are dropped")
        self._dropped += _hits(records)
        del self._records[: len(records)]
        return True

    def _add(  # noqa: PLR0913, PLR0917 - the parts of a record
        self,
        target: str,
        time_ns: int,
        severity: Severity,
        event: str,
        text: str,
        attributes: Mapping[str, Any],
    ) -> None:
        hits = attributes.get("excguard.hits", 1)
        if len(self._records) >= _MAX_WAITING:
            self._dropped += hits
            return
        record = {
            "timeUnixNano": str(time_ns),
            "observedTimeUnixNano": str(time.time_ns()),
            "severityNumber": _NUMBERS[severity],
            "severityText": severity.value,
            "eventName": event,
            "body": {"stringValue": text},
            "attributes": _attributes(attributes),
        }
        self._records.append(_Record(target, hits, msgspec.json.encode(record)))

    def _body(self, records: list[_Record]) -> bytes:
        by_target: dict[str, list[msgspec.Raw]] = {}
        for record in records:
            by_target.setdefault(record.target, []).append(msgspec.Raw(record.json))
        scope = {"name": "excguard", "version": __version__}
        return msgspec.json.encode(
            {
                "resourceLogs": [
                    {
                        "resource": {"attributes": _attributes(self._resource(target))},
                        "scopeLogs": [{"scope": scope, "logRecords": lines}],
                    }
                    for target, lines in by_target.items()
                ]
            }
        )

    def _resource(self, target: str) -> dict[str, str]:
        return {
            "service.name": target,
            "os.type": "darwin",
            "os.name": "macOS",
            "os.version": self._host.release,
            "os.build_id": self._host.build,
            "host.arch": _ARCHITECTURES.get(self._host.machine, self._host.machine),
            "host.name": socket.gethostname(),
            **self._settings.resource,
        }


_SELECTED = ("code", "subcode", "guard_target")


def _attributes(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Attributes in the JSON encoding of OTLP: 64-bit integers are text there."""
    return [{"key": key, "value": _value(value)} for key, value in found.items() if value is not None]


def _value(value: object) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    return {"stringValue": str(value)}


class _PartialSuccess(msgspec.Struct, rename="camel"):
    rejected_log_records: int | str = 0
    error_message: str = ""


class _Response(msgspec.Struct, rename="camel"):
    partial_success: _PartialSuccess | None = None


def _hits(records: Iterable[_Record]) -> int:
    return sum(record.hits for record in records)


def _rejected(body: bytes, sent: int) -> tuple[int, str]:
    """How many records of an accepted request were refused, and why; 0 when the answer does not say."""
    try:
        partial = msgspec.json.decode(body, type=_Response).partial_success if body else None
        count = int(partial.rejected_log_records) if partial else 0
    except (msgspec.MsgspecError, ValueError, RecursionError):  # such as an answer in protobuf
        return 0, ""
    return max(0, min(count, sent)), partial.error_message[:200] if partial else ""


class _Status(msgspec.Struct):
    message: str = ""


def _message(body: bytes) -> str:
    """What the receiver says of an error (a google.rpc.Status)."""
    try:
        return f"({msgspec.json.decode(body, type=_Status).message[:200]})"
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return ""

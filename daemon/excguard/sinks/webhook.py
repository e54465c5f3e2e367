"""One message to a chat or an issue tracker for each new site: Slack, Teams, Sentry, or JSON of one's own.

A site that was announced stays known over restarts, in a small file beside the journal. Best-effort: messages
wait for the server within bounds; those beyond these or beyond the limit an hour are dropped and counted. A
site whose message was dropped is announced by its next hit.
"""

import contextlib
import hashlib
import hmac
import socket
import time
import uuid
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import msgspec

from excguard import __version__
from excguard.config import Config, default_journal_path
from excguard.config.checks import is_url
from excguard.config.settings import WebhookFormat
from excguard.decoding.violation import Violation
from excguard.files import atomic, bounded, errors
from excguard.files.escaping import printable
from excguard.knowledge.severity import Severity
from excguard.pipeline.hit import Hit, rfc3339
from excguard.pipeline.suppressed import Suppressed
from excguard.sinks.http_sender import Backoff, Sender
from excguard.sinks.line_output import Complain
from excguard.sinks.remote_sink import RemoteSink

_MAX_SITES: Final = 10_000
_MAX_WAITING: Final = 100  # messages
_MAX_SECRET: Final = 64 * 1024  # bytes of a file with an address or a key
_MAX_FILE: Final = 1 << 20  # bytes of the file of known sites
_TIMEOUT: Final = 10.0
_CLOSING: Final = 0.8
_HOUR: Final = 3600.0


class _Message(NamedTuple):
    site: str
    hit: Hit


class WebhookSink(RemoteSink):
    """Announces new sites.

    Attributes:
        name: see `Sink`.
        durable: see `Sink`.
    """

    name = "webhook"
    unit = "messages"

    def __init__(  # noqa: PLR0913 - one argument a setting
        self,
        url: str,
        form: WebhookFormat,
        *,
        complain: Complain,
        known: Path | None = None,
        secret: bytes = b"",
        per_hour: int = 60,
        least: Severity = Severity.SOFT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare; nothing is connected.

        Args:
            url: where to; for Sentry the DSN.
            form: of the messages.
            complain: receives one line when sending begins to fail, and when it works again.
            known: the file of sites that were announced; None to forget them at the end.
            secret: the key of the signature; empty for none.
            per_hour: messages in an hour.
            least: hits of lower severity are not announced.
            clock: seconds, as of `time.monotonic`.

        Raises:
            ValueError: the address cannot be one.
        """
        headers = {"Content-Type": "application/json"}
        if form is WebhookFormat.SENTRY:
            url, key = _sentry(url)
            headers = {
                "Content-Type": "application/x-sentry-envelope",
                "X-Sentry-Auth": (
                    f"Sentry sentry_version=7, sentry_key={key}, sentry_client=excguard/{__version__}"
                ),
            }
        # The host alone: the path may be a secret.
        super().__init__(f"webhook: {urlsplit(url).hostname or ''}", complain)
        self._sender = Sender(url, headers=headers, timeout=_TIMEOUT)
        self._form = form
        self._file = known
        self._secret = secret
        self._per_hour = per_hour
        self._least = least
        self._clock = clock
        self._backoff = Backoff(clock)
        self._sites = _read(known, complain)
        self._waiting: deque[_Message] = deque()
        self._sent_at: deque[float] = deque()

    def hit(self, hit: Hit) -> None:
        """Announce the hit's site, if it is new. A hit that is recovered after a crash has none."""
        site = hit.site
        if site is None or not hit.severity.reaches(self._least):
            return
        if site.id in self._sites:
            self._sites.move_to_end(site.id)
            return
        if len(self._waiting) >= _MAX_WAITING or not self._allowed():
            self._dropped += 1
            return
        self._remember(site.id)
        self._waiting.append(_Message(site.id, hit))

    def suppressed(self, group: Suppressed, target: str, violation: Violation) -> None:
        """Further hits of a site are no news."""

    def flush(self) -> bool:
        """Send what waits; False when it has to wait for the server."""
        sent = self._sent
        while self._waiting:
            if not self._backoff.ready or not self._send(self._waiting[0], None):
                return False
        if self._sent != sent:
            self._save()
        return True

    def close(self) -> bool:
        """Send for the last time. What is left is dropped and counted; a later hit announces its site."""
        end = self._clock() + _CLOSING
        while self._waiting and self._clock() < end:
            if not self._send(self._waiting[0], _CLOSING):
                break
        self._dropped += len(self._waiting)
        for message in self._waiting:
            self._sites.pop(message.site, None)
        complete = not self._waiting
        self._waiting.clear()
        self._save()
        return complete

    def _allowed(self) -> bool:
        now = self._clock()
        while self._sent_at and self._sent_at[0] <= now - _HOUR:
            self._sent_at.popleft()
        return len(self._sent_at) + len(self._waiting) < self._per_hour

    def _send(self, message: _Message, timeout: float | None) -> bool:
        """One request; False when the message has to be sent again."""
        body = _FORMS[self._form](message.hit, message.site)
        answer = self._sender.post(body, self._signature(body), timeout=timeout)
        if answer.retryable:
            self._failures += 1
            self._backoff.failed(answer.retry_after)
            self._say(answer.error)
            return False
        self._waiting.popleft()
        self._backoff.worked()
        self._sent_at.append(self._clock())
        if answer.accepted:
            self._sent += 1
            self._say("")
        else:
            self._failures += 1
            self._dropped += 1
            self._sites.pop(message.site, None)
            self._say(f"{answer.error}; the message is dropped")
        return True

    def _signature(self, body: bytes) -> dict[str, str]:
        """Time, and HMAC-SHA256 of ``TIME.BODY``: a receiver can refuse forged and repeated messages."""
        if not self._secret:
            return {}
        now = str(int(time.time()))
        digest = hmac.new(self._secret, now.encode() + b"." + body, hashlib.sha256).hexdigest()
        return {"X-Excguard-Timestamp": now, "X-Excguard-Signature": f"sha256={digest}"}

    def _remember(self, site: str) -> None:
        self._sites[site] = None
        if len(self._sites) > _MAX_SITES:
            self._sites.popitem(last=False)

    def _save(self) -> None:
        if self._file is None:
            return
        waiting = {message.site for message in self._waiting}
        lines = "".join(f"{site}\n" for site in self._sites if site not in waiting)
        try:
            atomic.write(self._file, lines.encode())
        except OSError as error:
            self._failures += 1
            self._say(f"{self._file}: {errors.reason(error)}: sites are announced again after a restart")


def open_webhook(config: Config, complain: Complain) -> WebhookSink:
    """The sink that ``[webhook]`` asks for.

    Raises:
        OSError: a file cannot be read, is empty, or holds no address.
    """
    webhook = config.webhook
    url = webhook.url
    if webhook.url_file:
        path = Path(webhook.url_file)
        url = bounded.read(path, _MAX_SECRET).decode("utf-8", "replace").strip()
        if not is_url(url):
            raise OSError(f"{path}: its text is not an address of http or https")
    secret = bounded.read(Path(webhook.secret_file), _MAX_SECRET).strip() if webhook.secret_file else b""
    if webhook.secret_file and not secret:
        raise OSError(f"{webhook.secret_file}: empty; it is to hold the key of the signature")
    journal = Path(config.journal.path) if config.journal.path else default_journal_path()
    journal.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # `run` may be the first to need it
    try:
        return WebhookSink(
            url,
            webhook.format,
            complain=complain,
            known=journal.with_name(f"{journal.name}.announced"),
            secret=secret,
            per_hour=webhook.per_hour,
            least=Severity(webhook.severity),
        )
    except ValueError as error:
        raise OSError(f"{webhook.url_file or 'webhook.url'}: {error}") from None


def _read(path: Path | None, complain: Complain) -> OrderedDict[str, None]:
    """The sites of an earlier run; lines that are not ids are left out."""
    if path is None:
        return OrderedDict()
    try:
        text = bounded.read(path, _MAX_FILE).decode("ascii", "replace")
    except FileNotFoundError:
        return OrderedDict()
    except OSError as error:
        complain(f"webhook: {path}: {errors.reason(error)}: every site is announced again")
        return OrderedDict()
    ids = [line for line in text.splitlines() if line.isalnum() and len(line) <= 64]
    return OrderedDict.fromkeys(ids[-_MAX_SITES:])


def _sentry(dsn: str) -> tuple[str, str]:
    """The address of envelopes and the key of a DSN, ``https://KEY@HOST/PROJECT``. Raises ValueError."""
    with contextlib.suppress(ValueError):
        parts = urlsplit(dsn)
        prefix, _, project = parts.path.rpartition("/")
        if parts.username and project.isdigit() and parts.username.isalnum():
            host = parts.netloc.rpartition("@")[2]
            return f"{parts.scheme}://{host}{prefix}/api/{project}/envelope/", parts.username
    raise ValueError('not a DSN of Sentry such as "https://KEY@sentry.example/42"')


def _title(hit: Hit) -> str:
    flavor = hit.violation.flavor_name or hit.violation.guard_type or "unknown guard"
    return printable(f"{flavor} in {hit.target}")


def _facts(hit: Hit, site: str) -> dict[str, str]:
    """What a message says of a hit, by heading."""
    violation = hit.violation
    found = {
        "Severity": hit.severity.value,
        "Program": hit.executable or hit.target,
        "Place": str(hit.place) if hit.place is not None else "not known",
        "Host": socket.gethostname(),
        "Release": hit.release,
        "Fix": violation.advice,
        "Site": site,
    }
    return {key: printable(value) for key, value in found.items() if value}


def _json(hit: Hit, site: str) -> bytes:
    return msgspec.json.encode(
        {"event": "new_site", "site_id": site, "host": socket.gethostname()} | hit.to_dict()
    )


def _slack(hit: Hit, site: str) -> bytes:
    lines = [f"*{_for_slack(_title(hit))}*", _for_slack(printable(hit.violation.summary))]
    lines += [f"*{key}* {_for_slack(value)}" for key, value in _facts(hit, site).items()]
    return msgspec.json.encode({"text": "\n".join(lines)})


def _for_slack(text: str) -> str:
    """The three characters that mrkdwn reads as markup of links and mentions (api.slack.com, formatting)."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _teams(hit: Hit, site: str) -> bytes:
    """An Adaptive Card of text runs, which are shown as they are: other elements read Markdown."""
    blocks = [
        {"type": "RichTextBlock", "inlines": [{"type": "TextRun", "text": _title(hit), "weight": "bolder"}]},
        {"type": "RichTextBlock", "inlines": [{"type": "TextRun", "text": printable(hit.violation.summary)}]},
        *(
            {
                "type": "RichTextBlock",
                "inlines": [
                    {"type": "TextRun", "text": f"{key}: ", "weight": "bolder"},
                    {"type": "TextRun", "text": value},
                ],
            }
            for key, value in _facts(hit, site).items()
        ),
    ]
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": blocks,
    }
    attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "content": card}
    return msgspec.json.encode({"type": "message", "attachments": [attachment]})


_SENTRY_LEVELS: Final = {
    Severity.FATAL: "fatal",
    Severity.OPTIONAL: "warning",
    Severity.SOFT: "info",
    Severity.UNKNOWN: "warning",
}


def _for_sentry(hit: Hit, site: str) -> bytes:
    """An envelope with one event (develop.sentry.dev, envelopes), grouped by the site."""
    identity = uuid.uuid4().hex
    violation = hit.violation
    event = {
        "event_id": identity,
        "timestamp": rfc3339(hit.time_ns),
        "platform": "native",
        "logger": "excguard",
        "server_name": socket.gethostname(),
        "level": _SENTRY_LEVELS[hit.severity],
        "fingerprint": [site],
        "exception": {
            "values": [
                {
                    "type": violation.flavor_name or violation.guard_type or "unknown guard",
                    "value": printable(violation.summary),
                    "mechanism": {"type": "mach", "handled": False},
                }
            ]
        },
        "tags": {"site_id": site, "guard_type": violation.guard_type, "target": printable(hit.target)[:200]},
        "contexts": {"os": {"name": "macOS", "version": hit.release.removeprefix("macOS ")}},
        "extra": _facts(hit, site),
    }
    content = msgspec.json.encode(event)
    head = {"event_id": identity, "sent_at": rfc3339(time.time_ns())}
    item = {"type": "event", "length": len(content)}
    return b"\n".join([msgspec.json.encode(head), msgspec.json.encode(item), content, b""])


_FORMS: Final[Mapping[WebhookFormat, Callable[[Hit, str], bytes]]] = {
    WebhookFormat.JSON: _json,
    WebhookFormat.SLACK: _slack,
    WebhookFormat.TEAMS: _teams,
    WebhookFormat.SENTRY: _for_sentry,
}

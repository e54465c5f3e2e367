"""The client side of the live feed (`live_feed.py`): what a terminal shows of a running excguard."""

import base64
import contextlib
import http.client
import json
import socket
import ssl
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, Struct

from excguard.files import errors
from excguard.knowledge.severity import Severity
from excguard.web.live_feed import IDLE_TICK, ROWS, STEPS

READ_TIMEOUT = 30.0  # seconds; the feed sends something at least every ten
_MAX_BYTES = 64 * 1024 * 1024  # of one message
_MAX_LINE = 200  # of the text of an error
_UNIX = "unix:"
_YEARS = (1971, 9998)  # whose times exist in every time zone
_EXPLAINED = {
    http.HTTPStatus.FORBIDDEN,
    http.HTTPStatus.MISDIRECTED_REQUEST,
    http.HTTPStatus.TOO_MANY_REQUESTS,
    http.HTTPStatus.INTERNAL_SERVER_ERROR,
    http.HTTPStatus.SERVICE_UNAVAILABLE,
}
"""Statuses whose text says what is wrong."""


class FeedError(Exception):
    """The feed cannot be read; the text is one line and names the fix."""


_Natural = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]


class _About(Struct):
    version: str = ""
    release: str = ""
    kernel: str = ""


class _Health(Struct):
    lost: _Natural = 0
    rejected: dict[str, _Natural] = {}


class _Target(Struct):
    id: _Natural
    name: str
    configured: bool
    up: bool


class _Row(Struct):
    id: _Natural
    target: _Natural
    last_timestamp: str
    repeats: _Natural
    summary: str
    guard_type: str | None = None
    flavor_name: str | None = None
    severity: Severity | None = None
    pid: _Natural | None = None

    def __post_init__(self) -> None:
        if not _YEARS[0] <= datetime.fromisoformat(self.last_timestamp).year <= _YEARS[1]:
            raise ValueError("a time that no clock shows")


class _Message(Struct):
    """What is read of a message of `LiveFeed`; it can come from anything that listens at the address."""

    about: _About = msgspec.field(default_factory=_About)
    health: _Health = msgspec.field(default_factory=_Health)
    targets: list[_Target] = []
    counts: list[tuple[_Natural, str, str, Severity, _Natural, object]] = []
    hits: list[_Row] = []
    history: list[tuple[_Natural, dict[str, _Natural]]] = []


class Feed:
    """The state of an excguard, as received from its feed."""

    def __init__(self) -> None:
        """Start empty."""
        self.about: dict[str, Any] = {}
        self.health: dict[str, Any] = {}
        self.targets: dict[int, dict[str, Any]] = {}
        self.counts: dict[tuple[int, str, str, Severity], int] = {}
        self.rows: dict[int, dict[str, Any]] = {}
        self.history: dict[int, dict[str, int]] = {}

    def apply(self, kind: str, message: dict[str, Any]) -> None:
        """Apply a message of the feed: ``state`` replaces everything, ``update`` has the changes.

        Raises FeedError when it is not a message of this version.
        """
        try:
            msgspec.convert(message, _Message)
        except msgspec.ValidationError as error:
            raise FeedError("the feed is not that of this version of excguard") from error
        self._apply(kind, message)

    def _apply(self, kind: str, message: dict[str, Any]) -> None:
        if kind == "state":
            self.__init__()  # type: ignore[misc]  # reset
        self.about = message.get("about", self.about)
        self.health = message.get("health", self.health)
        self.targets |= {target["id"]: target for target in message.get("targets", ())}
        for target, guard_type, flavor, severity, hits, _ in message.get("counts", ()):
            self.counts[target, guard_type, flavor, Severity(severity)] = hits
        self.rows |= {row["id"]: row for row in message.get("hits", ())}
        for oldest in sorted(self.rows)[:-ROWS]:
            del self.rows[oldest]
        self.history |= dict(message.get("history", ()))
        first = int(time.time() // IDLE_TICK) - STEPS
        for step in [step for step in self.history if step < first]:
            del self.history[step]

    @property
    def latest(self) -> list[dict[str, Any]]:
        """The latest hits, the most recent first."""
        return sorted(self.rows.values(), key=lambda row: (row["last_timestamp"], row["id"]), reverse=True)

    def name(self, target: int) -> str:
        """The name of a target."""
        return str(self.targets.get(target, {}).get("name", "?"))

    def recent(self, flavor: str, steps: int) -> list[int]:
        """The hits of "GUARD_TYPE FLAVOR" in ``steps`` equal parts of the last ten minutes, oldest first."""
        now = int(time.time() // IDLE_TICK)
        parts = [0] * steps
        for step, counts in self.history.items():
            age = now - step
            if 0 <= age < STEPS:
                parts[steps - 1 - age * steps // STEPS] += counts.get(flavor, 0)
        return parts

    def to_dict(self) -> dict[str, Any]:
        """Everything, as JSON types."""
        return {
            **self.about,
            "health": self.health,
            "targets": [
                {key: value for key, value in target.items() if key != "id"}
                for target in self.targets.values()
            ],
            "counts": [
                {
                    "target": self.name(target),
                    "guard_type": guard_type,
                    "flavor": flavor,
                    "severity": severity,
                    "hits": hits,
                }
                for (target, guard_type, flavor, severity), hits in self.counts.items()
            ],
            "hits": [
                {
                    **{key: value for key, value in row.items() if key != "id"},
                    "target": self.name(row["target"]),
                }
                for row in self.latest
            ],
        }


def messages(url: str, *, user: str = "", password: str = "", ca: str = "") -> Iterator[tuple[str, Any]]:
    """The messages of the feed of the excguard at ``url``, until it ends.

    Args:
        url: the address it listens on: "http://127.0.0.1:12012", "unix:/path".
        user: the user name, if a password is required.
        password: the password of that user.
        ca: a file with the certificate authority to trust, if the system does not have it.

    Raises:
        FeedError: there is no feed at that address, or access is denied.
        OSError: the connection was lost.
    """
    with contextlib.closing(_connection(url, ca)) as connection:
        headers = {"Accept": "text/event-stream"}
        if user:
            headers["Authorization"] = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
        path = "" if url.startswith(_UNIX) else urlsplit(url).path.rstrip("/")
        with contextlib.closing(_request(connection, url, f"{path}/events", headers)) as response:
            _check(response, url, user)
            yield from _parse(response, url)


class _UnixConnection(http.client.HTTPConnection):
    """A connection over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=READ_TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _connection(url: str, ca: str) -> http.client.HTTPConnection:
    if url.startswith(_UNIX):
        return _UnixConnection(url.removeprefix(_UNIX))
    try:
        address = urlsplit(url)
        scheme, host, port = address.scheme, address.hostname, address.port
    except ValueError:
        scheme = ""
    if scheme not in {"http", "https"} or not host:
        raise FeedError(f"invalid address: {url}; allowed: http://HOST:PORT, https://HOST:PORT, unix:/PATH")
    if scheme == "http":
        return http.client.HTTPConnection(host, port, timeout=READ_TIMEOUT)
    try:
        context = ssl.create_default_context(cafile=ca or None)
    except ssl.SSLError as error:
        raise FeedError(f"{ca}: not certificates in PEM format") from error
    except OSError as error:
        raise FeedError(f"{ca}: {errors.reason(error)}") from error
    return http.client.HTTPSConnection(host, port, timeout=READ_TIMEOUT, context=context)


def _request(
    connection: http.client.HTTPConnection, url: str, path: str, headers: dict[str, str]
) -> http.client.HTTPResponse:
    try:
        connection.request("GET", path, headers=headers)
        return connection.getresponse()
    except ssl.SSLCertVerificationError as error:
        raise FeedError(
            f"{url}: the certificate is not trusted ({error.verify_message}); name its authority with --ca"
        ) from error
    except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: not a possible host name
        reason = errors.reason(error) if isinstance(error, OSError) else str(error).lower()
        raise FeedError(
            f"{url}: {reason or type(error).__name__}; check that `excguard serve` runs there, or name "
            "another address (--url)"
        ) from error


def _check(response: http.client.HTTPResponse, url: str, user: str) -> None:
    """Raise FeedError unless the response is a feed."""
    if response.status == http.HTTPStatus.UNAUTHORIZED:
        if user:
            raise FeedError(f"{url}: wrong user name or password; the password is that in EXCGUARD_PASSWORD")
        raise FeedError(f"{url}: authentication required; give --user, and the password in EXCGUARD_PASSWORD")
    if response.status in _EXPLAINED and response.headers.get("Server", "").startswith("excguard/"):
        line = response.readline(_MAX_LINE).decode("utf-8", "replace").strip()
        raise FeedError(f"{url}: status {response.status}: {line}")
    if response.status != http.HTTPStatus.OK or response.headers.get_content_type() != "text/event-stream":
        raise FeedError(f"{url}: not a feed of excguard (status {response.status} {response.reason})")


def _parse(response: http.client.HTTPResponse, url: str) -> Iterator[tuple[str, Any]]:
    kind = ""
    while line := response.readline(_MAX_BYTES):
        name, _, value = line.decode("utf-8", "replace").rstrip("\n").partition(": ")
        if name == "event":
            kind = value
        elif name == "data":
            try:
                yield kind, json.loads(value)
            except (ValueError, RecursionError) as error:
                raise FeedError(f"{url}: a message of the feed is not JSON") from error

"""The live feed (`sinks/live.py`) from the other end: what a terminal shows of a running excguard."""

import base64
import http.client
import json
import ssl
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from excguard.web.live_feed import IDLE_TICK, ROWS, STEPS

SILENCE = 30.0  # seconds without a word, of a feed that says something every ten
_MOST_BYTES = 64 * 1024 * 1024  # of one message


class FeedError(Exception):
    """There is no feed there; the text is one line and says what to do."""


class Feed:
    """What the feed has told so far."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.about: dict[str, Any] = {}
        self.health: dict[str, Any] = {}
        self.targets: dict[int, dict[str, Any]] = {}
        self.counts: dict[tuple[int, str, str, str], int] = {}
        self.rows: dict[int, dict[str, Any]] = {}
        self.history: dict[int, dict[str, int]] = {}

    def take(self, kind: str, message: dict[str, Any]) -> None:
        """A message of the feed: ``state`` tells everything anew, ``update`` what has changed."""
        if kind == "state":
            self.__init__()  # type: ignore[misc]  # nothing of before is left
        self.about = message.get("about", self.about)
        self.health = message.get("health", self.health)
        self.targets |= {target["id"]: target for target in message.get("targets", ())}
        for target, guard_type, flavor, severity, hits, _ in message.get("counts", ()):
            self.counts[target, guard_type, flavor, severity] = hits
        self.rows |= {row["id"]: row for row in message.get("hits", ())}
        for gone in sorted(self.rows)[:-ROWS]:
            del self.rows[gone]
        self.history |= dict(message.get("history", ()))
        oldest = int(time.time() // IDLE_TICK) - STEPS
        for step in [step for step in self.history if step < oldest]:
            del self.history[step]

    @property
    def latest(self) -> list[dict[str, Any]]:
        """The hits that the feed shows whole, the last seen first."""
        return sorted(self.rows.values(), key=lambda row: (row["last_timestamp"], row["id"]), reverse=True)

    def name(self, target: int) -> str:
        """The name of a target."""
        return str(self.targets.get(target, {}).get("name", "?"))

    def recent(self, flavor: str, steps: int) -> list[int]:
        """The hits of "GUARD_TYPE FLAVOR" in the last ten minutes, in ``steps`` equal parts, oldest first."""
        now = int(time.time() // IDLE_TICK)
        parts = [0] * steps
        for step, came in self.history.items():
            age = now - step
            if 0 <= age < STEPS:
                parts[steps - 1 - age * steps // STEPS] += came.get(flavor, 0)
        return parts

    def to_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
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
    """The messages of the feed of the excguard at ``url``, for as long as it lives.

    Args:
        url: where it listens: "http://127.0.0.1:12012".
        user: for its password, if it asks for one.
        password: of that user.
        ca: a file with the certificate authority to trust, when it is none that the system knows.

    Raises:
        FeedError: there is none, or it does not let us in.
        OSError: the connection was lost.
    """
    place = urlsplit(url)
    if place.scheme not in {"http", "https"} or not place.hostname:
        raise FeedError(f"{url}: not an address such as http://127.0.0.1:12012")
    if place.scheme == "https":
        try:
            context = ssl.create_default_context(cafile=ca or None)
        except OSError as error:
            raise FeedError(f"{ca}: {(error.strerror or str(error)).lower()}") from error
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            place.hostname, place.port, timeout=SILENCE, context=context
        )
    else:
        connection = http.client.HTTPConnection(place.hostname, place.port, timeout=SILENCE)
    headers = {"Accept": "text/event-stream"}
    if user:
        headers["Authorization"] = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
    try:
        response = _open(connection, url, place.path.rstrip("/") + "/events", headers)
        yield from _parse(response)
    finally:
        connection.close()


def _open(
    connection: http.client.HTTPConnection, url: str, path: str, headers: dict[str, str]
) -> http.client.HTTPResponse:
    try:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
    except ssl.SSLCertVerificationError as error:
        raise FeedError(
            f"{url}: its certificate is not trusted ({error.verify_message}); name its authority with --ca"
        ) from error
    except (OSError, http.client.HTTPException) as error:
        reason = (getattr(error, "strerror", None) or str(error) or type(error).__name__).lower()
        raise FeedError(
            f"{url}: {reason}; does `excguard serve` run there? (--url names another place)"
        ) from error
    if response.status == http.HTTPStatus.UNAUTHORIZED:
        raise FeedError(
            f"{url}: asks for a name and password; give --user, and the password in EXCGUARD_PASSWORD"
        )
    if response.status != http.HTTPStatus.OK or response.headers.get_content_type() != "text/event-stream":
        raise FeedError(f"{url}: no feed of excguard (status {response.status} {response.reason})")
    return response


def _parse(response: http.client.HTTPResponse) -> Iterator[tuple[str, Any]]:
    kind = ""
    while line := response.readline(_MOST_BYTES):
        name, _, value = line.decode().rstrip("\n").partition(": ")
        if name == "event":
            kind = value
        elif name == "data":
            yield kind, json.loads(value)

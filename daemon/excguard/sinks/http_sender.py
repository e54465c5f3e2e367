"""POSTs to the HTTP servers of others, with a bound on the time and size of everything they do.

A server that is down, slow or overloaded costs the sink that sends to it its own time, and nothing else.
"""

import random
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from typing import Any, Final, NamedTuple

from excguard import __version__
from excguard.config.checks import is_url
from excguard.files import errors

_MAX_ANSWER: Final = 64 * 1024  # bytes of a body that are read
_FIRST_DELAY: Final = 1.0
_MAX_DELAY: Final = 60.0
_MAX_RETRY_AFTER: Final = 3600.0

RETRYABLE: Final = frozenset({429, 502, 503, 504})
"""Statuses after which the same request may be sent again (OTLP 1.5, Failures; the others say never)."""


class Answer(NamedTuple):
    """What came of a POST.

    Attributes:
        status: of HTTP; None when there was none: no connection, no answer in time.
        body: the start of it.
        error: what went wrong, for people; "" for a status of 2xx.
        retry_after: seconds that the server asks to wait; None when it does not say.
    """

    status: int | None
    body: bytes
    error: str
    retry_after: float | None = None

    @property
    def accepted(self) -> bool:
        """Whether the server took it."""
        return self.status is not None and 200 <= self.status < 300

    @property
    def retryable(self) -> bool:
        """Whether it is worth sending again."""
        return self.status is None or self.status in RETRYABLE


class Sender:
    """Sends to one address."""

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str],
        timeout: float,
        context: ssl.SSLContext | None = None,
    ) -> None:
        """Prepare; nothing is connected.

        Args:
            url: http or https.
            headers: of each request.
            timeout: seconds for each step: connecting, sending, each part of the answer.
            context: for https; None for the system's certificates.

        Raises:
            ValueError: the address is not one of http or https.
        """
        if not is_url(url):
            raise ValueError('not an address such as "https://collector.example:4318"')
        self._url = url
        self._headers = {"User-Agent": f"excguard/{__version__}", **headers}
        self._timeout = timeout
        context = context or ssl.create_default_context()
        self._opener = urllib.request.build_opener(
            urllib.request.HTTPSHandler(context=context), _NoRedirects()
        )

    def post(self, body: bytes, headers: Mapping[str, str], *, timeout: float | None = None) -> Answer:
        """POST ``body``, in at most some times ``timeout`` seconds. Never raises."""
        request = urllib.request.Request(  # noqa: S310 - checked to be http
            self._url, body, {**self._headers, **headers}, method="POST"
        )
        try:
            with self._opener.open(request, timeout=timeout or self._timeout) as answer:
                return Answer(answer.status, answer.read(_MAX_ANSWER), "")
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, _start(error), f"HTTP {error.code}", _retry_after(error.headers))
        except urllib.error.URLError as error:
            reason = error.reason
            return Answer(None, b"", errors.reason(reason) if isinstance(reason, OSError) else str(reason))
        except OSError as error:
            return Answer(None, b"", errors.reason(error))
        except (HTTPException, ValueError) as error:
            return Answer(None, b"", f"not an answer of HTTP: {type(error).__name__}")


class Backoff:
    """When the next attempt may be made: later after each failure, with a random part, at most a minute."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """The first attempt may be made now."""
        self._clock = clock
        self._delay = _FIRST_DELAY
        self._next = clock()

    @property
    def ready(self) -> bool:
        """Whether an attempt may be made now."""
        return self._clock() >= self._next

    def failed(self, retry_after: float | None = None) -> None:
        """An attempt failed; ``retry_after`` is what the server asked for."""
        # Half of the delay is random, so that the senders of a farm do not come back together.
        delay = self._delay / 2 + random.random() * self._delay / 2  # noqa: S311 - not a secret
        self._delay = min(self._delay * 2, _MAX_DELAY)
        self._next = self._clock() + max(delay, min(retry_after or 0.0, _MAX_RETRY_AFTER))

    def worked(self) -> None:
        """An attempt succeeded."""
        self._delay = _FIRST_DELAY
        self._next = self._clock()


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Makes a redirection an error: following it would turn the POST into a GET of something else."""

    def redirect_request(self, *_arguments: object) -> None:
        """None is followed."""


def _start(error: urllib.error.HTTPError) -> bytes:
    try:
        return error.read(_MAX_ANSWER)
    except (OSError, HTTPException):
        return b""


def _retry_after(headers: Any) -> float | None:  # noqa: ANN401 - email.message.Message
    """Seconds, from a number or a date (RFC 9110, 10.2.3)."""
    text = (headers.get("Retry-After") or "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return max(parsedate_to_datetime(text).timestamp() - time.time(), 0.0)
    except (ValueError, TypeError, OverflowError):
        return None

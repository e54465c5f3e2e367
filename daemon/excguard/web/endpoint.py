"""The HTTP endpoint: the live page, its feed, ``/metrics`` for Prometheus, and the health of excguard.

It has a thread and an event loop of its own, so a log that blocks does not delay responses. Responses are
made of counters in memory and never wait for the receiver, so a request does not delay a watched program.
"""

import asyncio
import contextlib
import ipaddress
import re
import threading
from collections.abc import Callable, Coroutine, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

from excguard.pipeline.counters import CountersClosedError
from excguard.web.errors import TooManyChecksError, UnprotectedError, WebConfigError
from excguard.web.exposition import Exposition
from excguard.web.http_message import Request, Response, text
from excguard.web.http_server import HTTPServer
from excguard.web.listener import Listener
from excguard.web.live_feed import LiveFeed
from excguard.web.token_bucket import TokenBucket

if TYPE_CHECKING:
    import ssl

    from excguard.web.authenticator import Authenticator
    from excguard.web.web_config import WebConfig, WebConfigFile

_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.%\w]+)\]|([A-Za-z0-9.-]+))(?::[0-9]{1,5})?", re.ASCII)


class Endpoint:
    """Serves from construction to `close`."""

    def __init__(  # noqa: PLR0913 - its parts
        self,
        address: tuple[str, int] | Path,
        metrics: Exposition,
        feed: LiveFeed,
        ready: Callable[[], bool],
        *,
        web_config: "WebConfigFile | None" = None,
        allow_unprotected: bool = False,
        on_problem: Callable[[str, str], None] = lambda _event, _error: None,
    ) -> None:
        """Listen on ``address``.

        Args:
            address: host and port (0: any free port), or the path of a Unix socket.
            metrics: the content of ``/metrics``.
            feed: the content of the live page.
            ready: whether exceptions are being received.
            web_config: TLS and passwords; None for neither.
            allow_unprotected: allow access from other machines without authentication.
            on_problem: called on the endpoint's thread with the name of an event (``web_config_error``,
                ``endpoint_error``) and its text, when requests fail through a fault on this side.

        Raises:
            OSError: the address is invalid or in use.
            WebConfigError: the web configuration has become invalid since it was opened.
            UnprotectedError: other machines would have access without authentication.
        """
        self._metrics = metrics
        self._feed = feed
        self._ready = ready
        self._web_config = web_config
        self._on_problem = on_problem
        self._problems: dict[str, str] = {}
        config = web_config.current() if web_config is not None else None
        self._listener = Listener(address)
        if not (self._listener.is_local or allow_unprotected or (config is not None and config.protects)):
            self._listener.close()
            raise UnprotectedError(
                f"other machines can reach {self._listener.address} without authentication; set "
                "metrics.web_config to a file with basic_auth_users or client certificates, listen on "
                "127.0.0.1, or set metrics.allow_unprotected = true"
            )
        self._listener.listen()
        scheme = "https" if config is not None and config.tls else "http"
        self.url = (
            self._listener.address if self._listener.is_unix else f"{scheme}://{self._listener.address}"
        )
        """Where it listens: "http://127.0.0.1:12012", "unix:/path"."""
        self.metrics_url = self.url if self._listener.is_unix else f"{self.url}/metrics"
        """Where a scrape finds the metrics; for a Unix socket the socket."""
        self._authenticator = _authenticator() if web_config is not None else None
        # Two, so that clients without a password cannot use up the rate of those with one.
        self._buckets = {True: TokenBucket(), False: TokenBucket()}
        self._server = HTTPServer(self._listener.socket, self._respond, self._tls, self._report)
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(lambda _loop, context: self._report_context(context))
        self._closing = asyncio.Event()
        self._thread = threading.Thread(
            target=self._run, args=(self._serve(),), name="excguard-endpoint", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop listening and close all connections."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._closing.set)
            self._thread.join()
        self._listener.close()

    def _run(self, main: Coroutine[Any, Any, None]) -> None:
        try:
            self._loop.run_until_complete(main)
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        self._server.start()
        watching = asyncio.create_task(self._feed.watch())
        await self._closing.wait()
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await self._server.close()

    # ---- problems on this side: reported when they are new, not for each request ----

    def _report(self, error: Exception) -> None:
        import traceback  # noqa: PLC0415 - rarely needed

        frames = traceback.extract_tb(error.__traceback__)
        where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
        self._report_once("endpoint_error", f"internal error: {type(error).__name__}: {error}{where}")

    def _report_context(self, context: Mapping[str, Any]) -> None:
        """As asyncio calls an exception handler."""
        error = context.get("exception")
        if isinstance(error, Exception):
            self._report(error)
        else:
            self._report_once("endpoint_error", f"internal error: {context['message']}")

    def _report_once(self, event: str, error: str) -> None:
        if self._problems.get(event) != error:
            self._problems[event] = error
            self._on_problem(event, error)

    def _tls(self) -> "ssl.SSLContext | None":
        """The context for a new connection."""
        if self._web_config is None:
            return None
        with contextlib.suppress(WebConfigError):  # the response to the request says so
            self._web_config.current()
        return self._web_config.tls

    def _current(self, web_config: "WebConfigFile") -> "WebConfig":
        """The web configuration as it is now. Raises WebConfigError, after having reported it."""
        try:
            current = web_config.current()
        except WebConfigError as error:
            self._report_once("web_config_error", str(error))
            raise
        self._problems.pop("web_config_error", None)
        return current

    async def _respond(self, request: Request) -> Response:
        """The response to a GET or HEAD."""
        config = None
        if self._web_config is not None:
            try:
                config = self._current(self._web_config)
            except WebConfigError:
                line = "The web configuration is invalid; see the log of excguard."
                return text(HTTPStatus.INTERNAL_SERVER_ERROR, line)
            refusal = await self._refuse(request, config)
            if refusal is not None:
                return refusal
        if self._is_rebinding(request, config):
            return text(HTTPStatus.MISDIRECTED_REQUEST, "Use localhost or an IP address in the URL.")
        response = self._route(request)
        if config is None:
            return response
        return response._replace(
            headers={**response.headers, **config.headers}, authenticated=config.protects
        )

    async def _refuse(self, request: Request, config: "WebConfig") -> Response | None:
        """The response to a request without access; None for one with access."""
        authorization = request.headers.get("authorization", "")
        assert self._authenticator is not None  # noqa: S101 - there is a web configuration
        remembered = self._authenticator.remembers(config.users, authorization)
        if not self._buckets[remembered].take(config.interval, config.burst):
            return text(HTTPStatus.TOO_MANY_REQUESTS, "Too many requests.", {"Retry-After": "1"})
        if not config.allows(request.certificate):
            return text(HTTPStatus.FORBIDDEN, "The client certificate is not allowed.", _CLOSE)
        if not config.users or remembered:
            return None
        try:
            accepted = await self._authenticator.check(config.users, authorization)
        except TooManyChecksError:
            line = "Too many authentication attempts."
            return text(HTTPStatus.SERVICE_UNAVAILABLE, line, {"Retry-After": "1", **_CLOSE})
        if accepted:
            return None
        challenge = {"WWW-Authenticate": 'Basic realm="excguard", charset="UTF-8"', **_CLOSE}
        return text(HTTPStatus.UNAUTHORIZED, "Authentication required.", challenge)

    def _is_rebinding(self, request: Request, config: "WebConfig | None") -> bool:
        """Whether the request may come from a web page of another origin (DNS rebinding).

        Such a page is at a name that its owner lets resolve to this machine. It has neither a password nor
        a TLS certificate for that name.
        """
        if self._listener.is_unix or not self._listener.is_local:
            return False
        if config is not None and (config.users or config.tls):
            return False
        return not _is_local_name(request.headers.get("host", ""))

    def _route(self, request: Request) -> Response:
        pages: dict[str, Callable[[], Response]] = {
            "/": _page,
            "/events": self._events,
            "/metrics": lambda: self._scrape(request.headers),
            "/-/healthy": lambda: text(HTTPStatus.OK, "excguard is healthy."),
            "/-/ready": self._readiness,
        }
        found = pages.get(request.path)
        if found is None:
            return text(HTTPStatus.NOT_FOUND, f"Not found. Available: {', '.join(pages)}.")
        return found()

    def _events(self) -> Response:
        if self._feed.full:
            return text(HTTPStatus.SERVICE_UNAVAILABLE, "Too many viewers.", {"Retry-After": "5"})
        return Response(HTTPStatus.OK, "text/event-stream", self._feed.stream())

    def _readiness(self) -> Response:
        if self._ready():
            return text(HTTPStatus.OK, "excguard is ready.")
        return text(HTTPStatus.SERVICE_UNAVAILABLE, "excguard is not receiving exceptions.")

    def _scrape(self, headers: Mapping[str, str]) -> Response:
        try:
            body, content_type = self._metrics.render(headers.get("accept", ""))
        except CountersClosedError:
            return text(HTTPStatus.SERVICE_UNAVAILABLE, "excguard is stopping.")
        vary = {"Vary": "Accept, Accept-Encoding"}
        if not _accepts_gzip(headers.get("accept-encoding", "")):
            return Response(HTTPStatus.OK, content_type, body, vary)
        return Response(HTTPStatus.OK, content_type, _gzip(body), {**vary, "Content-Encoding": "gzip"})


_CLOSE = {"Connection": "close"}


def _authenticator() -> "Authenticator":
    from excguard.web.authenticator import Authenticator  # noqa: PLC0415 - most excguards have no password

    return Authenticator()


def _page() -> Response:
    from excguard.web import page  # noqa: PLC0415 - most excguards are never asked for it

    return page.response()


def _accepts_gzip(accept_encoding: str) -> bool:
    """Whether a header Accept-Encoding names gzip, with a quality above 0 (RFC 9110, 12.5.3)."""
    for coding in accept_encoding.lower().split(","):
        name, *parameters = (part.strip() for part in coding.split(";"))
        if name in {"gzip", "x-gzip"}:
            return not any(re.fullmatch(r"q=0(\.0*)?", parameter) for parameter in parameters)
    return False


def _gzip(body: memoryview) -> bytes:
    import zlib  # noqa: PLC0415 - most excguards are not scraped with it

    # Level 1: the lines are so alike that higher ones save little, and level 6 takes four times as long.
    compressor = zlib.compressobj(1, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    return compressor.compress(body) + compressor.flush()


def _is_local_name(host: str) -> bool:
    """Whether a Host header is an IP address, or a name that always means the machine itself (RFC 6761)."""
    if not host:
        return True  # HTTP/1.0, which no browser sends
    match = _HOST.fullmatch(host)
    if match is None:
        return False
    name = (match[1] or match[2]).lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True

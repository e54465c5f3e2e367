"""The HTTP endpoint: the live page, its feed, ``/metrics`` for Prometheus, and how excguard is.

It has a thread and an event loop of its own, so a log that blocks keeps nobody waiting here, and nothing here
keeps a watched program waiting: answers are made of counters that lie in memory, and never ask the receiver.
"""

import asyncio
import contextlib
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Coroutine, Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from excguard.pipeline.counters import CountersClosedError
from excguard.web import page
from excguard.web.authenticator import Gate
from excguard.web.exposition import Exposition
from excguard.web.http_server import HTTPServer, Request, Response, text
from excguard.web.live_feed import LiveFeed
from excguard.web.tls import WebConfigError
from excguard.web.web_config import WebConfig, WebConfigFile

_BACKLOG = 128


class UnprotectedError(ValueError):
    """The endpoint would be open to other machines without a password."""


class Endpoint:
    """Serves from construction to `close`."""

    def __init__(  # noqa: PLR0913 - what it is made of
        self,
        host: str,
        port: int,
        metrics: Exposition,
        feed: LiveFeed,
        ready: Callable[[], bool],
        *,
        web_config: WebConfigFile | None = None,
        allow_unprotected: bool = False,
        on_problem: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Listen on ``host`` and ``port`` (0: any free one).

        Args:
            host: a name or an address.
            port: a TCP port.
            metrics: what ``/metrics`` says.
            feed: what the page shows.
            ready: whether exceptions are being received.
            web_config: TLS and passwords; None for neither.
            allow_unprotected: other machines may come in without a password.
            on_problem: told, on the endpoint's thread, why requests are turned away, when that is our fault.

        Raises:
            OSError: the port cannot be had.
            UnprotectedError: other machines could come in, unasked for.
        """
        self._metrics = metrics
        self._feed = feed
        self._ready = ready
        self._web_config = web_config
        self._on_problem = on_problem
        self._told = ""
        family, *_, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        self._local = ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback
        protected = web_config is not None and web_config.current().protects
        if not (self._local or protected or allow_unprotected):
            raise UnprotectedError(
                f"other machines can reach {host}, and nothing keeps them out; name a web configuration with "
                "basic_auth_users or client certificates (metrics.web_config), listen on 127.0.0.1, or set "
                "metrics.allow_unprotected"
            )
        listener = _listen(family, address)
        scheme = "https" if web_config is not None and web_config.current().tls else "http"
        name, number = listener.getsockname()[:2]
        self.url = f"{scheme}://[{name}]:{number}" if ":" in name else f"{scheme}://{name}:{number}"
        """Where it listens: "http://127.0.0.1:12012"."""
        self._gate = Gate()
        self._server = HTTPServer(listener, self._answer, self._tls)
        self._loop = asyncio.new_event_loop()
        self._closing = asyncio.Event()
        self._thread = threading.Thread(
            target=self._run, args=(self._serve(),), name="excguard-endpoint", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop listening, and hang up on everybody."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._closing.set)
            self._thread.join()

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
        self._gate.close()

    def _tls(self) -> ssl.SSLContext | None:
        """The context for a new connection."""
        if self._web_config is None:
            return None
        with contextlib.suppress(WebConfigError):  # the request is going to be told
            self._web_config.current()
        return self._web_config.tls

    def _current(self, web_config: WebConfigFile) -> WebConfig:
        """What the web configuration says now. Raises WebConfigError, after having told."""
        try:
            current = web_config.current()
        except WebConfigError as error:
            if self._told != str(error):  # once, not once a scrape
                self._told = str(error)
                self._on_problem(self._told)
            raise
        self._told = ""
        return current

    async def _answer(self, request: Request) -> Response:
        """The answer to a GET or HEAD."""
        added: Mapping[str, str] = {}
        if self._web_config is not None:
            try:
                config = self._current(self._web_config)
            except WebConfigError:
                words = "The web configuration cannot be used; excguard's log says why."
                return text(HTTPStatus.INTERNAL_SERVER_ERROR, words)
            refusal = await self._turned_away(request, config)
            if refusal is not None:
                return refusal
            added = config.headers
        elif self._local and not _is_local_name(request.headers.get("host", "")):
            # A page from elsewhere whose name was made to mean this machine would read along (DNS rebinding).
            return text(HTTPStatus.MISDIRECTED_REQUEST, "Ask for localhost or an address.")
        response = self._route(request)
        return response._replace(headers={**response.headers, **added})

    async def _turned_away(self, request: Request, config: WebConfig) -> Response | None:
        if not self._gate.has_room(config.interval, config.burst):
            return text(HTTPStatus.TOO_MANY_REQUESTS, "Too many requests.", {"Retry-After": "1"})
        if not config.allows(request.certificate):
            return text(HTTPStatus.FORBIDDEN, "This certificate is of nobody who may come in.")
        if config.users:
            known = await self._gate.knows(config.users, request.headers.get("authorization", ""))
            if known is None:
                words = "Too many passwords to check."
                return text(HTTPStatus.SERVICE_UNAVAILABLE, words, {"Retry-After": "1"})
            if not known:
                asks = {"WWW-Authenticate": 'Basic realm="excguard", charset="UTF-8"'}
                return text(HTTPStatus.UNAUTHORIZED, "Name and password, please.", asks)
        return None

    def _route(self, request: Request) -> Response:
        pages: dict[str, Callable[[], Response]] = {
            "/": lambda: page.RESPONSE,
            "/events": self._events,
            "/metrics": lambda: self._scrape(request.headers.get("accept", "")),
            "/-/healthy": lambda: text(HTTPStatus.OK, "excguard is alive."),
            "/-/ready": self._readiness,
        }
        found = pages.get(request.path)
        if found is None:
            return text(HTTPStatus.NOT_FOUND, f"There are {', '.join(pages)} here.")
        return found()

    def _events(self) -> Response:
        if self._feed.full:
            return text(HTTPStatus.SERVICE_UNAVAILABLE, "Too many look on.", {"Retry-After": "5"})
        return Response(HTTPStatus.OK, "text/event-stream", self._feed.stream())

    def _readiness(self) -> Response:
        if self._ready():
            return text(HTTPStatus.OK, "excguard is ready.")
        return text(HTTPStatus.SERVICE_UNAVAILABLE, "excguard is not receiving exceptions.")

    def _scrape(self, accept: str) -> Response:
        try:
            body, content_type = self._metrics.render(accept)
        except CountersClosedError:
            return text(HTTPStatus.SERVICE_UNAVAILABLE, "excguard is about to end.")
        return Response(HTTPStatus.OK, content_type, body)


def _listen(family: int, address: Any) -> socket.socket:  # noqa: ANN401 - as getaddrinfo gives it
    """A listening socket. Raises OSError."""
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
        listener.setblocking(False)  # noqa: FBT003 - its only argument
    except BaseException:
        listener.close()
        raise
    return listener


def _is_local_name(host: str) -> bool:
    """Whether a Host header can only have meant this machine: an address, or a name that never leaves it."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
        if name != "localhost" and not name.endswith(".localhost"):
            ipaddress.ip_address(name)
    except ValueError:
        return not host  # HTTP/1.0 has none
    return True

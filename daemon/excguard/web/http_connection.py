"""One connection of the HTTP server: its TLS handshake, then requests and responses in turn.

h11 implements the protocol and asyncio transfers the bytes; this module enforces the limits.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from http import HTTPStatus
from socket import socket
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import h11

from excguard import __version__
from excguard.web.http_message import Request, Response, text

if TYPE_CHECKING:
    import ssl

MAX_HEAD_BYTES = 16 * 1024  # request line and headers
HEAD_SECONDS = 10.0  # for a TLS handshake, and for a request from its first byte on
IDLE_SECONDS = 120.0  # between two requests: longer than any usual scrape interval
WRITE_SECONDS = 30.0  # for a client to read a response
_LINGER_SECONDS = 1.0
_CHUNK_BYTES = 128 * 1024
_READ_BYTES = 16 * 1024


class Connection:
    """A connection, served from its first byte to its last."""

    def __init__(
        self, respond: Callable[[Request], Awaitable[Response]], on_error: Callable[[Exception], None]
    ) -> None:
        """The arguments are those of `HTTPServer`."""
        self._respond = respond
        self._on_error = on_error
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter
        self.waiting_since: float | None = asyncio.get_running_loop().time()
        """Since when the client has to do something (loop time); None while a response is being made."""
        self.authenticated = False
        """Whether the client has authenticated."""

    async def serve(self, accepted: socket, tls: "Callable[[], ssl.SSLContext | None]") -> None:
        """Serve until the client disconnects, or a limit is exceeded. The caller closes the socket."""
        loop = asyncio.get_running_loop()
        self._reader = asyncio.StreamReader(limit=_READ_BYTES, loop=loop)
        protocol = asyncio.StreamReaderProtocol(self._reader, loop=loop)
        try:
            context = tls()
            transport, _ = await loop.connect_accepted_socket(
                lambda: protocol,
                accepted,
                ssl=context,
                ssl_handshake_timeout=HEAD_SECONDS if context else None,
                ssl_shutdown_timeout=1.0 if context else None,
            )
        except OSError:  # ssl.SSLError is one
            return
        self._writer = asyncio.StreamWriter(transport, protocol, self._reader, loop)
        closed = False
        try:
            await self._serve()
            with self._waiting():
                self._writer.close()
                async with asyncio.timeout(WRITE_SECONDS):
                    await self._writer.wait_closed()
            closed = True
        except (OSError, TimeoutError):
            pass  # the client has disconnected or is too slow
        finally:
            if not closed:  # asyncio fails to abort what has written its last bytes after it was closed
                transport.abort()

    @contextlib.contextmanager
    def _waiting(self) -> Iterator[None]:
        """Mark that the connection waits for its client."""
        self.waiting_since = asyncio.get_running_loop().time()
        try:
            yield
        finally:
            self.waiting_since = None

    async def _serve(self) -> None:
        """Serve requests. Raises OSError or TimeoutError when the client disconnects or is too slow."""
        patience = HEAD_SECONDS  # for the first request
        while True:
            try:
                with self._waiting():
                    head = await self._read_head(patience)
            except h11.RemoteProtocolError as error:
                await self._send_response(text(HTTPStatus(error.error_status_hint), "Malformed request."))
                return
            except TimeoutError:
                if self._http.trailing_data[0]:  # a part of a request has been received
                    await self._send_response(text(HTTPStatus.REQUEST_TIMEOUT, "The request took too long."))
                return
            if head is None:
                return
            response = await self._make_response(head)
            self.authenticated = response.authenticated
            await self._send_response(response, body=head.method != b"HEAD")
            if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
                await self._linger()
                return
            self._http.start_next_cycle()
            patience = IDLE_SECONDS

    async def _read_head(self, patience: float) -> h11.Request | None:
        """The head of the next request; None when the client has disconnected.

        Raises:
            h11.RemoteProtocolError: it is malformed, or too long.
            TimeoutError: nothing within ``patience`` seconds, or not all of it within `HEAD_SECONDS`.
        """
        async with asyncio.timeout(patience) as limit:
            started = bool(self._http.trailing_data[0])
            while True:
                event = self._http.next_event()
                if isinstance(event, h11.Request):
                    return event
                if event is not h11.NEED_DATA:
                    return None
                data = await self._reader.read(_READ_BYTES)
                if data and not started:
                    started = True
                    limit.reschedule(asyncio.get_running_loop().time() + HEAD_SECONDS)
                self._http.receive_data(data)

    async def _make_response(self, head: h11.Request) -> Response:
        if head.method not in {b"GET", b"HEAD"}:
            line = "Only GET and HEAD are supported."
            return text(HTTPStatus.METHOD_NOT_ALLOWED, line, {"Allow": "GET, HEAD"})
        try:
            complete = isinstance(self._http.next_event(), h11.EndOfMessage)
            authority, path = _parts(head.target.decode("ascii"))
        except (ValueError, h11.RemoteProtocolError):
            return text(HTTPStatus.BAD_REQUEST, "Malformed request.")
        if not complete:
            return text(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "A request body is not supported.")
        tls = self._writer.get_extra_info("ssl_object")
        headers = {name.decode("ascii"): value.decode("latin-1") for name, value in head.headers}
        if authority is not None:
            headers["host"] = authority
        request = Request(head.method.decode("ascii"), path, headers, tls.getpeercert() if tls else None)
        try:
            return await self._respond(request)
        except Exception as error:  # noqa: BLE001 - of any kind; the client must get an answer
            self._on_error(error)
            return text(HTTPStatus.INTERNAL_SERVER_ERROR, "Internal error; see the log of excguard.")

    async def _send_response(self, response: Response, *, body: bool = True) -> None:
        headers = {
            "Content-Type": response.content_type,
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "no-store",
            "Server": f"excguard/{__version__}",
            **response.headers,
        }
        if isinstance(response.body, bytes | memoryview):
            headers["Content-Length"] = str(len(response.body))
        if self._http.their_state is not h11.DONE:  # the rest of the request will not be read
            headers["Connection"] = "close"
        head = h11.Response(
            status_code=response.status.value,
            reason=response.status.phrase.encode(),
            headers=list(headers.items()),
        )
        if isinstance(response.body, bytes | memoryview):
            # h11 takes any bytes-like object, and declares bytes.
            content = [h11.Data(data=response.body)] if body else []  # type: ignore[arg-type]
            await self._send(head, *content, h11.EndOfMessage())
            return
        await self._send(head)
        if body:
            await self._stream(response.body)
        await self._send(h11.EndOfMessage())

    async def _stream(self, body: AsyncGenerator[bytes, None]) -> None:
        """Send a body as it is produced. Raises ConnectionError when the client disconnects too early."""
        sending = asyncio.create_task(self._send_all(body))
        disconnecting = asyncio.create_task(self._discard_input())
        try:
            await asyncio.wait({sending, disconnecting}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sending.cancel()
            disconnecting.cancel()
            await asyncio.gather(sending, disconnecting, return_exceptions=True)
        if sending.cancelled():
            raise ConnectionResetError("the client disconnected")
        error = sending.exception()
        if isinstance(error, Exception) and not isinstance(error, OSError):
            self._on_error(error)
            raise ConnectionAbortedError("the response could not be produced") from error
        sending.result()

    async def _send_all(self, body: AsyncGenerator[bytes, None]) -> None:
        async with contextlib.aclosing(body):
            async for data in body:
                await self._send(h11.Data(data=data))

    async def _discard_input(self) -> None:
        """Read and discard input until the client disconnects."""
        while await self._reader.read(_READ_BYTES):
            pass

    async def _linger(self) -> None:
        """Discard a request body for a moment: closing while it arrives would lose the response, too."""
        if self._http.their_state is not h11.SEND_BODY:
            return
        with contextlib.suppress(TimeoutError, OSError), self._waiting():
            async with asyncio.timeout(_LINGER_SECONDS):
                if self._writer.can_write_eof():
                    self._writer.write_eof()
                await self._discard_input()

    async def _send(self, *events: h11.Response | h11.Data | h11.EndOfMessage) -> None:
        pieces = [piece for event in events for piece in self._http.send_with_data_passthrough(event) or ()]
        small = b"".join(piece for piece in pieces if len(piece) < _CHUNK_BYTES)
        if len(small) == sum(map(len, pieces)):
            await self._write(small)
            return
        for piece in pieces:
            # What the socket does not take at once is copied: little of it each time.
            data = memoryview(piece)
            for start in range(0, len(data), _CHUNK_BYTES):
                await self._write(data[start : start + _CHUNK_BYTES])

    async def _write(self, data: bytes | memoryview) -> None:
        """Write, and wait until the client has read enough. Raises TimeoutError."""
        self._writer.write(data)
        with self._waiting():
            async with asyncio.timeout(WRITE_SECONDS):
                await self._writer.drain()


def _parts(target: str) -> tuple[str | None, str]:
    """The authority and the path of a request's target; an absolute one replaces Host (RFC 9112, 3.2.2).

    Raises:
        ValueError: it is not a possible URL.
    """
    if target.startswith("/"):  # "//host/path" too is a path here
        return None, target.partition("?")[0].partition("#")[0]
    parts = urlsplit(target)
    return parts.netloc or None, parts.path

"""A small HTTP/1.1 server: bounded in size, time and number, with TLS that can change while it runs.

h11 reads and writes the protocol, asyncio moves the bytes; what is here are the limits. The servers that are
made for web applications leave one of them open: a client that sends its request a byte at a time stays.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import urlsplit

import h11

from excguard import __version__

MOST_CONNECTIONS = 128
MOST_HEAD_BYTES = 16 * 1024  # request line and headers
HEAD_SECONDS = 10.0  # for a TLS handshake; for all of a request, from its first byte on
IDLE_SECONDS = 120.0  # between two requests of a connection: longer than anybody's scrape interval
WRITE_SECONDS = 30.0  # for a client to take what we write
_LINGER_SECONDS = 1.0
_LARGE = 64 * 1024
_READ = 16 * 1024


class Request(NamedTuple):
    """A request without its body, which nobody here wants."""

    method: str
    path: str
    headers: Mapping[str, str]  # names in lower case; the last of several
    certificate: (
        Mapping[str, object] | None
    )  # what the client showed in TLS, as `SSLSocket.getpeercert` tells it


class Response(NamedTuple):
    """An answer. A body that is a generator is sent as it comes, for as long as the client stays."""

    status: HTTPStatus
    content_type: str
    body: bytes | AsyncGenerator[bytes, None]
    headers: Mapping[str, str] = {}


def text(status: HTTPStatus, words: str, headers: Mapping[str, str] | None = None) -> Response:
    """An answer of one line."""
    return Response(status, "text/plain; charset=utf-8", f"{words}\n".encode(), headers or {})


class HTTPServer:
    """Serves from `start` to `close`, in the event loop that calls them."""

    def __init__(
        self,
        listener: socket.socket,
        answer: Callable[[Request], Awaitable[Response]],
        tls: Callable[[], ssl.SSLContext | None],
    ) -> None:
        """Serve on a listening socket, which is this object's from now on.

        Args:
            listener: bound, listening, non-blocking.
            answer: gives the response to a GET or HEAD (the body of the latter is left out here).
            tls: the context for a new connection; None for none.
        """
        self._listener = listener
        self._answer = answer
        self._tls = tls
        self._connections: set[asyncio.Task[None]] = set()
        self._acceptor: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to accept connections."""
        self._acceptor = asyncio.create_task(self._accept())

    async def close(self) -> None:
        """Stop listening, and hang up on everybody."""
        tasks = [*self._connections, *([self._acceptor] if self._acceptor else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._listener.close()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(self._listener)
            except OSError:  # no file descriptor left, or the client has gone already
                await asyncio.sleep(0.1)
                continue
            if len(self._connections) >= MOST_CONNECTIONS:
                connection.close()
                continue
            task = asyncio.create_task(self._serve(connection))
            self._connections.add(task)
            task.add_done_callback(self._connections.discard)

    async def _serve(self, connection: socket.socket) -> None:
        """The life of one connection."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=_READ, loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        try:
            context = self._tls()
            transport, _ = await loop.connect_accepted_socket(
                lambda: protocol,
                connection,
                ssl=context,
                ssl_handshake_timeout=HEAD_SECONDS if context else None,
                ssl_shutdown_timeout=1.0 if context else None,
            )
        except OSError:  # ssl.SSLError is one
            connection.close()
            return
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        try:
            await _Connection(reader, writer, self._answer).serve()
            writer.close()
            async with asyncio.timeout(WRITE_SECONDS):
                await writer.wait_closed()
        except (OSError, TimeoutError):
            pass  # the client has gone, or dawdles: no news
        finally:
            transport.abort()


class _Connection:
    """Requests and responses, one after the other, on one connection."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        answer: Callable[[Request], Awaitable[Response]],
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._answer = answer
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MOST_HEAD_BYTES)

    async def serve(self) -> None:
        """Answer until one side has had enough. Raises OSError or TimeoutError when the client is no use."""
        patience = HEAD_SECONDS  # somebody who connects wants something now
        while True:
            try:
                head = await self._head(patience)
            except h11.RemoteProtocolError as error:
                status = HTTPStatus(error.error_status_hint)
                await self._respond(text(status, "excguard does not understand this request."))
                return
            except TimeoutError:
                if self._http.trailing_data[0]:  # some of a request has come
                    await self._respond(text(HTTPStatus.REQUEST_TIMEOUT, "The request took too long."))
                return
            if head is None:
                return
            await self._respond(await self._answer_to(head), body=head.method != b"HEAD")
            if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
                await self._linger()
                return
            self._http.start_next_cycle()
            patience = IDLE_SECONDS

    async def _head(self, patience: float) -> h11.Request | None:
        """The head of the next request; None when the client has hung up.

        Raises:
            h11.RemoteProtocolError: it is not HTTP, or too long.
            TimeoutError: nothing for ``patience``, or not all of it within `HEAD_SECONDS`.
        """
        async with asyncio.timeout(patience) as limit:
            begun = bool(self._http.trailing_data[0])
            while True:
                event = self._http.next_event()
                if isinstance(event, h11.Request):
                    return event
                if event is not h11.NEED_DATA:
                    return None
                data = await self._reader.read(_READ)
                if data and not begun:
                    begun = True
                    limit.reschedule(asyncio.get_running_loop().time() + HEAD_SECONDS)
                self._http.receive_data(data)

    async def _answer_to(self, head: h11.Request) -> Response:
        if head.method not in {b"GET", b"HEAD"}:
            words = "There are only GET and HEAD here."
            return text(HTTPStatus.METHOD_NOT_ALLOWED, words, {"Allow": "GET, HEAD"})
        try:
            bare = isinstance(self._http.next_event(), h11.EndOfMessage)
            path = urlsplit(head.target.decode("ascii")).path
        except (ValueError, h11.RemoteProtocolError):
            return text(HTTPStatus.BAD_REQUEST, "excguard does not understand this request.")
        if not bare:
            return text(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "A request here has no body.")
        tls = self._writer.get_extra_info("ssl_object")
        headers = {name.decode("ascii"): value.decode("latin-1") for name, value in head.headers}
        return await self._answer(
            Request(head.method.decode("ascii"), path, headers, tls.getpeercert() if tls else None)
        )

    async def _respond(self, response: Response, *, body: bool = True) -> None:
        headers = {
            "Content-Type": response.content_type,
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "no-store",
            "Server": f"excguard/{__version__}",
            **response.headers,
        }
        if isinstance(response.body, bytes):
            headers["Content-Length"] = str(len(response.body))
        if self._http.their_state is not h11.DONE:  # what is left of the request is not going to be read
            headers["Connection"] = "close"
        head = h11.Response(
            status_code=response.status.value,
            reason=response.status.phrase.encode(),
            headers=list(headers.items()),
        )
        if isinstance(response.body, bytes):
            content = [h11.Data(data=response.body)] if body else []
            await self._send(head, *content, h11.EndOfMessage())
            return
        await self._send(head)
        if body:
            await self._stream(response.body)
        await self._send(h11.EndOfMessage())

    async def _stream(self, body: AsyncGenerator[bytes, None]) -> None:
        """Send what comes until there is no more. Raises ConnectionError when the client hangs up first."""
        sending = asyncio.create_task(self._send_all(body))
        leaving = asyncio.create_task(self._hung_up())
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not sending.done():
                raise ConnectionResetError("the client hung up")
            sending.result()
        finally:
            sending.cancel()
            leaving.cancel()
            await asyncio.gather(sending, leaving, return_exceptions=True)

    async def _send_all(self, body: AsyncGenerator[bytes, None]) -> None:
        async with contextlib.aclosing(body):
            async for data in body:
                await self._send(h11.Data(data=data))

    async def _hung_up(self) -> None:
        """Return when the client has gone; what it says meanwhile is nobody's."""
        while await self._reader.read(_READ):
            pass

    async def _linger(self) -> None:
        """Read on for a moment: closing while a body comes in would take our answer from the client, too."""
        if self._http.their_state is not h11.SEND_BODY:
            return
        with contextlib.suppress(TimeoutError, OSError):
            async with asyncio.timeout(_LINGER_SECONDS):
                if self._writer.can_write_eof():
                    self._writer.write_eof()
                await self._hung_up()

    async def _send(self, *events: h11.Response | h11.Data | h11.EndOfMessage) -> None:
        # As few writes as can be without copying what is large.
        small = []
        for event in events:
            data = self._http.send(event) or b""
            if len(data) < _LARGE:
                small.append(data)
                continue
            self._writer.write(b"".join(small))
            self._writer.write(data)
            small = []
        self._writer.write(b"".join(small))
        async with asyncio.timeout(WRITE_SECONDS):
            await self._writer.drain()

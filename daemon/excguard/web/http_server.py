"""A small HTTP/1.1 server: limited in size, time and number of connections, with TLS that can be replaced.

Servers that are made for web applications leave one of these open: a client that sends its request a byte at
a time is kept.

When all connections are in use, a new one replaces the connection that has waited for its client for the
longest time: in a TLS handshake, for a request, or for the client to read. Connections of clients that have
authenticated are replaced last. So clients that do nothing cannot keep others out.
"""

import asyncio
import resource
from collections.abc import Awaitable, Callable
from socket import socket
from typing import TYPE_CHECKING

from excguard.web.http_message import Request, Response

if TYPE_CHECKING:
    import ssl

    from excguard.web.http_connection import Connection

MAX_CONNECTIONS = 128
_ACCEPT_RETRY = 0.1  # seconds, when there is no descriptor left


class HTTPServer:
    """Serves from `start` to `close`, in the event loop that calls them."""

    def __init__(
        self,
        listener: socket,
        respond: Callable[[Request], Awaitable[Response]],
        tls: "Callable[[], ssl.SSLContext | None]",
        on_error: Callable[[Exception], None],
    ) -> None:
        """Serve on a listening socket; this object closes it.

        Args:
            listener: bound, listening, non-blocking.
            respond: produces the response to a GET or HEAD (the server omits the body for HEAD).
            tls: the context for a new connection; None for plain HTTP.
            on_error: called with an exception of ``respond``; the client gets status 500.
        """
        self._listener = listener
        self._respond = respond
        self._tls = tls
        self._on_error = on_error
        self._connections: dict[asyncio.Task[None], Connection] = {}
        self._tasks: set[asyncio.Task[None]] = set()  # of the connections and of those that are being closed

    def start(self) -> None:
        """Start to accept connections."""
        self._keep(asyncio.create_task(self._accept()))

    async def close(self) -> None:
        """Stop listening and close all connections."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._listener.close()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, _ = await loop.sock_accept(self._listener)
            except OSError:  # no descriptor left, or the client has disconnected already
                self._replace_one()
                await asyncio.sleep(_ACCEPT_RETRY)
                continue
            if len(self._connections) >= _limit() and not self._replace_one():
                accepted.close()
                continue
            # Not before it is needed: most excguards are never asked anything.
            from excguard.web.http_connection import Connection  # noqa: PLC0415

            connection = Connection(self._respond, self._on_error)
            task = asyncio.create_task(connection.serve(accepted, self._tls))
            self._connections[task] = connection
            task.add_done_callback(lambda done: self._connections.pop(done, None))
            # Also of a task that is cancelled before it runs.
            task.add_done_callback(lambda _, accepted=accepted: accepted.close())  # type: ignore[misc]
            self._keep(task)
            await asyncio.sleep(0)  # accepting does not wait while there are connections

    def _replace_one(self) -> bool:
        """Close the connection that has waited for its client for the longest time; False if none waits."""
        waiting = [
            (connection.authenticated, connection.waiting_since, number, task)
            for number, (task, connection) in enumerate(self._connections.items())
            if connection.waiting_since is not None
        ]
        if not waiting:
            return False
        *_, task = min(waiting)
        del self._connections[task]
        task.cancel()
        return True

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _limit() -> int:
    """The maximum number of connections; they must not use up the process's descriptors."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MAX_CONNECTIONS if soft == resource.RLIM_INFINITY else max(1, min(MAX_CONNECTIONS, soft // 4))

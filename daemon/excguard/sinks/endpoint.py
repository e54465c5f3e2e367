"""The HTTP endpoint: ``/metrics`` for Prometheus, ``/-/healthy`` and ``/-/ready`` for whoever looks after us.

It has threads of its own, so a log that blocks does not keep Prometheus waiting.
"""

import html
import socket
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from excguard import __version__

_REQUEST_TIMEOUT = 10.0  # seconds that a client may be silent


class Endpoint:
    """Serves from construction to `close`."""

    def __init__(self, host: str, port: int, registry: CollectorRegistry, ready: Callable[[], bool]) -> None:
        """Listen on ``host`` and ``port`` (0: any free one). Raises OSError when that cannot be had."""
        family, *_, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        self._server = _Server(family, (str(address[0]), int(address[1])), registry, ready)
        self._thread = threading.Thread(
            target=self._server.serve_forever,
            kwargs={"poll_interval": 0.05},
            name="excguard-endpoint",
            daemon=True,
        )
        self._thread.start()

    @property
    def url(self) -> str:
        """Where it listens: "http://127.0.0.1:12012"."""
        host, port = self._server.socket.getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def close(self) -> None:
        """Stop listening. Requests that are being answered may still end."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(
        self, family: int, address: tuple[str, int], registry: CollectorRegistry, ready: Callable[[], bool]
    ) -> None:
        self.address_family = family
        self.registry = registry
        self.ready = ready
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        # Not HTTPServer's own, which asks DNS for the host's name and can take its time.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)

    def handle_error(self, *_: object) -> None:
        """Say nothing: clients that hang up or dawdle are no news."""


class _Answer(NamedTuple):
    status: HTTPStatus
    content_type: str
    body: bytes


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version = f"excguard/{__version__}"
    sys_version = ""
    timeout = _REQUEST_TIMEOUT

    def do_GET(self) -> None:
        self._send(self._answer(), body=True)

    def do_HEAD(self) -> None:
        self._send(self._answer(), body=False)

    def _refuse(self) -> None:
        self._send(
            _text(HTTPStatus.METHOD_NOT_ALLOWED, "Everything here is for reading: GET or HEAD.\n"), body=True
        )

    do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_TRACE = do_CONNECT = _refuse  # noqa: N815 - http.server's names

    def _answer(self) -> _Answer:
        path = urlsplit(self.path).path
        if path == "/metrics":
            encode, content_type = choose_encoder(self.headers.get("Accept") or "")
            return _Answer(HTTPStatus.OK, content_type, encode(self.server.registry))
        if path == "/":
            return _Answer(HTTPStatus.OK, "text/html; charset=utf-8", _LANDING.encode())
        if path == "/-/healthy":
            return _text(HTTPStatus.OK, "excguard is alive.\n")
        if path == "/-/ready":
            if self.server.ready():
                return _text(HTTPStatus.OK, "excguard is ready.\n")
            return _text(HTTPStatus.SERVICE_UNAVAILABLE, "excguard is not receiving exceptions.\n")
        return _text(HTTPStatus.NOT_FOUND, "There are / and /metrics, /-/healthy and /-/ready.\n")

    def _send(self, answer: _Answer, *, body: bool) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
        if answer.status == HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET, HEAD")
        self.end_headers()
        if body:
            self.wfile.write(answer.body)

    def log_message(self, *_: object) -> None:
        """Say nothing: a scrape every few seconds is no news."""


def _text(status: HTTPStatus, text: str) -> _Answer:
    return _Answer(status, "text/plain; charset=utf-8", text.encode())


_LANDING = f"""<!doctype html>
<html lang="en">
<title>excguard</title>
<style>body {{ font: 16px/1.5 system-ui, sans-serif; margin: 3rem auto; max-width: 40rem }}</style>
<h1>excguard</h1>
<p>Version {html.escape(__version__)}. It watches programs for EXC_GUARD exceptions.</p>
<ul>
<li><a href="/metrics">/metrics</a>: for Prometheus</li>
<li><a href="/-/healthy">/-/healthy</a>: is the process alive</li>
<li><a href="/-/ready">/-/ready</a>: are exceptions being received</li>
</ul>
</html>
"""

"""An HTTP server that keeps the requests it gets, and answers as a test says."""

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple


class Request(NamedTuple):
    """One POST; ``body`` is what was sent before compression."""

    path: str
    headers: dict[str, str]
    body: bytes


class Receiver:
    """The server.

    Attributes:
        requests: in their order.
        answers: status, headers and body of the next answers; then the last of them, 200 when there is none.
        stalled: while it is set, no answer is given.
    """

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.answers: list[tuple[int, dict[str, str], bytes]] = []
        self.stalled = threading.Event()
        self.released = threading.Event()
        self.url = ""

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        if len(self.answers) > 1:
            return self.answers.pop(0)
        return self.answers[0] if self.answers else (200, {}, b"{}")


@contextmanager
def receiver() -> Iterator[Receiver]:
    """Serve on a free port of the loopback interface."""
    kept = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            if kept.stalled.is_set():
                kept.released.wait()
                return
            kept.requests.append(Request(self.path, dict(self.headers), body))
            status, headers, answer = kept.answer()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    kept.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield kept
    finally:
        kept.released.set()
        server.shutdown()
        thread.join()
        server.server_close()

"""A request and a response of the HTTP server."""

from collections.abc import AsyncGenerator, Mapping
from http import HTTPStatus
from typing import NamedTuple


class Request(NamedTuple):
    """The head of a request; requests with a body are rejected."""

    method: str
    path: str
    headers: Mapping[str, str]  # names in lower case; of repeated headers the last
    certificate: Mapping[str, object] | None  # the client's TLS certificate, as `SSLSocket.getpeercert`


class Response(NamedTuple):
    """A response. A body that is a generator is sent as it is produced, until the client disconnects."""

    status: HTTPStatus
    content_type: str
    body: bytes | memoryview | AsyncGenerator[bytes, None]
    headers: Mapping[str, str] = {}
    authenticated: bool = False  # the client has authenticated, so its connection is kept in preference


def text(status: HTTPStatus, line: str, headers: Mapping[str, str] | None = None) -> Response:
    """A response of one line of text."""
    return Response(status, "text/plain; charset=utf-8", f"{line}\n".encode(), headers or {})

"""Clients, names and files that try to lock others out of the endpoint, to read it, or to stop it."""

import asyncio
import base64
import contextlib
import os
import socket
import stat
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

import bcrypt
import pytest

from excguard.web import http_connection, http_server
from excguard.web.http_message import Request, Response
from excguard.web.web_config import WebConfigFile
from tests.support.openssl import needs_openssl, self_signed

HEALTHY = b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def hashed(password: str, cost: int = 4) -> str:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(cost)).decode()


USERS = f"basic_auth_users:\n  prometheus: {hashed('secret')}\n"


@pytest.fixture
def web_config(tmp_path: Path):
    """Writes web configurations to one file."""

    def write(text: str) -> WebConfigFile:
        (tmp_path / "web.yml").write_text(text)
        return WebConfigFile(tmp_path / "web.yml")

    return write


@pytest.fixture
def reported() -> list[tuple[str, str]]:
    """The problems that an endpoint reports: event and text."""
    return []


def address_of(endpoint) -> tuple[str, int]:
    host, _, port = endpoint.url.partition("://")[2].rpartition(":")
    return host, int(port)


def connect(endpoint) -> socket.socket:
    return socket.create_connection(address_of(endpoint), timeout=20)


def request(path: str = "/metrics", host: str = "localhost", user: str = "", *, close: bool = True) -> bytes:
    lines = [f"GET {path} HTTP/1.1", f"Host: {host}"]
    if user:
        lines.append(f"Authorization: Basic {base64.b64encode(user.encode()).decode()}")
    if close:
        lines.append("Connection: close")
    return "\r\n".join([*lines, "", ""]).encode()


def read_all(client: socket.socket) -> bytes:
    found = b""
    with contextlib.suppress(ConnectionResetError):
        while data := client.recv(65536):
            found += data
    return found


def status(endpoint, sent: bytes) -> int:
    """The status of the response to a request on a connection of its own."""
    with connect(endpoint) as client:
        client.sendall(sent)
        return int(read_all(client).split(b" ", 2)[1])


@contextlib.contextmanager
def held(endpoint, count: int, sent: bytes = b"") -> Iterator[list[socket.socket]]:
    """Connections that send something and then nothing more."""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connect(endpoint)) for _ in range(count)]
        for client in clients:
            if sent:
                client.sendall(sent)
        yield clients


@pytest.mark.parametrize("sent", [b"", b"G", b"GET / HTTP/1.1\r\nHost: localhost\r\nX: "])
def test_idle_connections_do_not_lock_others_out(endpoint, sent: bytes) -> None:
    with held(endpoint, 2 * http_server.MAX_CONNECTIONS, sent):
        assert status(endpoint, HEALTHY) == 200
        assert status(endpoint, request()) == 200


def test_clients_that_do_not_read_do_not_lock_others_out(world, endpoint, monkeypatch) -> None:
    monkeypatch.setattr(http_server, "MAX_CONNECTIONS", 4)
    for number in range(1000):
        world.hit(target=f"target {number} " + "x" * 1000)
    with held(endpoint, 6, request(close=False) * 20):
        assert status(endpoint, HEALTHY) == 200


def test_the_connections_of_a_process_with_few_descriptors_are_fewer(monkeypatch) -> None:
    monkeypatch.setattr(http_server.resource, "getrlimit", lambda _: (64, 64))

    assert http_server._limit() == 16


@needs_openssl
def test_stalled_tls_handshakes_do_not_lock_others_out(open_endpoint, web_config, tmp_path: Path) -> None:
    context = self_signed(tmp_path)
    endpoint = open_endpoint(web_config=web_config(f"tls_server_config: {{{CERTIFICATE}}}"))
    hello = b"\x16\x03\x01\x02\x00\x01"  # the start of a ClientHello

    with (
        held(endpoint, http_server.MAX_CONNECTIONS, hello),
        held(endpoint, http_server.MAX_CONNECTIONS),
        connect(endpoint) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as client,
    ):
        client.sendall(HEALTHY)
        assert b" 200 " in read_all(client)


def test_strangers_do_not_replace_connections_of_authenticated_clients(open_endpoint, web_config) -> None:
    endpoint = open_endpoint(web_config=web_config(USERS))
    with connect(endpoint) as authenticated:
        for _ in range(2):
            authenticated.sendall(request("/-/healthy", user="prometheus:secret", close=False))
            assert b" 200 " in authenticated.recv(65536)
            with held(endpoint, 2 * http_server.MAX_CONNECTIONS):
                assert status(endpoint, request(user="prometheus:secret")) == 200


def test_a_client_without_access_is_disconnected(open_endpoint, web_config) -> None:
    endpoint = open_endpoint(web_config=web_config(USERS))
    with connect(endpoint) as client:
        client.sendall(request(close=False) * 2)
        answers = read_all(client)

    assert answers.count(b"HTTP/1.1 401") == 1
    assert b"connection: close" in answers.lower()


def test_strangers_cannot_use_up_the_rate_of_authenticated_clients(open_endpoint, web_config) -> None:
    endpoint = open_endpoint(web_config=web_config(USERS + "rate_limit: {interval: 1h, burst: 3}\n"))
    assert status(endpoint, request(user="prometheus:secret")) == 200

    assert [status(endpoint, request(user="prometheus:guess")) for _ in range(4)] == [401, 401, 429, 429]

    assert status(endpoint, request(user="prometheus:secret")) == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil\\@localhost",
        "evil@localhost",
        "localhost.evil.example",
        "evil.example#localhost",
    ],
)
@pytest.mark.parametrize("text", [None, "", "rate_limit: {interval: 1ms, burst: 100}"])
def test_a_web_page_whose_name_resolves_to_this_machine_reads_nothing(
    open_endpoint, web_config, host: str, text: str | None
) -> None:
    endpoint = open_endpoint(web_config=None if text is None else web_config(text))

    assert status(endpoint, request(host=host)) in {400, 421}
    assert status(endpoint, request(host="localhost:12012")) == 200


CERTIFICATE = "cert_file: cert.pem, key_file: key.pem"
INVALID = [
    "\0",
    "\x01: 1",
    "- " * 5000,
    "[" * 100_000,
    "{" * 100_000,
    "a: &a [*a]",
    "? {a: b}\n: c",
    "1: 2",
    "null: 2",
    "2001-99-99: 1",
    "rate_limit: 2001-99-99",
    "rate_limit: {interval: 99999999999999999999999999999h, burst: 1}\nx: 1",
    "rate_limit: {burst: 99999999999999999999999999999999}",
    "basic_auth_users: {a: !!binary aGVsbG8=}",
    "basic_auth_users: {a: !!timestamp nonsense}",
    "basic_auth_users: {a: !!int nonsense}",
    "basic_auth_users: {? [a] : b}",
    'basic_auth_users: {"\\ud800": b}',
    'tls_server_config: {cert_file: "a\\0b", key_file: k}',
    'tls_server_config: {cert_file: "\\ud800", key_file: k}',
    "tls_server_config: {cert_file: /dev/zero, key_file: /dev/zero}",
    "tls_server_config: {cert_file: FIFO, key_file: FIFO}",
    "tls_server_config: {cert_file: ., key_file: .}",
    "tls_server_config: {CERTIFICATE, cipher_suites: [é]}",
    "tls_server_config: {CERTIFICATE, cipher_suites: ['a\\0']}",
    "tls_server_config: {CERTIFICATE, client_ca: é, client_auth_type: VERIFY}",
    "tls_server_config: {CERTIFICATE, client_ca_file: FIFO, client_auth_type: VERIFY}",
    "x" * 300_000,
]


@needs_openssl
@pytest.mark.parametrize("text", INVALID, ids=range(len(INVALID)))
def test_an_invalid_web_configuration_is_reported_and_denies_access(
    open_endpoint, web_config, reported, tmp_path: Path, text: str
) -> None:
    self_signed(tmp_path)
    os.mkfifo(tmp_path / "FIFO")
    endpoint = open_endpoint(
        web_config=web_config(USERS), on_problem=lambda event, error: reported.append((event, error))
    )

    (tmp_path / "web.yml").write_text(
        text.replace("CERTIFICATE", CERTIFICATE).replace("VERIFY", "RequireAndVerifyClientCert")
    )

    assert status(endpoint, request(user="prometheus:secret")) == 500
    ((event, error),) = reported
    assert event == "web_config_error"
    assert error.startswith(f"{tmp_path / 'web.yml'}: ")
    assert "\n" not in error
    (tmp_path / "web.yml").write_text(USERS)
    assert status(endpoint, request(user="prometheus:secret")) == 200


@pytest.mark.parametrize("kind", ["fifo", "device", "directory", "endless", "nothing"])
def test_a_web_configuration_that_is_not_a_regular_file_is_reported(
    open_endpoint, web_config, reported, tmp_path: Path, kind: str
) -> None:
    endpoint = open_endpoint(
        web_config=web_config(USERS), on_problem=lambda event, error: reported.append((event, error))
    )
    path = tmp_path / "web.yml"

    path.unlink()
    match kind:
        case "fifo":
            os.mkfifo(path)
        case "device":
            path.symlink_to("/dev/tty")
        case "directory":
            path.mkdir()
        case "endless":
            path.symlink_to("/dev/zero")

    assert status(endpoint, request(user="prometheus:secret")) == 500
    assert [event for event, _ in reported] == ["web_config_error"]


def test_an_error_of_excguard_is_a_response_and_an_event(world, open_endpoint, reported) -> None:
    endpoint = open_endpoint(on_problem=lambda event, error: reported.append((event, error)))
    world.counters = lambda: 1 // 0

    for _ in range(2):
        assert status(endpoint, request()) == 500

    ((event, error),) = reported
    assert event == "endpoint_error"
    assert "ZeroDivisionError" in error
    assert status(endpoint, HEALTHY) == 200


@pytest.mark.parametrize("host", ["a..b", "x" * 64 + ".example", ".", "nonexistent.invalid"])
def test_an_invalid_host_name_is_an_os_error(open_endpoint, host: str) -> None:
    with pytest.raises(OSError, match=r"\w"):
        open_endpoint(host)


def test_a_unix_socket_is_open_to_its_owner_alone(open_endpoint, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    endpoint = open_endpoint(path)

    assert endpoint.url == f"unix:{path}"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.sendall(request(host="anything.example"))
        assert b" 200 " in read_all(client)
    endpoint.close()
    assert not path.exists()


def test_a_unix_socket_that_was_left_behind_is_replaced(open_endpoint, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
        left.listen()

    open_endpoint(path)

    with pytest.raises(OSError, match="in use"):
        open_endpoint(path)


def test_a_file_in_place_of_a_unix_socket_is_kept(open_endpoint, tmp_path: Path) -> None:
    target = tmp_path / "important"
    target.write_text("text")
    link = tmp_path / "link"
    link.symlink_to(target)
    for path in (target, link):
        with pytest.raises(OSError, match="not a socket"):
            open_endpoint(path)

    assert target.read_text() == "text"


def test_another_process_that_takes_over_the_socket_keeps_it(open_endpoint, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    first = open_endpoint(path)
    path.unlink()
    open_endpoint(path)

    first.close()

    assert path.exists()


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("http://localhost/metrics", 200),
        ("http://127.0.0.1:1/metrics?a#b", 200),
        ("http://evil.example/metrics", 421),
        ("http://localhost@evil.example/metrics", 421),
        ("HTTP://evil.example/metrics", 421),
        ("//evil.example/metrics", 404),
        ("/metrics?a=//b", 200),
        ("http://[::1/metrics", 400),
    ],
)
def test_an_absolute_target_names_the_host(endpoint, target: str, expected: int) -> None:
    """Host says nothing then (RFC 9112, 3.2.2), and cannot hide another name."""
    assert status(endpoint, request(target)) == expected


def test_a_client_that_reads_late_ends_its_connection_without_an_error() -> None:
    """All is in the buffer when the server closes; it is written after that."""
    failed: list[Exception] = []
    body = b"a" * 60_000  # less than what the server waits for

    async def respond(_request: Request) -> Response:
        return Response(HTTPStatus.OK, "text/plain", body)

    async def main() -> bytes:
        loop = asyncio.get_running_loop()
        client, server = socket.socketpair()
        server.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        with client, server:
            for one in (client, server):
                one.setblocking(False)  # noqa: FBT003 - its only argument
            connection = http_connection.Connection(respond, failed.append)
            serving = asyncio.create_task(connection.serve(server, lambda: None))
            await loop.sock_sendall(client, request())
            while not (hasattr(connection, "_writer") and connection._writer.transport.is_closing()):  # noqa: ASYNC110
                await asyncio.sleep(0)
            received = b""
            while part := await loop.sock_recv(client, 1 << 16):
                received += part
            await serving
            return received

    assert asyncio.run(main()).endswith(body)
    assert failed == []

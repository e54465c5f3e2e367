"""The endpoint: its pages, what it refuses, and its limits."""

import contextlib
import gzip
import http.client
import json
import socket
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest

from excguard.pipeline.counters import CountersClosedError
from excguard.web import http_connection, http_server
from excguard.web.errors import UnprotectedError
from tests.support.waiting import wait_until


def get(url: str, method: str = "GET", **headers: str):
    request = urllib.request.Request(url, headers=headers, method=method)
    with urllib.request.urlopen(request, timeout=20) as response:
        return response.status, response.headers, response.read().decode()


def status_of(url: str, method: str = "GET", **headers: str):
    try:
        return get(url, method, **headers)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read().decode()


def connect(url: str) -> socket.socket:
    address = urlsplit(url)
    return socket.create_connection((address.hostname, address.port), timeout=20)


def talk(url: str, *pieces: bytes) -> bytes:
    """Send ``pieces``, then read until the server closes the connection."""
    with connect(url) as client:
        for piece in pieces:
            client.sendall(piece)
        return read_all(client)


def read_all(client: socket.socket) -> bytes:
    found = b""
    with contextlib.suppress(ConnectionResetError):
        while data := client.recv(65536):
            found += data
    return found


def test_pages(endpoint) -> None:
    status, headers, text = get(endpoint.url + "/")
    assert status == 200
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert 'href="metrics"' in text
    assert get(endpoint.url + "/-/healthy")[0] == 200
    assert get(endpoint.url + "/-/ready")[0] == 200
    assert get(endpoint.url + "/metrics?x=1")[0] == 200


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("/nothing", "GET", 404),
        ("/metrics/x", "GET", 404),
        ("/../etc/passwd", "GET", 404),
        ("/metrics", "POST", 405),
        ("/", "DELETE", 405),
        ("/events", "PUT", 405),
    ],
)
def test_wrong_paths_and_methods(endpoint, path: str, method: str, status: int) -> None:
    found, headers, text = status_of(endpoint.url + path, method)

    assert found == status
    assert text.endswith(".\n")
    if status == 405:
        assert headers["Allow"] == "GET, HEAD"


def test_head_has_only_the_headers(endpoint) -> None:
    status, headers, text = get(endpoint.url + "/metrics", "HEAD")

    assert status == 200
    assert int(headers["Content-Length"]) > 0
    assert text == ""


@pytest.mark.parametrize(
    ("accepted", "compressed"),
    [
        ("gzip", True),
        ("deflate, GZIP;q=0.5", True),
        ("identity", False),
        ("gzip;q=0", False),
        ("gzip;q=0.000, identity", False),
        ("", False),
    ],
)
def test_metrics_are_compressed_on_request(world, endpoint, accepted: str, compressed: bool) -> None:  # noqa: FBT001
    for number in range(50):
        world.hit(target=f"target {number}")
    request = urllib.request.Request(endpoint.url + "/metrics", headers={"Accept-Encoding": accepted})
    with urllib.request.urlopen(request, timeout=20) as response:
        body = response.read()
        encoding = response.headers["Content-Encoding"]

    assert encoding == ("gzip" if compressed else None)
    text = gzip.decompress(body).decode() if compressed else body.decode()
    assert 'excguard_hits_total{target="target 49"' in text


def test_not_ready_is_503(open_endpoint) -> None:
    endpoint = open_endpoint(ready=lambda: False)

    assert status_of(endpoint.url + "/-/ready")[0] == 503
    assert status_of(endpoint.url + "/-/healthy")[0] == 200


def test_metrics_are_503_when_the_counters_are_closed(world, open_endpoint) -> None:
    endpoint = open_endpoint()

    def closed():
        raise CountersClosedError

    world.counters = closed
    assert status_of(endpoint.url + "/metrics")[0] == 503


def test_a_port_in_use_is_an_os_error(endpoint, open_endpoint) -> None:
    with pytest.raises(OSError, match="in use"):
        open_endpoint(port=urlsplit(endpoint.url).port)


def test_it_listens_on_ipv6(open_endpoint) -> None:
    endpoint = open_endpoint("::1")

    assert endpoint.url.startswith("http://[::1]:")
    assert get(endpoint.url + "/-/healthy")[0] == 200


@pytest.mark.parametrize(
    ("host", "here"),
    [("0.0.0.0", "127.0.0.1"), ("::", "[::1]")],  # noqa: S104 - it is the test
)
def test_an_address_that_others_can_reach_needs_authentication(open_endpoint, host: str, here: str) -> None:
    with pytest.raises(UnprotectedError, match=r"metrics\.web_config"):
        open_endpoint(host)

    endpoint = open_endpoint(host, allow_unprotected=True)
    assert get(f"http://{here}:{urlsplit(endpoint.url).port}/-/healthy")[0] == 200


def test_one_connection_serves_many_requests(endpoint) -> None:
    connection = http.client.HTTPConnection(urlsplit(endpoint.url).netloc, timeout=20)
    with contextlib.closing(connection):
        for path in ("/metrics", "/-/healthy", "/nothing", "/"):
            connection.request("GET", path)
            assert connection.getresponse().read()


def test_pipelined_requests_are_answered_in_order(endpoint) -> None:
    first = b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\n\r\n"
    second = b"GET /-/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"

    answers = talk(endpoint.url, first + second)

    assert answers.index(b"healthy") < answers.index(b"ready")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:80", "[::1]:9", "x.localhost", "192.0.2.1"])
def test_names_of_this_machine_are_accepted(endpoint, host: str) -> None:
    assert b" 200 " in talk(
        endpoint.url, f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
    )


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "[::",
        "localhost.evil.example",
        "evil\\@localhost",
        "evil@localhost",
        "evil.example/localhost",
        "localhost:80:90",
        "localhost:x",
    ],
)
def test_other_names_that_resolve_to_this_machine_are_not(endpoint, host: str) -> None:
    assert b" 421 " in talk(
        endpoint.url, f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
    )


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"hello\r\n\r\n", b" 400 "),
        (b"GET / HTTP/1.1\r\n\r\n", b" 400 "),  # no Host
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b" 400 "),
        (b"GET /\xff HTTP/1.1\r\nHost: localhost\r\n\r\n", b" 400 "),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 40_000 + b"\r\n\r\n", b" 431 "),
        (b"GET /" + b"y" * 40_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", b" 431 "),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello", b" 413 "),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000000\r\n\r\n" + b"z" * 1000, b" 405 "),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", b" 400 "),
    ],
)
def test_a_malformed_request_gets_its_status_and_is_disconnected(
    endpoint, monkeypatch, request_bytes: bytes, status: bytes
) -> None:
    monkeypatch.setattr(http_connection, "_LINGER_SECONDS", 0.1)

    answer = talk(endpoint.url, request_bytes)

    assert status in answer.split(b"\r\n", 1)[0]
    assert b"connection: close" in answer.lower()
    assert get(endpoint.url + "/-/healthy")[0] == 200


def test_a_request_that_takes_too_long_times_out(endpoint, monkeypatch) -> None:
    monkeypatch.setattr(http_connection, "HEAD_SECONDS", 0.3)
    with connect(endpoint.url) as silent, connect(endpoint.url) as slow:
        slow.sendall(b"GET / HTTP/1.1\r\n")
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for _ in range(200):  # a byte at a time
                slow.sendall(b"X")
                slow.settimeout(0.05)
                with contextlib.suppress(TimeoutError):
                    if slow.recv(1, socket.MSG_PEEK):
                        break
        slow.settimeout(20)

        assert b" 408 " in read_all(slow)
        assert read_all(silent) == b""


def test_a_client_that_does_not_read_is_disconnected(world, open_endpoint, monkeypatch) -> None:
    monkeypatch.setattr(http_connection, "WRITE_SECONDS", 0.3)
    for number in range(2000):
        world.hit(target=f"target {number} " + "x" * 1000)
    endpoint = open_endpoint()

    with connect(endpoint.url) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        for _ in range(20):
            client.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert wait_until(lambda: endpoint_connections(endpoint), lambda count: count == 0) == 0


def endpoint_connections(endpoint) -> int:
    """The number of connections."""
    return len(endpoint._server._connections)


def exchange(client: socket.socket, path: str = "/-/healthy") -> bytes:
    """Send a request on a connection that stays open, and receive the start of the response."""
    client.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    return client.recv(65536)


def test_a_new_connection_replaces_the_one_that_is_idle_for_the_longest_time(endpoint, monkeypatch) -> None:
    monkeypatch.setattr(http_server, "MAX_CONNECTIONS", 3)
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(connect(endpoint.url)) for _ in range(3)]
        for client in held:
            assert b" 200 " in exchange(client)
        assert b" 200 " in exchange(held[0])  # now the second is idle for the longest time

        assert b" 200 " in exchange(stack.enter_context(connect(endpoint.url)))

        assert read_all(held[1]) == b""
        assert b" 200 " in exchange(held[0])
        assert b" 200 " in exchange(held[2])


def test_many_scrapes_at_once_agree(world, endpoint) -> None:
    for number in range(50):
        world.hit(target=f"target {number}")
    with ThreadPoolExecutor(8) as pool:
        texts = list(pool.map(lambda _: get(endpoint.url + "/metrics")[2], range(40)))

    counted = {
        tuple(line for line in text.splitlines() if line.startswith("excguard_hits_total")) for text in texts
    }
    assert len(counted) == 1


def events(url: str):
    """The messages of the feed, as (event, object)."""
    with urllib.request.urlopen(url + "/events", timeout=20) as response:
        assert response.headers["Content-Type"] == "text/event-stream"
        kind = ""
        for line in response:
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name == "event":
                kind = value
            elif name == "data":
                yield kind, json.loads(value)


def test_the_feed_sends_everything_and_then_the_changes(world, endpoint) -> None:
    world.hit(subcode=7)
    with contextlib.closing(events(endpoint.url)) as feed:
        kind, state = next(feed)
        assert kind == "state"
        assert state["about"]["kernel"] == "simulated"
        (target,) = state["targets"]
        assert (target["name"], target["up"]) == ("mail", True)
        assert state["counts"][0][:5] == [target["id"], "MACH_PORT", "INVALID_NAME", "optional", 1]
        (hit,) = state["hits"]
        assert (hit["flavor_name"], hit["payload"], hit["target"], hit["repeats"]) == (
            "INVALID_NAME",
            "0x7",
            0,
            0,
        )

        world.hit(subcode=8, more=40)
        changes: dict = {}
        while "counts" not in changes:
            kind, update = next(feed)
            assert kind == "update"
            changes |= update
        assert changes["counts"][0][4] == 42
        assert [(row["payload"], row["repeats"]) for row in changes["hits"]] == [("0x8", 40)]


def test_the_number_of_viewers_is_limited(world, endpoint, monkeypatch) -> None:
    monkeypatch.setattr("excguard.web.live_feed.MAX_VIEWERS", 2)
    first, second = events(endpoint.url), events(endpoint.url)
    next(first), next(second)
    assert status_of(endpoint.url + "/events")[0] == 503

    first.close()
    wait_until(lambda: not world.feed.full)
    with contextlib.closing(events(endpoint.url)) as third:
        assert next(third)[0] == "state"
    second.close()


def test_closing_disconnects_all_clients(open_endpoint) -> None:
    endpoint = open_endpoint()
    feed = events(endpoint.url)
    next(feed)

    endpoint.close()

    with contextlib.suppress(http.client.IncompleteRead, ConnectionError):
        assert list(feed) == []
    with pytest.raises(OSError, match="refused"):
        connect(endpoint.url)

"""What a client makes of servers that answer wrong, late or not at all, and of what it was given."""

import os
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from excguard.mach import bootstrap, ports
from excguard.mach.ports import ReceiveRight, SendOnceRight, SendRight
from excguard.mach.rendezvous import (
    Outcome,
    Port,
    RendezvousClient,
    RendezvousError,
    Requirement,
    Validation,
    wire,
)
from excguard.native import ffi, lib
from tests.fuzz import rendezvous_messages as seeds
from tests.support import ROOT, rendezvous_child
from tests.support.messages import GOOD, receive, send

SERVICE = f"org.excguard.test.false.{os.getpid()}"
RECEIVE, SEND, SEND_ONCE = 16, 17, 18
TAIL = struct.Struct("=III")

Make = Callable[..., Any]

# ---- the parser ----


def parse(message: bytes, *, pid: int = 4242, protocol: int = 0) -> Any:
    client = ffi.new("struct excguard_client *")
    lib.excguard_client_parse_reply(message, len(message), pid, protocol, client)
    return client


def own(ports_of: list[tuple[int, int, int]], **changes: int) -> bytes:
    """A reply; ``changes`` by name: count, size, total, version, status, bits, msgh_id, remote."""
    message = bytearray(wire.build_reply(0, ports_of, status=changes.get("status", 0)))
    size = changes.get("size", len(message))
    bits = changes.get("bits", lib.MACH_MSGH_BITS_COMPLEX)
    msgh_id = changes.get("msgh_id", lib.EXCGUARD_RENDEZVOUS_REPLY)
    wire.HEADER.pack_into(message, 0, bits, size, changes.get("remote", 0), 77, 0, msgh_id)
    struct.pack_into("=I", message, 24, changes.get("count", len(ports_of)))
    tail = 28 + 12 * len(ports_of)
    version, total = changes.get("version", 1), changes.get("total", len(message))
    TAIL.pack_into(message, tail, version, total, changes.get("status", 0))
    return bytes(message) + seeds.TRAILER + bytes(8)


ONE = [(7, 0x1103, SEND)]


@pytest.mark.parametrize(
    ("message", "outcome"),
    [
        (own(ONE), Outcome.GRANTED),
        (own([]), Outcome.GRANTED),
        (own([], status=1), Outcome.UNKNOWN),
        (own([], status=4, version=2), Outcome.OTHER_VERSION),
        (own(ONE, count=2), Outcome.BAD_REPLY),
        (own(ONE, count=0), Outcome.BAD_REPLY),
        (own(ONE, count=0xFFFFFFFF), Outcome.BAD_REPLY),
        (own(ONE, count=0x15555556), Outcome.BAD_REPLY),  # times 12 it is 8 again, in 32 bits
        (own([(key, 0x1103, SEND) for key in range(33)]), Outcome.BAD_REPLY),
        (own([(7, 1, SEND), (7, 2, SEND)]), Outcome.BAD_REPLY),
        (own([(7, 1, 20)]), Outcome.BAD_REPLY),  # MAKE_SEND, which never arrives
        (own(ONE, status=1), Outcome.BAD_REPLY),
        (own([], status=5), Outcome.BAD_REPLY),
        (own(ONE, version=2), Outcome.BAD_REPLY),
        (own(ONE, total=52), Outcome.BAD_REPLY),
        (own(ONE, size=52), Outcome.BAD_REPLY),
        (own(ONE, size=24), Outcome.BAD_REPLY),
        (own(ONE, size=20), Outcome.BAD_REPLY),
        (own(ONE, size=0xFFFFFFFF), Outcome.BAD_REPLY),
        (own(ONE, bits=0), Outcome.BAD_REPLY),
        (own(ONE, bits=lib.MACH_MSGH_BITS_COMPLEX | SEND, remote=0x1203), Outcome.BAD_REPLY),
        (own(ONE, msgh_id=lib.EXCGUARD_CHROMIUM_REPLY), Outcome.BAD_REPLY),
        (own(ONE)[:40], Outcome.BAD_REPLY),
        (own(ONE)[:10], Outcome.BAD_REPLY),
        (b"", Outcome.BAD_REPLY),
        (own(ONE)[:56] + struct.pack("=II44x", 1, 52) + bytes(8), Outcome.BAD_REPLY),
        (own(ONE)[:56] + struct.pack("=II44x", 0, 8) + bytes(8), Outcome.BAD_REPLY),
        (own(ONE).replace(struct.pack("=I", 4242), struct.pack("=I", 4243)), Outcome.WRONG_SERVER),
        (seeds.requests()[5][1] + bytes(8), Outcome.NO_ANSWER),
        (
            wire.HEADER.pack(0, 24, 0, 77, 0, 71) + seeds.TRAILER + bytes(8),
            Outcome.BAD_REPLY,
        ),  # not the kernel
    ],
)
def test_replies(message: bytes, outcome: Outcome) -> None:
    client = parse(message)

    assert Outcome(client.outcome) is outcome
    assert outcome is Outcome.GRANTED or client.count == 0


def test_descriptors_that_are_no_ports_are_refused() -> None:
    message = bytearray(own(ONE))
    message[28 + 11] = 1  # MACH_MSG_OOL_DESCRIPTOR

    assert Outcome(parse(bytes(message)).outcome) is Outcome.BAD_REPLY


def chromium(message: bytes) -> bytes:
    return seeds.received(message)


@pytest.mark.parametrize("count", range(7))
def test_chromiums_replies_have_the_sizes_of_its_generation_3(count: int) -> None:
    message = wire.build_chromium_reply(9, [(key, 0x1003, SEND) for key in range(count)], b"")

    assert len(message) == 36 + 16 * count
    assert parse(chromium(message), protocol=1).count == count


@pytest.mark.parametrize(
    "spoil",
    [
        lambda message: message[:24] + struct.pack("=I", 7) + message[28:],
        lambda message: message[:44] + struct.pack("=Q", 1) + message[52:],
        lambda message: message[:44] + struct.pack("=Q", 18433) + message[52:],
        lambda message: message[:44] + struct.pack("=Q", 0xFFFFFFFFFFFFFFF0) + message[52:],
    ],
)
def test_chromiums_replies_that_are_malformed(spoil: Callable[[bytes], bytes]) -> None:
    message = spoil(chromium(wire.build_chromium_reply(9, ONE, b"")))

    assert Outcome(parse(message, protocol=1).outcome) is Outcome.BAD_REPLY


def test_data_that_is_too_long_is_left_out() -> None:
    assert len(wire.build_chromium_reply(9, [], bytes(18432))) == 36 + 18432
    assert len(wire.build_chromium_reply(9, [], bytes(18433))) == 36


# ---- false servers ----


@pytest.fixture
def false_server(mach_environ: dict[str, str]) -> Iterator[Callable[..., None]]:
    """A service of this process that answers each request with what a function makes of its reply right."""
    before = ports.names()
    service = bootstrap.check_in(SERVICE)
    threads: list[threading.Thread] = []

    def serve(answer: Callable[[int], bytes | None]) -> None:
        def run() -> None:
            buffer = ffi.new("uint64_t[]", 64)
            header = ffi.cast("mach_msg_header_t *", buffer)
            options = lib.MACH_RCV_MSG | lib.MACH_RCV_TIMEOUT
            assert lib.mach_msg(header, options, 0, 512, service.name, 20_000, 0) == 0
            message = answer(header.msgh_remote_port)
            if message is None:
                lib.mach_msg_destroy(header)
            else:
                assert send(message) == 0

        threads.append(threading.Thread(target=run))
        threads[-1].start()

    yield serve
    for thread in threads:
        thread.join()
    service.close()
    assert ports.names() == before


def ask(**settings: Any) -> Outcome:
    try:
        with RendezvousClient.acquire(SERVICE, **settings) as client:
            return client.outcome
    except RendezvousError as error:
        return error.outcome


def test_rights_in_a_bad_reply_are_released(false_server: Callable[..., None]) -> None:
    with ReceiveRight.construct() as port:
        once = lib.MACH_MSG_TYPE_MAKE_SEND_ONCE

        def answer(reply: int) -> bytes:
            good = wire.build_reply(reply, [(7, port.name, once), (7, port.name, once)], status=0)
            return bytes(good)  # the same key twice

        false_server(answer)

        assert ask() is Outcome.BAD_REPLY
        assert [receive(port), receive(port)] == [lib.MACH_NOTIFY_SEND_ONCE] * 2


def test_a_reply_that_is_too_large_for_any_client(false_server: Callable[..., None]) -> None:
    bits = int(lib.MACH_MSG_TYPE_MOVE_SEND_ONCE)
    false_server(lambda reply: wire.HEADER.pack(bits, 30024, reply, 0, 0, 1) + bytes(30000))

    assert ask() is Outcome.BAD_REPLY


def test_a_server_that_drops_the_request(false_server: Callable[..., None]) -> None:
    false_server(lambda _reply: None)

    assert ask() is Outcome.NO_ANSWER


def test_a_server_that_is_another_process(false_server: Callable[..., None]) -> None:
    false_server(lambda reply: wire.build_reply(reply, [], status=1))

    assert ask(server_pid=os.getpid() + 1) is Outcome.WRONG_SERVER


def test_a_server_that_takes_too_long(mach_environ: dict[str, str]) -> None:
    before = ports.names()
    with bootstrap.check_in(SERVICE):
        assert ask(timeout=0.01) is Outcome.TIMED_OUT
    assert ports.names() == before


def test_a_server_whose_queue_is_full(mach_environ: dict[str, str]) -> None:
    """The request comes back with its rights."""
    before = ports.names()
    with bootstrap.check_in(SERVICE) as service, service.make_send() as to_service:
        message = wire.HEADER.pack(lib.MACH_MSG_TYPE_COPY_SEND, 24, to_service.name, 0, 0, 1)
        while send(message) == 0:
            pass
        assert ask(timeout=0.01) is Outcome.TIMED_OUT
    assert ports.names() == before


def test_no_server(mach_environ: dict[str, str]) -> None:
    assert ask() is Outcome.NO_SERVER


KILLED = """
import os, sys
from excguard.mach import bootstrap
from excguard.native import ffi, lib
port = bootstrap.check_in(sys.argv[1])
print(flush=True)
buffer = ffi.new("uint64_t[]", 64)
lib.mach_msg(ffi.cast("mach_msg_header_t *", buffer), lib.MACH_RCV_MSG, 0, 512, port.name, 0, 0)
os.kill(os.getpid(), 9)
"""


def test_a_server_that_is_killed_with_the_request_in_hand(mach_environ: dict[str, str]) -> None:
    """Not even with the longest patience does a client wait for it."""
    command = [sys.executable, "-c", KILLED, SERVICE]
    server = subprocess.Popen(command, env=mach_environ, stdout=subprocess.PIPE)
    assert server.stdout is not None
    server.stdout.readline()

    assert ask(timeout=0, server_pid=server.pid) is Outcome.NO_ANSWER
    assert server.wait() == -signal.SIGKILL
    server.stdout.close()


# ---- taking ----


def own_ports(parent: Any, gets: dict[int, Port]) -> RendezvousClient:
    """What this very process gets from its own server."""
    with parent.server.launch(gets) as launch:
        launch.register(os.getpid())
    return RendezvousClient.acquire(parent.server.service, server_pid=os.getpid())


def test_each_right_is_taken_once_and_by_its_kind(family: Make) -> None:
    parent = family()
    with ReceiveRight.construct() as port:
        gets = {
            1: Port.make_send(port),
            2: Port.move_receive(ReceiveRight.construct()),
            3: Port.make_send_once(port),
        }
        with own_ports(parent, gets) as client:
            assert client.port_count() == 3
            with pytest.raises(TypeError, match="ReceiveRight"):
                client.take_send_right(2)
            with pytest.raises(TypeError, match="SendRight"):
                client.take_receive_right(1)
            assert client.port_count() == 3

            first, second, third = (
                client.take_send_right(1),
                client.take_receive_right(2),
                client.take_send_right(3),
            )
            assert (type(first), type(second), type(third)) == (SendRight, ReceiveRight, SendOnceRight)
            assert client.take_send_right(1) is None
            assert client.take_receive_right(4) is None
            assert client.port_count() == 0
            for right in (first, second, third):
                assert right is not None
                right.close()


def test_the_c_client_takes_as_strictly(family: Make) -> None:
    parent = family()
    with ReceiveRight.construct() as port:
        words = ("acquire", "take", 1, RECEIVE, "take", 2, SEND, "take", 1, SEND, "take", 1, SEND)

        said = parent.run(*words, gets={1: Port.make_send(port)})
    assert said == ["0 0 1", "nothing", "nothing", "taken", "nothing"]


def test_a_port_that_died_on_its_way_is_none(family: Make) -> None:
    parent = family()
    port = ReceiveRight.construct()
    send_right = port.make_send()
    port.close()
    with own_ports(parent, {1: Port.move_send(send_right)}) as client:
        assert client.outcome is Outcome.GRANTED
        assert client.take_send_right(1) is None


def test_chromiums_protocol_from_end_to_end(family: Make) -> None:
    parent = family(chromium_bundle="org.example.Browser")
    name = f"org.example.Browser.MachPortRendezvousServer.{os.getpid()}"
    with ReceiveRight.construct() as port:
        six = {key: Port.make_send(port) for key in range(6)}
        words = ("service", name, "chromium", "acquire", "take", 5, SEND, "send", GOOD, "release", "acquire")

        assert parent.run(*words, gets=six) == ["0 0 6", "taken", "sent 0", "0 0 0"]
        assert receive(port) == GOOD
        with pytest.raises(ValueError, match="the limit is 6"):
            parent.start(gets={**six, 6: Port.make_send(port)})


# ---- the environment ----


def test_what_the_environment_says_is_used_once(family: Make) -> None:
    parent = family()
    with ReceiveRight.construct() as port:
        gets = {1: Port.make_send(port)}

        assert parent.run("variables", "acquire", "variables", "release", gets=gets) == [
            "variables 3",
            "0 0 1",
            "variables 0",
        ]


@pytest.mark.parametrize(
    "variables",
    [
        {"EXCGUARD_RENDEZVOUS_SERVICE": ""},
        {"EXCGUARD_RENDEZVOUS_SERVICE": "x" * 128},
        {"EXCGUARD_RENDEZVOUS_SERVER_PID": "0"},
        {"EXCGUARD_RENDEZVOUS_SERVER_PID": "12x"},
        {"EXCGUARD_RENDEZVOUS_SERVER_PID": "99999999999999999999"},
    ],
)
def test_an_environment_that_makes_no_sense_is_none(family: Make, variables: dict[str, str]) -> None:
    assert family().run("acquire", "watch", variables=variables) == ["5 0 0", "watch 5"]


def test_people_in_a_debugger_can_wait_for_ever_or_shorter(family: Make) -> None:
    parent = family()
    with ReceiveRight.construct() as port, parent.server.lock:
        pid = parent.start(
            "acquire", gets={1: Port.make_send(port)}, variables={"EXCGUARD_RENDEZVOUS_TIMEOUT": "1"}
        )

        assert parent.wait(pid) == ["7 0 0"]


PYTHON_CHILD = """
import os, sys
from excguard.mach.rendezvous import RendezvousClient, RendezvousError
try:
    client = RendezvousClient.get()
    again = RendezvousClient.get()
    print(client.outcome.name, client.port_count(), client.server_pid == os.getppid(), client is again)
    client.close()
except RendezvousError as error:
    try:
        RendezvousClient.get()
    except RendezvousError as again:
        print(error.outcome.name, again is error)
print([name for name in os.environ if name.startswith("EXCGUARD_RENDEZVOUS_")])
"""


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({}, "GRANTED 1 True True\n[]\n"),
        ({"EXCGUARD_RENDEZVOUS_SERVICE": "org.example.other"}, "NO_SERVER True\n[]\n"),
        ({"EXCGUARD_RENDEZVOUS_SERVER_PID": "1"}, "WRONG_SERVER True\n[]\n"),
        ({"EXCGUARD_RENDEZVOUS_SERVER_PID": "not a number"}, "NOT_CONFIGURED True\n[]\n"),
    ],
)
def test_a_child_in_python(family: Make, variables: dict[str, str], said: str) -> None:
    parent = family()
    environ = {**os.environ, **parent.server.environment, **variables}
    with (
        ReceiveRight.construct() as port,
        parent.server.launch({1: Port.make_send(port)}) as launch,
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", PYTHON_CHILD],
            env=environ,
            stdout=subprocess.PIPE,
            text=True,
        ) as child,
    ):
        launch.register(child.pid)
        launch._server.lock.__exit__(None, None, None)  # Popen's block ends only when the child has
        try:
            assert child.communicate(timeout=60)[0] == said
        finally:
            launch._server.lock.__enter__()


# ---- code signatures ----

DEVELOPER_ID = ("sign", "org.example.child", "TEAM123456", 1)
APP_STORE = ("sign", "org.example.child", "TEAM123456", 2)
DEVELOPMENT = ("sign", "org.example.child", "TEAM123456", 3)
AD_HOC = ("sign", "org.example.child", "", 0)


@pytest.mark.parametrize(
    ("requirement", "signature", "status"),
    [
        (
            {"identifier": "org.example.child", "team": "TEAM123456", "certificate": "developer_id"},
            DEVELOPER_ID,
            0,
        ),
        ({"team": "TEAM123456"}, DEVELOPER_ID, 0),
        ({"team": "TEAM123456"}, DEVELOPMENT, 0),
        ({"team": "TEAM123456"}, AD_HOC, -67050),
        ({"team": "OTHER12345"}, DEVELOPER_ID, -67050),
        ({"certificate": "development"}, DEVELOPER_ID, -67050),
        ({"certificate": "developer_id", "identifier": "org.example.other"}, DEVELOPER_ID, -67050),
        (
            {"certificate": "developer_id", "identifier": ("org.example.other", "org.example.child")},
            DEVELOPER_ID,
            0,
        ),
        ({"certificate": "app_store", "identifier": "org.example.child"}, APP_STORE, 0),
        ({"certificate": "app_store", "identifier": "org.example.child"}, DEVELOPER_ID, -67050),
        ({"team": "TEAM123456"}, (), -67062),
    ],
)
def test_requirements(
    family: Make, requirement: dict[str, Any], signature: tuple[Any, ...], status: int
) -> None:
    parent = family(validation=Validation.ENFORCE)
    with ReceiveRight.construct() as port:
        gets = {1: Port.make_send(port)}
        said = parent.run(
            *signature, "acquire", "release", gets=gets, requirement=Requirement.of(**requirement)
        )

    assert said == [f"{Outcome.REFUSED.value if status else 0} 0 {int(not status)}"]
    assert parent.events[0].status == status


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        ({}, "needs a team or a certificate class"),
        ({"identifier": "org.example"}, "any signer can use"),
        ({"team": 'X" or always'}, "invalid team"),
        ({"team": "TEAM123456", "identifier": 'x" or identifier "y'}, "invalid identifier"),
        ({"team": "TEAM123456", "certificate": "app_store"}, "give an identifier"),
        ({"certificate": "app_store"}, "needs an identifier"),
        ({"certificate": "platform"}, "allowed: developer_id, app_store, development"),
    ],
)
def test_requirements_that_would_let_in_the_wrong_ones(parts: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Requirement.of(**parts)


@pytest.mark.parametrize(
    "text", ["", "anchor", "identifier", "always or", "(always", "always)", "identifier \0"]
)
def test_texts_that_are_not_requirements(text: str) -> None:
    with pytest.raises(ValueError, match="invalid requirement"):
        Requirement(text)


def test_the_c_client_compiles_for_macos(tmp_path: Path) -> None:
    """Against Apple's own headers and symbols, as C and from C++, and nothing beside libSystem is linked."""
    pytest.importorskip("ziglang")
    program = tmp_path / "program.cc"
    program.write_text('#include "excguard_client.h"\nint main() { return excguard_client_watch_self(); }\n')
    launch = ROOT / "tests" / "macos" / "zig" / "include"
    flags = ["-Wall", "-Wextra", "-Werror", f"-I{launch}", f"-I{rendezvous_child.CLIENT}"]
    for arch in ("aarch64", "x86_64"):
        zig = [sys.executable, "-m", "ziglang"]
        target = ["-target", f"{arch}-macos.12.0"]
        objects = [str(tmp_path / f"{arch}-client.o"), str(tmp_path / f"{arch}-program.o")]
        source = str(rendezvous_child.CLIENT / "excguard_client.c")
        subprocess.run([*zig, "cc", *target, "-std=c11", *flags, "-c", source, "-o", objects[0]], check=True)
        subprocess.run([*zig, "cc", *target, *flags, "-c", str(program), "-o", objects[1]], check=True)
        subprocess.run([*zig, "cc", *target, *objects, "-o", str(tmp_path / arch)], check=True)

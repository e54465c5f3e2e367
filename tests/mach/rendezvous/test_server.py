"""What a server does with each right, each asker and each message, whatever goes wrong on the way."""

import os
import random
import signal
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from excguard.mach import ports
from excguard.mach.bootstrap import look_up
from excguard.mach.errors import MachError
from excguard.mach.ports import ReceiveRight, SendOnceRight, SendRight
from excguard.mach.rendezvous import (
    Claimed,
    NothingToGive,
    Outcome,
    Port,
    Refused,
    Rejected,
    RendezvousServer,
    Requirement,
    SendFailed,
    Unclaimed,
    Validation,
    wire,
)
from excguard.mach.rendezvous.table import Table
from excguard.mach.spawn import spawn
from excguard.native import ffi, lib
from tests.support.messages import GOOD, receive, send
from tests.support.waiting import wait_until

KEY = 7
RECEIVE, SEND, SEND_ONCE = 16, 17, 18
UNKNOWN, CLAIMED_BEFORE, REFUSED = (
    f"{outcome.value} 0 0" for outcome in (Outcome.UNKNOWN, Outcome.CLAIMED_BEFORE, Outcome.REFUSED)
)

Make = Callable[..., Any]


def send_once_to(port: ReceiveRight) -> SendOnceRight:
    """A send-once right to ``port`` in this task: a notification request that was cancelled gives it back."""
    previous = ffi.new("mach_port_t *")
    with ReceiveRight.construct() as other, other.make_send() as name:
        for notify in (port.name, 0):
            arguments = (name.name, lib.MACH_NOTIFY_DEAD_NAME, 0, notify, lib.MACH_MSG_TYPE_MAKE_SEND_ONCE)
            assert lib.mach_port_request_notification(lib.mach_task_self(), *arguments, previous) == 0
    return SendOnceRight(previous[0])


class Moved:
    """One right that moves, and whether it was released: a watcher port hears of it."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._watcher = ReceiveRight.construct()
        port = ReceiveRight.construct(guarded=True)
        self.send: SendRight | None = None
        self.receive: ReceiveRight | None = port
        if kind == "move_receive":
            self.send, self.receive = port.make_send(), None
            self.port = Port.move_receive(port)
        elif kind == "move_send":
            self.port = Port.move_send(port.make_send())
        else:
            self.port = Port.move_send_once(send_once_to(port))

    def released(self) -> bool:
        """Whether no task holds the right any more."""
        if self.kind == "move_receive":
            assert self.send is not None
            return self.send.is_dead()
        assert self.receive is not None
        if self.kind == "move_send":
            kinds = ports.names()[self.receive.name]
            return not kinds & lib.MACH_PORT_TYPE_SEND
        return receive(self.receive, 20) == lib.MACH_NOTIFY_SEND_ONCE

    def close(self) -> None:
        self._watcher.close()
        for right in (self.send, self.receive):
            if right is not None:
                right.close()


@pytest.fixture(params=["move_receive", "move_send", "move_send_once"])
def moved(request: pytest.FixtureRequest, mach_environ: dict[str, str]) -> Iterator[Moved]:
    right = Moved(request.param)
    yield right
    right.close()


# ---- ownership ----


def test_each_moved_right_is_delivered(family: Make, moved: Moved) -> None:
    parent = family()
    kind = {"move_receive": RECEIVE, "move_send": SEND, "move_send_once": SEND_ONCE}[moved.kind]
    if moved.send is not None:
        message = wire.HEADER.pack(lib.MACH_MSG_TYPE_COPY_SEND, 24, moved.send.name, 0, 0, GOOD)
        assert send(message) == 0
        said = parent.run("acquire", "take", KEY, kind, "receive", gets={KEY: moved.port})
        assert said == ["0 0 1", "taken", f"received {GOOD}"]
    else:
        said = parent.run("acquire", "take", KEY, kind, "send", GOOD, gets={KEY: moved.port})
        assert said == ["0 0 1", "taken", "sent 0"]
        assert moved.receive is not None
        assert receive(moved.receive) == GOOD


def test_each_moved_right_is_released_after_refusal(family: Make, moved: Moved) -> None:
    parent = family(validation=Validation.ENFORCE)
    never = Requirement("never")
    pid = parent.start("acquire", "acquire", gets={KEY: moved.port}, requirement=never)

    assert parent.wait(pid) == [REFUSED, REFUSED]
    wait_until(moved.released)
    wait_until(lambda: Refused(pid, -67062) in parent.events)


def test_each_moved_right_is_released_when_the_answer_cannot_be_sent(family: Make, moved: Moved) -> None:
    """A right that was to be copied is gone: the message fails half-way, and must not take others along."""
    parent = family()
    gone = ReceiveRight.construct()
    gets = {1: moved.port, 2: Port.make_send(gone), 3: Port.make_send_once(gone)}
    pid = parent.start("stop", "acquire", gets=gets)
    os.waitpid(pid, os.WUNTRACED)
    ffi_name = gone.detach()
    assert lib.mach_port_mod_refs(lib.mach_task_self(), ffi_name, lib.MACH_PORT_RIGHT_RECEIVE, -1) == 0
    os.kill(pid, signal.SIGCONT)

    assert parent.wait(pid)[1:] == [f"{Outcome.NO_ANSWER.value} 0 0"]
    wait_until(moved.released)
    wait_until(lambda: [type(event) for event in parent.events] == [SendFailed])


@pytest.mark.parametrize("flag", ["MPO_REPLY_PORT", "MPO_EXCEPTION_PORT", "MPO_IMMOVABLE_RECEIVE"])
def test_a_right_that_cannot_travel_is_refused(family: Make, flag: str) -> None:
    """The kernel would end this process when the child asks."""
    family()
    with ReceiveRight.construct(getattr(lib, flag)) as stuck:
        with pytest.raises(ValueError, match="bound to its task"):
            Port.move_receive(stuck)
        assert not stuck.closed


def test_each_moved_right_is_released_when_the_asker_died(family: Make, moved: Moved) -> None:
    """The request is there, its sender is not: the answer goes to a dead name."""
    parent = family()
    with parent.server.lock:  # the answer waits
        pid = parent.start("timeout", 50, "acquire", gets={KEY: moved.port})
        assert parent.wait(pid) == [f"{Outcome.TIMED_OUT.value} 0 0"]

    wait_until(moved.released)
    wait_until(lambda: parent.server.known == 0)


def test_each_moved_right_is_released_when_the_spawn_fails(family: Make, moved: Moved) -> None:
    parent = family()
    parent.program = "/no/such/program"
    with pytest.raises(FileNotFoundError):
        parent.start("acquire", gets={KEY: moved.port})

    wait_until(moved.released)
    assert parent.server.known == 0


def test_each_moved_right_is_released_when_the_child_exits(family: Make, moved: Moved) -> None:
    parent = family()
    pid = parent.start(gets={KEY: moved.port})
    parent.wait(pid)

    wait_until(lambda: parent.server.known == 0)
    wait_until(moved.released)
    wait_until(lambda: parent.events == [Unclaimed(pid, 1)])


def test_each_moved_right_is_released_when_the_server_closes(family: Make, moved: Moved) -> None:
    parent = family()
    pid = parent.start("stop", gets={KEY: moved.port})
    os.waitpid(pid, os.WUNTRACED)

    parent.server.close()

    wait_until(moved.released)
    os.kill(pid, signal.SIGCONT)
    parent.wait(pid)


def test_each_moved_right_is_released_after_a_registration_that_is_refused(
    family: Make, moved: Moved
) -> None:
    parent = family()
    with pytest.raises(RuntimeError, match="hold the launch lock"):
        parent.server.register_ports(os.getpid(), {KEY: moved.port})

    wait_until(moved.released)


def test_a_right_that_was_closed_before_the_claim_costs_an_answer_only(family: Make) -> None:
    parent = family()
    port = ReceiveRight.construct()
    pid = parent.start("stop", "acquire", gets={KEY: Port.make_send(port)})
    os.waitpid(pid, os.WUNTRACED)
    port.close()
    os.kill(pid, signal.SIGCONT)

    assert parent.wait(pid)[1:] == [f"{Outcome.NO_ANSWER.value} 0 0"]


# ---- registration ----


def test_registration_has_its_rules(family: Make) -> None:
    parent = family()
    server = parent.server
    with ReceiveRight.construct() as port:
        one = {KEY: Port.make_send(port)}
        pid = parent.start("stop", "acquire", gets=one)
        os.waitpid(pid, os.WUNTRACED)
        with server.lock:
            with pytest.raises(ValueError, match="already registered for process"):
                server.register_ports(pid, one)
            with pytest.raises(ValueError, match="no ports"):
                server.register_ports(pid, {})
            with pytest.raises(ValueError, match="invalid key"):
                server.register_ports(pid, {1 << 32: one[KEY]})
            server.set_process_requirement(pid, Requirement("always"))
            with pytest.raises(ValueError, match="already has a requirement"):
                server.set_process_requirement(pid, Requirement("always"))
        os.kill(pid, signal.SIGCONT)

        assert parent.wait(pid)[1:] == ["0 0 1"]

    server.close()
    with server.lock, pytest.raises(ValueError, match="was closed"):
        server.register_ports(pid, one)


def test_as_many_ports_as_the_limit_and_no_more(family: Make) -> None:
    parent = family()
    limit = lib.EXCGUARD_RENDEZVOUS_MAX_PORTS
    with ReceiveRight.construct() as port:
        many = {0xFFFFFFFF - key: Port.make_send(port) for key in range(limit + 1)}
        with pytest.raises(ValueError, match=f"the limit is {limit}"):
            parent.start(gets=many)
        del many[0xFFFFFFFF]

        assert parent.run("acquire", "take", 0xFFFFFFFE, SEND, "release", gets=many) == [
            f"0 0 {limit}",
            "taken",
        ]


def test_a_child_may_be_given_more_after_it_had_its_ports(family: Make) -> None:
    parent = family()
    with ReceiveRight.construct() as port:
        pid = parent.start("acquire", "release", "stop", "acquire", "release", gets={1: Port.make_send(port)})
        os.waitpid(pid, os.WUNTRACED)
        with parent.server.lock:
            parent.server.register_ports(pid, {1: Port.make_send(port), 2: Port.make_send(port)})
        os.kill(pid, signal.SIGCONT)

        assert parent.wait(pid) == ["0 0 1", "stopped", "0 0 2"]


def test_the_lock_holds_answers_back(family: Make) -> None:
    parent = family()
    with ReceiveRight.construct() as port:
        with parent.server.lock:
            pid = spawn(parent.host, [parent.program, "acquire"], environment=_environment(parent))
            parent.server.register_ports(pid, {KEY: Port.make_send(port)})
        os.waitpid(pid, 0)

    wait_until(lambda: parent.events == [Claimed(pid, 1)])


def _environment(parent: Any) -> dict[str, str]:
    return {**os.environ, **parent.server.environment}


# ---- who asks ----


def test_a_second_claim_differs_from_the_first_and_from_none(family: Make) -> None:
    parent = family()
    with ReceiveRight.construct() as port:
        pid = parent.start("acquire", "acquire", gets={KEY: Port.make_send(port)})
        assert parent.wait(pid) == ["0 0 1", CLAIMED_BEFORE]

    wait_until(lambda: parent.events == [Claimed(pid, 1), NothingToGive(pid, before=True)])


def test_a_stranger_gets_nothing_and_takes_nothing(family: Make) -> None:
    parent = family()
    with ReceiveRight.construct() as port:
        pid = parent.start("stop", "acquire", gets={KEY: Port.make_send(port)})
        os.waitpid(pid, os.WUNTRACED)
        assert parent.run("acquire") == [UNKNOWN]
        os.kill(pid, signal.SIGCONT)

        assert parent.wait(pid)[1:] == ["0 0 1"]


def test_a_grandchild_gets_nothing_and_takes_nothing(family: Make) -> None:
    parent = family()
    with ReceiveRight.construct() as port:
        said = parent.run("fork", "acquire", gets={KEY: Port.make_send(port)})

        assert said == [UNKNOWN]
        wait_until(lambda: NothingToGive in map(type, parent.events))


def test_a_child_may_put_another_program_in_its_place_first(family: Make) -> None:
    parent = family()
    with ReceiveRight.construct() as port:
        words = ("names", "exec", "exec", "acquire", "exec", "acquire", "variables")
        pid = parent.start(*words, gets={KEY: Port.make_send(port)})
        said = parent.wait(pid)

    # The first claim removed the variables, so the third program has no server to ask.
    assert said[1:] == ["0 0 1", f"{Outcome.NOT_CONFIGURED.value} 0 0", "variables 0"]


def test_the_claim_outlives_one_exec_after_the_other(family: Make) -> None:
    """Also when the next one comes before the loop has seen the task of the one before."""
    parent = family()
    with ReceiveRight.construct() as port:
        words = (*["exec"] * 10, "acquire", "release")
        pids = [parent.start(*words, gets={KEY: Port.make_send(port)}) for _ in range(4)]

        assert [parent.wait(pid) for pid in pids] == [["0 0 1"]] * 4


def test_a_pid_that_is_used_again_inherits_nothing(family: Make, moved: Moved) -> None:
    """The entry is of a process that was reaped; another process with its pid must not get its ports."""
    parent = family()
    server = parent.server
    pid = parent.start("stop", gets={KEY: moved.port})
    os.waitpid(pid, os.WUNTRACED)
    with server.lock:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        # As if the kernel's notice of the end had not been handled yet, and the pid were taken again.
        assert pid in server._table
        assert server._table.living(pid) is None

    wait_until(moved.released)


def test_what_a_parent_has_reaped_it_can_forget_at_once(family: Make, moved: Moved) -> None:
    parent = family()
    pid = parent.start(gets={KEY: moved.port})
    parent.wait(pid)
    parent.server.forget(pid)

    assert parent.server.known == 0
    wait_until(moved.released)


def test_a_child_of_which_the_kernel_shows_no_task(
    family: Make, moved: Moved, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another user's, say. It gets its ports; its end is noticed at the next registration."""
    monkeypatch.setattr(Table, "_watch", lambda _table, _entry: False)
    parent = family()
    with ReceiveRight.construct() as port:
        earlier = parent.start("stop", gets={KEY: Port.make_send(port)})
        os.waitpid(earlier, os.WUNTRACED)
        os.kill(earlier, signal.SIGCONT)
        parent.wait(earlier)
        assert parent.server.known == 1
        pid = parent.start("stop", "acquire", "release", gets={KEY: moved.port})
        os.waitpid(pid, os.WUNTRACED)
        assert (parent.server.known, parent.server.waiting) == (1, 1)
        os.kill(pid, signal.SIGCONT)
        assert parent.wait(pid) == ["stopped", "0 0 1"]
    parent.server.forget(pid)

    assert parent.server.known == 0


def test_a_child_that_is_dead_before_it_is_registered(family: Make, moved: Moved) -> None:
    parent = family()
    with parent.server.launch({KEY: moved.port}) as launch:
        pid = spawn(parent.host, ["/bin/sh", "-c", "exit"], environment=_environment(parent))
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        launch.register(pid)
    os.waitpid(pid, 0)

    wait_until(moved.released)
    wait_until(lambda: parent.events == [Unclaimed(pid, 1)])


def test_exit_against_claim(family: Make) -> None:
    """Killed at any moment around its request, a child has its ports or not; nothing is left either way."""
    parent = family()
    rng = random.Random(4)  # noqa: S311 (moments, not secrets)
    for _ in range(25):
        port = ReceiveRight.construct()
        with port.make_send() as to_port:
            pid = parent.start("acquire", gets={KEY: Port.move_receive(port)})
            threading.Event().wait(rng.uniform(0, 0.02))
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            wait_until(to_port.is_dead)
    wait_until(lambda: parent.server.known == 0)


# ---- messages that are none of the protocol's ----

REQUEST = lib.EXCGUARD_RENDEZVOUS_REQUEST
COMPLEX = lib.MACH_MSGH_BITS_COMPLEX
COPY_AND_ONCE = lib.MACH_MSG_TYPE_COPY_SEND | lib.MACH_MSG_TYPE_MAKE_SEND_ONCE << 8


def request(
    server: SendRight,
    reply: ReceiveRight | None,
    *,
    bits: int = COPY_AND_ONCE,
    msgh_id: int = REQUEST,
    body: bytes | None = None,
) -> bytes:
    body = struct.pack("=III", 1, 36, 0) if body is None else body
    size = wire.HEADER.size + len(body)
    name = reply.name if reply is not None else 0
    return wire.HEADER.pack(bits, size, server.name, name, 0, msgh_id) + body


def descriptor(name: int, disposition: int) -> bytes:
    return struct.pack("=I4x2xBB", name, disposition, 0)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"msgh_id": 1234}, "unknown msgh_id 0x4d2"),
        ({"msgh_id": 0x6D727A76, "body": b""}, "unknown msgh_id 0x6d727a76"),
        ({"body": b""}, "24 bytes instead of 36"),
        ({"body": struct.pack("=II", 1, 32)}, "32 bytes instead of 36"),
        ({"body": struct.pack("=IIII", 1, 40, 0, 0)}, "40 bytes instead of 36"),
        ({"body": bytes(400)}, "424 bytes instead of 36"),
        ({"body": bytes(9000)}, "longer than 8448 bytes"),
        ({"body": struct.pack("=III", 1, 40, 0)}, "a total length of 40 in 36 bytes"),
        ({"body": struct.pack("=III", 1, 36, 8)}, "unknown flags 0x8"),
        ({"body": struct.pack("=III", 2, 36, 0)}, "version 2 of the protocol"),
        ({"bits": COPY_AND_ONCE | COMPLEX, "body": struct.pack("=I", 0) + bytes(8)}, "complex"),
        ({"bits": lib.MACH_MSG_TYPE_COPY_SEND | lib.MACH_MSG_TYPE_MAKE_SEND << 8}, "not send-once"),
        ({"msgh_id": lib.MACH_NOTIFY_DEAD_NAME, "body": struct.pack("=8xI", 7)}, "unknown msgh_id 0x48"),
        ({"msgh_id": lib.EXCGUARD_RENDEZVOUS_REGISTERED}, "36 bytes instead of 40"),
    ],
)
def test_malformed_requests(family: Make, changes: dict[str, Any], reason: str) -> None:
    """A client that waits for a reply is notified that there will be none, and the server goes on."""
    parent = family()
    with look_up(parent.server.service) as server, ReceiveRight.construct(lib.MPO_REPLY_PORT) as reply:
        assert send(request(server, reply, **changes)) == 0
        if "not send-once" not in reason:  # a send right is released without a word
            version = reason.startswith("version")
            assert receive(reply) == (lib.EXCGUARD_RENDEZVOUS_REPLY if version else lib.MACH_NOTIFY_SEND_ONCE)

        wait_until(lambda: bool(parent.events))
        (event,) = parent.events
        assert isinstance(event, Rejected)
        assert reason in event.reason
        assert parent.run("acquire") == [UNKNOWN]


def test_malformed_requests_lose_no_right_and_cost_no_claim(family: Make) -> None:
    """A complex request's rights are released; one that cannot be answered uses nothing up."""
    parent = family()
    with look_up(parent.server.service) as server, ReceiveRight.construct() as mine:
        body = struct.pack("=I", 1) + descriptor(mine.name, lib.MACH_MSG_TYPE_MAKE_SEND_ONCE)
        bits = lib.MACH_MSG_TYPE_COPY_SEND | COMPLEX
        assert send(request(server, None, bits=bits, body=body)) == 0
        assert receive(mine) == lib.MACH_NOTIFY_SEND_ONCE

        with parent.server.launch({KEY: Port.make_send(mine)}) as launch:
            launch.register(os.getpid())  # not a child, and alive
        assert send(request(server, None, bits=lib.MACH_MSG_TYPE_COPY_SEND)) == 0
        wait_until(lambda: len(parent.events) == 2)
        assert "no reply right" in parent.events[1].reason
        assert parent.server.waiting == 1


def test_attached_with_a_reply_right_is_no_report(family: Make) -> None:
    parent = family()
    body = struct.pack("=IIIi", 1, 40, 0, 0)
    with look_up(parent.server.service) as server, ReceiveRight.construct(lib.MPO_REPLY_PORT) as reply:
        message = request(server, reply, msgh_id=lib.EXCGUARD_RENDEZVOUS_REGISTERED, body=body)
        assert send(message) == 0
        assert receive(reply) == lib.MACH_NOTIFY_SEND_ONCE


# ---- servers ----


def test_one_server_a_service(family: Make) -> None:
    parent = family()
    with pytest.raises(MachError, match="BOOTSTRAP_SERVICE_ACTIVE"):
        RendezvousServer(parent.server.service)


def test_a_service_can_be_offered_again(family: Make) -> None:
    parent = family()
    parent.server.close()
    parent.server.close()
    with RendezvousServer(parent.server.service) as server:
        assert server.environment == parent.server.environment


def test_forty_children_at_once(family: Make) -> None:
    """The full numbers are those of bench/port_rendezvous.py."""
    parent = family()
    with ReceiveRight.construct() as port:
        pids = [
            parent.start("acquire", "take", KEY, SEND, "send", GOOD, gets={KEY: Port.make_send(port)})
            for _ in range(40)
        ]
        for _ in pids:
            assert receive(port) == GOOD
        for pid in pids:
            assert parent.wait(pid) == ["0 0 1", "taken", "sent 0"]
    wait_until(lambda: parent.server.known == 0)


def test_thirty_children_in_sequence(family: Make) -> None:
    parent = family()
    with ReceiveRight.construct() as port:
        for _ in range(30):
            assert parent.run("acquire", "release", gets={KEY: Port.make_send(port)}) == ["0 0 1"]
    wait_until(lambda: parent.server.known == 0)

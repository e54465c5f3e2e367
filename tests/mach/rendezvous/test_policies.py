"""What Chromium's own unit tests ask of a rendezvous, under each policy about peers' signatures.

They are the tests of base/apple/mach_port_rendezvous_unittest.cc by name and expectation. Where a status is
in the reply, the reply to a refused child says so; a Chromium client cannot distinguish that from having no
ports.
"""

import os
import signal
from collections.abc import Callable

import pytest

from excguard.mach.ports import ReceiveRight, SendRight
from excguard.mach.rendezvous import Claimed, Outcome, Port, Refused, Requirement, Validated, Validation
from excguard.native import ffi, lib
from tests.support.messages import GOOD, receive
from tests.support.waiting import wait_until

KEY = 0x706F7274  # 'port'
SEND = int(lib.MACH_MSG_TYPE_PORT_SEND)
SIGNED = ("sign", "org.example.child", "TEAM123456", 1)
REQ_FAILED = -67050

Make = Callable[..., "Family"]  # noqa: F821


@pytest.fixture(params=list(Validation), ids=lambda policy: policy.value)
def policy(request: pytest.FixtureRequest) -> Validation:
    return request.param


def test_send_right(family: Make, policy: Validation) -> None:
    parent = family(validation=policy)
    with ReceiveRight.construct() as port:
        said = parent.run("acquire", "take", KEY, SEND, "send", GOOD, gets={KEY: Port.make_send(port)})

        assert said == ["0 0 1", "taken", "sent 0"]
        assert receive(port) == GOOD


def test_no_rights(family: Make, policy: Validation) -> None:
    parent = family(validation=policy)

    assert parent.run("acquire") == [f"{Outcome.UNKNOWN.value} 0 0"]


def test_cleanup_if_no_rendezvous(family: Make, policy: Validation) -> None:
    parent = family(validation=policy)
    with ReceiveRight.construct() as port:
        with parent.server.lock:
            pid = parent.start("stop", "exit", 42, gets={KEY: Port.make_send(port)})
            os.waitpid(pid, os.WUNTRACED)
            assert parent.server.waiting == 1
            os.kill(pid, signal.SIGCONT)

        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 42
        wait_until(lambda: parent.server.known == 0)


@pytest.mark.parametrize(
    ("disposition", "send_right", "alive", "send_refs"),
    [
        ("move_receive", True, False, 0),
        ("move_send", True, True, 0),
        ("copy_send", True, True, 1),
        ("make_send", True, True, 1),
        ("make_send", False, True, 0),
        ("make_send_once", True, True, 1),
    ],
)
def test_destroy_right(
    mach_environ: dict[str, str],
    disposition: str,
    send_right: bool,  # noqa: FBT001 (a row of a table)
    alive: bool,  # noqa: FBT001
    send_refs: int,
) -> None:
    receive_right = ReceiveRight.construct()
    name = receive_right.name
    send = receive_right.make_send() if send_right else None
    right = send if disposition in ("move_send", "copy_send") else receive_right

    getattr(Port, disposition)(right).destroy()

    refs = ffi.new("mach_port_urefs_t *")
    kinds = ffi.new("mach_port_type_t *")
    found = lib.mach_port_type(lib.mach_task_self(), name, kinds) == 0
    assert bool(found and kinds[0] & lib.MACH_PORT_TYPE_RECEIVE) == alive
    assert bool(found and kinds[0] & lib.MACH_PORT_TYPE_DEAD_NAME) == (not alive)
    if found:
        lib.mach_port_get_refs(lib.mach_task_self(), name, lib.MACH_PORT_RIGHT_SEND, refs)
    assert refs[0] == send_refs
    for held in (send, receive_right):
        if held is not None:
            held.close()


def test_destroy_send_once_right(mach_environ: dict[str, str]) -> None:
    """The row that Chromium leaves out: an unused send-once right notifies its port."""
    from excguard.mach.ports import SendOnceRight  # noqa: PLC0415

    with ReceiveRight.construct() as port, ReceiveRight.construct() as dying:
        previous = ffi.new("mach_port_t *")
        with dying.make_send() as send:
            arguments = (send.name, lib.MACH_NOTIFY_DEAD_NAME, 0, port.name, lib.MACH_MSG_TYPE_MAKE_SEND_ONCE)
            assert lib.mach_port_request_notification(lib.mach_task_self(), *arguments, previous) == 0
            # Cancelled, the right that was made comes back to us.
            arguments = (send.name, lib.MACH_NOTIFY_DEAD_NAME, 0, 0, lib.MACH_MSG_TYPE_MAKE_SEND_ONCE)
            assert lib.mach_port_request_notification(lib.mach_task_self(), *arguments, previous) == 0
        moved = Port.move_send_once(SendOnceRight(previous[0]))
        moved.destroy()

        assert receive(port) == lib.MACH_NOTIFY_SEND_ONCE
        moved.destroy()


def test_fail_to_rendezvous(family: Make, policy: Validation) -> None:
    parent = family(validation=policy)
    with ReceiveRight.construct() as port:
        said = parent.run("service", "org.example.other", "acquire", gets={KEY: Port.make_send(port)})

    assert said == [f"{Outcome.NO_SERVER.value} 0 0"]


def test_validate_child_success(family: Make, policy: Validation) -> None:
    parent = family(validation=policy)
    with ReceiveRight.construct() as port:
        words = (*SIGNED, "acquire", "take", KEY, SEND, "send", GOOD)
        said = parent.run(*words, gets={KEY: Port.make_send(port)}, requirement=Requirement("always"))

        assert said == ["0 0 1", "taken", "sent 0"]
        assert receive(port) == GOOD


def test_validate_child_failed(family: Make, policy: Validation) -> None:
    parent = family(validation=policy)
    with ReceiveRight.construct() as port:
        gets = {KEY: Port.make_send(port)}
        pid = parent.start(*SIGNED, "acquire", "release", gets=gets, requirement=Requirement("never"))
        said = parent.wait(pid)

    checked = [] if policy is Validation.OFF else [Validated(pid, REQ_FAILED)]
    if policy is Validation.ENFORCE:
        assert said == [f"{Outcome.REFUSED.value} 0 0"]
        wait_until(lambda: parent.events == [*checked, Refused(pid, REQ_FAILED)])
    else:
        assert said == ["0 0 1"]
        wait_until(lambda: parent.events == [*checked, Claimed(pid, 1)])


@pytest.mark.parametrize("ports", [1, 0], ids=["one port", "no rights"])
def test_validate_parent_success(family: Make, policy: Validation, signed_server: None, ports: int) -> None:
    parent = family(validation=policy)
    with ReceiveRight.construct() as port:
        gets = {KEY: Port.make_send(port)} if ports else None
        said = parent.run("require", "always", "acquire", "release", gets=gets)

    assert said == [f"{0 if ports else Outcome.UNKNOWN.value} 0 {ports}"]


@pytest.mark.parametrize("ports", [1, 0], ids=["one port", "no rights"])
def test_validate_parent_failure(family: Make, policy: Validation, signed_server: None, ports: int) -> None:
    parent = family(validation=policy)
    with ReceiveRight.construct() as port:
        gets = {KEY: Port.make_send(port)} if ports else None
        before, said, after = parent.run(
            "names", "require", "never", "acquire", "release", "names", gets=gets
        )

    answer = 0 if ports else Outcome.UNKNOWN.value
    assert (
        said
        == {
            Validation.OFF: f"{answer} 0 {ports}",
            Validation.REPORT: f"{answer} {REQ_FAILED} {ports}",
            Validation.ENFORCE: f"{Outcome.UNTRUSTED_SERVER.value} {REQ_FAILED} 0",
        }[policy]
    )
    assert before == after


def test_dynamic_only(family: Make, policy: Validation) -> None:
    """Its point is the Info.plist in the reply, whose length is not aligned; nothing is registered."""
    plist = b"<plist>" + bytes(1001)
    parent = family(validation=policy, chromium_bundle="org.example.Browser", chromium_data=plist)
    name = f"org.example.Browser.MachPortRendezvousServer.{os.getpid()}"
    answer, data = ask_chromium(name)

    assert answer.outcome == 0
    assert (answer.count, data) == (0, plist)
    assert parent.server.environment["MACH_PORT_RENDEZVOUS_PEER_VALDATION"] == str(policy.number)


def ask_chromium(name: str) -> tuple[object, bytes]:
    """Send 'mrzV' as Chromium's client does, and read the reply with the C client's parser."""
    from excguard.mach.bootstrap import look_up  # noqa: PLC0415
    from excguard.mach.rendezvous import wire  # noqa: PLC0415

    buffer = ffi.new("uint64_t[]", 4096)
    header = ffi.cast("mach_msg_header_t *", buffer)
    with look_up(name) as server, ReceiveRight.construct(lib.MPO_REPLY_PORT) as reply:
        bits = lib.MACH_MSG_TYPE_COPY_SEND | lib.MACH_MSG_TYPE_MAKE_SEND_ONCE << 8
        request = wire.HEADER.pack(bits, 24, server.name, reply.name, 0, lib.EXCGUARD_CHROMIUM_REQUEST_PLIST)
        ffi.buffer(buffer)[:24] = request
        options = lib.MACH_SEND_MSG | lib.MACH_RCV_MSG | lib.MACH_RCV_TIMEOUT | lib.EXCGUARD_RCV_AUDIT_TRAILER
        assert lib.mach_msg(header, options, 24, 32768, reply.name, 20_000, 0) == 0
    answer = ffi.new("struct excguard_client *")
    chromium = lib.EXCGUARD_CLIENT_PROTOCOL_CHROMIUM
    lib.excguard_client_parse_reply(buffer, 32768, os.getpid(), chromium, answer)
    data = bytes(ffi.buffer(buffer)[answer.data_offset : answer.data_offset + answer.data_size])
    return answer, data


def test_unowned_rights_stay(mach_environ: dict[str, str]) -> None:
    with ReceiveRight.construct() as port, port.make_send() as send:
        copied = Port.copy_send(send)
        copied.destroy()
        copied.delivered()

        assert isinstance(send, SendRight)
        assert not send.closed

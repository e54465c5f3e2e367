"""Rights: each is released exactly once, on every path."""

import gc
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from excguard.mach import ports
from excguard.mach.errors import MachError
from excguard.mach.ports import DeadName, PortSet, ReceiveRight, SendOnceRight, SendRight
from excguard.native import ffi, lib
from tests.support import ROOT


def refs(name: int, right: int) -> int:
    count = ffi.new("mach_port_urefs_t *")
    assert lib.mach_port_get_refs(lib.mach_task_self(), name, right, count) == 0
    return int(count[0])


def every_right_is_released() -> None:
    before = ports.names()
    with PortSet.allocate() as port_set, ReceiveRight.construct(guarded=True) as port:
        port.move_to(port_set)
        with port.make_send() as first, first.copy() as second:
            assert port.name == first.name == second.name
            assert refs(port.name, lib.MACH_PORT_RIGHT_SEND) == 2
        assert refs(port.name, lib.MACH_PORT_RIGHT_SEND) == 0
        port.move_to(None)
        assert set(ports.names()) == {*before, port.name, port_set.name}
    assert port.closed
    assert ports.names() == before


def a_released_right_cannot_be_used() -> None:
    port = ReceiveRight.construct()
    send = port.make_send()
    port.close()
    port.close()
    for use in (lambda: port.name, port.make_send, port.detach, lambda: port.move_to(None)):
        with pytest.raises(ValueError, match="this ReceiveRight was released or handed over before"):
            use()
    assert send.is_dead()
    with pytest.raises(MachError, match="mach_port_mod_refs: KERN_INVALID_RIGHT"):
        send.copy()
    # What has become a dead name is released as well.
    send.close()
    assert repr(send) == "<SendRight released>"


def a_detached_right_lives_on() -> None:
    before = ports.names()
    name = ReceiveRight.construct().detach()
    gc.collect()
    assert refs(name, lib.MACH_PORT_RIGHT_RECEIVE) == 1
    with ReceiveRight(name) as port, SendRight(port.make_send().detach()) as send:
        assert not send.is_dead()
    assert ports.names() == before


def a_forgotten_right_is_reported_and_released() -> None:
    before = ports.names()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        name = ReceiveRight.construct(guarded=True).name
        gc.collect()
    assert [str(warning.message) for warning in caught] == [
        f"<ReceiveRight {name:#x}> was forgotten: close it"
    ]
    assert caught[0].category is ResourceWarning
    assert ports.names() == before


def destroy_without_the_guard() -> None:
    with ReceiveRight.construct(guarded=True) as port:
        ReceiveRight(port.name).close()


def a_guarded_port_is_destroyed_by_its_owner_alone() -> None:
    code = f"from {destroy_without_the_guard.__module__} import *; destroy_without_the_guard()"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, capture_output=True)
    # INCORRECT_GUARD is fatal.
    assert (done.returncode, done.stderr) == (-signal.SIGKILL, b"")


def send_once_rights_and_dead_names() -> None:
    before = ports.names()
    with ReceiveRight.construct() as port:
        name = 0x7F03
        assert (
            lib.mach_port_insert_right(
                lib.mach_task_self(), name, port.name, lib.MACH_MSG_TYPE_MAKE_SEND_ONCE
            )
            == 0
        )
        with SendOnceRight(name):
            assert refs(name, lib.MACH_PORT_RIGHT_SEND_ONCE) == 1
        assert name not in ports.names()
        send = port.make_send().detach()
    with DeadName(send):
        assert refs(send, lib.MACH_PORT_RIGHT_DEAD_NAME) == 1
    assert ports.names() == before


def no_right_survives_a_fork() -> None:
    with ReceiveRight.construct() as port:
        child = os.fork()
        if not child:
            # Were this right still held, its release would be a violation of the child's own name space.
            closed = port.closed
            port.close()
            os._exit(0 if closed else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert refs(port.name, lib.MACH_PORT_RIGHT_RECEIVE) == 1


def null_is_no_right() -> None:
    for name in (0, 0xFFFFFFFF):
        with pytest.raises(ValueError, match="is not a right"):
            SendRight(name)


@pytest.mark.parametrize(
    "scenario",
    [
        every_right_is_released,
        a_released_right_cannot_be_used,
        a_detached_right_lives_on,
        a_forgotten_right_is_reported_and_released,
        a_guarded_port_is_destroyed_by_its_owner_alone,
        send_once_rights_and_dead_names,
        no_right_survives_a_fork,
        null_is_no_right,
    ],
    ids=lambda scenario: scenario.__name__,
)
def test_rights(task: Callable[..., Any], scenario: Callable[[], None]) -> None:
    task(scenario)


def senders_and_queue_limit() -> None:
    with ReceiveRight.construct() as port:
        assert not port.has_senders()
        with port.make_send():
            assert port.has_senders()
        assert not port.has_senders()
        port.set_queue_limit(1024)
        with pytest.raises(MachError, match="KERN_INVALID_VALUE"):
            port.set_queue_limit(1025)


def test_senders_and_the_limit_of_the_queue(task: Callable[..., Any]) -> None:
    task(senders_and_queue_limit)

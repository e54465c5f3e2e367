"""Exception ports: two behaviors and no other, on systems that have them."""

from collections.abc import Callable
from typing import Any

import pytest

from excguard.knowledge.exception_behavior import Behavior
from excguard.mach import exception_ports, host, ports
from excguard.mach.errors import UnsupportedReleaseError
from excguard.mach.host import Host
from excguard.native import lib
from tests.support.apple_constants import constants

CODES = 0x80000000  # MACH_EXCEPTION_CODES


def on(release: str, machine: str = "arm64") -> Host:
    return Host(release, "", "xnu-1", machine, developer_mode=None, guard_behavior=None)


def test_the_numbers_are_apples() -> None:
    known = constants("mach/exception_types.h")

    assert known["MACH_EXCEPTION_CODES"] == CODES
    registered = set(Behavior) - {Behavior.AUTO}
    assert {behavior: exception_ports.kernel_value(behavior) & ~CODES for behavior in registered} == {
        Behavior.IDENTITY_PROTECTED: known["EXCEPTION_IDENTITY_PROTECTED"],
        Behavior.STATE_IDENTITY_PROTECTED: known["EXCEPTION_STATE_IDENTITY_PROTECTED"],
    }
    assert all(exception_ports.kernel_value(behavior) & CODES for behavior in registered)
    with pytest.raises(ValueError, match="register one of the others"):
        exception_ports.kernel_value(Behavior.AUTO)


def test_the_state_is_the_machines() -> None:
    arm = constants("mach/arm/thread_status.h")["ARM_THREAD_STATE64"]
    intel = constants("mach/i386/thread_status.h")["x86_THREAD_STATE64"]
    behavior = Behavior.STATE_IDENTITY_PROTECTED

    assert exception_ports.state_flavor(behavior, on("15.0", "arm64")) == arm
    assert exception_ports.state_flavor(behavior, on("15.0", "x86_64")) == intel
    assert exception_ports.state_flavor(Behavior.IDENTITY_PROTECTED, on("15.0", "riscv64")) == 0
    with pytest.raises(
        UnsupportedReleaseError, match="is for arm64 and x86_64, and this machine is riscv64; use"
    ):
        exception_ports.state_flavor(behavior, on("15.0", "riscv64"))


@pytest.mark.parametrize(
    ("behavior", "release"),
    [
        (Behavior.IDENTITY_PROTECTED, "12.0.1"),
        (Behavior.IDENTITY_PROTECTED, "12"),
        (Behavior.IDENTITY_PROTECTED, "26.4"),
        (Behavior.STATE_IDENTITY_PROTECTED, "15.0"),
        (Behavior.STATE_IDENTITY_PROTECTED, "15"),
    ],
)
def test_systems_that_have_a_behavior_are_taken(behavior: Behavior, release: str) -> None:
    exception_ports.check_supported(behavior, on(release))


@pytest.mark.parametrize(
    ("behavior", "release", "text"),
    [
        ("identity_protected", "11.7.10", "needs macOS 12 or later, and this is 11.7.10"),
        ("identity_protected", "10.15.7", "needs macOS 12 or later, and this is 10.15.7"),
        (
            "state_identity_protected",
            "14.6.1",
            'needs macOS 15 or later, and this is 14.6.1; use "identity_protected"',
        ),
        ("state_identity_protected", "11.0", "needs macOS 15 or later, and this is 11.0"),
    ],
)
def test_older_systems_are_refused_with_the_release_they_need(behavior: str, release: str, text: str) -> None:
    with pytest.raises(UnsupportedReleaseError) as refused:
        exception_ports.check_supported(Behavior(behavior), on(release))

    assert str(refused.value) == f'behavior "{behavior}" {text}'


def register_in_turn() -> list[list[int | bool]]:
    system = host.running()
    before = ports.names()
    seen = []

    def look(handlers: list[exception_ports.Handler]) -> None:
        for handler in handlers:
            named = handler.port.name if handler.port else 0
            seen.append([handler.mask, named == port.name, handler.behavior, handler.flavor])
            if handler.port:
                handler.port.close()

    with exception_ports.construct_exception_port(system) as port, port.make_send() as send:
        exception_ports.set_port(system, send, Behavior.IDENTITY_PROTECTED)
        look(exception_ports.get())
        look(exception_ports.swap(system, send, Behavior.STATE_IDENTITY_PROTECTED))
        look(exception_ports.get())
        exception_ports.set_port(system, None, Behavior.IDENTITY_PROTECTED)
        assert not any(handler.port for handler in exception_ports.get())
    assert ports.names() == before
    return seen


def test_a_task_can_watch_itself(task: Callable[..., Any]) -> None:
    guard = 1 << constants("mach/exception_types.h")["EXC_GUARD"]
    first, second, third = task(register_in_turn)

    assert first == second == [guard, True, CODES | 4, 0]
    assert third[:3] == [guard, True, CODES | 5]
    assert third[3] != 0


def flags_of_a_new_port() -> int:
    seen = []

    class Lib:
        def __getattr__(self, name: str) -> Any:
            return getattr(lib, name)

        def mach_port_construct(self, task: int, options: Any, context: int, name: Any) -> int:
            seen.append(options.flags)
            return lib.mach_port_construct(task, options, context, name)

    ports.lib = Lib()  # type: ignore[assignment]
    exception_ports.construct_exception_port(host.running()).close()
    return seen[0]


@pytest.mark.parametrize(
    ("release", "special"), [("26.4", True), ("15.0", True), ("14.6.1", False), ("12.0.1", False)]
)
def test_the_port_is_made_for_exceptions_where_the_kernel_has_such_ports(
    task: Callable[..., Any], release: str, *, special: bool
) -> None:
    flags = task(flags_of_a_new_port, release=release)

    # mach/port.h: 0x1 is MPO_CONTEXT_AS_GUARD, 0x8000 MPO_EXCEPTION_PORT.
    assert flags == (0x8001 if special else 0x1)


def test_no_other_behavior_can_be_named() -> None:
    for word in ("default", "state", "state_identity", "EXCEPTION_DEFAULT", 1, 2, 3):
        with pytest.raises(ValueError, match="is not a valid Behavior"):
            Behavior(word)

"""Each misuse raises its guard with the documented code and payload, and gives its result."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from mach_machine import Machine

GUARD = 0x1234
RECEIVE, SEND = 0x20000, 0x10000
TOP = 1 << 56

INVALID_NAME, INVALID_RIGHT, INVALID_VALUE, INVALID_ARGUMENT = 0x200, 0x100, 0x400, 0x800
KERN_NAME, KERN_RIGHT, KERN_VALUE, KERN_ARGUMENT, KERN_CAPABILITY = 15, 17, 18, 4, 20
KERN_DENIED, KERN_FAILURE = 53, 5
SEND_INVALID_RIGHT, SEND_INVALID_REPLY, SEND_INVALID_VOUCHER = 0x1000000A, 0x10000009, 0x10000005
RCV_INVALID_NAME = 0x10004002


class Case(NamedTuple):
    """A scenario of programs/misuse.c, and what becomes of it on 26.4."""

    scenario: str
    flavor: int
    result: int | None  # None: the task ends
    payload: Callable[[int], int] | int = 0
    target: int | None = None  # None: the port


def bits(port: int, kind: int, urefs: int = 0) -> int:
    """An entry's ie_bits: generation, type, user references."""
    return (port & 0xFF) << 24 | kind | urefs


CASES = [
    Case("double_deallocate", INVALID_NAME, KERN_NAME),
    Case("deallocate_no_name", INVALID_NAME, KERN_NAME),
    Case("mod_refs_no_name", INVALID_NAME, KERN_NAME),
    Case("destroy_no_name", INVALID_NAME, KERN_NAME),
    Case("destruct_no_name", INVALID_NAME, KERN_NAME),
    Case("guard_no_name", INVALID_NAME, KERN_NAME),
    Case("move_no_name", INVALID_NAME, KERN_NAME),
    Case("deallocate_receive", INVALID_RIGHT, KERN_RIGHT, lambda port: 5 * TOP | bits(port, RECEIVE)),
    Case(
        "mod_refs_wrong_right",
        INVALID_RIGHT,
        KERN_RIGHT,
        lambda port: 2 * TOP | 1 << 32 | bits(port, SEND, 1),
    ),
    Case("mod_refs_send_of_receive", INVALID_RIGHT, KERN_RIGHT, lambda port: 2 * TOP | bits(port, RECEIVE)),
    Case("mod_refs_no_set", INVALID_RIGHT, KERN_RIGHT, lambda port: 2 * TOP | 3 << 32 | bits(port, RECEIVE)),
    Case("destruct_send", INVALID_RIGHT, KERN_RIGHT, lambda port: 3 * TOP | bits(port, SEND, 1)),
    Case("destruct_without_send", INVALID_RIGHT, KERN_RIGHT, lambda port: 3 * TOP | bits(port, RECEIVE)),
    Case("guard_send", INVALID_RIGHT, KERN_RIGHT, 1 * TOP),
    Case("move_send", INVALID_RIGHT, KERN_RIGHT, lambda port: 7 * TOP | bits(port, SEND, 1)),
    Case("move_to_no_set", INVALID_RIGHT, KERN_RIGHT, lambda port: 8 * TOP | bits(port, RECEIVE)),
    Case("mod_refs_underflow", INVALID_VALUE, KERN_VALUE, 2 * TOP | (-9 & 0xFFFF) << 16 | 1),
    Case("mod_refs_receive_twice", INVALID_VALUE, KERN_VALUE, 2 * TOP | 1 << 32 | (-2 & 0xFFFF) << 16),
    Case("destruct_underflow", INVALID_VALUE, KERN_VALUE, 3 * TOP | (-3 & 0xFFFFFF) << 32 | 1),
    Case("destroy_guarded", 0x1, None, GUARD),
    Case("destruct_wrong_guard", 0x1, None, GUARD),
    Case("destroy_name_guarded", 0x1, None, GUARD),
    Case("set_context_strict", 0x4, None, GUARD),
    Case("swap_guard_strict", 0x4, None, GUARD),
    Case("unguard_unguarded", 0x8, None),
    Case("unguard_wrong", 0x10, None, GUARD),
    Case("swap_guard_wrong", 0x10, None, GUARD),
    Case("guard_twice", INVALID_ARGUMENT, KERN_ARGUMENT, GUARD),
    Case("move_immovable_receive", 0x20, None),
    Case("move_exception_port", 0x20, None),
    Case("send_wrong_right", 0x40000, SEND_INVALID_RIGHT, 1 * TOP | 20),
    Case("send_move_once_of_send", 0x40000, SEND_INVALID_RIGHT, 1 * TOP | 18),
    Case("send_bad_reply", 0x10000, SEND_INVALID_REPLY, 21),
    Case(
        "send_bad_reply_right",
        0x10000,
        SEND_INVALID_REPLY,
        lambda port: (bits(port, SEND, 1) & 0xFFFFFF) << 32 | 21,
    ),
    Case("send_bad_voucher", 0x20000, SEND_INVALID_VOUCHER, 19),
    Case("receive_on_send", 0x80000, RCV_INVALID_NAME),
    Case("port_destroyed_twice", 0x4000, KERN_FAILURE, 4 * TOP, target=0),
    Case("port_destroyed_immovable", 0x41, None, 0o105, target=1),
    Case("no_senders_of_notification_port", 0x41, None, 0o106, target=7),
    Case("notify_exception_port", 0x100006, 0, 8),
    Case("kernel_call_without_receive", 0x3, None, 1, target=0),
    Case("move_service_port", 0x7, None, lambda port: port, target=0),
]


# Raised on a Mac with numbers that hang on the machine: the kernel's own message options, launchd's ports.
SIMULATED_ONLY = {"kernel_call_without_receive", "move_service_port"}


def code(flavor: int, target: int) -> int:
    return 1 << 61 | flavor << 32 | target


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.scenario)
def test_misuse_raises_its_guard(
    machine: Machine, release: tuple[int, ...], request: pytest.FixtureRequest, case: Case
) -> None:
    if release < (26, 4):
        pytest.skip("the payloads are those of 26.4 and later")
    if case.scenario in SIMULATED_ONLY and request.config.getoption("--kernel") == "native":
        pytest.skip("its numbers hang on the machine")

    seen = machine.watch("misuse", case.scenario)

    target = seen.port if case.target is None else case.target
    payload = case.payload(seen.port) if callable(case.payload) else case.payload
    assert [(code(case.flavor, target), payload)] == seen.hits
    if case.result is None:
        assert seen.exit["status"] == -9
        assert seen.result is None
    else:
        assert seen.exit["status"] == 0
        assert case.result == seen.result


def test_second_name_of_a_port_set_move_is_blamed(machine: Machine) -> None:
    (hit,) = machine.watch("misuse", "move_to_no_name").hits

    assert hit[0] >> 32 == code(INVALID_NAME, 0) >> 32


@pytest.mark.parametrize("scenario", ["receive_on_no_name", "receive_on_former"])
def test_receiving_where_a_right_is_gone_is_a_result_and_no_guard(machine: Machine, scenario: str) -> None:
    seen = machine.watch("misuse", scenario)

    assert seen.hits == []
    assert seen.result == RCV_INVALID_NAME

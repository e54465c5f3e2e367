"""Guards of hardened tasks, and what drifted from release to release."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from mach_machine import Machine

GUARD = 0x1234
TOP = 1 << 56
KERN_CAPABILITY = 20


class Hardened(NamedTuple):
    """A scenario of programs/hardened.c and what becomes of it on 26.4."""

    scenario: str
    flavor: int
    payload: int
    target: int | None = None  # None: the port
    result: int | None = None  # None: the task ends


HARDENED = [
    Hardened("move_task_port", 0x20, 17 << 32 | 19),
    Hardened("reply_port_in_body", 0x20, 10 << 32 | 20),
    Hardened("move_weak_reply_port", 0x100004, 0, result=0),
    Hardened("deallocate_pinned", 0x200000, 1 * TOP, result=KERN_CAPABILITY),
    Hardened("deallocate_task_port", 0x2, 1 * TOP),
    Hardened("destroy_task_port", 0x2, 2 * TOP),
    Hardened("move_send_pinned", 0x2, 3 * TOP),
    Hardened("insecure_behavior", 0x6, 2, target=0x80000001),
    Hardened("service_without_reply_port", 0xA, 0),
    Hardened("construct_entitled", 0x42, 0, target=0x10000),
]


def code(flavor: int, target: int) -> int:
    return 1 << 61 | flavor << 32 | target


@pytest.mark.parametrize("case", HARDENED, ids=lambda case: case.scenario)
def test_misuse_of_hardened_tasks(machine: Machine, case: Hardened) -> None:
    seen = machine.watch("hardened", case.scenario)

    assert [(code(case.flavor, seen.port if case.target is None else case.target), case.payload)] == seen.hits
    assert (-9 if case.result is None else 0) == seen.exit["status"]
    assert case.result == seen.result


class Drift(NamedTuple):
    """What a scenario raises on a release."""

    release: str
    scenario: str
    flavor: int | None  # None: nothing
    payload: int = 0
    target: int | None = None  # None: the port
    ends: bool = False


DRIFT = [
    Drift("10.9", "double_deallocate", None),
    Drift("10.14.1", "double_deallocate", 0x200),
    Drift("10.14.1", "send_wrong_right", 0x20000),
    Drift("10.14.1", "receive_on_send", 0x40000),
    Drift("10.15", "send_wrong_right", 0x40000),
    Drift("10.15", "receive_on_send", 0x80000),
    Drift("10.13", "destroy_guarded", 0x1, GUARD, ends=True),
    Drift("11.3", "deallocate_pinned", 0x200000, 1 * TOP),
    Drift("11.2", "deallocate_pinned", None),
    Drift("12.0.1", "move_send_pinned", 0x2, 4 * TOP, ends=True),
    Drift("15.5", "move_send_pinned", 0x2, 4 * TOP, ends=True),
    Drift("15.5", "deallocate_receive", 0x100),
    Drift("15.5", "mod_refs_underflow", 0x400),
    Drift("15.5", "send_bad_reply_right", 0x10000),
    Drift("15.3", "guard_twice", 0x800),
    Drift("15.5", "guard_twice", 0x800, GUARD),
    Drift("15.5", "move_task_port", 0x20, ends=True),
    Drift("15.5", "port_destroyed_twice", 0x4000),
    Drift("15.5", "port_destroyed_immovable", None),
    Drift("15.5", "notify_exception_port", None),
    Drift("14.6", "insecure_behavior", 0x6, target=0, ends=True),
    Drift("14.1", "insecure_behavior", None),
    Drift("13.5", "insecure_behavior", None),
    Drift("12.3", "kernel_call_without_receive", None),
    Drift("14.0", "kernel_call_without_receive", 0x3, target=0, ends=True),
    Drift("15.5", "kernel_call_without_receive", 0x3, 1, target=0, ends=True),
    Drift("15.5", "move_service_port", None),
    Drift("27.0", "double_deallocate", 0x200),
]


@pytest.mark.parametrize("case", DRIFT, ids=lambda case: f"{case.release}-{case.scenario}")
def test_numbers_are_those_of_the_release(boot: Callable[..., Machine], case: Drift) -> None:
    behavior = "0x80000001" if case.release.startswith(("10.", "11.")) else "0x80000004"
    program = "hardened" if case.scenario in {row.scenario for row in HARDENED} else "misuse"

    seen = boot(release=case.release).watch(program, case.scenario, options=("-b", behavior))

    target = seen.port if case.target is None else case.target
    expected = [] if case.flavor is None else [(code(case.flavor, target), case.payload)]
    assert expected == seen.hits
    assert (-9 if case.ends else 0) == seen.exit["status"]


def test_reply_port_semantics_were_a_soft_report_before_26(boot: Callable[..., Machine]) -> None:
    (hit,) = boot(release="15.5").watch("hardened", "service_without_reply_port").hits

    assert hit[0] >> 32 == code(0x800000, 0) >> 32
    assert hit[1] == 0

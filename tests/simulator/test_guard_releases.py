"""Guards that take what the simulator alone gives a task, and how they drifted from release to release."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.mach_machine import Machine

TOP = 1 << 56
KERN_CAPABILITY = 20


class Case(NamedTuple):
    """What a scenario of programs/special.c raises on a release, and who says so."""

    release: str
    scenario: str
    flavor: int | None  # None: nothing
    source: str
    payload: int = 0
    target: int | None = None  # None: the port
    ends: bool = False
    result: int | None = None  # None: not asked


PINNED = "mach_port_guard_exception_pinned, osfmk/ipc/mach_port.c"
NON_FATAL = "kGUARD_EXC_MOD_REFS_NON_FATAL, osfmk/mach/port.h"
CASES = [
    Case("26.4", "deallocate_pinned", 0x200000, f"{PINNED}, xnu-12377", 1, result=KERN_CAPABILITY),
    Case("11.3", "deallocate_pinned", 0x200000, f"{NON_FATAL}, xnu-7195.101.1", 1 * TOP),
    Case(
        "11.2",
        "deallocate_pinned",
        None,
        "enum mach_port_guard_exception_codes, osfmk/mach/port.h, xnu-7195.81.3",
    ),
    Case(
        "26.4",
        "deallocate_task_port_late",
        0x2,
        "MPG_FLAGS_MOD_REFS_PINNED_DEALLOC, osfmk/mach/port.h, macOS 26.4 SDK",
        1,
        ends=True,
    ),
    Case(
        "26.4",
        "kernel_call_without_receive",
        0x3,
        "ipc_validate_kmsg_dest_from_user, osfmk/ipc/ipc_policy.c, xnu-12377",
        0x8000010400000001,
        target=0,
        ends=True,
    ),
    Case(
        "15.5",
        "kernel_call_without_receive",
        0x3,
        "ipc_validate_kmsg_dest_from_user, osfmk/ipc/ipc_policy.c, xnu-11417.121.6",
        0x8010000400000001,
        target=0,
        ends=True,
    ),
    Case(
        "14.0",
        "kernel_call_without_receive",
        0x3,
        "ipc_kmsg_copyin_header, osfmk/ipc/ipc_kmsg.c, xnu-10002.1.13",
        target=0,
        ends=True,
    ),
    Case(
        "12.3",
        "kernel_call_without_receive",
        None,
        "ipc_kmsg_copyin_header, osfmk/ipc/ipc_kmsg.c, xnu-8020.101.4",
    ),
    Case(
        "26.4",
        "move_weak_reply_port",
        0x100004,
        "kGUARD_EXC_MOVE_WEAK_REPLY_PORT, osfmk/mach/port.h, macOS 26.4 SDK",
        result=0,
    ),
    Case(
        "26.4",
        "service_as_exception_port",
        None,
        "ipc_is_valid_exception_port, osfmk/ipc/ipc_policy.c, macOS 26",
        result=0,
    ),
    Case(
        "26.4",
        "service_without_reply_port",
        0xA,
        "ipc_validate_local_port, osfmk/ipc/ipc_policy.c, xnu-12377",
        ends=True,
    ),
    Case(
        "15.5",
        "enforced_reply_port",
        0x800000,
        "ipc_right_copyin_check_reply, osfmk/ipc/ipc_right.c, xnu-11417.121.6",
        result=0x10000009,
    ),
    Case(
        "26.0",
        "kernel_object_without_reply_port",
        0x9,
        "ipc_validate_local_port, osfmk/ipc/ipc_policy.c, xnu-12377",
        target=0x203,
        ends=True,
    ),
    Case(
        "26.0",
        "ports_out_of_line",
        0x43,
        "ipc_validate_kmsg_header_from_user, osfmk/ipc/ipc_policy.c, xnu-12377",
        3 * TOP | 1,
        target=0x800403,
        ends=True,
    ),
    Case(
        "26.0",
        "construct_weak_reply_port",
        0x100002,
        "mach_port_construct, osfmk/ipc/mach_port.c, xnu-12377",
        target=0,
        result=0,
    ),
    Case("15.5", "move_service_port", None, "ipc_right_copyin, osfmk/ipc/ipc_right.c, xnu-11417.121.6"),
]


def code(flavor: int, target: int) -> int:
    return 1 << 61 | flavor << 32 | target


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.release}-{case.scenario}")
def test_numbers_are_those_of_the_release(boot: Callable[..., Machine], case: Case) -> None:
    behavior = "0x80000001" if case.release.startswith("11.") else "0x80000004"

    seen = boot(release=case.release).watch("special", case.scenario, options=("-b", behavior))

    target = seen.port if case.target is None else case.target
    expected = [] if case.flavor is None else [(code(case.flavor, target), case.payload)]
    assert expected == seen.hits
    assert (-9 if case.ends else 0) == seen.exit["status"]
    assert case.result in {None, seen.result}


def test_service_port_is_recognized_by_its_payload(machine: Machine) -> None:
    """kGUARD_EXC_SERVICE_PORT_VIOLATION_FATAL, osfmk/mach/port.h, macOS 26.4 SDK."""
    seen = machine.watch("special", "move_service_port")

    assert seen.hits == [(code(0x7, 0), seen.port)]
    assert seen.exit["status"] == -9

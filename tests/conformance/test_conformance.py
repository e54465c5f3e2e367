"""What the functions of Mach do: the checks of programs/*.c, on simulated kernels or a Mac's own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.mach_machine import Kind

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.mach_machine import Machine

PROGRAMS = Path(__file__).parent / "programs"
CHECKS = [
    (program, check)
    for program in ("rights", "messages", "notifications", "tasks", "spawn")
    for check in re.findall(r"^CHECK\((\w+)\)", (PROGRAMS / f"{program}.c").read_text(), re.MULTILINE)
]

CHANGED = {
    ("messages", "dead_reply_ports"): "15.4",
    ("notifications", "order_of_requests"): "13.0",
    ("rights", "room_for_requests"): "13.0",
    ("rights", "members_are_sorted"): "12.3",
    ("tasks", "darwin_number"): "27.0",
    ("tasks", "exception_port_that_cannot_move"): "11.5",
    ("tasks", "guard_behavior_only_grows"): "12.0",
}
"""Checks that expect one thing before a release and another since, by asking the kernel for its own."""
BEFORE = {"27.0": "26.4", "13.0": "12.6", "12.3": "12.2", "15.4": "15.3", "11.5": "11.4", "12.0": "11.6"}


@pytest.mark.parametrize(("program", "check"), CHECKS)
def test_check(machine: Machine, program: str, check: str) -> None:
    """Its source stands above it, in programs/*.c."""
    done = machine.run(program, check)

    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


@pytest.mark.parametrize(("program", "check"), CHANGED)
@pytest.mark.parametrize("before", [True, False])
def test_check_that_changed(
    boot: Callable[[Kind], Machine], program: str, check: str, *, before: bool
) -> None:
    """Its source stands above it, in programs/*.c."""
    changed = CHANGED[program, check]
    kind = Kind(BEFORE[changed], since="10.15", before=changed) if before else Kind(changed)
    done = boot(kind).run(program, check)

    assert done.returncode == 0, done.stderr

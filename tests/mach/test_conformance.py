"""What the functions of Mach do: the checks of programs/*.c, on the simulated kernel or a Mac's own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from mach_machine import Machine

PROGRAMS = Path(__file__).parent / "programs"
CHECKS = [
    (program, check)
    for program in ("rights", "messages", "notifications", "tasks", "spawn")
    for check in re.findall(r"^CHECK\((\w+)\)", (PROGRAMS / f"{program}.c").read_text(), re.MULTILINE)
]


@pytest.mark.parametrize(("program", "check"), CHECKS)
def test_check(machine: Machine, program: str, check: str) -> None:
    done = machine.run(program, check)

    assert done.returncode == 0, done.stderr
    assert done.stderr == ""

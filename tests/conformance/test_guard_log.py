"""The kernel's own line about each guard in the unified log."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from excguard.decoding.decode import join
from excguard.sources import unified_log
from tests.support.mach_machine import Kind

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.mach_machine import Machine

DELIVER, CORPSE = 0x10, 0x40  # TASK_EXC_GUARD_MP_ of osfmk/mach/task_info.h


@pytest.mark.parametrize(
    ("flags", "delivered"), [(DELIVER, 1), (CORPSE, 0)], ids=["delivered", "not delivered"]
)
def test_every_guard_is_logged(boot: Callable[[Kind], Machine], flags: int, delivered: int) -> None:
    """guard_ast, osfmk/kern/thread.c, macOS 26: before it checks whether to deliver it."""
    machine = boot(Kind(since="26.0"))
    seen = machine.watch("misuse", "-g", hex(flags), "double_deallocate")
    (line,) = machine.logged(seen.exit["pid"])

    assert len(seen.hits) == delivered
    assert unified_log.parse_message(line) == ("misuse", seen.exit["pid"], join(1, 0x200, seen.port), 0)

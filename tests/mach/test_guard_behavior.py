"""Flags of task_exc_guard: their values, their text, and that the kernel keeps them."""

from collections.abc import Callable
from typing import Any

import pytest

from excguard.knowledge.guard_behavior import GuardBehavior
from excguard.mach import guard_behavior
from tests.support.apple_constants import constants


def test_values_are_apples() -> None:
    known = constants("mach/task_info.h")

    assert {f"TASK_EXC_GUARD_{flag.name}": flag.value for flag in GuardBehavior} == {
        name: value
        for name, value in known.items()
        if name.startswith(("TASK_EXC_GUARD_VM_", "TASK_EXC_GUARD_MP_")) and not name.endswith("_ALL")
    }


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        ("", GuardBehavior(0)),
        (" ", GuardBehavior(0)),
        ("0", GuardBehavior(0)),
        ("MP_DELIVER", GuardBehavior.MP_DELIVER),
        ("mp_deliver | TASK_EXC_GUARD_MP_FATAL", GuardBehavior.MP_DELIVER | GuardBehavior.MP_FATAL),
        ("0x99", GuardBehavior(0x99)),
        ("153", GuardBehavior(0x99)),
        ("0x10|VM_ONCE", GuardBehavior.MP_DELIVER | GuardBehavior.VM_ONCE),
    ],
)
def test_text_is_read(text: str, flags: GuardBehavior) -> None:
    assert GuardBehavior.parse(text) == flags


@pytest.mark.parametrize("text", ["MP", "MP_DELIVER|", "0x100", "-1", "MP_DELIVER,MP_FATAL", "1.5"])
def test_other_text_is_refused_with_what_is_allowed(text: str) -> None:
    with pytest.raises(
        ValueError, match="is not a task_exc_guard flag; allowed: VM_DELIVER, VM_ONCE, VM_CORPSE"
    ):
        GuardBehavior.parse(text)


@pytest.mark.parametrize("number", range(256))
def test_text_goes_there_and_back(number: int) -> None:
    flags = GuardBehavior(number)

    assert GuardBehavior.parse(flags.text().replace("NONE", "")) == flags


def own_flags() -> list[str]:
    before = guard_behavior.get()
    guard_behavior.set_flags(GuardBehavior.MP_DELIVER | GuardBehavior.MP_FATAL)
    return [before.text(), guard_behavior.get().text()]


def test_the_kernel_keeps_the_flags_of_a_task(task: Callable[..., Any]) -> None:
    before, after = task(own_flags)

    assert "MP_DELIVER" in before
    assert after == "MP_DELIVER|MP_FATAL"


def test_a_task_starts_with_the_kernels_default(task: Callable[..., Any]) -> None:
    before, _ = task(own_flags, task_exc_guard=GuardBehavior.MP_DELIVER | GuardBehavior.MP_ONCE)

    assert before == "MP_DELIVER|MP_ONCE"

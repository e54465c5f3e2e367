"""The demo ends and shows its point on every kind of system: what cannot happen or be seen there, it says."""

import json
import os
import subprocess

import pytest

from excguard import misuse
from excsim import Kernel
from tests.support.harness import EXCGUARD


def demo(*arguments: str, **settings: object) -> str:
    with Kernel(**settings) as kernel:  # type: ignore[arg-type]
        done = subprocess.run(
            [*EXCGUARD, "demo", *arguments],
            env={**os.environ, **kernel.environ},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("settings", "hits", "lines"),
    [
        ({}, 26, []),
        ({"task_exc_guard": 0}, 26, []),
        ({"task_exc_guard": 0xFF}, 25, ["No hit of: MACH_EXC_THREAD_SET_STATE."]),
        ({"task_exc_guard": 0x33}, 25, ["No hit of: MACH_EXC_THREAD_SET_STATE."]),
        ({"release": "27.0"}, 26, []),
        ({"release": "12.0"}, 15, ["Not rules of macOS 12.0: INVALID_OPTIONS,", "No hit of: IMMOVABLE."]),
        ({"developer_mode": False}, 13, ["Not delivered, because Developer Mode is off: DESTROY,"]),
    ],
)
def test_every_rule_is_reported_or_said_not_to_be(settings: dict, hits: int, lines: list[str]) -> None:
    shown = demo(**settings)

    assert shown.startswith(f"{hits} guard hits of a program that breaks 26 rules (simulated kernel)\n")
    for line in lines:
        assert line in " ".join(shown.split())


def test_in_json_each_rule_is_a_line() -> None:
    found = [json.loads(line)["flavor_name"] for line in demo("--json", task_exc_guard=0).splitlines()]

    assert set(found) == {one.flavor for one in misuse.MISUSES.values()}

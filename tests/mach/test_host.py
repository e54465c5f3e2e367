"""The running system."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import pytest

from excguard.mach import host


@pytest.mark.parametrize(
    ("release", "numbers"),
    [("26.4", (26, 4)), ("15.0", (15,)), ("10.15.7", (10, 15, 7)), ("11", (11,)), ("0", ())],
)
def test_releases_compare_as_numbers(release: str, numbers: tuple[int, ...]) -> None:
    assert host.version(release) == numbers


def running() -> dict[str, Any]:
    found = host.running()
    return {**asdict(found), "simulated": found.simulated, "version": found.version}


def test_the_simulated_kernel_says_what_it_is(task: Callable[..., Any]) -> None:
    found = task(running, release="14.6.1", developer_mode=False)

    assert found["release"] == "14.6.1"
    assert found["version"] == [14, 6, 1]
    assert found["kernel"] == "simulated"
    assert found["simulated"] is True
    assert found["developer_mode"] is False
    assert found["machine"] in {"arm64", "x86_64"}
    assert found["build"]


def test_developer_mode_is_read(task: Callable[..., Any]) -> None:
    assert task(running)["developer_mode"] is True

"""Trees of processes as apps make them: every process's hits arrive, with its name and place."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from excsim import Kernel
from tests.support import compiler, simulator
from tests.support.harness import EXCGUARD

if TYPE_CHECKING:
    from collections.abc import Callable

    Run = Callable[..., tuple[list[dict[str, Any]], dict[str, Any]]]

pytestmark = pytest.mark.skipif(sys.platform == "darwin", reason="programs of the simulated kernel")

SOURCE = Path(__file__).parents[1] / "support" / "programs" / "tree.c"
NAMES = (
    "swift-test",
    "PackageTests",
    "swift-tool",
    "Electron",
    "Helper",
    "Helper (GPU)",
    "Helper (Renderer)",
    "Helper (Worker)",
    "Helper (Utility)",
    "Helper (Plugin)",
    "crashpad_handler",
)


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the program under all its names."""

    def build(directory: Path) -> None:
        options = ["-std=gnu11", "-O1", *compiler.WARNINGS, "-Wl,--build-id", *simulator.HEADERS]
        command = [compiler.require(), *options, SOURCE, *simulator.LIBRARIES, "-o", directory / "tree"]
        subprocess.run(command, check=True)
        for name in NAMES:
            os.link(directory / "tree", directory / name)

    return compiler.build_once(tmp_path_factory, "tree", build)


@pytest.fixture
def stock(programs: Path, tmp_path: Path) -> Run:
    """Runs one of them on a Mac with xnu's own flags; its hits, and the summary of the run."""

    def start(name: str, *arguments: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        log = tmp_path / "log"
        options = ("run", "--metrics", "off", "--json", "--log", str(log))
        with Kernel(task_exc_guard=0) as kernel:
            done = subprocess.run(
                [*EXCGUARD, *options, "--", str(programs / name), *arguments],
                env={**os.environ, **kernel.environ},
                capture_output=True,
                text=True,
                check=False,
                timeout=120,
            )
        assert done.returncode == 0, done.stderr
        hits = [json.loads(line) for line in log.read_text().splitlines() if '"guard_hit"' in line]
        return hits, json.loads(done.stderr.splitlines()[-1])

    return start


def by_number(hits: list[dict[str, Any]]) -> dict[int, str]:
    """The number of each process -> the name that its hit has."""
    assert len({hit["pid"] for hit in hits}) == len(hits)
    return {hit["guard_target"] - 0xDEAD00: hit["process"] for hit in hits}


def test_a_tree_as_of_swift_test(stock: Run, programs: Path) -> None:
    """posix_spawn, fork, and fork with exec."""
    hits, summary = stock("swift-test")

    assert by_number(hits) == {1: "swift-test", 2: "PackageTests", 3: "PackageTests", 4: "swift-tool"}
    assert {hit["image"] for hit in hits} == {str(programs / name) for name in set(by_number(hits).values())}
    assert [hit["inherited"] for hit in hits] == [False, True, True, True]
    assert summary["descendants_unseen"] == []


def test_a_tree_as_of_electron(stock: Run) -> None:
    """Groups and sessions of their own, a helper of a helper, and a process that its parent left."""
    hits, summary = stock("Electron")

    assert by_number(hits) == {
        1: "Electron",
        2: "Helper (GPU)",
        3: "Helper",
        4: "Helper (Renderer)",
        5: "Helper (Worker)",
        6: "Helper (Utility)",
        7: "crashpad_handler",
    }
    assert {hit["site_precision"] for hit in hits} == {"offset"}
    assert len({hit["site_id"] for hit in hits}) == 1  # one build, one call
    assert summary["descendants_unseen"] == []


def test_a_helper_with_an_empty_environment_is_said_to_be_unseen(stock: Run, programs: Path) -> None:
    hits, summary = stock("Electron", "--clear")

    assert hits == []
    assert summary["descendants_unseen"] == [str(programs / "Helper (Plugin)")]
    assert 0 < summary["descendants_unnoticed_below"] < 1

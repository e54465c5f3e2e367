"""The x86_64 code for macOS runs here, against the simulator, and does what this system's build does.

See with_macos_core.py, which starts programs on it.
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import chained_fixups
import cross
import dyld_rules
import macho
import pytest
import with_macos_core

from excguard.sim import Kernel

if TYPE_CHECKING:
    from collections.abc import Mapping

HERE = Path(__file__).resolve().parent
TESTS = HERE.parent

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="runs x86_64 code")


@pytest.fixture(scope="module")
def core(macos_builds: dict[str, Path]) -> Path:
    return macos_builds["x86_64"] / cross.EXTENSION


@pytest.fixture(scope="module")
def with_chains(core: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same file with its fix-ups as Apple's linker writes them."""
    path = tmp_path_factory.mktemp("chained") / "_core.abi3.so"
    path.write_bytes(chained_fixups.rewrite(core.read_bytes(), macho.read(core, "x86_64")))
    return path


@pytest.fixture(scope="module")
def on_macos_core(core: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment in which Python uses the macOS build."""
    return with_macos_core.prepare(tmp_path_factory.mktemp("core"), core)


@pytest.fixture(scope="module")
def on_chained_core(with_chains: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The same for the file with the other fix-ups."""
    return with_macos_core.prepare(tmp_path_factory.mktemp("chained-core"), with_chains)


def test_both_encodings_of_fixups_mean_the_same(core: Path, with_chains: Path) -> None:
    assert dyld_rules.violations(with_chains.read_bytes()) == []
    opcodes, chains = macho.read(core, "x86_64"), macho.read(with_chains, "x86_64")

    def places(image: macho.Image) -> set[tuple[str, int, int, str]]:
        return {(place.name, place.address, place.addend, place.library) for place in image.imports}

    assert places(opcodes) == places(chains)
    # Opcodes give a lazily bound pointer both: its helper's address first, the import later.
    bound = {place.address for place in opcodes.imports}
    assert {a: t for a, t in opcodes.rebases.items() if a not in bound} == chains.rebases
    assert (opcodes.exports, opcodes.functions) == (chains.exports, chains.functions)


def whole_loop(environment: Mapping[str, str], directory: Path) -> dict[str, Any]:
    """Runs whole_loop.py in a kernel of its own; what it found."""
    result = directory / "result.json"
    with Kernel() as kernel:
        done = subprocess.run(
            [sys.executable, HERE / "whole_loop.py", directory / "journal", result],
            env={**environment, **kernel.environ},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(result.read_text())
    return found


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What this system's build finds."""
    return whole_loop(os.environ, tmp_path_factory.mktemp("ours"))


@pytest.mark.parametrize("build", ["on_macos_core", "on_chained_core"])
def test_the_whole_way_of_a_hit_is_the_same(
    ours: dict[str, Any], build: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """From the misuse over exception message, record and reply to the counters, for every misuse we know."""
    macs = whole_loop(request.getfixturevalue(build), tmp_path)

    assert (ours["loader"] != "MachoFinder", macs["loader"]) == (True, "MachoFinder")
    assert {**ours, "loader": ""} == {**macs, "loader": ""}
    assert [len(hits) >= least for hits, least in zip(macs["hits"], (10, 3, 3), strict=True)] == [True] * 3
    assert macs["answered"] == sum(len(hits) for hits in macs["hits"])
    assert macs["ports_left"] == 0
    assert not any(macs["rejected"].values())


SUITES = {
    "native": ["native"],
    "mach": ["mach", "mach_api"],
    "supervisor": ["test_supervisor.py", "test_supervisor_killed.py"],
}


@pytest.mark.slow
@pytest.mark.parametrize("suite", SUITES)
def test_the_same_tests_pass_on_the_macos_binary(on_macos_core: dict[str, str], suite: str) -> None:
    """Whatever these tests ask of the C core of this system, they ask of the one for macOS."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *SUITES[suite]],
        cwd=TESTS,
        env=on_macos_core,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    assert re.search(r"\b\d\d+ passed", done.stdout)

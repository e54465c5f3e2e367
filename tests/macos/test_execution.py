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

import pytest

from excsim import Kernel
from tests.macos import chained_fixups, cross, dyld_rules, macho, with_macos_core
from tests.macos.header_facts import failing_lines

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.macos.conftest import Sdk

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


HEADERS = ("dlfcn", "errno", "fcntl", "pthread", "signal", "stddef", "stdint", "time", "unistd")
HEADERS += ("sys/file", "sys/mman", "sys/stat", "sys/wait")
OTHER_NAMES = {
    "PTHREAD_MUTEX_SIGNATURE": "_PTHREAD_MUTEX_SIG_init",
    "PTHREAD_ONCE_SIGNATURE": "_PTHREAD_ONCE_SIG_init",
    "RTLD_DEFAULT": "(long)RTLD_DEFAULT",
    "SC_PAGESIZE": "_SC_PAGESIZE",
}


def failing_facts(clang: Sequence[str], text: str, facts: Sequence[str]) -> list[str]:
    prologue = "".join(f"#include <{header}.h>\n" for header in HEADERS) + text
    asserts = "".join(f'_Static_assert({fact}, "");\n' for fact in facts)
    first = prologue.count("\n") + 1
    return [facts[line - first] for line in failing_lines(clang, prologue + asserts)]


def test_the_adapters_know_macos(sdk: Sdk) -> None:
    """Each number and struct that adapters.c ascribes to macOS, against Apple's headers."""
    text = (HERE / "linux" / "adapters.c").read_text()
    text = text[text.index("#define DARWIN_") : text.index("/* ---- end of what is compared ---- */")]
    darwin = re.findall(r"#define DARWIN_(\w+)", text)
    same = [f"{name} == SAME_{name}" for name in re.findall(r"#define SAME_(\w+)", text)]
    stat = text[text.index("struct darwin_stat") : text.index("struct darwin_opaque")]
    facts = [
        *same,
        *(f"{OTHER_NAMES.get(name, name)} == DARWIN_{name}" for name in darwin),
        *(
            f"offsetof(struct stat, {field}) == offsetof(struct darwin_stat, {field})"
            for field in re.findall(r"\b(st_\w+)(?:\[2\])?[,;]", stat)
        ),
        *(
            f"sizeof({name}) == sizeof(((struct darwin_opaque *)0)->{name}_)"
            for name in re.findall(r"char (\w+)_\[", text)
        ),
    ]

    assert len(facts) > 60
    assert failing_facts(sdk.clang("x86_64"), text, facts) == []
    assert failing_facts(sdk.linux_clang("x86_64"), text, same) == []
    assert failing_facts(sdk.clang("x86_64"), text, ["EAGAIN == 11"]) == ["EAGAIN == 11"]


def test_an_import_that_nothing_provides_is_named(core: Path, tmp_path: Path) -> None:
    """The loader binds by name, to what adapters.c lists and to nothing else."""
    environment = with_macos_core.prepare(tmp_path, core)
    plan = json.loads((tmp_path / "core.json").read_text())
    plan["imports"][0]["name"] = "_system"
    (tmp_path / "core.json").write_text(json.dumps(plan))
    done = subprocess.run(
        [sys.executable, "-c", "import excguard.native"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "ImportError: no symbol for _system: see tests/macos/linux/adapters.c" in done.stderr


SUITES = {
    # Not those that compile C of their own for this system.
    "native": [f"native/test_{part}.py" for part in ("guard", "parser", "journal", "receiver")],
    "mach": ["conformance", "mach", "--ignore=mach/rendezvous"],
    "rendezvous": ["mach/rendezvous"],
    "supervisor": ["targets"],
    "daemon": ["end_to_end/test_watched_children.py", "end_to_end/test_serve_end_to_end.py"],
}


@pytest.mark.slow
@pytest.mark.parametrize("suite", SUITES)
def test_the_same_tests_pass_on_the_macos_binary(on_macos_core: dict[str, str], suite: str) -> None:
    """Whatever these tests ask of the C core of this system, they ask of the one for macOS."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *SUITES[suite]],
        cwd=TESTS,
        # A run of its own, not a part of the one that this worker belongs to.
        env={name: value for name, value in on_macos_core.items() if not name.startswith("PYTEST_")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    assert re.search(r"\b\d\d+ passed", done.stdout)

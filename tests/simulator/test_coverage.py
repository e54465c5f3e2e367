"""Everything that the simulated kernel does has a test, and every test of tests/conformance its source.

What can be shown on a Mac as well is tested in tests/conformance; the rest, which takes what the simulator
alone gives, in tests/simulator.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import excsim
from excguard.knowledge import flavors
from tests.conformance import (
    test_conformance,
    test_exceptions,
    test_guard_log,
    test_guards,
    test_hardened,
    test_processes,
)
from tests.simulator import test_guard_releases

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

TESTS = Path(__file__).resolve().parents[1]
KERNEL = TESTS.parent / "daemon" / "simulator" / "kernel"

ELSEWHERE = {
    r"excsim_dl\w+": "dlopen and dlsym for code signing requirements: tests/mach/rendezvous",
    r"proc_(listchildpids|listpgrppids|pidpath)": "of libproc, no part of Mach: here they read /proc",
    r"audit_token_to_\w+": "of libbsm, which the product does not use; a Mac links it only by name",
}
"""Functions (regular expressions) that no program of tests/conformance calls -> why."""


def functions() -> set[str]:
    """What the headers declare, by Apple's names."""
    found: set[str] = set()
    for header in excsim.INCLUDE.rglob("*.h"):
        if header.name != "excsim.h":
            found |= set(re.findall(r"^extern [^;()]*?\b(\w+)\(", header.read_text(), re.MULTILINE))
    return found


def test_every_function_is_called_by_a_conformance_program() -> None:
    programs = (TESTS / "conformance" / "programs").glob("*.[ch]")
    called = set(re.findall(r"\b(\w+)\(", "".join(path.read_text() for path in programs)))
    missing = functions() - called

    assert len(functions()) > 80
    assert {name for name in missing if not any(re.fullmatch(p, name) for p in ELSEWHERE)} == set()


def test_every_guard_is_raised_by_a_test() -> None:
    """Whatever flavor number it has on the release that the test is about."""
    raised = {
        *(case.flavor for case in test_guards.CASES),
        *(case.flavor for case in test_hardened.CASES),
        *(case.flavor for case in test_guard_releases.CASES),
        *(flavor for case in test_exceptions.CHANGED for flavor in case.flavors),
        0x7,  # test_guard_releases.test_service_port_is_recognized_by_its_payload
    }
    names = re.findall(r'\] = "(kGUARD_EXC_\w+)"', (KERNEL / "guard.c").read_text())
    numbers = {name: {row.value for row in flavors.table() if row.kernel_name == name} for name in names}

    assert len(names) > 20
    assert [name for name in names if not numbers[name] & raised] == []


# ---- sources ----

CONFORMANCE = [
    test_conformance,
    test_exceptions,
    test_guards,
    test_hardened,
    test_processes,
    test_guard_log,
]
SOURCE = re.compile(
    r"\w+,? .*\b(?:osfmk|bsd)/[\w/]+\.(?:c|h|defs), (?:xnu-[\d.]+\d|macOS \d+\.\d SDK|macOS 26)"
)
"""Function or constant, file, release; of a kernel whose sources have no tag yet, the macOS alone."""
PLACE = re.compile(r"\b\w+\.(?:c|h|defs|sub)\b|\b\w+\(\d\)")
"""A file, of which the head of a program names release and directory, or a page of the manual."""


def sources(module: ModuleType) -> Iterator[tuple[str, str]]:
    """What a module of tests/conformance tests, and where it says that it is so."""
    rows = [row for value in vars(module).values() if isinstance(value, list) for row in value]
    for row in rows:
        if hasattr(row, "_fields"):
            yield f"{module.__name__}: {row}", row.source if "source" in row._fields else ""
    for name, test in inspect.getmembers(module, inspect.isfunction):
        if name.startswith("test_") and not {"case", "rule"} & set(inspect.signature(test).parameters):
            yield f"{module.__name__}.{name}", test.__doc__ or ""


def unsourced(found: Iterator[tuple[str, str]]) -> list[str]:
    return [what for what, source in found if not SOURCE.search(source)]


def checks_without_source(program: str) -> list[str]:
    """Checks of a C program above which no comment names a file."""
    found = re.finditer(r"^(/\*(?:(?!\*/).)*\*/\n)?CHECK\((\w+)\)", program, re.MULTILINE | re.DOTALL)
    return [check[2] for check in found if not PLACE.search(check[1] or "")]


@pytest.mark.parametrize("module", CONFORMANCE, ids=lambda module: module.__name__.rpartition(".")[2])
def test_every_conformance_test_names_its_source(module: Any) -> None:
    found = [(what, source) for what, source in sources(module) if "programs/*.c" not in source]

    assert len(found) > 2 or module in {test_conformance, test_guard_log}
    assert unsourced(iter(found)) == []


def test_every_module_of_conformance_tests_is_looked_at() -> None:
    assert {module.__name__ for module in CONFORMANCE} == {
        f"tests.conformance.{path.stem}" for path in (TESTS / "conformance").glob("test_*.py")
    }


@pytest.mark.parametrize("program", sorted({program for program, _ in test_conformance.CHECKS}))
def test_every_check_names_its_source(program: str) -> None:
    text = (TESTS / "conformance" / "programs" / f"{program}.c").read_text()

    assert checks_without_source(text) == []
    assert "Sources:" in text.split("*/")[0] or re.search(r"xnu-[\d.]+", text.split("*/")[0])


def test_a_test_without_source_is_noticed() -> None:
    case = test_guards.CASES[0]
    bare = [("a", ""), ("b", "ipc_right.c"), ("c", "see osfmk/ipc/ipc_right.c"), ("d", case.source)]

    assert unsourced(iter(bare)) == ["a", "b", "c"]
    text = "/* a_function, file.c */\nCHECK(one) {\n}\n\nCHECK(two) {\n}\n/* why */\nCHECK(three) {\n}\n"
    assert checks_without_source(text) == ["two", "three"]

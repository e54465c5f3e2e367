"""Nothing that the simulated kernel does is without a test, and no test of tests/mach without its source.

What can be shown on a Mac as well is tested in tests/mach; the rest, which takes what the simulator alone
gives, in tests/sim.
"""

from __future__ import annotations

import re
from pathlib import Path

import test_exceptions
import test_guard_releases
import test_guards
import test_hardened

from excguard import sim
from excguard.knowledge import flavors

TESTS = Path(__file__).resolve().parents[1]
KERNEL = TESTS.parent / "daemon" / "excguard" / "sim" / "kernel"

ELSEWHERE = {
    r"excsim_dl\w+": "dlopen and dlsym for code signing requirements: tests/rendezvous",
    r"audit_token_to_\w+": "of libbsm, which the product does not use; a Mac links it only by name",
}
"""Functions (regular expressions) that no program of tests/mach calls -> why."""


def functions() -> set[str]:
    """What the headers declare, by Apple's names."""
    found: set[str] = set()
    for header in sim.INCLUDE.rglob("*.h"):
        if header.name != "excsim.h":
            found |= set(re.findall(r"^extern [^;()]*?\b(\w+)\(", header.read_text(), re.MULTILINE))
    return found


def test_every_function_is_called_by_a_conformance_program() -> None:
    programs = (TESTS / "mach" / "programs").glob("*.[ch]")
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
        0x7,  # test_guard_releases.test_service_port_is_told_by_its_payload
    }
    names = re.findall(r'\] = "(kGUARD_EXC_\w+)"', (KERNEL / "guard.c").read_text())
    numbers = {name: {row.value for row in flavors.table() if row.kernel_name == name} for name in names}

    assert len(names) > 20
    assert [name for name in names if not numbers[name] & raised] == []

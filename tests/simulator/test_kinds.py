"""Which tests of tests/conformance a Mac runs: those of its release, its settings and its processor."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conformance import test_exceptions, test_guards, test_hardened
from tests.support import ROOT
from tests.support.mach_machine import Kind, Mac

MAC = Mac("15.5", developer_mode=True, arch="arm64", guard_default=0)


@pytest.mark.parametrize(
    ("kind", "mac"),
    [
        (Kind("15.5"), MAC),
        (Kind("26.4", since="12.0"), MAC),
        (Kind("14.0", before="15.6"), MAC),
        (Kind("15.0", developer_mode=True, arch="arm64"), MAC),
        (Kind("15.0", developer_mode=False), MAC._replace(developer_mode=False)),
        (Kind("12.6", developer_mode=False), MAC._replace(developer_mode=None)),
        (Kind("15.0", guard_default=0x30), MAC._replace(guard_default=0x30)),
    ],
)
def test_kernel_is_of_the_kind(kind: Kind, mac: Mac) -> None:
    assert kind.misfit(mac) == ""


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (Kind("15.10"), "of macOS 15.10 and later, not 15.5"),
        (Kind("14.0", since="26.0"), "of macOS 26.0 and later, not 15.5"),
        (Kind("15.3", before="15.4"), "of macOS before 15.4, not 15.5"),
        (Kind("15.3", before="15.5"), "of macOS before 15.5, not 15.5"),
        (Kind("14.1", developer_mode=False), "of Developer Mode off"),
        (Kind("14.1", arch="x86_64"), "of x86_64, not arm64"),
        (
            Kind("14.1", guard_default=0x30),
            "of programs with task_exc_guard 0x30, not 0x0 (boot-arg task_exc_guard_default)",
        ),
        (
            Kind("26.0", developer_mode=False),
            "of macOS 26.0 and later, not 15.5; of Developer Mode off",
        ),
    ],
)
def test_test_of_another_kind_says_what_it_is_of(kind: Kind, reason: str) -> None:
    assert kind.misfit(MAC) == reason


def test_what_is_simulated_is_of_its_own_kind() -> None:
    """A row whose simulated release its own limits exclude would never be asked of the right Mac."""
    rows = [*test_guards.CASES, *test_exceptions.RULES, *test_exceptions.BEHAVIORS, *test_hardened.CASES]
    assert len(rows) > 100
    for row in rows:
        mac = MAC._replace(release=row.release)
        assert Kind(row.release, since=row.since, before=row.before).misfit(mac) == "", row


@pytest.mark.slow
@pytest.mark.parametrize("release", ["12.0", "12.6", "13.0", "14.0", "14.4", "15.0", "15.5", "26.4", "27.0"])
def test_what_is_of_a_release_holds_on_it(release: str) -> None:
    """A row is simulated on one release, and claims more of them: each is asked on others of its range."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "conformance", "--release", release],
        cwd=Path(__file__).parents[1],
        # A run of its own, not a part of the one that this worker belongs to.
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    assert re.search(r"\b\d\d\d passed, \d+ skipped", done.stdout)


def test_what_a_mac_runs_needs_no_simulator() -> None:
    """A Mac has no excsim: support/simulator.py alone imports it, and copes."""
    tests = ROOT / "tests"
    modules = [*tests.glob("*.py"), *(tests / "support").glob("*.py")]
    for name in ("conformance", "mach", "native"):
        modules += (tests / name).rglob("*.py")
    importing = re.compile(r"^ *(from|import) excsim\b", re.MULTILINE)

    assert len(modules) > 40
    assert [path.stem for path in modules if importing.search(path.read_text())] == ["simulator"]

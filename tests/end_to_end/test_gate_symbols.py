"""The gate where places have names: sites are functions, the same in every run and in every build."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
import xml.etree.ElementTree as ET
from collections.abc import Iterator  # noqa: TC003 - pytest reads the annotations
from pathlib import Path

import pytest

from excsim import Kernel
from tests.support import compiler, simulator
from tests.support.harness import events

pytest.importorskip("symbolic")

SOURCE = Path(__file__).parents[1] / "support" / "programs" / "sites.c"
KNOWN = ("open_camera", "close_camera", "mute")
NEW = "hang_up"


def build(directory: Path, *options: str) -> None:
    """The program, without symbols, and beside it what has them."""
    whole = directory / "symbols" / "app.debug"
    whole.parent.mkdir(parents=True)
    command = [compiler.require(), *compiler.WARNINGS, *simulator.HEADERS, "-g", *options, SOURCE]
    subprocess.run([*command, *simulator.LIBRARIES, "-o", whole], check=True)
    if shutil.which("strip") is None:
        pytest.skip("needs strip")
    subprocess.run(["strip", "-o", directory / "app", whole], check=True)


@pytest.fixture(scope="module")
def first_build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("first")
    build(directory)
    return directory


@pytest.fixture(scope="module")
def later_build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("later")
    build(directory, "-DLATER")
    return directory


@pytest.fixture(scope="module")
def kernel() -> Iterator[Kernel]:
    """With xnu's own flags for programs that are not Apple's, so that excguard inserts its library."""
    with Kernel(task_exc_guard=0) as running:
        yield running


def run(
    kernel: Kernel,
    directory: Path,
    built: Path,
    functions: tuple[str, ...],
    *options: str,
    **environment: str,
) -> subprocess.CompletedProcess[str]:
    outside = {name: value for name, value in kernel.environ.items() if not name.startswith("GITHUB_")}
    places = ("--behavior", "state_identity_protected", "--dsym", str(built / "symbols"))
    return subprocess.run(
        [
            *(sys.executable, "-m", "excguard", "run", "--metrics", "off", "--events", "events.jsonl"),
            *(*places, *options, "--", str(built / "app"), *functions),
        ],
        cwd=directory,
        env={**outside, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def entries(directory: Path, name: str = "guards.toml") -> dict[str, tuple[str, str]]:
    """Of a baseline: symbol -> image and id."""
    found = tomllib.loads((directory / name).read_text())["site"]
    return {entry["symbol"]: (entry["image"], entry["id"]) for entry in found}


@pytest.fixture
def baseline(kernel: Kernel, first_build: Path, tmp_path: Path) -> Path:
    done = run(kernel, tmp_path, first_build, KNOWN, "--baseline", "guards.toml", "--update-baseline")
    assert done.returncode == 0, done.stderr
    assert "guards.toml: 3 sites added, 0 removed" in done.stderr
    assert set(entries(tmp_path)) == set(KNOWN)
    assert {image for image, _ in entries(tmp_path).values()} == {"app"}
    return tmp_path


def test_known_places_pass_and_a_new_one_is_named(kernel: Kernel, first_build: Path, baseline: Path) -> None:
    options = ("--baseline", "guards.toml", "--junit", "r.xml", "--report", "r.json")
    assert run(kernel, baseline, first_build, KNOWN, *options).returncode == 0

    done = run(kernel, baseline, first_build, (*KNOWN, NEW), *options, GITHUB_ACTIONS="true")

    assert done.returncode == 3
    (command,) = [line for line in done.stderr.splitlines() if line.startswith("::")]
    assert command.startswith("::error title=INVALID_NAME in app hang_up + ")
    assert "%0AFix: " in command
    (suite,) = ET.parse(baseline / "r.xml").getroot()  # noqa: S314 - our own
    (failed,) = [case for case in suite if case.find("failure") is not None]
    assert failed.get("name", "").startswith("INVALID_NAME in app hang_up [")
    (site,) = [
        site
        for site in json.loads((baseline / "r.json").read_text())["gate"]["sites"]
        if site["standing"] == "new"
    ]
    assert (site["image"], site["symbol"], site["precision"]) == ("app", NEW, "symbol")
    logged = {hit["symbol"]: hit["site_id"] for hit in events(baseline / "events.jsonl", "guard_hit")}
    known = {symbol: site_id for symbol, (_, site_id) in entries(baseline).items()}
    assert logged == {**known, NEW: site["id"]}


def test_a_place_that_is_gone_fails_under_strict_only(
    kernel: Kernel, first_build: Path, baseline: Path
) -> None:
    options = ("--baseline", "guards.toml")
    assert run(kernel, baseline, first_build, KNOWN[:2], *options).returncode == 0

    strict = run(kernel, baseline, first_build, KNOWN[:2], *options, "--baseline-strict")
    assert strict.returncode == 3
    assert f"no longer occurs: INVALID_NAME ({entries(baseline)['mute'][1]}), in app mute" in strict.stderr


def test_ids_are_the_same_in_twenty_runs(kernel: Kernel, first_build: Path, baseline: Path) -> None:
    before, seen = entries(baseline), set()
    for number in range(20):
        name = f"again{number}.toml"
        run(kernel, baseline, first_build, KNOWN, "--baseline", name, "--update-baseline")
        assert entries(baseline, name) == before
        seen |= {(hit["pid"], hit["pc"]) for hit in events(baseline / "events.jsonl", "guard_hit")}

    assert len({pid for pid, _ in seen}) == 20
    assert len({pc for _, pc in seen}) > 20  # ASLR is on: three places at many addresses


def test_ids_are_the_same_in_the_next_build(
    kernel: Kernel, first_build: Path, later_build: Path, baseline: Path
) -> None:
    offsets = {hit["image_offset"] for hit in events(baseline / "events.jsonl", "guard_hit")}
    done = run(kernel, baseline, later_build, KNOWN, "--baseline", "guards.toml", "--baseline-strict")

    assert done.returncode == 0, done.stderr
    hits = events(baseline / "events.jsonl", "guard_hit")
    assert offsets.isdisjoint(hit["image_offset"] for hit in hits)
    assert {hit["symbol"]: hit["site_id"] for hit in hits} == {
        symbol: site_id for symbol, (_, site_id) in entries(baseline).items()
    }


def test_a_missing_directory_is_one_line_before_the_run(
    kernel: Kernel, first_build: Path, tmp_path: Path
) -> None:
    done = run(kernel, tmp_path, first_build, KNOWN, "--dsym", "none")

    assert done.returncode == 2
    assert "none: not a directory: --dsym takes one with dSYMs or Breakpad files" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_program_that_is_not_stripped_names_its_own_places(kernel: Kernel, first_build: Path) -> None:
    program = str(first_build / "symbols" / "app.debug")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "excguard", "run", "--metrics", "off", "--symbolicate"),
            *("--behavior", "state_identity_protected", "--", program, NEW),
        ],
        env=kernel.environ,
        capture_output=True,
        text=True,
        check=False,
    )

    assert "In app.debug hang_up + " in " ".join(done.stderr.split())


def test_a_site_is_explained_one_time_and_its_ports_are_counted(
    kernel: Kernel, first_build: Path, tmp_path: Path
) -> None:
    done = run(kernel, tmp_path, first_build, ("storm", "mute"))
    stream, _, table = done.stderr.partition("excguard: 301 guard hits in app")

    assert stream.count("    Fix: ") == 2  # of two sites
    first = re.findall(r"(?m)^\S+ optional INVALID_NAME  app \(pid \d+\)  .*, in app storm \+ \d+$", stream)
    counts = re.findall(r"(?m)^\S+ optional INVALID_NAME  app  (\d+) more, in app storm \+ \d+$", stream)
    assert len(first) + sum(map(int, counts)) == 300
    assert len(first) == 1
    assert "300 different ports." in " ".join(table.split())
    assert table.count("Fix: ") == 1  # it is the same for both


def test_the_table_and_junit_say_why_a_site_is_known(
    kernel: Kernel, first_build: Path, baseline: Path
) -> None:
    text = (baseline / "guards.toml").read_text()
    (baseline / "guards.toml").write_text(text.replace('reason = ""', 'reason = "vendor bug 4711"'))
    done = run(kernel, baseline, first_build, KNOWN, "--baseline", "guards.toml", "--junit", "r.xml")

    assert done.returncode == 0
    assert done.stderr.count("Known: vendor bug 4711") == 3
    (suite,) = ET.parse(baseline / "r.xml").getroot()  # noqa: S314 - our own
    reasons = [case.find("skipped").get("message") for case in suite.findall("testcase")]
    assert all(reason.startswith("known (vendor bug 4711): INVALID_NAME") for reason in reasons)


def bare(kernel: Kernel, directory: Path, program: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """A run without any option about places."""
    command = [sys.executable, "-m", "excguard", "run", "--metrics", "off", "--baseline", "guards.toml"]
    return subprocess.run(
        [*command, *options, "--", str(program), *KNOWN],
        cwd=directory,
        env=kernel.environ,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_baseline_alone_holds_in_the_next_build(
    kernel: Kernel, first_build: Path, later_build: Path, tmp_path: Path
) -> None:
    """The programs are not stripped, as those of a debug build; they have the same name."""
    for number, built in enumerate((first_build, later_build)):
        (tmp_path / str(number)).mkdir()
        shutil.copy(built / "symbols" / "app.debug", tmp_path / str(number) / "app")
    assert bare(kernel, tmp_path, tmp_path / "0" / "app", "--update-baseline").returncode == 0
    done = bare(kernel, tmp_path, tmp_path / "1" / "app", "--baseline-strict")

    assert done.returncode == 0, done.stderr
    assert "sites: 3 known" in done.stderr


def test_sites_without_a_name_are_reported(kernel: Kernel, first_build: Path, tmp_path: Path) -> None:
    done = bare(kernel, tmp_path, first_build / "app", "--update-baseline")

    assert done.returncode == 0
    assert "sites without the name of a function: 3; their ids are others in the next build" in done.stderr


def test_no_names_and_a_directory_of_names_contradict_each_other(
    kernel: Kernel, first_build: Path, tmp_path: Path
) -> None:
    done = run(kernel, tmp_path, first_build, KNOWN, "--no-symbolicate")

    assert done.returncode == 2
    assert "--no-symbolicate and --dsym contradict each other" in done.stderr


def test_directories_name_places_without_a_baseline_too(
    kernel: Kernel, first_build: Path, tmp_path: Path
) -> None:
    done = run(kernel, tmp_path, first_build, (NEW,))

    assert done.returncode == 0
    assert "In app hang_up + " in " ".join(done.stderr.split())

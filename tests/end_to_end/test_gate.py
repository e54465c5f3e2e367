"""The gate over several runs: a baseline is written and kept, and only what is new fails."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
import xml.etree.ElementTree as ET
import zipfile
from collections.abc import Iterator  # noqa: TC003 - pytest reads the annotations
from pathlib import Path

import pytest
import yaml

from excsim import Kernel
from tests.support.harness import events as logged
from tests.support.harness import scrape, total
from tests.support.waiting import wait_until

# Misuses of one program: their guards end nothing, and each breaks another rule.
FIRST, SECOND, THIRD, FOURTH = ("double_deallocate", "guard_twice", "release_too_many", "reply_to_nowhere")
KNOWN = (FIRST, SECOND, THIRD)


@pytest.fixture(scope="module")
def kernel() -> Iterator[Kernel]:
    with Kernel() as running:
        yield running


def run(
    kernel: Kernel, directory: Path, *options: str, misuses: tuple[str, ...] = KNOWN, **environment: str
) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-m", "excguard.misuse", "--quiet", *misuses]
    outside = {name: value for name, value in kernel.environ.items() if not name.startswith("GITHUB_")}
    return subprocess.run(
        [sys.executable, "-m", "excguard", "run", "--metrics", "off", *options, "--", *program],
        cwd=directory,
        env={**outside, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def sites(directory: Path) -> dict[str, str]:
    """Of the baseline: flavor -> id."""
    entries = tomllib.loads((directory / "guards.toml").read_text())["site"]
    return {entry["flavor"]: entry["id"] for entry in entries}


@pytest.fixture
def baseline(kernel: Kernel, tmp_path: Path) -> Path:
    """A directory with the baseline that a first run has written."""
    done = run(kernel, tmp_path, "--baseline", "guards.toml", "--update-baseline")
    assert done.returncode == 0, done.stderr
    assert "guards.toml: 3 sites added, 0 removed" in done.stderr
    return tmp_path


def test_a_run_with_known_sites_alone_passes(kernel: Kernel, baseline: Path) -> None:
    done = run(kernel, baseline, "--baseline", "guards.toml", "--baseline-strict", "--junit", "r.xml")

    assert done.returncode == 0, done.stderr
    assert "sites: 3 known" in done.stderr
    (suite,) = ET.parse(baseline / "r.xml").getroot()  # noqa: S314 - our own
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("3", "0", "3")


def test_a_fourth_site_fails_with_one_annotation(kernel: Kernel, baseline: Path) -> None:
    summary = baseline / "summary.md"
    done = run(
        kernel,
        baseline,
        *("--baseline", "guards.toml", "--junit", "r.xml", "--code-quality", "quality.json"),
        misuses=(*KNOWN, FOURTH),
        GITHUB_ACTIONS="true",
        GITHUB_STEP_SUMMARY=str(summary),
    )

    assert done.returncode == 3
    commands = [line for line in done.stderr.splitlines() if line.startswith("::")]
    assert len(commands) == 1
    assert commands[0].startswith("::error title=SEND_INVALID_REPLY in ")
    assert "%0AFix: " in commands[0]
    (site,) = set(re.findall(r"site ([0-9a-f]{12})", commands[0]))
    assert site not in sites(baseline).values()
    assert f"`{site}`" in summary.read_text()
    (suite,) = ET.parse(baseline / "r.xml").getroot()  # noqa: S314 - our own
    (failed,) = [case.get("name") for case in suite if case.find("failure") is not None]
    assert failed.endswith(f"[{site}]")
    fingerprints = {finding["fingerprint"] for finding in json.loads((baseline / "quality.json").read_text())}
    assert fingerprints == {site, *sites(baseline).values()}


def test_a_site_that_is_gone_fails_under_strict_only(kernel: Kernel, baseline: Path) -> None:
    two = (FIRST, SECOND)
    assert run(kernel, baseline, "--baseline", "guards.toml", misuses=two).returncode == 0

    strict = run(kernel, baseline, "--baseline", "guards.toml", "--baseline-strict", misuses=two)
    assert strict.returncode == 3
    assert f"no longer occurs: INVALID_VALUE ({sites(baseline)['INVALID_VALUE']})" in strict.stderr

    options = ("--baseline", "guards.toml", "--update-baseline", "--baseline-strict")
    assert run(kernel, baseline, *options, misuses=two).returncode == 0
    assert set(sites(baseline)) == {"INVALID_NAME", "INVALID_ARGUMENT"}


def test_ignore_rules_of_the_configuration(kernel: Kernel, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text('[[ignore]]\nflavor = "INVALID_*"\nreason = "vendor"\n')
    options = ("--config", "c.toml", "--fail-on", "soft", "--json")

    ignored = run(kernel, tmp_path, *options, misuses=(FIRST, SECOND))
    assert ignored.returncode == 0, ignored.stderr
    gate = json.loads(ignored.stderr.splitlines()[-1])["gate"]
    assert {site["standing"] for site in gate["sites"]} == {"ignored"}
    assert sum(site["hits"] for site in gate["sites"]) == 2

    assert run(kernel, tmp_path, *options, misuses=(FIRST, FOURTH)).returncode == 3


def test_a_run_that_writes_the_baseline_fails_nothing(kernel: Kernel, tmp_path: Path) -> None:
    options = ("--baseline", "guards.toml", "--update-baseline", "--junit", "r.xml", "--report", "r.json")
    done = run(kernel, tmp_path, *options, GITHUB_ACTIONS="true")

    assert done.returncode == 0, done.stderr
    assert "::" not in done.stderr
    (suite,) = ET.parse(tmp_path / "r.xml").getroot()  # noqa: S314 - our own
    assert (suite.get("failures"), suite.get("skipped")) == ("0", "3")
    gate = json.loads((tmp_path / "r.json").read_text())["gate"]
    assert {(site["standing"], site["reason"]) for site in gate["sites"]} == {("known", "added by this run")}


def test_an_entry_that_no_longer_occurs_is_a_failure_in_junit(kernel: Kernel, baseline: Path) -> None:
    options = ("--baseline", "guards.toml", "--baseline-strict", "--junit", "r.xml")
    done = run(kernel, baseline, *options, misuses=(FIRST, SECOND))

    assert done.returncode == 3
    (suite,) = ET.parse(baseline / "r.xml").getroot()  # noqa: S314 - our own
    (failed,) = [case for case in suite if case.find("failure") is not None]
    assert failed.get("name").endswith(f"no longer occurs [{sites(baseline)['INVALID_VALUE']}]")


def test_known_and_ignored_hits_are_counted_in_the_metrics(kernel: Kernel, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text('[[ignore]]\nflavor = "*"\n[metrics]\nlisten = "127.0.0.1:0"\n')
    events = tmp_path / "events.jsonl"
    running = subprocess.Popen(
        [
            *(sys.executable, "-m", "excguard", "run", "--config", "c.toml", "--fail-on", "soft"),
            *("--events", "events.jsonl", "--", "sh", "-c"),
            f"{sys.executable} -m excguard.misuse --quiet {FIRST} {SECOND}; read line",
        ],
        cwd=tmp_path,
        env=kernel.environ,
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    (listening,) = wait_until(lambda: logged(events, "metrics_listening"))
    wait_until(lambda: logged(events, "guard_hit"), lambda found: len(found) == 2)
    counted = total(scrape(listening["url"]), "excguard_hits_total")
    _, errors = running.communicate("go\n", timeout=60)

    assert (counted, running.returncode) == (2, 0)
    assert "sites: 2 ignored" in errors
    assert errors.count("Ignored.") == 2


def test_ids_are_the_same_in_every_run(kernel: Kernel, baseline: Path) -> None:
    """Other process ids, other port names, other addresses."""
    before = sites(baseline)
    for number in range(20):
        name = f"again{number}.toml"
        run(kernel, baseline, "--baseline", name, "--update-baseline")
        entries = tomllib.loads((baseline / name).read_text())["site"]
        assert {entry["flavor"]: entry["id"] for entry in entries} == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--update-baseline",), "--update-baseline needs --baseline FILE"),
        (("--baseline-strict",), "--baseline-strict needs --baseline FILE"),
        (("--baseline", "none.toml"), "none.toml: invalid baseline: no such file"),
        (("--baseline", "none/x.toml", "--update-baseline"), "none/x.toml: cannot write the baseline"),
    ],
)
def test_misuse_is_one_line_before_the_run(
    kernel: Kernel, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    done = run(kernel, tmp_path, *options)

    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_results_on_standard_output(kernel: Kernel, tmp_path: Path) -> None:
    report = run(kernel, tmp_path, "--report", "-", misuses=(FIRST,))
    assert json.loads(report.stdout)["hits"] == 1

    junit = run(kernel, tmp_path, "--junit", "-", misuses=(FIRST,))
    assert ET.fromstring(junit.stdout)[0].get("tests") == "1"  # noqa: S314 - our own
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--report", "-", "--junit", "-"), "only one of them can go to standard output"),
        (("--name", ""), "expected a name"),
    ],
)
def test_contradictions_are_misuse(
    kernel: Kernel, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    done = run(kernel, tmp_path, *options)

    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr


ACTION = Path(__file__).parents[2] / ".github" / "actions" / "excguard" / "action.yml"


@pytest.mark.parametrize(("strict", "misuses", "status"), [("false", (FIRST,), 0), ("true", (FIRST,), 3)])
def test_the_action_runs_the_gate(
    kernel: Kernel, baseline: Path, strict: str, misuses: tuple[str, ...], status: int
) -> None:
    """The step of the composite action, as the runner would start it; the baseline has two more sites."""
    step = yaml.safe_load(ACTION.read_text())["runs"]["steps"][-1]
    program = baseline / "excguard" / "bin" / "excguard"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m excguard "$@"\n')
    program.chmod(0o755)
    inputs = {
        "COMMAND": f"'{sys.executable}' -m excguard.misuse --quiet {' '.join(misuses)}",
        "FAIL_ON": "",
        "BASELINE": "again.toml",
        "STRICT": strict,
        "JUNIT": "r.xml",
        "REPORT": "r.json",
        "COLLECT": "all of it",
        "OPTIONS": "--name 'my app'",
    }
    assert set(step["env"]) == set(inputs)
    environment = {
        **kernel.environ,
        **inputs,
        "RUNNER_TEMP": str(baseline),
        "GITHUB_OUTPUT": str(baseline / "output"),
        "GITHUB_STEP_SUMMARY": str(baseline / "summary.md"),
    }
    accept = [sys.executable, "-m", "excguard", "run", "--metrics", "off", "--baseline", "again.toml"]
    accept += ["--update-baseline", "--", "bash", "-c", inputs["COMMAND"].replace(FIRST, " ".join(KNOWN))]
    assert subprocess.run(accept, cwd=baseline, env=environment, check=False).returncode == 0

    done = subprocess.run(["bash", "-c", step["run"]], cwd=baseline, env=environment, check=False)

    assert done.returncode == status
    assert (baseline / "output").read_text().endswith(f"status={status}\n")
    assert json.loads((baseline / "r.json").read_text())["gate"]["failed"] is (status == 3)
    assert "### excguard: my app" in (baseline / "summary.md").read_text()
    assert (baseline / "all of it" / "events.jsonl").exists()


@pytest.mark.parametrize("given", [True, False], ids=["source", "checkout"])
def test_the_action_installs_excguard(tmp_path: Path, given: bool) -> None:  # noqa: FBT001
    """Into a virtual environment, from the input or from the checkout that the action is part of."""
    step = yaml.safe_load(ACTION.read_text())["runs"]["steps"][0]
    wheel = tmp_path / "excguard-1-py3-none-any.whl"
    about = "excguard-1.dist-info"
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr("standin.py", "def main(): print('stand-in')\n")
        file.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: excguard\nVersion: 1\n")
        file.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{about}/entry_points.txt", "[console_scripts]\nexcguard = standin:main\n")
        file.writestr(f"{about}/RECORD", "")
    environment = {
        **os.environ,
        "RUNNER_TEMP": str(tmp_path),
        "SOURCE": str(wheel) if given else "",
        "ACTION": str(ACTION.parent),
    }
    script = step["run"]
    if not given:
        script = script.replace('"$RUNNER_TEMP/excguard/bin/pip" install --quiet', "realpath")
    done = subprocess.run(
        ["bash", "-eo", "pipefail", "-c", script], env=environment, capture_output=True, text=True, check=True
    )

    if given:
        installed = subprocess.run(
            [tmp_path / "excguard" / "bin" / "excguard"], capture_output=True, check=True
        )
        assert installed.stdout == b"stand-in\n"
    else:
        assert (Path(done.stdout.strip()) / "pyproject.toml").read_text().startswith("[build-system]")


def test_the_action_fits_its_schema() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-actions"]
    done = subprocess.run([*command, str(ACTION)], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout

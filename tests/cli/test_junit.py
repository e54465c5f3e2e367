"""JUnit XML: what build servers make of a run."""

import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from datetime import date
from pathlib import Path
from types import SimpleNamespace

import junitparser
import pytest

from excguard.cli import gating, junit
from excguard.cli.outcome import Outcome
from excguard.config import parse
from excguard.decoding.decode import decode
from excguard.decoding.site import Site
from excguard.gate.baseline import Baseline, Entry
from excguard.gate.verdict import IgnoreRule, judge
from excguard.knowledge.guard_behavior import GuardBehavior
from excguard.mach.host import Host
from excguard.pipeline.tally import SiteTally
from excguard.service import needs_restart
from excguard.targets.visibility import Circumstances, visibility
from excsim import Kernel
from tests.support.samples import DESTROY, INVALID_NAME, THREAD_SET_STATE

NO_OPTIONS = {
    "baseline": None,
    "update_baseline": False,
    "baseline_strict": False,
    "ci": "none",
    "code_quality": None,
}
SOFT = 0x2010000600002703
STARTED = "2026-03-01T12:00:00.000000Z"


def tally(code: int, **changes: object) -> SiteTally:
    fields = {"target": "my.app", "subcode": 0, "release": "26.4", "pc": 0, "source": "live", "hits": 3}
    site = Site.of(decode(code, 0, "26.4"), None, "my.app")
    return SiteTally(code=code, **{**fields, "site": site, **changes})


def outcome(*sites: SiteTally, name: str = "my.app", fail_on: str = "soft", **changes: object) -> Outcome:
    """A run that is over, as far as JUnit looks at it."""
    run = {
        "name": name,
        "sites": sites,
        "total": sum(site.hits for site in sites),
        "lost": 0,
        "error": None,
        "death": None,
        "exited": None,
        "visibility": None,
        "seconds": 1.5,
        "status": 0,
        **changes,
    }
    verdict = gating.Gate((), fail_on=fail_on, **NO_OPTIONS).judge(sites, [])
    return Outcome(SimpleNamespace(**run), verdict, fail_on)


def suite(*sites: SiteTally, **changes: object) -> ET.Element:
    document = ET.fromstring(junit.render(outcome(*sites, **changes), started=STARTED))  # noqa: S314
    assert document.tag == "testsuites"
    (found,) = document
    cases = found.findall("testcase")
    assert int(found.get("tests", "")) == len(cases)
    for attribute, kind in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        assert int(found.get(attribute, "")) == len(found.findall(f"testcase/{kind}"))
    assert len({case.get("name") for case in cases}) == len(cases)
    return found


def test_each_site_is_a_failure_with_its_explanation() -> None:
    found = suite(tally(INVALID_NAME), tally(THREAD_SET_STATE, pc=0x1000))

    assert (found.get("failures"), found.get("time"), found.get("timestamp")) == ("2", "1.500", STARTED)
    worst = found.findall("testcase")[0]
    assert re.fullmatch(r"THREAD_SET_STATE in my\.app \[[0-9a-f]{12}\]", worst.get("name"))
    assert worst.get("classname") == "excguard.my_app"
    failure = worst[0]
    assert failure.get("type") == "fatal guard"
    assert failure.text.startswith(failure.get("message"))
    assert "Fix: " in failure.text
    assert "Hits: 3." in failure.text
    assert "excguard decode 0x2000000500000000 0x0" in failure.text


def test_names_depend_on_neither_ports_nor_program_counters() -> None:
    (first,) = suite(tally(INVALID_NAME, pc=0x1000)).findall("testcase")
    (second,) = suite(tally(INVALID_NAME + 0x500, pc=0x2000)).findall("testcase")

    assert first.get("name") == second.get("name")


def test_sites_below_fail_on_pass() -> None:
    found = suite(tally(INVALID_NAME), tally(THREAD_SET_STATE), fail_on="fatal")
    failed, passed = found.findall("testcase")

    assert ([child.tag for child in failed], [child.tag for child in passed]) == (["failure"], ["system-out"])


def test_run_without_hits_is_one_test_that_passed() -> None:
    (case,) = suite().findall("testcase")

    assert (case.get("name"), list(case)) == ("no guard exceptions", [])


def test_program_that_could_not_be_started_is_an_error_and_no_pass() -> None:
    found = suite(error="cannot start /app: no such program")
    (case,) = found.findall("testcase")

    assert (found.get("errors"), found.get("failures")) == ("1", "0")
    assert (case[0].tag, case[0].get("message")) == ("error", "cannot start /app: no such program")


def test_hits_without_a_site_are_a_failure_too() -> None:
    (case,) = suite(lost=7, total=7).findall("testcase")

    assert case[0].get("message") == "7 more guard hits"


def test_a_program_that_was_killed_is_an_error_though_nothing_was_seen() -> None:
    found = suite(death="killed by SIGKILL")

    assert (found.get("errors"), found.get("failures")) == ("1", "0")
    assert found.find("testcase/error").get("message") == "my.app was killed by SIGKILL"


def test_what_could_not_be_seen_is_skipped_and_never_passed() -> None:
    host = Host("26.4", "", "xnu-1", "arm64", developer_mode=True, guard_behavior=0x99)
    seen = visibility(host, Circumstances(GuardBehavior(0), undelivered="it is setuid"))
    found = suite(visibility=seen)

    assert {case.get("name"): [child.tag for child in case] for case in found.findall("testcase")} == {
        "optional guard exceptions": ["skipped"],
        "soft guard exceptions": ["skipped"],
        "no fatal guard exceptions": [],
    }
    assert "it is setuid" in found.find("testcase/skipped").get("message")
    assert found.find("properties/property[@name='visibility.soft']").get("value") == "nothing"


@pytest.mark.parametrize("name", ["\x00\x1b[31m<&\"'>", "\ud800", "\N{SNOWMAN}" * 300])
def test_any_name_makes_xml(name: str) -> None:
    document = junit.render(outcome(tally(0xE000000000000000, target=name), name=name), started=STARTED)

    assert ET.fromstring(document) is not None  # noqa: S314 - our own


# ---- as readers of JUnit files take it ----

# Jenkins' schema of the files that its plugin reads (jenkinsci/xunit-plugin, junit-10.xsd): for each element
# the attributes that it must and may have, and its children in their order; * any number, ? one at most.
SCHEMA = {
    "testsuites": ("", "name time tests failures disabled errors", "testsuite*"),
    "testsuite": (
        "name",
        "tests failures errors time disabled skipped timestamp hostname id package group",
        "properties? testcase* system-out* system-err*",
    ),
    "properties": ("", "", "property*"),
    "property": ("name value", "", ""),
    "testcase": (
        "name classname",
        "assertions time status class file line",
        "skipped? error* failure* system-out* system-err*",
    ),
    "skipped": ("", "type message", ""),
    "error": ("", "type message", ""),
    "failure": ("", "type message", ""),
    "system-out": ("", "", ""),
    "system-err": ("", "", ""),
}


def check_schema(element: ET.Element) -> None:
    required, optional, children = (words.split() for words in SCHEMA[element.tag])
    assert set(required) <= set(element.attrib) <= {*required, *optional}, element.attrib
    pattern = "".join(f"(?:{child[:-1]} ){child[-1]}" for child in children)
    assert re.fullmatch(pattern, "".join(f"{child.tag} " for child in element)), element.tag
    for attribute in ("tests", "failures", "errors", "skipped"):
        assert element.get(attribute, "0").isdecimal()
    for child in element:
        check_schema(child)


def known(code: int, **fields: object) -> Entry:
    return Entry(tally(code).site.id, **fields)


def of_each_kind() -> Outcome:
    """A run with a failed, two skipped, a passed and an errored case, and severities that were not seen."""
    host = Host("26.4", "", "xnu-1", "arm64", developer_mode=True, guard_behavior=0x99)
    sites = [tally(INVALID_NAME), tally(THREAD_SET_STATE), tally(DESTROY), tally(SOFT)]
    found = outcome(
        *sites,
        fail_on="optional",
        death="killed by SIGKILL",
        visibility=visibility(host, Circumstances(GuardBehavior(0), undelivered="it is setuid")),
    )
    entries = Baseline([known(INVALID_NAME, reason="bug 4711"), Entry("0" * 12, "MOD_REFS")])
    rules = [IgnoreRule(flavor="DESTROY", reason="theirs")]
    verdict = judge(found.gate.verdict.sites, entries, rules, today=date(2026, 3, 1), strict=True)
    return Outcome(found.run, gating.Outcome(verdict, 0), "optional")


def kind_of(case: junitparser.TestCase) -> str:
    kinds = {"failed": case.is_failure, "errored": case.is_error, "skipped": case.is_skipped}
    (kind,) = [name for name, true in kinds.items() if true] or ["passed"]
    return kind


def test_a_consumer_distinguishes_failed_skipped_passed_and_errored() -> None:
    document = junit.render(of_each_kind(), started=STARTED)
    (suite,) = junitparser.JUnitXml.fromstring(document.decode())
    cases = {case.name.partition(" ")[0]: case for case in suite}
    kinds = {name: kind_of(case) for name, case in cases.items()}

    assert kinds == {
        "THREAD_SET_STATE": "failed",
        "MOD_REFS": "failed",  # an entry that no longer occurs, under strict
        "INVALID_NAME": "skipped",
        "DESTROY": "skipped",
        "optional": "skipped",
        "soft": "skipped",
        "INVALID_NOTIFICATION_PORT": "passed",  # below --fail-on
        "end": "errored",
    }
    assert (suite.tests, suite.failures, suite.errors, suite.skipped) == (8, 2, 1, 4)
    for name, reason in (("DESTROY", "ignored (theirs): "), ("INVALID_NAME", "known (bug 4711): ")):
        (skipped,) = cases[name].result
        assert skipped.message.startswith(reason)
    assert {one.name: one.value for one in suite.properties()}["visibility.soft"] == "nothing"


def test_frames_and_report_are_in_the_text() -> None:
    frames = ("0 libsystem_kernel.dylib+0x1214 mach_msg2_trap + 8", "1 app+0x1f20 close_camera + 22")
    site = tally(INVALID_NAME, report="/Library/Logs/DiagnosticReports/app.ips", frames=frames)
    document = junit.render(outcome(site), started=STARTED)
    (suite,) = junitparser.JUnitXml.fromstring(document.decode())
    (case,) = suite
    (failure,) = case.result

    lines = failure.text.splitlines()
    assert lines[-3:] == [*frames, "Report: /Library/Logs/DiagnosticReports/app.ips"]
    assert f"Site: {site.site.id}." in failure.text


@pytest.mark.parametrize(
    "found",
    [
        outcome(),
        outcome(error="cannot start /app: no such program"),
        outcome(lost=7, total=7),
        outcome(tally(0xE000000000000000, target="\x00<&"), name="\x00<&"),
        of_each_kind(),
    ],
    ids=["no hits", "not started", "lost", "any name", "each kind"],
)
def test_documents_fit_the_schema_of_jenkins(found: Outcome) -> None:
    check_schema(ET.fromstring(junit.render(found, started=STARTED)))  # noqa: S314 - our own


def run(kernel: Kernel, directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "excguard", "run", "--metrics", "off", *arguments],
        cwd=directory,
        env=kernel.environ,
        capture_output=True,
        text=True,
        check=False,
    )


def test_run_writes_both(tmp_path: Path) -> None:
    program = [sys.executable, "-m", "excguard.misuse", "double_deallocate"]
    with Kernel() as kernel:
        done = run(
            kernel,
            tmp_path,
            "--report",
            "r.json",
            "--junit",
            "r.xml",
            "--fail-on",
            "optional",
            "--",
            *program,
        )
    assert done.returncode == 3
    report = json.loads((tmp_path / "r.json").read_text())
    assert (report["exit_status"], report["program_status"], report["hits"]) == (3, 0, 1)
    (site,) = report["sites"]
    assert (site["flavor_name"], site["hits"], site["source"]) == ("INVALID_NAME", 1, "live")
    assert site["advice"]
    assert ET.parse(tmp_path / "r.xml").getroot()[0].get("failures") == "1"  # noqa: S314 - our own


def test_results_of_the_last_run_do_not_survive_one_that_fails(tmp_path: Path) -> None:
    (tmp_path / "r.xml").write_text("of the last run")
    with Kernel() as kernel:
        assert run(kernel, tmp_path, "--junit", "r.xml", "--log", ".", "--", "true").returncode == 125
        nowhere = run(kernel, tmp_path, "--report", "nowhere/r.json", "--", "true")

    assert (tmp_path / "r.xml").read_bytes() == b""
    assert nowhere.returncode == 125
    assert "nowhere/r.json" in nowhere.stderr


def test_program_that_was_killed_without_a_hit_is_not_left_at_that(tmp_path: Path) -> None:
    with Kernel() as kernel:
        done = run(kernel, tmp_path, "--", "sh", "-c", "kill -9 $$")

    assert done.returncode == 137
    assert "excguard doctor" in done.stderr


def test_what_a_reload_leaves_for_the_next_start() -> None:
    def config(text: str) -> object:
        return parse(text, file="", directory=Path(os.sep))

    base = config("")
    assert needs_restart(base, config("[log]\nfirst = 3\n[metrics]\nlisten = 'localhost:1'")) == []
    assert needs_restart(base, config("[log]\npath = 'a'\nformat = 'json'")) == ["log.format", "log.path"]
    assert needs_restart(base, config("[unified_log]\nenabled = true")) == ["unified_log.enabled"]

"""What a finished scan found: the table of a terminal, the page, and telemetry beside violations."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path  # noqa: TC003 - pytest reads the annotations

import pytest
from click.testing import CliRunner, Result

from excguard.cli import main
from excguard.fleet.listing import Selection
from tests.fleet.conftest import CODE, one_process, report

TELEMETRY = 1 << 61 | 5  # MACH_PORT, flavor 0, policy 5


@pytest.fixture
def output(reports: Path, tmp_path: Path) -> Path:
    """The output of a scan of ``reports``, and of one report of policy telemetry."""
    text = report(99, guard=True).replace(str(CODE), str(TELEMETRY)).replace("INVALID_NAME on", "")
    (reports / "telemetry.ips").write_text(text)
    found = tmp_path / "found"
    one_process(Selection(str(reports)), found)
    return found


def run(*arguments: str | Path, columns: int = 80) -> Result:
    environment = {"COLUMNS": str(columns), "FORCE_COLOR": ""}
    return CliRunner().invoke(main, ["fleet", *map(str, arguments)], env=environment)


def test_telemetry_is_counted_apart_as_scan_does(output: Path, reports: Path) -> None:
    manifest = json.loads((output / "_excguard/manifest-1-of-1.json").read_text())
    assert (manifest["files"], manifest["violations"], manifest["errors"]) == (62, 10, 1)
    assert manifest["telemetry"] == 1

    shown = run("report", output)

    assert shown.exit_code == 0
    assert shown.output.endswith(
        "10 guard violations; 1 file could not be read; 1 line of policy telemetry.\n"
    )
    assert "\nversions: 1.0 (10)\nsystems: macOS 15.5 (25E246) (5), macOS 26.4 (25E246) (5)\n" in shown.output
    assert "NONE" not in shown.output
    by_scan = CliRunner().invoke(main, ["scan", str(reports)])
    assert "10 guard violations in 10 of 62 files; 1 could not be read; 1 line of policy telemetry" in (
        by_scan.output
    )


def test_sites_have_counts_versions_and_days(output: Path) -> None:
    shown = json.loads(run("report", output, "--json").output)

    assert (shown["violations"], shown["errors"], shown["telemetry"]) == (10, 1, 1)
    assert [(site["count"], site["place"]) for site in shown["sites"]] == [(10, "libvendor.dylib close_0")]
    (site,) = shown["sites"]
    assert (site["first"], site["last"]) == ("2026-03-01", "2026-03-07")
    assert sum(site["trend"]) == 10
    assert shown["versions"] == [["1.0", 10]]
    assert dict(shown["systems"]) == {
        "macOS 15.5 (25E246)": 5,
        "macOS 26.4 (25E246)": 5,
    }


class _Balance(HTMLParser):
    """Which elements are open; those that HTML closes by itself are not kept."""

    IMPLIED = frozenset({"th", "td", "tr", "meta", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.declaration = ""
        self.addresses: list[str] = []
        self.text = ""

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_decl(self, decl: str) -> None:
        assert not self.open
        self.declaration = decl

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attrs if name in {"src", "href"}]
        if tag not in self.IMPLIED:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An SVG element that ends itself."""

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_html_and_loads_nothing(output: Path, tmp_path: Path) -> None:
    run("report", output, "--html", tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()

    parser = _Balance()
    parser.feed(text)

    assert text.startswith("<!doctype html>\n")
    assert (parser.declaration, parser.open, parser.addresses) == ("doctype html", [], [])
    assert "10 guard violations at 1 site. 1 file could not be read. Not counted: 1 line of" in text
    assert not re.search(r"https?://|@import|url\(", text)


@pytest.mark.parametrize("name", ["<script>", "&amp;", '"><b>'])
def test_names_from_reports_are_escaped(tmp_path: Path, name: str) -> None:
    (tmp_path / "in").mkdir()
    text = (
        report(0, guard=True)
        .replace("libvendor.dylib", json.dumps(name)[1:-1])
        .replace('"1.0"', json.dumps(name))
    )
    (tmp_path / "in" / "a.ips").write_text(text)
    one_process(Selection(str(tmp_path / "in")), tmp_path / "out")

    run("report", tmp_path / "out", "--html", tmp_path / "page.html")

    parser = _Balance()
    parser.feed((tmp_path / "page.html").read_text())
    assert f"{name} close_0" in parser.text
    assert parser.open == []


def test_a_scan_that_found_nothing_has_a_report(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    assert one_process(Selection(str(tmp_path / "in")), tmp_path / "out") == []

    shown = run("report", tmp_path / "out", "--html", tmp_path / "page.html")

    assert (shown.exit_code, shown.output) == (1, "0 guard violations; 0 files could not be read.\n")
    assert "0 guard violations at 0 sites." in (tmp_path / "page.html").read_text()


def test_an_unfinished_scan_says_so(output: Path, tmp_path: Path) -> None:
    (output / "_excguard/manifest-1-of-1.json").rename(output / "_excguard/manifest-1-of-8.json")

    shown = run("report", output, "--html", tmp_path / "page.html")

    text = (
        "not finished, so these counts are not complete. Jobs without an end: 1-of-1, 2-of-8, 3-of-8, 4-of-8"
    )
    assert text in shown.output
    assert text in (tmp_path / "page.html").read_text()
    assert json.loads(run("report", output, "--json").output)["unfinished"] == [
        "1-of-1",
        *(f"{number}-of-8" for number in range(2, 9)),
    ]


def test_a_damaged_file_is_named(output: Path) -> None:
    part = min(output.rglob("*.parquet"))
    part.write_bytes(part.read_bytes()[:-100])

    shown = run("report", output)

    assert shown.exit_code == 125
    assert re.fullmatch(
        r"excguard: \S+\.parquet: damaged: .+: remove it, and run the scan again\n", shown.output
    )
    assert str(part) in shown.output


@pytest.mark.parametrize(
    ("place", "status", "problem"),
    [
        ("nowhere", 2, "nowhere: not a directory"),
        ("empty", 125, "empty: not the output of a fleet scan"),
        ("ftp://x/y", 125, "ftp://x/y: Generic URL error: "),
    ],
)
def test_what_is_not_an_output_is_one_error(
    tmp_path: Path, place: str, status: int, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()

    shown = run("report", place)

    assert shown.exit_code == status
    assert shown.output.startswith(f"excguard: {problem}")
    assert shown.output.count("\n") == 1


def test_a_page_that_cannot_be_written_is_one_error(output: Path, tmp_path: Path) -> None:
    shown = run("report", output, "--html", tmp_path / "none" / "page.html")

    assert shown.exit_code == 125
    assert shown.output == f"excguard: {tmp_path}/none/page.html: no such file or directory\n"

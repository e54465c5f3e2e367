"""Baseline, ignore rules and verdict, and what build servers get of them."""

from __future__ import annotations

import html
import json
import stat
from datetime import date
from pathlib import Path  # noqa: TC003 - pytest reads the annotations
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from excguard.files.escaping import printable
from excguard.gate import baseline, code_quality, github
from excguard.gate.baseline import Baseline, BaselineError, Entry
from excguard.gate.site_result import SiteResult, Standing
from excguard.gate.verdict import IgnoreRule, accept, judge

if TYPE_CHECKING:
    from collections.abc import Sequence

TODAY = date(2026, 11, 27)


def site(number: int, **changes: Any) -> SiteResult:
    fields = {
        "id": f"{number:012x}",
        "precision": "symbol",
        "target": "app",
        "executable": "app",
        "flavor": "INVALID_NAME",
        "severity": "optional",
        "image": "libfoo.dylib",
        "symbol": "foo_close",
        "place": "libfoo.dylib foo_close + 24",
        "hits": 3,
        "summary": "a port name was used that the process has no right for",
        "advice": "Set the variable to MACH_PORT_NULL.",
    }
    return SiteResult(**(fields | changes))


def standings(
    sites: Sequence[SiteResult],
    entries: Sequence[Entry] = (),
    rules: Sequence[IgnoreRule] = (),
    *,
    strict: bool = False,
) -> tuple[dict[str, Standing], bool]:
    verdict = judge(sites, Baseline(entries), rules, today=TODAY, strict=strict)
    return {site.id: site.standing for site in verdict.sites}, verdict.failed


def test_a_new_site_fails_and_a_known_one_does_not() -> None:
    known = Entry(site(1).id)

    assert standings([site(1)], [known]) == ({site(1).id: Standing.KNOWN}, False)
    assert standings([site(1), site(2)], [known])[1] is True


def test_below_fail_on_is_tolerated() -> None:
    assert standings([site(1, meets_fail_on=False)]) == ({site(1).id: Standing.TOLERATED}, False)


def test_entries_that_do_not_occur_fail_under_strict_only() -> None:
    assert standings([], [Entry(site(1).id)]) == ({}, False)
    assert standings([], [Entry(site(1).id)], strict=True) == ({}, True)


def test_expired_entries_fail_under_strict_only() -> None:
    entry = Entry(site(1).id, expires=date(2026, 11, 26))

    assert standings([site(1)], [entry]) == ({site(1).id: Standing.EXPIRED}, False)
    assert standings([site(1)], [entry], strict=True)[1] is True
    assert standings([site(1)], [Entry(site(1).id, expires=TODAY)], strict=True)[1] is False


@pytest.mark.parametrize(
    ("rule", "ignored"),
    [
        (IgnoreRule(), True),
        (IgnoreRule(flavor="INVALID_*"), True),
        (IgnoreRule(flavor="invalid_*"), False),
        (IgnoreRule(image="lib*.dylib", symbol="foo_*", target="a??"), True),
        (IgnoreRule(image="libbar*"), False),
        (IgnoreRule(symbol="bar"), False),
        (IgnoreRule(target="other"), False),
    ],
)
def test_ignore_rules_are_patterns_that_must_all_match(rule: IgnoreRule, ignored: bool) -> None:  # noqa: FBT001
    found, failed = standings([site(1)], rules=[rule])

    assert (found[site(1).id] is Standing.IGNORED) is ignored
    assert failed is not ignored


def test_a_pattern_on_an_unknown_image_does_not_match() -> None:
    assert standings([site(1, image="")], rules=[IgnoreRule(image="lib*")])[1] is True


def test_the_reason_of_the_rule_or_the_entry_is_there() -> None:
    rules = [IgnoreRule(flavor="OTHER", reason="no"), IgnoreRule(target="vendor", reason="theirs")]
    sites = [site(1), site(2, target="vendor"), site(3), site(4, meets_fail_on=False)]
    judge(sites, Baseline([Entry(site(1).id, reason="bug 4711")]), rules, today=TODAY, strict=False)

    notes = {one.id[-1]: one.note for one in sites}
    assert notes == {"1": "Known: bug 4711", "2": "Ignored: theirs", "3": "", "4": ""}


def test_sites_that_a_run_accepts_are_known() -> None:
    sites = [site(1), site(2), site(3, meets_fail_on=False), site(4, target="vendor")]
    entry = Entry(site(1).id, expires=date(2026, 11, 26))
    rules = [IgnoreRule(target="vendor")]
    verdict = judge(sites, Baseline([entry]), rules, today=TODAY, strict=False)
    accept(verdict)

    found = {one.id[-1]: str(one.standing) for one in verdict.sites}
    assert found == {"1": "known", "2": "known", "3": "tolerated", "4": "ignored"}
    assert not verdict.failed


@pytest.mark.parametrize("strict", [False, True])
def test_failing_sites_come_first(strict: bool) -> None:  # noqa: FBT001
    entries = [Entry(site(1).id), Entry(site(2).id, expires=date(2026, 11, 26))]
    sites = [site(1), site(2), site(3)]
    verdict = judge(sites, Baseline(entries), [], today=TODAY, strict=strict)

    assert [one.id[-1] for one in verdict.sites] == (["2", "3", "1"] if strict else ["3", "1", "2"])
    assert [one.id[-1] for one in verdict.failing] == (["2", "3"] if strict else ["3"])


# ---- the file ----


def test_update_writes_what_load_reads(tmp_path: Path) -> None:
    path = tmp_path / "baseline.toml"

    assert baseline.update(path, [site(1), site(2, symbol="")], today=TODAY, remove_stale=False) == (2, 0)

    first, second = baseline.load(path).entries
    assert first == Entry(site(1).id, "INVALID_NAME", "libfoo.dylib", "foo_close", TODAY, "")
    assert second.symbol == ""
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_update_keeps_what_people_wrote(tmp_path: Path) -> None:
    path = tmp_path / "baseline.toml"
    text = f'# reviewed by QA\n[[site]]\nid = "{site(9).id}" # vendor\nreason = "bug"\nexpires = 2027-01-31\n'
    path.write_text(text)
    path.chmod(0o600)

    assert baseline.update(path, [site(1)], today=TODAY, remove_stale=False) == (1, 0)

    assert path.read_text().startswith(text)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.id for entry in baseline.load(path).entries] == [site(9).id, site(1).id]


def test_update_twice_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "baseline.toml"
    baseline.update(path, [site(1)], today=TODAY, remove_stale=False)
    before = path.read_bytes()

    assert baseline.update(path, [site(1)], today=date(2027, 1, 1), remove_stale=False) == (0, 0)
    assert path.read_bytes() == before


def test_update_removes_stale_entries_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "baseline.toml"
    baseline.update(path, [site(1), site(2), site(3)], today=TODAY, remove_stale=False)

    assert baseline.update(path, [site(2)], today=TODAY, remove_stale=True) == (0, 2)
    assert [entry.id for entry in baseline.load(path).entries] == [site(2).id]


def test_update_renews_an_expired_entry(tmp_path: Path) -> None:
    path = tmp_path / "baseline.toml"
    path.write_text(f'[[site]]\nid = "{site(1).id}"\nsince = 2026-01-01\nexpires = 2026-02-01\n')

    assert baseline.update(path, [site(1)], today=TODAY, remove_stale=False) == (1, 0)
    assert baseline.load(path).entries == [Entry(site(1).id, since=TODAY)]


@given(st.text(max_size=20), st.text(max_size=20))
def test_any_names_survive(tmp_path_factory: pytest.TempPathFactory, image: str, symbol: str) -> None:
    path = tmp_path_factory.mktemp("any") / "baseline.toml"

    baseline.update(path, [site(1, image=image, symbol=symbol)], today=TODAY, remove_stale=False)

    (entry,) = baseline.load(path).entries
    assert (entry.image, entry.symbol) == (image or "app", symbol)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("[[site]]\n", "missing required field `id`"),
        ('[[site]]\nid = "12"\n', "expected twelve hexadecimal digits"),
        (f'[[site]]\nid = "{site(1).id}"\n[[site]]\nid = "{site(1).id}"\n', "is listed twice"),
        (f'[[site]]\nid = "{site(1).id}"\nflavour = "X"\n', "flavour"),
        ("site = 3\n", "array"),
        ("[[site]\n", "invalid baseline"),
        ("[[site]]\n" + "a." * 100_000 + "a = 1", "a key of more than 32 parts .at line 2"),
        ("[[site]]\nid = " + "9" * 5_000, "digits"),
        ("a = " + "[" * 5_000, "nested too deeply"),
    ],
)
def test_what_is_no_baseline_is_refused_with_the_place(tmp_path: Path, text: str, error: str) -> None:
    path = tmp_path / "baseline.toml"
    path.write_text(text)

    with pytest.raises(BaselineError, match=error) as caught:
        baseline.load(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_directory_are_one_line(tmp_path: Path) -> None:
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(BaselineError, match=str(path)):
            baseline.load(path)


# ---- build servers ----


def test_one_new_site_is_one_annotation_with_image_symbol_and_advice() -> None:
    verdict = judge([site(1), site(2)], Baseline([Entry(site(2).id)]), [], today=TODAY, strict=False)

    (line,) = github.commands(verdict).splitlines()
    assert line.startswith("::error title=INVALID_NAME in libfoo.dylib foo_close + 24::")
    assert "Fix%3A" not in line
    assert "%0AFix: Set the variable" in line
    assert site(1).id in line


def test_annotations_stay_within_what_github_keeps() -> None:
    sites = [site(number) for number in range(25)] + [
        site(number, meets_fail_on=False) for number in range(50, 63)
    ]
    verdict = judge(sites, Baseline(), [], today=TODAY, strict=False)

    lines = github.commands(verdict).splitlines()
    errors = [line for line in lines if line.startswith("::error")]
    assert (len(errors), len(lines)) == (10, 20)
    assert "16 more sites with 48 hits" in errors[-1]
    assert "4 more sites with 12 hits" in lines[-1]


@given(st.text())
def test_no_text_breaks_out_of_an_annotation(text: str) -> None:
    verdict = judge([site(1, summary=text, place=text)], Baseline(), [], today=TODAY, strict=False)

    assert github.commands(verdict).count("\n") == 1


@given(st.text())
def test_no_text_breaks_out_of_a_cell(text: str) -> None:
    verdict = judge([site(1, summary=text, place=text)], Baseline(), [], today=TODAY, strict=False)

    rows = [line for line in github.summary("app", verdict).split("\n") if line.startswith("| new")]
    assert [row.count("|") for row in rows] == [7]
    place = rows[0].split("|")[5].removeprefix(" ").removesuffix(" ")
    assert html.unescape(place) == printable(" ".join((text or "app").split()))


def test_the_summary_lists_every_standing() -> None:
    entries = [Entry(site(1).id), Entry(site(7).id, "MOD_REFS"), Entry(site(8).id, expires=date(2026, 1, 1))]
    sites = [site(1), site(2), site(3, target="vendor")]
    verdict = judge(sites, Baseline(entries), [IgnoreRule(target="vendor")], today=TODAY, strict=False)

    text = github.summary("app", verdict, blind=["soft hits: the task's flags do not deliver them"])
    assert text.startswith("### excguard: app failed\n")
    for word in (
        "| new |",
        "| known |",
        "| ignored |",
        "No longer occurs: `000000000007`",
        "Expired: `000000000008`",
    ):
        assert word in text
    assert "- Not visible: soft hits" in text


def test_code_quality_leaves_out_ignored_sites() -> None:
    verdict = judge(
        [site(1), site(2, target="x")], Baseline(), [IgnoreRule(target="x")], today=TODAY, strict=False
    )

    (finding,) = json.loads(code_quality.render(verdict))
    assert finding["fingerprint"] == site(1).id
    assert finding["severity"] == "major"
    assert finding["location"] == {"path": "libfoo.dylib", "lines": {"begin": 1}}

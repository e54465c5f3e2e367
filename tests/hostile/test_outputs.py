"""Text from outside in what excguard writes for build servers and browsers: shown, never acted on."""

from __future__ import annotations

from datetime import date

import pytest

from excguard.fleet import page as fleet_page
from excguard.fleet import summary as fleet_summary
from excguard.gate import github
from excguard.gate.site_result import SiteResult
from excguard.gate.verdict import Verdict

EVIL = "a\x1b]0;t\x07\r\n::set-output name=x::y\n\x0b\x85\u2028\u202e<script>|`&%0A::error::z\ud800"


@pytest.fixture
def site() -> SiteResult:
    return SiteResult(
        id="3f9c2a71b04e",
        precision="symbol",
        target=EVIL,
        executable=EVIL,
        flavor="INVALID_NAME",
        severity="optional",
        place=EVIL,
        hits=1,
        summary=EVIL,
        advice=EVIL,
    )


def test_annotations_are_one_line_each(site: SiteResult) -> None:
    text = github.commands(Verdict(sites=[site], stale=[], expired=[], strict=False))

    (line,) = text.removesuffix("\n").split("\n")
    assert line.isprintable()
    assert line.startswith("::error title=")
    assert line.encode()


def test_the_summary_of_github_shows_no_control_characters(site: SiteResult) -> None:
    text = github.summary(EVIL, Verdict(sites=[site], stale=[], expired=[], strict=False), blind=[EVIL])

    assert all(line.isprintable() for line in text.split("\n"))
    assert not any(line.startswith("::") for line in text.split("\n"))
    assert "<script>" not in text
    assert text.encode()


def test_the_page_of_a_fleet_shows_no_control_characters() -> None:
    row = fleet_summary.SiteRow(
        site_id=EVIL,
        flavor=EVIL,
        severity=EVIL,
        process=EVIL,
        place=EVIL,
        count=1,
        versions=[EVIL],
        first=date(2026, 3, 1),
        last=None,
        trend=[1],
    )
    found = fleet_summary.Summary(
        violations=1,
        errors=0,
        telemetry=0,
        sites=[row],
        versions=[(EVIL, 1)],
        systems=[(EVIL, 1)],
        last=None,
        unfinished=[EVIL],
    )

    text = fleet_page.page(found, EVIL)

    assert all(line.isprintable() for line in text.split("\n"))
    assert "<script>" not in text
    assert text.encode()

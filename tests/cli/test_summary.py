"""The table and the JSON objects that close a run, and when --fail-on is met."""

import click
import pytest

from excguard.cli import summary
from excguard.decoding.decode import decode
from excguard.decoding.site import Site
from excguard.pipeline.tally import MAX_PORTS, SiteTally
from tests.support.samples import DESTROY, INVALID_NAME

UNKNOWN = 0xE000_0001_0000_0000


def site(code: int, hits: int = 1, **changes) -> SiteTally:
    fields = {
        "target": "mail",
        "code": code,
        "subcode": 0,
        "release": "26.4",
        "pc": 0,
        "source": "live",
        "site": Site.of(decode(code, 0, "26.4"), None, "mail"),
        "hits": hits,
    }
    return SiteTally(**{**fields, **changes})


@pytest.mark.parametrize(
    ("fail_on", "severities", "met"),
    [
        ("never", ["fatal"], False),
        ("soft", [], False),
        ("soft", ["soft"], True),
        ("soft", [None], True),  # a hit is a hit
        ("optional", ["soft", None], False),
        ("optional", ["soft", "optional"], True),
        ("fatal", ["optional"], False),
        ("fatal", ["fatal"], True),
    ],
)
def test_fail_on(fail_on: str, severities: list[str | None], *, met: bool) -> None:
    assert summary.meets(severities, fail_on) is met


def test_worst_sites_come_first_then_the_most_frequent() -> None:
    sites = [site(INVALID_NAME, 5), site(UNKNOWN, 9), site(INVALID_NAME, 7, pc=0x10), site(DESTROY, 1)]

    assert [found["hits"] for found in summary.site_objects(sites)] == [1, 7, 5, 9]


@pytest.mark.parametrize(
    ("code", "count", "shown"),
    [
        (INVALID_NAME, 1, ""),
        (INVALID_NAME, MAX_PORTS, f"{MAX_PORTS} or more different ports."),
        (0x4000_0001_0000_0005, 2, "2 different descriptors."),
        (0x8000_0001_0000_0103, 2, ""),  # processes
    ],
)
def test_table_says_how_many_ports(code: int, count: int, shown: str) -> None:
    text = summary.table("title", [site(code, ports=set(range(count)))], width=100, color=False)

    assert shown in " ".join(text.split())
    assert ("different" in text) is bool(shown)


def test_table_says_why_a_site_does_not_fail_the_run() -> None:
    one = site(INVALID_NAME)
    notes = {one.site.id: "Known: vendor bug\x1b 4711"}
    text = summary.table("title", [one], width=100, color=False, notes=notes)

    assert "Known: vendor bug\\x1b 4711" in text


def test_table_says_count_severity_and_fix() -> None:
    text = summary.table("title", [site(INVALID_NAME, 5, pc=0x1234)], width=100, color=False)
    words = " ".join(text.split())

    assert words.startswith("title hits severity rule what happened")
    assert "5 optional INVALID_NAME" in words
    assert "At pc 0x1234." in words
    assert "Fix: " in words
    assert all(len(line) <= 100 for line in text.splitlines())


def test_table_names_targets_when_there_are_several() -> None:
    text = summary.table(
        "title", [site(INVALID_NAME), site(INVALID_NAME, target="other")], width=120, color=False
    )

    assert "target" in text.splitlines()[2]
    assert "other" in text


def test_color_changes_nothing_but_color() -> None:
    sites = [site(DESTROY), site(INVALID_NAME), site(UNKNOWN)]
    colored = summary.table("title", sites, width=100, color=True)

    assert "\x1b[" in colored
    plain = summary.table("title", sites, width=100, color=False)
    assert [line.rstrip() for line in click.unstyle(colored).splitlines()] == plain.splitlines()


def test_markup_and_control_characters_of_a_target_are_shown_as_they_are() -> None:
    name = "[red]\x1b[31m"
    text = summary.table("title", [site(INVALID_NAME), site(DESTROY, target=name)], width=200, color=False)

    assert "[red]\\x1b[31m" in text


def test_advice_in_the_table_is_short_and_never_empty() -> None:
    for flavor in (1, 2, 4, 8, 0x10, 0x200, 0x400, 0x100004):
        advice = decode(1 << 61 | flavor << 32, 0, "26.4").advice
        short = summary._in_short(advice)
        assert short
        assert advice.startswith(short)

"""The log for people."""

import re

import click
import pytest

from excguard.decoding.decode import decode
from excguard.decoding.site import Place
from excguard.files.escaping import printable
from excguard.pipeline.suppressed import SiteKey, Suppressed
from excguard.sinks.console import ConsoleForm
from tests.support.samples import INVALID_NAME

ANSI = re.compile(r"\x1b\[[0-9;]*m")


def test_hit_names_rule_program_and_numbers_and_says_the_summary(make_log, make_hit) -> None:
    log, read = make_log(ConsoleForm(color=False))
    hit = make_hit()
    log.hit(hit)
    text = read()

    first, *rest = text.splitlines()
    assert first == (
        "12:00:00.120 optional INVALID_NAME  mail (pid 4242)  code 0x2000020000002703, subcode 0x0"
    )
    shown = " ".join(line.strip() for line in rest)
    assert shown == f"{hit.violation.summary} Fix: {hit.violation.advice}"
    assert not ANSI.search(text)


def test_hit_with_advice_says_how_to_fix_it(make_log, make_hit) -> None:
    log, read = make_log(ConsoleForm(color=False, width=40))
    hit = make_hit()
    violation = hit.violation.replace(advice="Release each right once, and forget its name when you do.")
    log.hit(make_hit(violation=violation))
    lines = read().splitlines()[1:]

    assert all(len(line) <= 40 for line in lines)
    assert "Fix: Release each right once, and forget its name when you do." in " ".join(
        line.strip() for line in lines
    )


def test_a_site_is_explained_one_time(make_log, make_hit) -> None:
    log, read = make_log(ConsoleForm(color=False))
    place = Place("/opt/app", "", 0x1F20, "close_camera", 22)
    for _ in range(3):
        log.hit(make_hit(place=place, pc=0x1000, lr=0, sp=0, program="app"))
    log.hit(make_hit(place=place._replace(symbol="mute"), pc=0x2000, lr=0, sp=0, program="app"))
    lines = read().splitlines()

    assert sum(line.startswith("12:00:00.120 optional INVALID_NAME  mail (pid 4242)") for line in lines) == 4
    assert sum("in app close_camera + 22" in line for line in lines) == 3
    assert sum(line.startswith("    Fix: ") for line in lines) == 2
    assert lines[-1].startswith("    ")  # the second site is explained, too


def test_a_count_has_the_place_of_the_hit_before_it(make_log, make_hit) -> None:
    log, read = make_log(ConsoleForm(color=False))
    log.hit(make_hit(place=Place("/opt/app", "", 1, "mute", 22), pc=0x1000, lr=0, sp=0, program="app"))
    here = Suppressed(SiteKey(1, 0x20000200, 0x1000), 1, INVALID_NAME, 0, 260400, 9, 1, 9, 0, 10**9, ())
    log.suppressed(here, "mail", decode(INVALID_NAME, 0, "26.4"))
    log.suppressed(here._replace(site=SiteKey(1, 0x20000200, 0x2000)), "mail", decode(INVALID_NAME, 0))
    *_, known, unknown = read().splitlines()

    assert known.endswith("INVALID_NAME  mail  9 more, in app mute + 22")
    assert unknown.endswith("INVALID_NAME  mail  9 more")


def test_unusual_circumstances_show(make_log, make_hit) -> None:
    log, read = make_log(ConsoleForm(color=False))
    log.hit(make_hit(0xE000_0001_0000_0000, inherited=True, recovered=True, pc=0x10, lr=0, sp=0))
    first = read().splitlines()[0]

    for part in ("unknown ", "(pid 4242, inherited)", "pc 0x10", "recovered"):
        assert part in first


def test_hit_of_another_source_says_so(make_log, make_hit) -> None:
    log, read = make_log(ConsoleForm(color=False))
    log.hit(
        make_hit(
            violation=decode(INVALID_NAME, None, "26.4"),
            source="crash_report",
            thread_id=None,
            behavior=None,
            reply=None,
        )
    )
    text = read()

    assert "mail (pid 4242, from a crash report)" in text
    assert "subcode" not in text.splitlines()[0]


def test_counts_and_lists_read_as_people_write_them() -> None:
    event = {"timestamp": "2026-03-01T12:00:00.120000Z", "level": "info", "event": "service_stopped"}
    show = ConsoleForm(color=False)

    assert show(event | {"by_severity": {"optional": 12, "fatal": 1}}).endswith(
        "  by_severity=12 optional, 1 fatal"
    )
    assert show(event | {"by_severity": {}}).endswith("  by_severity=none")
    assert show(event | {"needs_restart": ["journal", "metrics"]}).endswith(
        "  needs_restart=journal, metrics"
    )
    assert show(event | {"needs_restart": ["\x1b"]}).endswith("  needs_restart=\\x1b")


def test_color_only_adds_escape_sequences() -> None:
    event = {"timestamp": "2026-03-01T12:00:00.120000Z", "level": "error", "event": "x_y", "a": 1, "b": None}

    plain = ConsoleForm(color=False)(event)
    assert plain == "12:00:00.120 x y  a=1"
    colored = ConsoleForm(color=True)(event)
    assert colored != plain
    assert click.unstyle(colored) == plain


def test_suppressed_hits_are_one_short_line(make_log) -> None:
    log, read = make_log(ConsoleForm(color=False))
    group = Suppressed(SiteKey(1, 0x20000200, 0), 1, INVALID_NAME, 0, 260400, 12, 1, 13, 0, 10**9, ())
    log.suppressed(group, "mail", decode(group.code, 0, "26.4"))
    log.suppressed(group._replace(site=None), "mail", decode(group.code, 0, "26.4"))

    assert read().splitlines() == [
        "00:00:01.000 optional INVALID_NAME  mail  12 more",
        "00:00:01.000 unknown  various  mail  12 more",
    ]


@pytest.mark.parametrize("name", ["\x1b]0;owned\x07", "a\nb", "\x9b31m", "\u202eevil", "\udcff"])
def test_control_characters_never_reach_the_terminal(make_log, make_hit, name: str) -> None:
    log, read = make_log(ConsoleForm(color=False))
    log.hit(make_hit(target=name))
    log.event("info", "target_started", {"target": name})
    text = read()

    assert all(line.isprintable() for line in text.splitlines())
    assert printable(name) in text

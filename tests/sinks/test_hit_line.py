"""Lines from templates are those that encoding the whole event gives."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from excguard.decoding.decode import decode, outline, severity
from excguard.decoding.site import Place
from excguard.knowledge import flavors, guards, releases
from excguard.knowledge.severity import Severity
from excguard.sinks import hit_line
from excguard.sinks.log import EventLog, json_form
from excguard.testing import simulated_hit

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    import pytest

    from excguard.pipeline.hit import Hit

HEADS = sorted({(guards.NUMBERS[row.guard_type], row.value) for row in flavors.table()})
WORDS = st.sampled_from(["mail", '50 % of "it"', "\\%s", "\u2028é\x1b", "\udcff"])
NUMBERS = st.integers(0, 2**64 - 1)


@dataclass
class Output:
    """The lines that a log writes."""

    lines: list[str]

    def msg(self, line: str) -> None:
        self.lines.append(line)


@st.composite
def codes(draw: st.DrawFn) -> int:
    number, flavor = draw(st.sampled_from(HEADS) | st.tuples(st.integers(0, 7), st.integers(0, 2**29 - 1)))
    return number << 61 | flavor << 32 | draw(st.integers(0, 2**32 - 1) | st.sampled_from([0, 3, 0x2703]))


@st.composite
def hits(draw: st.DrawFn) -> Hit:
    fields = {
        "target": draw(WORDS.filter(lambda word: word.isprintable())),
        "pid": draw(st.none() | st.integers(1, 99999)),
        "thread_id": draw(st.none() | NUMBERS),
        "time_ns": draw(st.integers(0, 2**62)),
        "seq": draw(st.integers(0, 2**40)),
        "recovered": draw(st.booleans()),
        "inherited": draw(st.booleans()),
        "source": draw(st.sampled_from(["live", "crash_report"])),
        "executable": draw(st.none() | st.just("/Applications/50 %/Mail.app/Contents/MacOS/Mail")),
        "program": draw(st.none() | st.just("Mail")),
        "place": draw(st.none() | st.builds(Place, st.just("/usr/lib/a.dylib"), st.just("8A"), st.just(12))),
        "report": draw(st.sampled_from(["", "", "a.ips"])),
    }
    if draw(st.booleans()):
        fields |= {"pc": draw(NUMBERS), "lr": draw(st.none() | NUMBERS), "sp": draw(NUMBERS)}
    hit = simulated_hit(draw(codes()), **fields, release=draw(st.sampled_from(["macOS 26.4", "macOS 12.0"])))
    return hit if draw(st.booleans()) else type(hit)(**{**_fields(hit), "subcode": draw(st.none() | NUMBERS)})


def _whole(event: MutableMapping[str, object]) -> str:
    return json_form(event)


def _fields(hit: Hit) -> dict[str, object]:
    return {name: getattr(hit, name) for name in hit.__struct_fields__}


@given(st.lists(hits(), max_size=4))
def test_a_line_is_the_json_of_the_whole_event(several: list[Hit]) -> None:
    output, whole = Output([]), Output([])
    log = EventLog(output, kernel="simulated", release="macOS 26.4")
    other = EventLog(whole, kernel="simulated", release="macOS 26.4", form=_whole)

    for hit in several * 2:  # the second time from the template
        log.hit(hit)
        other.hit(hit)

    assert output.lines == whole.lines
    for line in output.lines:
        json.loads(line)


@given(codes(), st.none() | NUMBERS, st.sampled_from([None, *map(releases.show, releases.read_for("VN"))]))
def test_an_outline_says_what_the_whole_violation_does(
    code: int, subcode: int | None, release: str | None
) -> None:
    violation = decode(code, subcode, release)
    found = outline(code, subcode, release)

    assert found == (violation.severity, violation.summary)
    assert severity(code, release) == Severity.of(violation.severity)


def test_templates_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hit_line, "_MAX_TEMPLATES", 3)
    output = Output([])
    log = EventLog(output, kernel="simulated", release="macOS 26.4")

    for number in range(10):
        log.hit(simulated_hit(target=f"app {number}", seq=number))

    assert [json.loads(line)["target"] for line in output.lines] == [f"app {number}" for number in range(10)]
    assert len(log._lines._templates) <= 3

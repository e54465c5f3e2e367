"""The events of the log, field by field: they are what people's queries rest on."""

import json
import re

import pytest

from excguard.decoding.decode import decode
from excguard.pipeline.events import check
from excguard.pipeline.hit import rfc3339
from excguard.pipeline.suppressed import SiteKey, Suppressed
from tests.support.samples import INVALID_NAME

CONTRACT = [
    *("timestamp", "level", "event", "target", "pid", "thread_id", "guard_type", "flavor", "flavor_name"),
    *(
        "kernel_name",
        "guard_target",
        "payload",
        "code",
        "subcode",
        "severity",
        "summary",
        "behavior",
        "reply",
    ),
    *("kernel", "release", "source", "seq", "recovered", "inherited"),
]


def test_guard_hit_has_exactly_the_fields_of_the_contract(make_log, make_hit) -> None:
    log, read = make_log()
    hit = make_hit(subcode=2**64 - 1)
    log.hit(hit)
    event = json.loads(read())

    assert list(event) == CONTRACT
    assert event == {
        "timestamp": "2026-03-01T12:00:00.120000Z",
        "level": "warning",
        "event": "guard_hit",
        "target": "mail",
        "pid": 4242,
        "thread_id": 77,
        "guard_type": "MACH_PORT",
        "flavor": 0x200,
        "flavor_name": "INVALID_NAME",
        "kernel_name": "kGUARD_EXC_INVALID_NAME",
        "guard_target": 9987,
        "payload": "0xffffffffffffffff",
        "code": "0x2000020000002703",
        "subcode": "0xffffffffffffffff",
        "severity": "optional",
        "summary": hit.violation.summary,
        "behavior": "identity_protected",
        "reply": "forward",
        "kernel": "simulated",
        "release": "macOS 26.4",
        "source": "live",
        "seq": 5,
        "recovered": False,
        "inherited": False,
    }


def test_guard_hit_has_causes_and_fix_on_request(make_log, make_hit) -> None:
    log, read = make_log(explain=True)
    hits = [make_hit(seq=number) for number in range(3)]
    for hit in hits:
        log.hit(hit)
    first, *others = (json.loads(line) for line in read().splitlines())
    violation = hits[0].violation

    assert set(first) == {*CONTRACT, "causes", "advice"}
    assert first["causes"] == list(violation.causes) != []
    assert first["advice"] == violation.advice != ""
    assert all((one["causes"], one["advice"]) == (first["causes"], first["advice"]) for one in others)
    check(first)


def test_an_unknown_flavor_has_neither_cause_nor_fix(make_log, make_hit) -> None:
    log, read = make_log(explain=True)
    log.hit(make_hit(code=0x2FFFFFFF00000000))
    event = json.loads(read())

    assert (event["causes"], event["advice"]) == ([], "")
    check(event)


def test_state_behavior_adds_the_registers(make_log, make_hit) -> None:
    log, read = make_log()
    log.hit(make_hit(behavior="state_identity_protected", pc=0x1000, lr=0, sp=2**63))
    event = json.loads(read())

    assert list(event) == [*CONTRACT, "pc", "lr", "sp"]
    assert (event["pc"], event["lr"], event["sp"]) == ("0x1000", "0x0", "0x8000000000000000")


@pytest.mark.parametrize(
    ("code", "level", "severity"),
    [
        (0x2000_0001_0000_0000, "error", "fatal"),  # DESTROY
        (0x2000_0200_0000_0000, "warning", "optional"),  # INVALID_NAME
        (0x2010_0002_0000_0000, "info", "soft"),  # 0x100002
        (0xE000_0001_0000_0000, "warning", None),  # guard type 7
    ],
)
def test_level_follows_severity(make_log, make_hit, code: int, level: str, severity: str | None) -> None:
    log, read = make_log()
    log.hit(make_hit(code))
    event = json.loads(read())

    assert (event["level"], event["severity"]) == (level, severity)


def test_number_that_no_table_has_is_shown_as_numbers(make_log, make_hit) -> None:
    log, read = make_log()
    log.hit(make_hit(0xE123_4567_0000_0001))
    event = json.loads(read())

    assert (event["guard_type"], event["flavor_name"], event["kernel_name"]) == (None, None, None)
    assert (event["flavor"], event["code"]) == (0x1234567, "0xe123456700000001")


def suppressed(**changes) -> Suppressed:
    fields = {
        "site": SiteKey(1, 0x20000200, 0),
        "target_id": 1,
        "code": INVALID_NAME,
        "subcode": 0,
        "release": 260400,
        "hits": 12,
        "first_seq": 10,
        "last_seq": 30,
        "first_ns": 1_772_366_400_000_000_000,
        "last_ns": 1_772_366_401_000_000_000,
        "seqs": (),
    }
    return Suppressed(**{**fields, **changes})


def test_suppressed_hits_are_logged_with_their_count(make_log) -> None:
    log, read = make_log()
    group = suppressed()
    log.suppressed(group, "mail", decode(group.code, group.subcode, "26.4"))
    event = json.loads(read())

    assert event == {
        "timestamp": "2026-03-01T12:00:01.000000Z",
        "level": "warning",
        "event": "guard_hits_suppressed",
        "target": "mail",
        "count": 12,
        "guard_type": "MACH_PORT",
        "flavor": 0x200,
        "flavor_name": "INVALID_NAME",
        "kernel_name": "kGUARD_EXC_INVALID_NAME",
        "severity": "optional",
        "summary": decode(group.code, group.subcode, "26.4").summary,
        "kernel": "simulated",
        "release": "macOS 26.4",
        "source": "live",
        "first_timestamp": "2026-03-01T12:00:00.000000Z",
        "first_seq": 10,
        "last_seq": 30,
        "recovered": False,
    }


def test_suppressed_hits_that_were_recovered_bear_all_sequence_numbers(make_log) -> None:
    log, read = make_log()
    group = suppressed(seqs=((10, 19), (29, 29), (30, 30)), site=SiteKey(1, 0x20000200, 0x1000))
    log.suppressed(group, "mail", decode(group.code, group.subcode, "26.4"))
    event = json.loads(read())

    assert (event["recovered"], event["seqs"], event["pc"]) == (True, "10-19,29,30", "0x1000")


def test_suppressed_hits_of_many_sites_claim_no_flavor(make_log) -> None:
    log, read = make_log()
    group = suppressed(site=None)
    log.suppressed(group, "mail", decode(group.code, group.subcode, "26.4"))
    event = json.loads(read())

    assert event["count"] == 12
    assert "flavor" not in event


def test_other_events_have_time_level_and_name_first(make_log) -> None:
    log, read = make_log()
    log.event("info", "target_started", {"target": "mail", "pid": 1})
    event = json.loads(read())

    assert list(event) == ["timestamp", "level", "event", "target", "pid"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", event["timestamp"])
    assert (event["level"], event["event"]) == ("info", "target_started")


@pytest.mark.parametrize(
    "name", ['"', "a\nb", "<script>", "\N{PILE OF POO}", "\x1b[31m", "x" * 10_000, "\x00"]
)
def test_hostile_names_stay_one_line_and_intact(make_log, make_hit, name: str) -> None:
    log, read = make_log()
    log.hit(make_hit(target=name))
    text = read()

    assert text.count("\n") == 1
    assert json.loads(text)["target"] == name


def test_times_are_cut_to_microseconds_not_rounded() -> None:
    assert rfc3339(1_999_999_999) == "1970-01-01T00:00:01.999999Z"
    assert rfc3339(0) == "1970-01-01T00:00:00.000000Z"

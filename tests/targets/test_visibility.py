"""What can be seen of a program's hits, for every severity, on every kind of system."""

import pytest

from excguard.knowledge.guard_behavior import GuardBehavior
from excguard.knowledge.severity import Severity
from excguard.mach.host import Host
from excguard.targets.visibility import SEVERITIES, By, Circumstances, visibility

FLAGS = GuardBehavior
DELIVER = FLAGS.MP_DELIVER | FLAGS.VM_DELIVER


def mac(release: str = "26.4", *, developer_mode: bool | None = True) -> Host:
    return Host(release, "", "xnu-1", "arm64", developer_mode=developer_mode, guard_behavior=0x99)


@pytest.mark.parametrize(
    ("host", "circumstances", "expected"),
    [
        (mac(), Circumstances(DELIVER), ("handler", "handler", "handler")),
        (mac(), Circumstances(FLAGS(0)), ("handler", "nothing", "nothing")),
        (mac(), Circumstances(FLAGS(0), reads_log=True), ("handler", "unified_log", "unified_log")),
        (mac("15.5"), Circumstances(FLAGS(0), reads_log=True), ("handler", "nothing", "nothing")),
        # without Developer Mode what is fatal reaches no handler, from 14.1 on
        (mac(developer_mode=False), Circumstances(DELIVER), ("crash_report", "handler", "handler")),
        (mac("14.0", developer_mode=False), Circumstances(DELIVER), ("handler", "handler", "handler")),
        (mac("13.0", developer_mode=None), Circumstances(DELIVER), ("handler", "handler", "handler")),
        (
            mac(developer_mode=False),
            Circumstances(DELIVER | FLAGS.MP_FATAL),
            ("crash_report", "crash_report", "handler"),
        ),
        (
            mac(developer_mode=False),
            Circumstances(DELIVER, reads_log=True),
            ("unified_log", "handler", "handler"),
        ),
        # FATAL without DELIVER does nothing
        (mac(), Circumstances(FLAGS.MP_FATAL), ("handler", "nothing", "nothing")),
        (
            mac(),
            Circumstances(DELIVER, refused="it accepts none"),
            ("crash_report", "nothing", "nothing"),
        ),
    ],
)
def test_where_hits_can_be_seen(host: Host, circumstances: Circumstances, expected: tuple[str, ...]) -> None:
    found = visibility(host, circumstances)

    assert tuple(found.of(severity).by.value for severity in SEVERITIES) == expected
    for severity in SEVERITIES:
        one = found.of(severity)
        assert bool(one.reason) == (one.by is not By.HANDLER)


def test_a_crash_report_is_seen_when_it_is_read() -> None:
    unread = visibility(mac(developer_mode=False), Circumstances(DELIVER))
    read = visibility(mac(developer_mode=False), Circumstances(DELIVER, reads_reports=True))

    assert unread.unseen == [Severity.FATAL]
    assert "excguard does not read here" in unread.fatal.reason
    assert read.unseen == []


def test_severities_with_the_same_reason_are_stated_together() -> None:
    found = visibility(mac(developer_mode=False), Circumstances(FLAGS(0), undelivered="it is setuid"))

    assert found.gaps() == [
        ([Severity.FATAL], found.fatal.reason),
        (
            [Severity.OPTIONAL, Severity.SOFT],
            "the program's flags do not have MP_DELIVER: it is setuid",
        ),
    ]


@pytest.mark.parametrize(
    ("flags", "seen"),
    [
        (FLAGS(0), {"fatal": True, "optional": False, "soft": False}),
        (DELIVER, {"fatal": True, "optional": True, "soft": True}),
    ],
)
def test_to_see_a_severity_is_to_see_the_worse_ones_too(flags: FLAGS, seen: dict[str, bool]) -> None:
    found = visibility(mac(), Circumstances(flags))

    assert {severity.value: found.sees(severity) for severity in SEVERITIES} == seen


def test_without_developer_mode_soft_hits_alone_are_not_all_hits() -> None:
    assert not visibility(mac(developer_mode=False), Circumstances(DELIVER)).sees(Severity.SOFT)


def test_what_a_handler_misses_is_stated() -> None:
    once = visibility(mac(), Circumstances(DELIVER | FLAGS.MP_ONCE))
    ports = visibility(mac(), Circumstances(FLAGS.MP_DELIVER))

    assert once.soft.by is By.HANDLER
    assert "only the first" in once.soft.reason
    assert "virtual memory" in ports.optional.reason
    assert ports.fatal.reason == ""


def test_the_fix_is_stated_where_something_is_missing() -> None:
    missing = visibility(mac(developer_mode=False), Circumstances(FLAGS(0), fix="sign it otherwise"))

    assert missing.fix.startswith("sign it otherwise; turn Developer Mode on")
    assert visibility(mac(), Circumstances(DELIVER, fix="x")).fix == ""
    assert missing.fields()["fatal"] == {
        "by": "crash_report",
        "seen": False,
        "reason": missing.fatal.reason,
    }

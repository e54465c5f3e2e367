"""Which of the reports in a directory are of a run's processes."""

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from excguard.sources.own_process import OwnProcess
from excguard.sources.process_reports import ProcessReports
from excguard.sources.report_file import identify

BEGAN = datetime(2026, 11, 27, 12, 0, 0, tzinfo=UTC)
EXCGUARD, MAIN, CHILD, OTHER = 100, 200, 300, 400


def ns(seconds: float) -> int:
    return int((BEGAN + timedelta(seconds=seconds)).timestamp() * 1_000_000) * 1000


def moment(seconds: float | None) -> str | None:
    return f"{BEGAN + timedelta(seconds=seconds):%Y-%m-%d %H:%M:%S.%f %z}" if seconds is not None else None


def ips(pid: int, started: float | None, parent: int = 1, ended: float = 9) -> str:
    body = {"pid": pid, "parentPid": parent, "procLaunch": moment(started), "captureTime": moment(ended)}
    body = {key: value for key, value in body.items() if value is not None}
    return json.dumps({"bug_type": "309"}) + "\n" + json.dumps({**body, "threads": [{}] * 3}, indent=2)


PROCESSES = (
    OwnProcess(MAIN, ns(1), ns(1), fatal=False),
    OwnProcess(CHILD, None, ns(5), fatal=True),
)


def reports_in(directory: Path) -> ProcessReports:
    return ProcessReports([directory], since_ns=ns(0), parent=EXCGUARD)


def taken(directory: Path, *processes: OwnProcess) -> list[str]:
    found = reports_in(directory).look(processes or PROCESSES)
    return [report.path.name for report in found]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (ips(MAIN, 1.4, EXCGUARD), True),
        (ips(MAIN, 60, EXCGUARD), False),  # the pid is another's by then
        (ips(CHILD, 4, MAIN), True),
        (ips(CHILD, 4), True),  # its parent has ended before it
        (ips(CHILD, 4, OTHER), False),
        (ips(CHILD, 30), False),  # started after the child was last seen
        (ips(CHILD, -60), False),  # before the run
        (ips(OTHER, 4, MAIN), True),  # a child that nothing has seen
        (ips(OTHER, 4), False),
        (ips(OTHER, -60, MAIN), False),
        (ips(CHILD, None, ended=4), True),
        (ips(CHILD, None, ended=60), False),
        (ips(OTHER, None, ended=4), False),
        (json.dumps({"bug_type": "298"}) + "\n{}", False),
        ("no report", False),
        ("", False),
    ],
)
def test_a_report_is_matched_by_pid_start_and_parent(tmp_path: Path, text: str, expected: bool) -> None:  # noqa: FBT001
    (tmp_path / "a.ips").write_text(text)

    assert taken(tmp_path) == (["a.ips"] if expected else [])


def test_children_of_children_are_found_by_their_parents(tmp_path: Path) -> None:
    (tmp_path / "a.ips").write_text(ips(501, 4, parent=502))
    (tmp_path / "b.ips").write_text(ips(502, 4, parent=503))
    (tmp_path / "c.ips").write_text(ips(503, 4, parent=MAIN))
    (tmp_path / "d.ips").write_text(ips(504, 4, parent=505))

    assert taken(tmp_path) == ["a.ips", "b.ips", "c.ips"]


def test_a_report_that_grows_is_given_again(tmp_path: Path) -> None:
    path = tmp_path / "a.ips"
    whole = ips(CHILD, 4)
    path.write_text(whole[:-20])
    reports = reports_in(tmp_path)
    (first,) = reports.look(PROCESSES)
    assert reports.look(PROCESSES) == []
    path.write_text(whole)
    (second,) = reports.look(PROCESSES)

    assert (first.identity.complete, second.identity.complete) == (False, True)
    assert second.data == whole.encode()


def test_old_files_links_fifos_and_other_names_are_left_out(tmp_path: Path) -> None:
    text = ips(CHILD, 4)
    (tmp_path / "old.ips").write_text(text)
    os.utime(tmp_path / "old.ips", ns=(ns(-60), ns(-60)))
    (tmp_path / "report.txt").write_text(text)
    (tmp_path / ".hidden.ips").write_text(text)
    (tmp_path / "link.ips").symlink_to(tmp_path / "report.txt")
    os.mkfifo(tmp_path / "fifo.ips")
    (tmp_path / "Retired").mkdir()
    (tmp_path / "Retired" / "moved.ips").write_text(text)

    assert taken(tmp_path) == ["moved.ips"]


def test_directories_that_do_not_exist_have_no_reports(tmp_path: Path) -> None:
    reports = reports_in(tmp_path / "none")

    assert not reports.exist
    assert reports.look(PROCESSES) == []


TEXT = f"""Process:               child [{CHILD}]
Parent Process:        sh [{MAIN}]
Date/Time:             {moment(9)}
Launch Time:           {moment(4)}

Thread 0 Crashed:
0   child   0x0000000100003f00 main + 4

Binary Images:
"""


def test_reports_of_text_are_identified_too() -> None:
    whole = identify(TEXT.encode())

    assert whole == (CHILD, MAIN, ns(4), ns(9), True)
    assert not identify(TEXT.encode()[:-10]).complete


@pytest.mark.parametrize("size", range(0, len(ips(CHILD, 4)), 7))
def test_a_report_that_was_cut_off_is_identified_as_far_as_it_goes(size: int) -> None:
    found = identify(ips(CHILD, 4).encode()[:size])

    assert not found.complete
    assert found.pid in {0, 3, 30, CHILD}

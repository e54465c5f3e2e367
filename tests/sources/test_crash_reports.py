"""New reports are read when they are whole, once; old ones and others' files are left alone."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from excguard.pipeline.hit import Source
from excguard.sources.crash_reports import CrashReports, IncompleteReportError
from excguard.sources.external_hit import Sighting
from tests.support.samples import INVALID_NAME
from tests.support.waiting import until

SIGHTING = Sighting(Source.CRASH_REPORT, 7, "Mail", INVALID_NAME, 0, 1)


def read(path: Path) -> Sighting | None:
    """Reads reports of one word."""
    text = path.read_text()
    if text == "guard":
        return SIGHTING
    if text == "other":
        return None
    raise IncompleteReportError(f"cut off at {len(text)}")


class Told:
    """A watcher and what it told."""

    def __init__(self, *folders: Path) -> None:
        self.sightings: list[Sighting] = []
        self.failures: list[tuple[str, str, str]] = []
        self.reads: list[str] = []
        self.reports = CrashReports(
            folders, self.read, self.sightings.append, lambda *told: self.failures.append(told)
        )

    def read(self, path: Path) -> Sighting | None:
        self.reads.append(path.name)
        return read(path)

    def until(self, done: Callable[[], bool], act: Callable[[], None] = lambda: None) -> None:
        """Watch in earnest until ``done``; ``act`` once the watch is on."""

        async def main() -> None:
            task = asyncio.create_task(self.reports.run())
            await asyncio.sleep(0)
            act()
            await until(lambda: done() or task.done())
            assert not task.done(), task.exception()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        asyncio.run(asyncio.wait_for(main(), 30))


def test_report_in_two_pieces_is_told_when_it_is_whole(tmp_path) -> None:
    told = Told(tmp_path)
    path = tmp_path / "Mail-2026-03-06-133009.ips"

    def second_half() -> bool:
        if told.reads and not told.sightings:
            path.write_text("guard")
        return bool(told.sightings)

    told.until(second_half, lambda: path.write_text("gua") and None)
    assert told.sightings == [SIGHTING]
    assert told.failures == []


def test_folder_that_comes_into_being_later_and_folders_within(tmp_path) -> None:
    told = Told(tmp_path / "nowhere", tmp_path / "Later")

    def act() -> None:
        (tmp_path / "Later" / "Retired").mkdir(parents=True)
        (tmp_path / "Later" / "Retired" / "a.ips").write_text("guard")

    told.until(lambda: bool(told.sightings), act)


def test_report_of_before_is_history_unless_it_was_still_growing(tmp_path) -> None:
    (tmp_path / "old.ips").write_text("guard")
    (tmp_path / "half.ips").write_text("gua")
    told = Told(tmp_path)
    told.reports.look([tmp_path / "old.ips", tmp_path / "half.ips"], 0)
    assert told.reads == []
    (tmp_path / "half.ips").write_text("guard")
    told.reports.look([tmp_path / "half.ips"], 1)

    assert told.sightings == [SIGHTING]


def test_each_report_is_told_once(tmp_path) -> None:
    told = Told(tmp_path)
    (tmp_path / "a.ips").write_text("guard")
    (tmp_path / "b.crash").write_text("other")
    for now in range(5):
        told.reports.look([tmp_path / "a.ips", tmp_path / "b.crash"], now)

    assert sorted(told.reads) == ["a.ips", "b.crash"]
    assert len(told.sightings) == 1


def test_other_files_are_not_read(tmp_path) -> None:
    told = Told(tmp_path)
    for name in ("a.diag", ".a.ips", "a.ips.tmp", "ips"):
        (tmp_path / name).write_text("guard")
    told.reports.look(list(tmp_path.iterdir()), 0)

    assert told.reads == []


def test_report_that_never_becomes_whole_is_a_counted_failure(tmp_path) -> None:
    told = Told(tmp_path)
    (tmp_path / "a.ips").write_text("gua")
    told.reports.look([tmp_path / "a.ips"], 0)
    told.reports.look([], 119)
    assert told.failures == []
    told.reports.look([], 121)
    told.reports.look([], 999)

    assert told.reads == ["a.ips"]  # it did not grow, so it was read once
    assert told.failures == [("crash_report", "incomplete", f"{tmp_path / 'a.ips'}: cut off at 3")]


def test_growing_report_has_its_time_anew(tmp_path) -> None:
    told = Told(tmp_path)
    path = tmp_path / "a.ips"
    for now, text in ((0, "g"), (100, "gu"), (200, "gua")):
        path.write_text(text)
        told.reports.look([path], now)

    assert told.failures == []
    path.unlink()
    told.reports.look([path], 1000)
    assert told.failures == []


def test_report_that_may_not_be_read(tmp_path) -> None:
    def forbidden(_path: Path) -> Sighting | None:
        raise PermissionError(13, "Permission denied")

    told = Told(tmp_path)
    told.reports._read = forbidden
    (tmp_path / "a.ips").write_text("guard")
    told.reports.look([tmp_path / "a.ips"], 0)
    told.reports.look([], 500)

    assert "Permission denied" in told.failures[0][2]


def test_watching_ends_when_asked(tmp_path) -> None:
    told = Told(tmp_path)
    told.until(lambda: True)

    assert told.reads == []


@pytest.mark.parametrize("count", [10_050])
def test_memory_is_bounded(tmp_path, count: int) -> None:
    told = Told(tmp_path)
    for number in range(count):
        told.reports._finish(tmp_path / f"{number}.ips")

    assert len(told.reports._done) == 10_000

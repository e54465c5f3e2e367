"""New reports are read when they are complete, once; old ones and others' files are left alone."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from excguard.pipeline.source import ExternalHit
from excguard.sources.crash_reports import CrashReportWatcher
from excguard.sources.report_state import IncompleteReportError
from tests.support.samples import INVALID_NAME
from tests.support.waiting import until

HIT = ExternalHit(7, "Mail", INVALID_NAME, 0, 1)


def read(path: Path) -> ExternalHit | None:
    """Reads reports of one word."""
    text = path.read_text()
    if text == "guard":
        return HIT
    if text == "other":
        return None
    raise IncompleteReportError(f"cut off at {len(text)}")


class Watch:
    """A watcher and what it reported."""

    def __init__(self, *directories: Path) -> None:
        self.hits: list[ExternalHit] = []
        self.failures: list[tuple[str, str]] = []
        self.reads: list[str] = []
        self.reports = CrashReportWatcher(directories, self.read, self)

    def hit(self, hit: ExternalHit) -> None:
        self.hits.append(hit)

    def failure(self, kind: str, example: str) -> None:
        self.failures.append((kind, example))

    def read(self, path: Path) -> ExternalHit | None:
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


def test_report_in_two_pieces_is_reported_when_it_is_complete(tmp_path) -> None:
    watch = Watch(tmp_path)
    path = tmp_path / "Mail-2026-03-06-133009.ips"

    def second_half() -> bool:
        if watch.reads and not watch.hits:
            path.write_text("guard")
        return bool(watch.hits)

    watch.until(second_half, lambda: path.write_text("gua") and None)
    assert watch.hits == [HIT]
    assert watch.failures == []


def test_directory_that_is_created_later_and_directories_within(tmp_path) -> None:
    watch = Watch(tmp_path / "nowhere", tmp_path / "Later")

    def act() -> None:
        (tmp_path / "Later" / "Retired").mkdir(parents=True)
        (tmp_path / "Later" / "Retired" / "a.ips").write_text("guard")

    watch.until(lambda: bool(watch.hits), act)


def test_report_of_before_is_history_unless_it_was_still_growing(tmp_path) -> None:
    (tmp_path / "old.ips").write_text("guard")
    (tmp_path / "half.ips").write_text("gua")
    watch = Watch(tmp_path)
    watch.reports.look([tmp_path / "old.ips", tmp_path / "half.ips"], 0)
    assert watch.reads == []
    (tmp_path / "half.ips").write_text("guard")
    watch.reports.look([tmp_path / "half.ips"], 1)

    assert watch.hits == [HIT]


def test_each_report_is_reported_once(tmp_path) -> None:
    watch = Watch(tmp_path)
    (tmp_path / "a.ips").write_text("guard")
    (tmp_path / "b.crash").write_text("other")
    for now in range(5):
        watch.reports.look([tmp_path / "a.ips", tmp_path / "b.crash"], now)

    assert sorted(watch.reads) == ["a.ips", "b.crash"]
    assert len(watch.hits) == 1


def test_other_files_are_not_read(tmp_path) -> None:
    watch = Watch(tmp_path)
    for name in ("a.diag", ".a.ips", "a.ips.tmp", "ips"):
        (tmp_path / name).write_text("guard")
    watch.reports.look(list(tmp_path.iterdir()), 0)

    assert watch.reads == []


def test_report_that_never_becomes_whole_is_a_counted_failure(tmp_path) -> None:
    watch = Watch(tmp_path)
    (tmp_path / "a.ips").write_text("gua")
    watch.reports.look([tmp_path / "a.ips"], 0)
    watch.reports.look([], 119)
    assert watch.failures == []
    watch.reports.look([], 121)
    watch.reports.look([], 999)

    assert watch.reads == ["a.ips"]  # it did not grow, so it was read once
    assert watch.failures == [("incomplete", f"{tmp_path / 'a.ips'}: cut off at 3")]


def test_growing_report_has_its_time_anew(tmp_path) -> None:
    watch = Watch(tmp_path)
    path = tmp_path / "a.ips"
    for now, text in ((0, "g"), (100, "gu"), (200, "gua")):
        path.write_text(text)
        watch.reports.look([path], now)

    assert watch.failures == []
    path.unlink()
    watch.reports.look([path], 1000)
    assert watch.failures == []


def test_report_that_may_not_be_read(tmp_path) -> None:
    def forbidden(_path: Path) -> ExternalHit | None:
        raise PermissionError(13, "Permission denied")

    watch = Watch(tmp_path)
    watch.reports._read = forbidden
    (tmp_path / "a.ips").write_text("guard")
    watch.reports.look([tmp_path / "a.ips"], 0)
    watch.reports.look([], 500)

    assert "permission denied" in watch.failures[0][1]


def test_watching_ends_when_asked(tmp_path) -> None:
    watch = Watch(tmp_path)
    watch.until(lambda: True)

    assert watch.reads == []


@pytest.mark.parametrize("count", [10_050])
def test_memory_is_bounded(tmp_path, count: int) -> None:
    watch = Watch(tmp_path)
    for number in range(count):
        watch.reports._finish(tmp_path / f"{number}.ips")

    assert len(watch.reports._done) == 10_000

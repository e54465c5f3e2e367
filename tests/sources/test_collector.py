"""Between the sources and the log: whose a sighting is, whether it counts, and that it is counted once."""

import asyncio
import time
from pathlib import Path

import pytest

from excguard.config import Config, parse
from excguard.knowledge import releases
from excguard.native import ffi, lib
from excguard.pipeline.hit import Source
from excguard.pipeline.journal import Journal
from excguard.sources.collector import Intake, journals_of
from excguard.sources.external_hit import Sighting
from tests.support.samples import INVALID_NAME, THREAD_SET_STATE
from tests.support.waiting import until

RELEASE = releases.parse("26.4").version
S = 1_000_000_000
TARGET = 3


def config(text: str) -> Config:
    return parse(text, file="", directory=Path("/"))


BOTH = "[unified_log]\nenabled = true\n"


class Bench:
    """An intake with journals of its own, and a receiver's journal to write hits into."""

    def __init__(self, folder: Path, text: str = BOTH) -> None:
        self.config = config(text)
        self.live = Journal(folder / "journal", capacity=1024, release=RELEASE)
        self.journals = {
            source: Journal(path, capacity=1024, release=RELEASE)
            for source, path in journals_of(self.config, folder / "journal")
        }
        self.names: list[str] = []
        self.events: list[tuple[str, dict]] = []
        self.hits: list[tuple[Source, int, int, int]] = []
        self.stuck = False
        self.intake = Intake(
            self.config,
            self.journals,
            self.live,
            number_of=self.number_of,
            drain=self.drain,
            drain_live=self.drain_live,
            tell=lambda _, name, **fields: self.events.append((name, fields)),
        )

    def number_of(self, name: str) -> int:
        self.names.append(name)
        return 100 + len(self.names)

    def drain_live(self) -> bool:
        if self.stuck:
            return False
        records, count = self.live.peek(1024)
        for index in range(count):
            self.intake.live_hit(records[index])
        self.live.advance(count)
        return True

    def drain(self) -> None:
        for source, journal in self.journals.items():
            records, count = journal.peek(1024)
            for index in range(count):
                record = records[index]
                self.hits.append((source, record.target_id, record.pid, record.code))
            journal.advance(count)

    def live_hit(self, pid: int, code: int = INVALID_NAME, subcode: int = 0) -> None:
        hit = ffi.new("struct excguard_hit *")
        hit.target_id, hit.pid, hit.code, hit.subcode, hit.behavior = TARGET, pid, code, subcode, 4
        hit.time_ns = time.time_ns()
        lib.excguard_journal_append(self.live.handle, hit)

    def counted(self) -> int:
        return sum(counter.hits for journal in self.journals.values() for counter in journal.hit_counters())

    def close(self) -> None:
        for journal in (self.live, *self.journals.values()):
            journal.close()

    def lines(self, *sightings: Sighting) -> None:
        """Lines of the unified log come, and nothing after them."""

        async def main() -> None:
            for sighting in sightings:
                self.intake.take(sighting)

        asyncio.run(main())
        self.intake.finish()


@pytest.fixture
def bench(tmp_path):
    made: list[Bench] = []

    def make(text: str = BOTH) -> Bench:
        made.append(Bench(tmp_path, text))
        return made[-1]

    yield make
    for one in made:
        one.close()


def line(pid: int = 7, code: int = INVALID_NAME, subcode: int | None = 0, process: str = "Mail") -> Sighting:
    return Sighting(Source.UNIFIED_LOG, pid, process, code, subcode, time.time_ns())


def report(
    pid: int = 7, started_ns: int | None = None, process: str = "Mail", code: int = THREAD_SET_STATE
) -> Sighting:
    return Sighting(Source.CRASH_REPORT, pid, process, code, 0, time.time_ns(), started_ns)


def test_line_of_a_live_hit_is_not_counted_again(bench) -> None:
    subject = bench()
    subject.intake.started(7, TARGET)
    subject.live_hit(7)
    subject.lines(line(), line())

    assert subject.hits == [(Source.UNIFIED_LOG, TARGET, 7, INVALID_NAME)]  # the second line has no live hit
    assert subject.counted() == 1


def test_line_waits_for_the_live_hit_that_it_tells_of(bench) -> None:
    async def main(subject: Bench) -> None:
        following = asyncio.create_task(subject.intake._judge_lines())
        subject.intake.take(line())
        await asyncio.sleep(0)
        subject.live_hit(7)  # the line was quicker
        await until(lambda: not subject.intake._lines)
        following.cancel()

    subject = bench()
    subject.intake.started(7, TARGET)
    asyncio.run(asyncio.wait_for(main(subject), 30))

    assert subject.hits == []


def test_lines_wait_while_the_log_is_stuck(bench, monkeypatch) -> None:
    monkeypatch.setattr("excguard.sources.collector._GRACE", 0.0)

    async def main(subject: Bench) -> None:
        following = asyncio.create_task(subject.intake._judge_lines())
        subject.intake.take(line(process="Notes"))
        for _ in range(5):
            await asyncio.sleep(0.01)
        assert len(subject.intake._lines) == 1
        subject.stuck = False
        await until(lambda: not subject.intake._lines)
        following.cancel()

    subject = bench(BOTH + 'processes = ["*"]')
    subject.stuck = True
    asyncio.run(asyncio.wait_for(main(subject), 30))

    assert len(subject.hits) == 1


@pytest.mark.parametrize(
    ("patterns", "process", "name"),
    [
        ('["Mail"]', "Mail", "Mail"),
        ('["M*"]', "Mail", "Mail"),
        ('["*"]', "", "unknown"),
        ('["mail"]', "Mail", None),
        ("[]", "Mail", None),
    ],
)
def test_processes_that_nobody_started_count_by_name(bench, patterns, process, name) -> None:
    subject = bench(f"{BOTH}processes = {patterns}\n[crash_reports]\nprocesses = {patterns}")
    subject.lines(line(process=process))
    subject.intake.take(report(pid=8, process=process))

    assert subject.names == ([name, name] if name else [])
    assert subject.counted() == (2 if name else 0)


def test_report_of_a_target_counts_by_pid_and_start(bench) -> None:
    subject = bench()
    subject.intake.started(7, TARGET)
    started = time.time_ns()
    subject.intake.exited(7, killed=True)
    subject.intake.take(report(started_ns=started - 3600 * S))  # the pid's process of an hour ago
    assert subject.hits == []
    subject.intake.take(report(started_ns=started + S // 2))
    subject.intake.take(report(started_ns=started + S // 2))  # moved to Retired

    assert subject.hits == [(Source.CRASH_REPORT, TARGET, 7, THREAD_SET_STATE)]


def test_report_without_a_start_is_a_targets_if_it_was_killed(bench) -> None:
    subject = bench()
    subject.intake.started(7, TARGET)
    subject.intake.exited(7, killed=False)
    subject.intake.take(report())
    assert subject.hits == []
    subject.intake.exited(7, killed=True)
    subject.intake.take(report())

    assert len(subject.hits) == 1


def test_live_and_report_are_one(bench) -> None:
    subject = bench()
    subject.intake.started(7, TARGET)
    subject.live_hit(7, THREAD_SET_STATE)
    subject.intake.exited(7, killed=True)
    subject.intake.take(report(started_ns=time.time_ns()))

    assert subject.hits == []


def test_lines_of_hits_that_had_no_room_in_the_journal_are_not_counted_again(bench) -> None:
    subject = bench()
    subject.intake.started(7, TARGET)
    for _ in range(1024 + 5):
        subject.live_hit(7)
    assert subject.live.lost == 5
    subject.lines(*[line() for _ in range(1024 + 5 + 2)])

    assert len(subject.hits) == 2


def test_descendants_of_a_target_are_the_targets(bench) -> None:
    subject = bench()
    subject.live_hit(8)
    subject.lines(line(pid=8), line(pid=8, code=THREAD_SET_STATE))

    assert subject.hits == [(Source.UNIFIED_LOG, TARGET, 8, THREAD_SET_STATE)]


def test_pid_of_a_target_that_ended_long_ago_is_anothers(bench, monkeypatch) -> None:
    subject = bench()
    subject.intake.started(7, TARGET)
    subject.intake.exited(7, killed=False)
    now = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now + 60 * S)
    subject.lines(line())

    assert subject.hits == []


def test_unknown_payload_stays_unknown(bench) -> None:
    subject = bench(BOTH + 'processes = ["*"]')
    subject.intake._drain = lambda: None
    subject.lines(line(subcode=None))
    records, count = subject.journals[Source.UNIFIED_LOG].peek(10)

    assert count == 1
    assert records[0].flags & lib.EXCGUARD_RECORD_NO_SUBCODE


def test_failures_are_counted_and_told_in_one_line_each(bench) -> None:
    subject = bench()
    for number in range(3):
        subject.intake.fail(Source.UNIFIED_LOG, "garbled", f"line {number}")
    subject.intake.look_around()
    subject.intake.look_around()

    assert subject.intake.failures == {("unified_log", "garbled"): 3}
    ((name, fields),) = subject.events
    assert name == "source_unreadable"
    assert (fields["count"], fields["example"]) == (3, "line 2")


def test_source_that_breaks_down_is_tried_again(bench, monkeypatch) -> None:
    monkeypatch.setattr("excguard.sources.collector._RETRY", 0.0)
    tries = []

    async def follow() -> None:
        tries.append(1)
        if len(tries) < 3:
            raise RuntimeError("no more inotify watches")

    subject = bench()
    asyncio.run(subject.intake._keep_going(Source.CRASH_REPORT, follow))

    assert len(tries) == 3
    assert [name for name, _ in subject.events] == ["source_failed"] * 2


@pytest.mark.parametrize(
    ("killed", "hit", "comes", "events"),
    [
        (True, False, False, ["crash_reports_missing"]),
        (True, False, True, []),
        (True, True, False, []),
        (False, False, False, []),
    ],
)
def test_waiting_for_a_report(bench, *, killed: bool, hit: bool, comes: bool, events: list[str]) -> None:
    async def main(subject: Bench) -> None:
        subject.intake.started(7, TARGET)
        if hit:
            subject.live_hit(7, THREAD_SET_STATE)
            subject.drain_live()
        subject.intake.exited(7, killed=killed)
        waiting = asyncio.create_task(subject.intake.wait_for_reports(30.0 if comes else 0.05))
        await asyncio.sleep(0)
        if comes:
            subject.intake.take(report(started_ns=time.time_ns()))
        await waiting

    subject = bench()
    asyncio.run(main(subject))

    assert [name for name, _ in subject.events] == events


def test_journals_of_sources_that_are_off_stay_counted(tmp_path) -> None:
    off = config("[crash_reports]\nenabled = false")
    live = tmp_path / "journal"
    assert list(journals_of(off, live)) == []
    (tmp_path / "journal.crash_report").touch()

    assert list(journals_of(off, live)) == [(Source.CRASH_REPORT, tmp_path / "journal.crash_report")]
    assert [source for source, _ in journals_of(config(BOTH), live)] == [
        Source.CRASH_REPORT,
        Source.UNIFIED_LOG,
    ]

"""Between the sources and the log: whose hit it is, whether it counts, and that it is counted once."""

import asyncio
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import pytest

from excguard.config import Config, Log, parse
from excguard.knowledge import releases
from excguard.native import ffi, lib
from excguard.pipeline.exemplars import Exemplars
from excguard.pipeline.hit import LIVE
from excguard.pipeline.journal import Journal
from excguard.pipeline.source import ExternalHit
from excguard.pipeline.stream import Stream
from excguard.pipeline.target_names import TargetNames
from excguard.sources import collector
from excguard.sources.collector import Collector
from excguard.sources.registry import SOURCES
from tests.support.samples import INVALID_NAME, THREAD_SET_STATE
from tests.support.streams import HOST, InlineWorker, RecordingSink
from tests.support.waiting import until

RELEASE = releases.parse("26.4").version
S = 1_000_000_000
TARGET = 3
CRASH_REPORT, UNIFIED_LOG = SOURCES


def config(text: str) -> Config:
    return parse(text, file="", directory=Path("/"))


BOTH = "[unified_log]\nenabled = true\n"


class Names:
    """Gives each name a number, and remembers which were asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.numbers: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self.numbers)

    def saved(self, name: str) -> int | None:
        if name in self.numbers:
            self.asked.append(name)
        return self.numbers.get(name)

    def number(self, names: Iterable[str]) -> list[int]:
        names = list(names)
        for name in names:
            self.numbers.setdefault(name, 101 + len(self.numbers))
        return [self.numbers[name] for name in names]

    def name(self, number: int) -> str:
        return f"target-{number}"


class Bench:
    """A collector on a pipeline without sinks, and a receiver's journal to write hits into."""

    def __init__(self, directory: Path, text: str = BOTH) -> None:
        self.config = config(text)
        self.names = Names()
        self.live = self.stream(LIVE, directory / "journal")
        self.external = {
            source.name: self.stream(source.name, directory / f"journal.{source.name}")
            for source in SOURCES
            if source.enabled(self.config)
        }
        self.events: list[tuple[str, dict]] = []
        self.hits: list[tuple[str, int, int, int]] = []
        for stream in self.external.values():
            stream.observers.append(partial(self.seen, stream.source))
        self.collector = Collector(self.config, self, SOURCES)

    def stream(self, source: str, path: Path) -> Stream:
        journal = Journal(path, capacity=1024, release=RELEASE)
        return Stream(source, journal, Log(), names=self.names, host=HOST, exemplars=Exemplars())

    # what the collector asks of a pipeline

    def emit(self, _level: str, name: str, **fields) -> None:
        self.events.append((name, fields))

    def drain(self) -> None:
        for stream in (self.live, *self.external.values()):
            while stream.read():
                pass

    def seen(self, source: str, record) -> None:
        self.hits.append((source, record.target_id, record.pid, record.code))

    def live_hit(self, pid: int, code: int = INVALID_NAME, subcode: int = 0) -> None:
        hit = ffi.new("struct excguard_hit *")
        hit.target_id, hit.pid, hit.code, hit.subcode, hit.behavior = TARGET, pid, code, subcode, 4
        hit.time_ns = time.time_ns()
        lib.excguard_journal_append(self.live.journal.handle, hit)

    def counted(self) -> int:
        return sum(
            counter.hits for stream in self.external.values() for counter in stream.journal.hit_counters()
        )

    def close(self) -> None:
        for stream in (self.live, *self.external.values()):
            stream.close()

    def lines(self, *hits: ExternalHit) -> None:
        """Lines of the unified log come, and nothing after them."""

        async def main() -> None:
            for hit in hits:
                self.collector.take(UNIFIED_LOG, hit)

        asyncio.run(main())
        self.collector.finish()

    def report(self, hit: ExternalHit) -> None:
        """A crash report comes."""
        self.collector.take(CRASH_REPORT, hit)


@pytest.fixture
def bench(tmp_path):
    made: list[Bench] = []

    def make(text: str = BOTH) -> Bench:
        made.append(Bench(tmp_path, text))
        return made[-1]

    yield make
    for one in made:
        one.close()


def line(
    pid: int = 7, code: int = INVALID_NAME, subcode: int | None = 0, process: str = "Mail"
) -> ExternalHit:
    return ExternalHit(pid, process, code, subcode, time.time_ns())


def report(
    pid: int = 7, started_ns: int | None = None, process: str = "Mail", code: int = THREAD_SET_STATE
) -> ExternalHit:
    return ExternalHit(pid, process, code, 0, time.time_ns(), started_ns)


def test_line_of_a_live_hit_is_not_counted_again(bench) -> None:
    subject = bench()
    subject.collector.started(7, TARGET)
    subject.live_hit(7)
    subject.lines(line(), line())

    assert subject.hits == [(UNIFIED_LOG.name, TARGET, 7, INVALID_NAME)]  # the second line has no live hit
    assert subject.counted() == 1


def test_line_waits_for_the_live_hit_that_it_describes(bench) -> None:
    async def main(subject: Bench) -> None:
        following = asyncio.create_task(subject.collector._judge_early_hits())
        subject.collector.take(UNIFIED_LOG, line())
        await asyncio.sleep(0)
        subject.live_hit(7)  # the line was quicker
        await until(lambda: not subject.collector._early)
        following.cancel()

    subject = bench()
    subject.collector.started(7, TARGET)
    asyncio.run(asyncio.wait_for(main(subject), 30))

    assert subject.hits == []


def test_stuck_log_does_not_keep_lines_from_being_judged(bench) -> None:
    subject = bench(BOTH + 'processes = ["*"]')
    stuck = RecordingSink()
    stuck.works = False
    subject.live.add(InlineWorker(stuck, capacity=1))
    subject.collector.started(7, TARGET)
    for _ in range(3):
        subject.live_hit(7)
    subject.lines(line(), line(), line(), line(pid=8, process="Notes"))

    assert subject.live.journal.pending == 3
    assert subject.hits == [(UNIFIED_LOG.name, 101, 8, INVALID_NAME)]


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
def test_processes_that_were_not_started_here_count_by_name(bench, patterns, process, name) -> None:
    subject = bench(f"{BOTH}processes = {patterns}\n[crash_reports]\nprocesses = {patterns}")
    subject.lines(line(process=process))
    subject.report(report(pid=8, process=process))

    assert subject.names.asked == ([name, name] if name else [])
    assert subject.counted() == (2 if name else 0)


def test_report_of_a_target_counts_by_pid_and_start(bench) -> None:
    subject = bench()
    subject.collector.started(7, TARGET)
    started = time.time_ns()
    subject.collector.exited(7, killed=True)
    subject.report(report(started_ns=started - 3600 * S))  # the pid's process of an hour ago
    assert subject.hits == []
    subject.report(report(started_ns=started + S // 2))
    subject.report(report(started_ns=started + S // 2))  # moved to Retired

    assert subject.hits == [(CRASH_REPORT.name, TARGET, 7, THREAD_SET_STATE)]


def test_report_without_a_start_is_a_targets_if_it_was_killed(bench) -> None:
    subject = bench()
    subject.collector.started(7, TARGET)
    subject.collector.exited(7, killed=False)
    subject.report(report())
    assert subject.hits == []
    subject.collector.exited(7, killed=True)
    subject.report(report())

    assert len(subject.hits) == 1


def test_live_and_report_are_one(bench) -> None:
    subject = bench()
    subject.collector.started(7, TARGET)
    subject.live_hit(7, THREAD_SET_STATE)
    subject.collector.exited(7, killed=True)
    subject.report(report(started_ns=time.time_ns()))

    assert subject.hits == []


@pytest.mark.parametrize(("text", "kinds"), [("", 2), (BOTH, 200)])
def test_hits_are_remembered_by_subcode_only_for_a_source_that_counts_them(
    bench, text: str, kinds: int
) -> None:
    """Programs that give each hit another payload would otherwise fill the memory that is for processes."""
    subject = bench(text)
    for number in range(100):
        for pid in (7, 8):
            subject.live_hit(pid, subcode=number)
    subject.drain()

    assert subject.collector._deduplicator._kinds == kinds
    subject.report(report(pid=8, code=INVALID_NAME))
    assert subject.hits == []


def test_lines_of_hits_that_had_no_room_in_the_journal_are_not_counted_again(bench) -> None:
    subject = bench()
    subject.collector.started(7, TARGET)
    for _ in range(1024 + 5):
        subject.live_hit(7)
    assert subject.live.journal.lost == 5
    subject.lines(*[line() for _ in range(1024 + 5 + 2)])

    assert len(subject.hits) == 2


def test_descendants_of_a_target_are_the_targets(bench) -> None:
    subject = bench()
    subject.live_hit(8)
    subject.lines(line(pid=8), line(pid=8, code=THREAD_SET_STATE))

    assert subject.hits == [(UNIFIED_LOG.name, TARGET, 8, THREAD_SET_STATE)]


def test_pid_of_a_target_that_ended_long_ago_is_anothers(bench, monkeypatch) -> None:
    subject = bench()
    subject.collector.started(7, TARGET)
    subject.collector.exited(7, killed=False)
    now = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now + 60 * S)
    subject.lines(line())

    assert subject.hits == []


def test_unknown_payload_stays_unknown(bench) -> None:
    subject = bench(BOTH + 'processes = ["*"]')
    flags = []
    subject.external[UNIFIED_LOG.name].observers.append(lambda record: flags.append(record.flags))
    subject.lines(line(subcode=None))

    assert len(flags) == 1
    assert flags[0] & lib.EXCGUARD_RECORD_NO_SUBCODE


def test_failures_are_counted_and_logged_in_one_line_each(bench) -> None:
    subject = bench()
    for number in range(3):
        subject.collector.fail(UNIFIED_LOG, "garbled", f"line {number}")
    subject.collector.report()
    subject.collector.report()

    assert subject.collector.failures == {("unified_log", "garbled"): 3}
    ((name, fields),) = subject.events
    assert name == "source_unreadable"
    assert (fields["count"], fields["example"]) == (3, "line 2")


def test_policy_telemetry_is_counted_apart_from_hits(bench) -> None:
    subject = bench()
    subject.collector.started(7, TARGET)
    telemetry = 1 << 61
    subject.lines(line(code=telemetry | 15, subcode=5), line(code=telemetry | 15, subcode=6), line())
    subject.lines(line(code=telemetry | 2**31), line(pid=99, code=telemetry | 1))

    assert subject.hits == [(UNIFIED_LOG.name, TARGET, 7, INVALID_NAME)]
    name = subject.names.name(TARGET)
    assert subject.collector.telemetry == {(name, "15"): 2, (name, "unknown"): 1}
    events = [fields for name, fields in subject.events if name == "policy_telemetry"]
    assert [(one["policy"], one["count"], one["total"], one["detail"]) for one in events] == [
        ("15", 2, 2, "0x6"),
        ("unknown", 1, 1, "0x0"),
    ]


def test_source_that_fails_is_started_again(bench, monkeypatch) -> None:
    monkeypatch.setattr("excguard.sources.collector._RETRY", 0.0)
    tries = []

    class Failing:
        name = "failing"

        async def follow(self, _config, _report) -> None:
            tries.append(1)
            if len(tries) < 3:
                raise RuntimeError("no more inotify watches")

    subject = bench()
    asyncio.run(subject.collector._follow(Failing()))

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
        subject.collector.started(7, TARGET)
        if hit:
            subject.live_hit(7, THREAD_SET_STATE)
            subject.live.observe()
        subject.collector.exited(7, killed=killed)
        waiting = asyncio.create_task(subject.collector.wait_for_reports(30.0 if comes else 0.05))
        await asyncio.sleep(0)
        if comes:
            subject.report(report(started_ns=time.time_ns()))
        await waiting

    subject = bench()
    asyncio.run(main(subject))

    assert [name for name, _ in subject.events] == events


def test_names_that_come_together_are_written_together(bench, monkeypatch) -> None:
    target = bench('[unified_log]\nenabled = true\nprocesses = ["*"]\n')
    names = TargetNames(target.live.journal.path, used=[TARGET])
    target.names = names
    written: list[int] = []
    save = names.save
    monkeypatch.setattr(names, "save", lambda: (save(), written.append(len(names))))

    async def main() -> None:
        running = asyncio.create_task(target.collector._give_numbers())
        for number in range(100):
            target.collector._judge([(UNIFIED_LOG, line(pid=number, process=f"p{number}"))])
        await until(lambda: target.counted() == 100)
        running.cancel()

    asyncio.run(main())

    assert len(written) < 5
    assert len(names) == 100


def test_names_without_end_are_counted_together(bench, monkeypatch) -> None:
    monkeypatch.setattr(collector, "_MAX_NAMES", 10)
    target = bench('[unified_log]\nenabled = true\nprocesses = ["*"]\n')
    for number in range(20):
        target.lines(line(pid=number, process=f"p{number}"))

    assert len(target.names) == 11
    assert target.names.saved("unknown") is not None
    assert target.counted() == 20

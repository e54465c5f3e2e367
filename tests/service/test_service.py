"""The service on fakes: what it does with its parts, without a kernel, a thread or a process."""

import asyncio
import os
import signal
from pathlib import Path
from types import MappingProxyType, SimpleNamespace

import pytest

from excguard import config
from excguard.config import Config, CrashReports, Delivery, Journal, Log, Metrics, Target
from excguard.knowledge.guard_behavior import GuardBehavior
from excguard.native import lib
from excguard.pipeline.journal import HitCounter
from excguard.service import Parts, ReceiverStoppedError, Service, needs_restart
from excguard.targets.delivery import Plan
from excguard.targets.events import Exited, ExitReason, Started
from excguard.targets.executable import Executable
from excguard.targets.program import Program
from tests.support.streams import HOST
from tests.support.waiting import until


class Fake:
    """Records calls in one list that all fakes of a service share."""

    def __init__(self, calls: list[tuple]) -> None:
        self.calls = calls

    def note(self, name: str, *arguments: object) -> None:
        self.calls.append((f"{type(self).__name__}.{name}", *arguments))


class Pipeline(Fake):
    """Has nothing to read, unless a test says so."""

    def __init__(self, calls: list[tuple]) -> None:
        super().__init__(calls)
        self.events: list[tuple[str, str, dict]] = []
        self.to_read = 0
        self.tally = ["site"]
        self.damage = ""
        self.names = SimpleNamespace(number=lambda names: self.note("number", list(names)))
        self.live = SimpleNamespace(journal=SimpleNamespace())
        self.streams: list = []
        self.complete = True

    def emit(self, level: str, name: str, **fields: object) -> None:
        self.events.append((level, name, fields))

    def read(self) -> bool:
        self.to_read -= 1
        self.note("read", self.to_read >= 0)
        return self.to_read >= 0

    def settle(self) -> None:
        self.note("settle")

    def report(self) -> None:
        self.note("report")

    def limit(self, log: Log) -> None:
        self.note("limit", log.first)

    def finish(self, timeout: float, *, from_progress: bool) -> bool:
        self.note("finish", timeout, from_progress)
        return self.complete

    def hits_since_start(self) -> list[HitCounter]:
        return [
            HitCounter(1, 1, flavor, severity, known=True, hits=hits, last_ns=0)
            for flavor, severity, hits in ((1, "fatal", 3), (2, "soft", 4))
        ]


class Receiver(Fake):
    def __init__(self, calls: list[tuple]) -> None:
        super().__init__(calls)
        self.wakeup, self.write_end = os.pipe()
        self.running = True
        self.last_error = "MACH_RCV_PORT_DIED"

    def arm(self) -> None:
        self.note("arm")

    def acknowledge(self) -> None:
        os.read(self.wakeup, 100)
        self.note("acknowledge")

    def close(self) -> None:
        self.note("close")


class Supervisor(Fake):
    """Runs until it is stopped."""

    def __init__(self, calls: list[tuple]) -> None:
        super().__init__(calls)
        self.stopped = asyncio.Event()
        self.error: Exception | None = None

    async def run(self, *, stay: bool) -> None:
        self.note("run", stay)
        if self.error is not None:
            raise ExceptionGroup("targets", [self.error])
        await self.stopped.wait()

    def stop(self) -> None:
        self.stopped.set()

    def forward(self, number: int) -> None:
        self.note("forward", number)


class Targets(Fake):
    states = MappingProxyType({})

    def number(self, name: str) -> int:
        return len(name)

    def handle(self, event) -> None:
        self.note("handle", type(event).__name__)

    def report(self) -> None:
        self.note("report")

    async def change(self, targets) -> None:
        self.note("change", [target.name for target in targets])


class Collector(Fake):
    failures = MappingProxyType({})

    def started(self, pid: int, number: int) -> None:
        self.note("started", pid, number)

    def exited(self, pid: int, *, killed: bool) -> None:
        self.note("exited", pid, killed)

    def reload(self, _config: Config) -> None:
        self.note("reload")

    def report(self) -> None:
        self.note("report")

    def finish(self) -> None:
        self.note("finish")

    async def run(self) -> None:
        await asyncio.Event().wait()

    async def wait_for_reports(self, seconds: float) -> None:
        self.note("wait_for_reports", seconds)


class Rendezvous(Fake):
    def close(self) -> None:
        self.note("close")


class CounterReader(Fake):
    def watch(self, states) -> None:
        self.note("watch", states)


@pytest.fixture
def make(monkeypatch):
    """Makes a service of fakes."""
    monkeypatch.setattr("excguard.service.CounterReader", lambda *_: CounterReader([]))
    monkeypatch.setattr("excguard.service._TICK", 0.001)
    receivers: list[Receiver] = []

    def make(settings: Config | None = None, **options) -> SimpleNamespace:
        calls: list[tuple] = []
        kinds = (Pipeline, Supervisor, Receiver, Targets, Collector, Rendezvous)
        fakes = {kind.__name__.lower(): kind(calls) for kind in kinds}
        receivers.append(fakes["receiver"])
        service = Service(settings or Config(), HOST, Parts(**fakes), **options)
        return SimpleNamespace(service=service, calls=calls, **fakes)

    yield make
    for receiver in receivers:
        os.close(receiver.wakeup)
        os.close(receiver.write_end)


TARGET = Target(name="mail", command=("true",), stop_timeout=2.0)


def test_it_runs_until_the_supervisor_has_nothing_left(make) -> None:
    parts = make()

    async def main() -> None:
        running = asyncio.create_task(parts.service.run())
        await until(lambda: ("Pipeline.settle",) in parts.calls)  # a tick has passed
        assert ("Supervisor.run", False) in parts.calls
        parts.service.stop()
        await running

    asyncio.run(main())
    assert [name for _, name, _ in parts.pipeline.events] == ["service_started"]


def test_wakeup_has_everything_read(make) -> None:
    parts = make()

    async def main() -> None:
        running = asyncio.create_task(parts.service.run())
        await until(lambda: ("Receiver.arm",) in parts.calls)
        parts.pipeline.to_read = 3
        os.write(parts.receiver.write_end, b"!")
        await until(lambda: parts.pipeline.to_read < 0)
        parts.pipeline.to_read = 2
        parts.pipeline.on_progress()  # a sink has room again
        await until(lambda: parts.pipeline.to_read < 0)
        parts.service.stop()
        await running

    asyncio.run(main())


def test_first_hit_is_read_at_once_and_those_that_follow_come_together_after_20_ms(make, monkeypatch) -> None:
    parts = make()
    monkeypatch.setattr("excguard.service._TICK", 3600)
    yielded = asyncio.sleep

    async def sleep(seconds: float) -> None:
        parts.calls.append(("sleep", seconds))
        await (asyncio.Event().wait() if seconds == 3600 else yielded(0))

    async def main() -> None:
        running = asyncio.create_task(parts.service.run())
        await until(lambda: parts.calls[-2:] == [("Receiver.arm",), ("Pipeline.read", False)])
        monkeypatch.setattr("excguard.service.asyncio.sleep", sleep)
        parts.calls.clear()
        parts.pipeline.to_read = 2
        os.write(parts.receiver.write_end, b"!")
        while parts.calls[-2:] != [("Receiver.arm",), ("Pipeline.read", False)]:
            await yielded(0)
        parts.service.stop()
        await running

    asyncio.run(main())
    assert parts.calls[:9] == [
        ("Receiver.acknowledge",),
        ("Pipeline.read", True),  # before any wait
        ("sleep", 0),
        ("Pipeline.read", True),
        ("sleep", 0),
        ("Pipeline.read", False),
        ("sleep", 0.02),
        ("Pipeline.read", False),
        ("Receiver.arm",),
    ]


def test_progress_after_the_end_is_ignored(make) -> None:
    parts = make()
    parts.supervisor.stop()
    asyncio.run(parts.service.run())
    parts.pipeline.on_progress()


def test_receiver_that_has_stopped_ends_the_service(make) -> None:
    parts = make()
    parts.receiver.running = False

    with pytest.raises(ReceiverStoppedError, match="MACH_RCV_PORT_DIED"):
        asyncio.run(parts.service.run())
    assert ("error", "receiver_stopped", {"error": "MACH_RCV_PORT_DIED"}) in parts.pipeline.events
    assert not parts.service.ready()


def test_error_of_a_target_ends_the_service(make) -> None:
    parts = make()
    parts.supervisor.error = OSError("no guardian")

    with pytest.raises(OSError, match="no guardian"):
        asyncio.run(parts.service.run())


@pytest.mark.parametrize("stopped", [False, True])
def test_reports_are_waited_for_unless_it_was_stopped(make, *, stopped: bool) -> None:
    parts = make(Config(crash_reports=CrashReports(wait=7.0)))
    if stopped:
        parts.service.stop()
    parts.supervisor.stop()
    asyncio.run(parts.service.run())

    assert (("Collector.wait_for_reports", 7.0) in parts.calls) == (not stopped)


def test_events_of_targets_reach_collector_targets_and_caller_in_that_order(make) -> None:
    parts = make(on_event=lambda event: parts.calls.append(("caller", type(event).__name__)))
    program = Program(Plan(Delivery.NONE, Executable(Path("/mail")), GuardBehavior(0)))
    parts.service.handle(Started(TARGET, 100, program))
    parts.service.handle(Exited(TARGET, 100, None, signal.SIGKILL, ExitReason.KILLED, 1.0))

    assert parts.calls == [
        ("Collector.started", 100, 4),
        ("Targets.handle", "Started"),
        ("caller", "Started"),
        ("Collector.exited", 100, True),
        ("Targets.handle", "Exited"),
        ("caller", "Exited"),
    ]


def test_reload_numbers_new_targets_before_anything_changes(make) -> None:
    parts = make()
    asyncio.run(parts.service.reload(Config(log=Log(first=3), target=(TARGET,))))

    assert parts.calls == [
        ("Pipeline.number", ["mail"]),
        ("Pipeline.limit", 3),
        ("Collector.reload",),
        ("Targets.change", ["mail"]),
    ]


def test_close_stops_receiving_before_it_finishes_and_sums_up(make) -> None:
    parts = make(Config(target=(TARGET,)))
    assert parts.service.close()

    assert [call[0] for call in parts.calls] == [
        "Rendezvous.close",
        "Receiver.close",
        "Collector.finish",
        "Pipeline.report",
        "Collector.report",
        "Targets.report",
        "Pipeline.finish",
        "Pipeline.finish",
    ]
    assert ("Pipeline.finish", 2.0, True) in parts.calls
    ((level, name, fields),) = parts.pipeline.events
    assert (level, name) == ("info", "service_stopped")
    assert fields == {"hits": 7, "by_severity": {"fatal": 3, "soft": 4}}
    assert len(parts.service.hits) == 2


def test_close_of_a_stopped_service_has_one_deadline(make) -> None:
    parts = make(Config(target=(TARGET,)))
    parts.pipeline.complete = False
    parts.service.stop()

    assert not parts.service.close()
    assert [call for call in parts.calls if call[0] == "Pipeline.finish"] == [
        ("Pipeline.finish", 2.0, False),
        ("Pipeline.finish", 0, False),
    ]


def test_signals_and_tally_are_passed_on(make) -> None:
    parts = make()
    parts.service.forward(signal.SIGUSR1)

    assert parts.calls == [("Supervisor.forward", signal.SIGUSR1)]
    assert parts.service.tally == ["site"]
    assert parts.service.ready()


def test_what_takes_a_new_start() -> None:
    old = Config()
    new = Config(
        log=Log(path="/log", format="json"),
        journal=Journal(capacity=1024),
        metrics=Metrics(listen="", allow_unprotected=True),
        crash_reports=CrashReports(enabled=False, processes=("x",)),
    )

    assert needs_restart(old, old) == []
    assert needs_restart(old, Config(metrics=Metrics(listen="127.0.0.1:1"), target=(TARGET,))) == []
    assert needs_restart(old, new) == [
        "log.format",
        "log.path",
        "journal",
        "metrics",
        "crash_reports.enabled",
    ]


def test_most_targets_are_those_of_the_receiver() -> None:
    assert config.MAX_TARGETS == lib.EXCGUARD_MAX_TARGETS

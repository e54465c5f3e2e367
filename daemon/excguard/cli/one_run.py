"""One run of one program, from its first instruction to its last, and what came of it."""

import asyncio
import contextlib
import functools
import shlex
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from excguard.cli import run_journal, service_runner, simulated_kernel
from excguard.cli.event_stream import EventStream
from excguard.cli.service_runner import Failure, report_error
from excguard.config import Config, LogFormat, Reply
from excguard.files.escaping import printable
from excguard.knowledge.severity import Severity
from excguard.mach import host as mach_host
from excguard.mach.host import Host
from excguard.pipeline.journal import HitCounter
from excguard.pipeline.sink import Level, Sink
from excguard.pipeline.tally import SiteTally
from excguard.process import interrupt
from excguard.service import ReceiverStoppedError, Service
from excguard.sinks.log import every_event, open_standard_error
from excguard.sinks.registry import open_sinks
from excguard.targets.events import Event, Exited, ExitReason, GroupEnded, Started, StartFailed
from excguard.targets.handover import handed_over
from excguard.web.live_feed import LiveFeed

if TYPE_CHECKING:
    from excguard.cli.collection import Collection
    from excguard.crash_reports.symbols.symbol import Symbolizer
    from excguard.targets.program import Program
    from excguard.targets.visibility import Visibility

TIMED_OUT: Final = 124
"""Exit status when ``--timeout`` has passed, as of timeout(1)."""

# Events that the text form reports in a sentence of its own.
_IN_SENTENCES: Final = (
    "target_start_failed",
    "metrics_unavailable",
    "target_processes_detached",
    "descendant_not_seen",
)

# Signals after which ReportCrash writes a report; SIGKILL is one when a guard has sent it.
_CRASHES: Final = (
    signal.SIGILL,
    signal.SIGTRAP,
    signal.SIGABRT,
    signal.SIGFPE,
    signal.SIGBUS,
    signal.SIGSEGV,
    signal.SIGSYS,
)

# Signals that are meant for the program: excguard passes them on.
_FORWARDED: Final = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
)


def _matters(level: Level, name: str) -> bool:
    """Whether an event belongs between the program's own lines on standard error."""
    return level != "info" and name not in _IN_SENTENCES


class Run:
    """One run of one program; what came of it is there after `execute`."""

    def __init__(  # noqa: PLR0913 - what differs between run and attach
        self,
        config: Config,
        form: LogFormat | None,
        *,
        attach: int | None = None,
        timeout: float | None = None,
        must_see: Severity | None = None,
        streams: Sequence[EventStream] = (),
        collection: "Collection | None" = None,
        symbolizer: "Symbolizer | None" = None,
    ) -> None:
        """Prepare to run the one target of ``config``.

        Args:
            config: the configuration.
            form: of the log on standard error; None for none.
            attach: the target is this process, and signals end the run instead of going to it.
            timeout: seconds after which the program is ended.
            must_see: when the program starts, and hits of this severity cannot be seen, say so.
            streams: receive every event.
            collection: gets the journal and the crash reports.
            symbolizer: names the places of hits.
        """
        self.config = config
        self._attach = attach
        self._timeout = timeout
        self._must_see = must_see
        self._streams = streams
        self.collection = collection
        self._symbolizer = symbolizer
        self.timed_out = False
        self.detached = False
        self.kernel = ""
        self.visibility: Visibility | None = None
        self.program: Program | None = None
        self.exited: Exited | None = None
        self.start_failed: StartFailed | None = None
        self._failure: str | None = None
        self._journal: Path | None = None  # that goes with the run
        self._form = form
        self._signal = 0
        self._ended = 0.0
        self._stop_waiting = False
        self._service: Service | None = None

    def execute(self) -> None:
        """Run the program to its end.

        Raises:
            one of `service_runner.SYSTEM_ERRORS`: excguard could not.
        """
        with contextlib.ExitStack() as stack:
            simulated_kernel.start_if_needed()
            host = mach_host.running()
            self.kernel = host.kernel
            as_json = self._form == "json"
            complain = service_runner.report_error_as_json if as_json else report_error
            stack.enter_context(service_runner.signals_held(_FORWARDED))
            with interrupt.Deferred():  # until the stack has it, nothing would close it
                sinks = open_sinks(self.config, host, complain)
                if self._form:
                    accepts = every_event if as_json else _matters
                    settings = msgspec.structs.replace(self.config.log, format=self._form)
                    sinks.append(open_standard_error(host, settings, report_error, accepts))
                sinks += [stream.sink(host, self.config.log) for stream in self._streams]
                service, feed = self._open(host, sinks)
                service.pipeline.count_ports()
                self._service = service
                stack.callback(self._close, service)
            if self._attach is not None and self._form == "console":
                report_error(f"attached to {printable(self.name)} (pid {self._attach}); Ctrl-C detaches")
            try:
                endpoint = service_runner.open_endpoint(service, feed, self.config, host)
            except OSError as error:
                service.pipeline.emit("warning", "metrics_unavailable", error=str(error))
                if not as_json:
                    report_error(f"{error}; the run goes on without (--metrics chooses another place)")
            else:
                if endpoint is not None:
                    stack.callback(endpoint.close)
            try:
                service_runner.live(service, dict.fromkeys(_FORWARDED, self._forward), self._gather)
            except ReceiverStoppedError as error:  # the summary and the reports are written all the same
                self._failure = str(error)
        if self._attach is None:
            self.visibility = service.visibility(self.name)
            self.program = service.program(self.name)

    @property
    def error(self) -> str | None:
        """Why the program did not run, if it did not."""
        return f"cannot start {self.start_failed.reason}" if self.start_failed else self._failure

    @property
    def death(self) -> str | None:
        """How the program was ended, if it did not exit by itself."""
        if self.timed_out:
            return f"ended after {self._timeout:g} s (--timeout)"
        if self.exited is None or self.exited.signal is None:
            return None
        number = self.exited.signal
        with contextlib.suppress(ValueError):
            return f"killed by {signal.Signals(number).name}"
        return f"killed by signal {number}"

    @property
    def hits(self) -> list[HitCounter]:
        """The hits of the program, exactly, by flavor."""
        return self._service.hits if self._service else []

    @property
    def name(self) -> str:
        """The name of the program in logs and metrics."""
        return self.config.target[0].name

    @property
    def total(self) -> int:
        """The number of hits."""
        return sum(counter.hits for counter in self.hits)

    @property
    def lost(self) -> int:
        """How many of them belong to no site, because the journal was full."""
        return self.total - sum(site.hits for site in self.sites)

    @property
    def seconds(self) -> float:
        """How long the program ran."""
        return self.exited.seconds if self.exited else 0.0

    @property
    def sites(self) -> list[SiteTally]:
        """The hits by site, without those that the journal had no room for."""
        return self._service.tally if self._service else []

    @property
    def unseen(self) -> list[str]:
        """Programs of descendants that ran without the library that they should have had."""
        return self.program.unseen if self.program else []

    @property
    def status(self) -> int:
        """The exit status of the program as a shell reports it."""
        if self.error is not None:
            return Failure.exit_code
        if self.timed_out:
            return TIMED_OUT
        return self.exited.exit_status if self.exited else 128 + self._signal

    def _open(self, host: Host, sinks: list[Sink]) -> tuple[Service, LiveFeed]:
        def open_at(path: Path) -> tuple[Service, LiveFeed]:
            return service_runner.open_service(
                self.config,
                host,
                sinks,
                journal=path,
                foreground=self._attach is None,
                attach=self._attach,
                on_event=self._target_event,
                symbolizer=self._symbolizer,
            )

        if self.config.journal.path:
            return open_at(Path(self.config.journal.path))
        report = service_runner.report_error_as_json if self._form == "json" else report_error
        for path, name, hits in run_journal.unfinished():
            report(
                f"an earlier run of {printable(name)} was killed before it had logged {hits} hits; "
                f"excguard recover {shlex.quote(str(path))}"
            )
        directory = self.collection.journal if self.collection else None
        self._journal = run_journal.create(self.name, host, directory)
        try:
            return open_at(self._journal)
        except BaseException:
            run_journal.remove(self._journal)
            raise

    def _close(self, service: Service) -> None:
        """Close the service; its journal is kept if something in it was not logged."""
        complete = service_runner.close(service)
        if self.collection is not None and self.config.journal.path:
            self.collection.keep_journal(Path(self.config.journal.path))
        if self._journal is not None:
            if complete:
                if self.collection is None:
                    run_journal.remove(self._journal)
            else:
                report_error(
                    "not everything could be logged; excguard recover " + shlex.quote(str(self._journal))
                )

    async def _gather(self) -> None:
        """Take the crash reports of the run's processes."""
        if self.collection is not None and self._service is not None and self.start_failed is None:
            wait = self.config.crash_reports.wait
            await self.collection.gather(
                self.config,
                functools.partial(self._service.processes, self.name),
                self._reports_due,
                seconds=wait - (time.monotonic() - self._ended),
                stopping=lambda: self._stop_waiting,
            )

    def _reports_due(self, reported: set[int]) -> set[int]:
        """The processes whose crash reports must still come; 0 for one whose process id is not known."""
        exited, service = self.exited, self._service
        if exited is None or service is None or exited.reason is ExitReason.STOPPED:
            return set()
        forwards = self.config.target[0].reply is Reply.FORWARD
        due = {process.pid for process in service.processes(self.name) if process.fatal and forwards}
        if exited.signal in _CRASHES or (exited.signal == signal.SIGKILL and forwards):
            due.add(exited.pid)
        elif (exited.status or 0) - 128 in (*_CRASHES, signal.SIGKILL) and not due and not reported:
            due.add(0)  # as a shell reports the end of what it has started
        return due - reported

    def _forward(self, number: int) -> None:
        self._signal = number
        self._stop_waiting = self.exited is not None
        if self._service is None:
            return
        if self._attach is not None:
            self._service.stop()
        else:
            self._service.forward(number)

    def _target_event(self, event: Event) -> None:
        match event:
            case Started():
                if self._timeout is not None:
                    asyncio.get_running_loop().call_later(self._timeout, self._end)
                self._report_blindness()
                if self._form == "console" and (reason := handed_over(self.config.target[0].command)):
                    report_error(printable(reason))
            case Exited():
                self.exited = event
                self._ended = time.monotonic()
            case GroupEnded(detached=detached):
                self.detached = detached
            case StartFailed():
                self.start_failed = event

    def _end(self) -> None:
        """End the program: its time is over."""
        if self._service is not None and (self.exited is None or self.config.target[0].wait_all):
            self.timed_out = True
            self._service.stop()

    def _report_blindness(self) -> None:
        """Say at the start that hits cannot be seen which the exit status depends on."""
        seen = self._service.visibility(self.name) if self._service else None
        if self._form != "console" or self._must_see is None or seen is None or seen.sees(self._must_see):
            return
        for severities, reason in seen.gaps():
            named = " and ".join(severity.value for severity in severities)
            report_error(f"{named} hits of {printable(self.name)} cannot be seen: {reason}")

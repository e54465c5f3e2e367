"""`excguard run`: one program, watched from its first instruction to its last."""

import contextlib
import os
import shlex
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import msgspec

from excguard import config as configuration
from excguard.cli import gating, run_journal, service_runner, simulated_kernel, summary
from excguard.cli import junit as junit_xml
from excguard.cli.service_runner import Failure, report_error
from excguard.config import Config, ConfigError, LogFormat, Reply, Restart, Target
from excguard.files.escaping import printable
from excguard.gate.baseline import BaselineError
from excguard.knowledge.exception_behavior import Behavior
from excguard.knowledge.severity import Severity
from excguard.mach import host as mach_host
from excguard.mach.host import Host
from excguard.pipeline.hit import rfc3339
from excguard.pipeline.journal import HitCounter
from excguard.pipeline.sink import Level, Sink
from excguard.pipeline.tally import SiteTally
from excguard.process import interrupt
from excguard.service import ReceiverStoppedError, Service
from excguard.sinks.console import terminal_width, wants_color
from excguard.sinks.log import every_event, open_standard_error
from excguard.sinks.registry import open_sinks
from excguard.targets.events import Event, Exited, StartFailed
from excguard.web.live_feed import LiveFeed

_FAIL_ON_MET = 3
_STANDARD_OUTPUT = Path("-")

# Events that people are told of in a sentence of its own.
_SAID = ("target_start_failed", "metrics_unavailable")

# Signals that are meant for the program: excguard passes them on.
_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


def _not_empty(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    if value == "":
        raise click.BadParameter("expected a name of one character or more")
    return value


@click.command("run", context_settings={"allow_interspersed_args": False})
@click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    help="Configuration (TOML); its targets are not started.",
)
@click.option(
    "--name",
    metavar="NAME",
    callback=_not_empty,
    help="What logs and metrics call the program.  [default: its file name]",
)
@click.option(
    "--behavior",
    type=click.Choice([behavior.value for behavior in Behavior]),
    help="What the kernel tells about a hit; the second adds registers (macOS 15 and later).  "
    "[default: the first]",
)
@click.option(
    "--reply",
    type=click.Choice([reply.value for reply in Reply]),
    help="forward: the crash reporter gets each hit too; consume: it does not, and writes no report.  "
    "[default: forward]",
)
@click.option(
    "--fail-on",
    type=click.Choice([*(s.value for s in Severity if s is not Severity.UNKNOWN), "never"]),
    help="Exit with 3 after a hit this severe or worse. A soft one never ends a program, an optional one "
    "where the program's flags say so, a fatal one always.  [default: never; soft with --baseline]",
)
@click.option(
    "--metrics",
    metavar="HOST:PORT|unix:PATH|off",
    help="Where /metrics and the live page are served.  [default: 127.0.0.1:12012]",
)
@click.option(
    "--log", "log_path", type=click.Path(path_type=Path), help="Append the log to this file as well."
)
@click.option(
    "--log-format", type=click.Choice(["json", "console"]), help="Form of that file.  [default: json]"
)
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="JSON lines on standard error instead of text; the last one sums up the run.",
)
@click.option(
    "--report",
    type=click.Path(path_type=Path),
    help="Write a summary of the run to this file, as JSON. - is standard output, after the program's.",
)
@click.option(
    "--junit",
    type=click.Path(path_type=Path),
    help="Write one as JUnit XML, for build servers: each broken rule a failed test.",
)
@gating.options
@click.argument(
    "arguments", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- PROGRAM [ARGUMENT]..."
)
def command(
    config_path: Path | None,
    arguments: tuple[str, ...],
    fail_on: str | None,
    *,
    as_json: bool,
    **options: Any,  # noqa: ANN401 - what is left goes to `_run` as it is
) -> int:
    """Run PROGRAM and explain every guard exception (EXC_GUARD) that the kernel raises in it.

    The program's input and output are its own. What excguard has to say goes to standard error: each hit as
    it happens, and a table of all of them in the end. Programs that PROGRAM starts are watched with it.

    \b
    Examples:
      excguard run -- ./app --its arguments
      excguard run --fail-on optional --log hits.jsonl -- ./tests
      excguard run --report run.json --junit run.xml -- ./tests
      excguard run --behavior state_identity_protected -- ./app
      excguard run --baseline guards.toml --update-baseline -- ./tests
      excguard run --baseline guards.toml --junit run.xml -- ./tests
      excguard run -- python3 -m excguard.misuse double_deallocate

    \b
    Exit status:
      the program's own, or 128 and the number of the signal that ended it
      3    --fail-on was met, by a site that is in no baseline and no ignore rule
      2    the command line or the configuration is wrong
      125  excguard itself failed, or the program could not be started
           (a shell says 126 or 127 for the latter)
    """  # noqa: D301 - click wants the real backspace
    with service_runner.json_errors(wanted=as_json):
        return _run(config_path, arguments, fail_on, as_json=as_json, **options)


def _run(  # noqa: PLR0913 - the options of the command
    config_path: Path | None,
    arguments: tuple[str, ...],
    fail_on: str | None,
    *,
    as_json: bool,
    report: Path | None,
    junit: Path | None,
    **options: Any,  # noqa: ANN401 - what is left goes to `_adapted` as it is
) -> int:
    begun = rfc3339(time.time_ns())
    try:
        deprecated = service_runner.report_deprecated(as_json=as_json)
        config = configuration.load(config_path, on_deprecated=deprecated) if config_path else Config()
        config = _adapted(config, arguments, options)
        configuration.check(config)
    except ConfigError as error:
        raise click.UsageError(str(error)) from None
    if report == junit == _STANDARD_OUTPUT:
        raise click.UsageError("--report - and --junit -: only one of them can go to standard output")
    gate = gating.Gate(config.ignore, fail_on=fail_on, **{name: options[name] for name in gating.NAMES})
    run = Run(config, "json" if as_json else "console")
    try:
        with service_runner.one_line_errors():
            # Made empty at the start: a run that is cut short must not leave the last one's results behind,
            # and a place that cannot be written is better known before the run than after it.
            for path in filter(None, (report, junit)):
                if path != _STANDARD_OUTPUT:
                    path.write_bytes(b"")
            run.execute()
    except ConfigError as error:
        raise click.UsageError(f"{config_path}: {error}" if config_path else str(error)) from None
    verdict = gate.judge(Path(arguments[0]).name, run.sites, run.hits)
    met = run.error is None and verdict.failed and not gate.updates
    status = _FAIL_ON_MET if met else run.status
    outcome = {**_outcome(run, status, gate.fail_on), "gate": verdict.to_dict()}
    _tell(run, outcome, as_json=as_json)
    if run.error is None:
        _publish(gate, run.name, verdict, as_json=as_json)
    if report is not None:
        _write(report, msgspec.json.format(msgspec.json.encode(outcome)) + b"\n")
    if junit is not None:
        document = junit_xml.render(
            run.name,
            verdict.verdict,
            seconds=run.seconds,
            lost=run.lost,
            started=begun,
            error=run.error,
        )
        _write(junit, document)
    return status


def _publish(gate: gating.Gate, name: str, outcome: gating.Outcome, *, as_json: bool) -> None:
    try:
        lines = gate.publish(name, outcome)
    except (BaselineError, OSError) as error:
        raise Failure(str(error)) from None
    for line in lines:
        if line.startswith("::"):  # a workflow command stands alone on its line
            service_runner.write_stderr(f"{line}\n")
        elif not as_json:
            report_error(line)


def _matters(level: Level, name: str) -> bool:
    """Whether an event may join the program's own words on standard error, where people read it."""
    return level != "info" and name not in _SAID


def _write(path: Path, content: bytes) -> None:
    try:
        if path == _STANDARD_OUTPUT:
            sys.stdout.buffer.write(content)
            sys.stdout.buffer.flush()
        else:
            path.write_bytes(content)
    except OSError as error:  # which names no file when it was the writing that failed
        name = "standard output" if path == _STANDARD_OUTPUT else path
        raise Failure(f"{name}: {error.strerror}") from None


class Run:
    """One run of one program; what came of it is there after `execute`."""

    def __init__(self, config: Config, form: LogFormat | None, *, attach: int | None = None) -> None:
        """Prepare to run the one target of ``config``; the log goes to standard error in ``form``, if any.

        With ``attach`` the target is the process of that id, and signals end the run instead of going to it.
        """
        self.config = config
        self._attach = attach
        self.kernel = ""
        self.exited: Exited | None = None
        self.start_failed: StartFailed | None = None
        self._failure: str | None = None
        self._journal: Path | None = None  # that goes with the run
        self._form = form
        self._signal = 0
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
                    sinks.append(open_standard_error(host, self._form, report_error, accepts))
                service, feed = self._open(host, sinks)
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
                service_runner.live(service, dict.fromkeys(_FORWARDED, self._forward))
            except ReceiverStoppedError as error:  # the summary and the reports are written all the same
                self._failure = str(error)

    @property
    def error(self) -> str | None:
        """Why there was no run, if there was none."""
        return f"cannot start {self.start_failed.reason}" if self.start_failed else self._failure

    @property
    def hits(self) -> list[HitCounter]:
        """What the program did, exactly, by flavor."""
        return self._service.hits if self._service else []

    @property
    def name(self) -> str:
        """What logs and metrics call the program."""
        return self.config.target[0].name

    @property
    def total(self) -> int:
        """How many hits there were."""
        return sum(counter.hits for counter in self.hits)

    @property
    def lost(self) -> int:
        """How many of them belong to no site: the journal was full."""
        return self.total - sum(site.hits for site in self.sites)

    @property
    def seconds(self) -> float:
        """How long the program ran."""
        return self.exited.seconds if self.exited else 0.0

    @property
    def sites(self) -> list[SiteTally]:
        """The same by site, without the hits that the journal had no room for."""
        return self._service.tally if self._service else []

    @property
    def status(self) -> int:
        """The exit status of the program as a shell would tell it."""
        if self.error is not None:
            return Failure.exit_code
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
            )

        if self.config.journal.path:
            return open_at(Path(self.config.journal.path))
        complain = service_runner.report_error_as_json if self._form == "json" else report_error
        for path, name, hits in run_journal.unfinished():
            complain(
                f"an earlier run of {printable(name)} was killed before it had logged {hits} hits; "
                f"excguard recover {shlex.quote(str(path))}"
            )
        self._journal = run_journal.create(self.name, host)
        try:
            return open_at(self._journal)
        except BaseException:
            run_journal.remove(self._journal)
            raise

    def _close(self, service: Service) -> None:
        """Close the service; its journal is kept if something in it was not logged."""
        complete = service_runner.close(service)
        if self._journal is not None:
            if complete:
                run_journal.remove(self._journal)
            else:
                report_error(
                    "not everything could be logged; excguard recover " + shlex.quote(str(self._journal))
                )

    def _forward(self, number: int) -> None:
        self._signal = number
        if self._service is None:
            return
        if self._attach is not None:
            self._service.stop()
        else:
            self._service.forward(number)

    def _target_event(self, event: Event) -> None:
        if isinstance(event, Exited):
            self.exited = event
        elif isinstance(event, StartFailed):
            self.start_failed = event


def _outcome(run: Run, status: int, fail_on: str) -> dict[str, Any]:
    """How the run went: the last line of ``--json``, and the file of ``--report``."""
    exited = run.exited
    return {
        "timestamp": rfc3339(time.time_ns()),
        "level": "info",
        "event": "run_summary",
        "target": run.config.target[0].name,
        "command": [_text(part) for part in run.config.target[0].command],
        "exit_status": status,
        "error": run.error,
        "program_status": exited.status if exited else None,
        "program_signal": exited.signal if exited else None,
        "seconds": round(exited.seconds, 3) if exited else None,
        "fail_on": fail_on,
        "hits": run.total,
        "records_lost": run.lost,
        "sites": summary.site_objects(run.sites),
    }


def _tell(run: Run, outcome: Mapping[str, Any], *, as_json: bool) -> None:
    """Close the run: a table for people, or one JSON object."""
    if as_json:
        service_runner.write_stderr(f"{msgspec.json.encode(outcome).decode()}\n")
        return
    if run.error is not None:
        report_error(run.error)
        return
    total, lost = run.total, run.lost
    name = printable(run.config.target[0].name)
    if not total:
        report_error(f"no guard hits in {name}.")
        if run.exited is not None and run.exited.signal == signal.SIGKILL:
            report_error(
                "it was killed all the same; `excguard doctor` says which guards nobody is told of here."
            )
        return
    title = f"excguard: {total} guard hit{'s' * (total != 1)} in {name}"
    service_runner.write_stderr(
        summary.table(title, run.sites, width=terminal_width(2), color=wants_color(2))
    )
    if lost:
        report_error(f"{lost} more could not be told apart: the journal was full.")
    if outcome["gate"]["failed"] and outcome["exit_status"] == _FAIL_ON_MET:
        report_error(f"--fail-on {outcome['fail_on']} was met, so the exit status is {_FAIL_ON_MET}.")


def _adapted(config: Config, arguments: tuple[str, ...], options: Mapping[str, Any]) -> Config:
    """``config`` with the one target of the command line, and with what its options say."""
    replace = msgspec.structs.replace
    name = _text(options["name"] or Path(arguments[0]).name or arguments[0])
    log, metrics = config.log, config.metrics
    if options["log_path"] is not None:
        log = replace(log, path=str(options["log_path"]))
    if options["log_format"] is not None:
        log = replace(log, format=options["log_format"])
    if options["metrics"] is not None:
        metrics = replace(metrics, listen="" if options["metrics"] == "off" else options["metrics"])
    behavior = Behavior(options["behavior"] or config.behavior)
    reply = Reply(options["reply"] or config.reply)
    return replace(
        config,
        behavior=behavior,
        reply=reply,
        log=log,
        metrics=metrics,
        # Reports come when the run is over, so without waiting for them there is nothing to watch.
        crash_reports=replace(
            config.crash_reports, enabled=config.crash_reports.enabled and config.crash_reports.wait > 0
        ),
        target=(Target(name=name, command=arguments, restart=Restart.NEVER, behavior=behavior, reply=reply),),
    )


def _text(argument: str) -> str:
    """An argument, which can be any bytes, for places that want text."""
    return os.fsencode(argument).decode("utf-8", "backslashreplace")

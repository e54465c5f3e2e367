"""`excguard run`: one program, watched from its first instruction to its last."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import msgspec

from excguard import config as configuration
from excguard.cli import gating, service_runner
from excguard.cli.one_run import Run
from excguard.cli.outcome import Outcome
from excguard.cli.results import Results
from excguard.cli.seconds import Seconds
from excguard.cli.service_runner import Failure, report_error
from excguard.config import Config, ConfigError, Delivery, LogFormat, Reply, Restart, Target
from excguard.files.escaping import utf8
from excguard.gate.baseline import BaselineError
from excguard.knowledge.exception_behavior import Behavior
from excguard.knowledge.severity import Severity
from excguard.pipeline.hit import rfc3339
from excguard.sources.crash_reports import directories
from excguard.targets.visibility import SEVERITIES


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
    help="The program's name in logs and metrics.  [default: its file name]",
)
@click.option(
    "--behavior",
    type=click.Choice([behavior.value for behavior in Behavior]),
    help="What the kernel reports about a hit; state_identity_protected adds registers, and so where in the "
    "code it was (macOS 15 and later); auto takes it if release and --reply allow it.  [default: auto]",
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
    "--require-visible",
    type=click.Choice([severity.value for severity in SEVERITIES]),
    help="Exit with 4 if hits this severe or worse could not have been seen.",
)
@click.option(
    "--delivery",
    type=click.Choice([delivery.value for delivery in Delivery]),
    default=Delivery.AUTO.value,
    show_default=True,
    help="How optional and soft hits come to be seen where the program's flags keep them back: by an "
    "inserted library (insert), by the program itself (client), or not (none). auto: insert where that is "
    "certain to work, else client.",
)
@click.option(
    "--delivery-children/--no-delivery-children",
    default=None,
    help="Whether the programs that it starts get the inserted library, too. dyld ends one that accepts its "
    "variables and validates its libraries, so by default they do not on a Mac, unless --delivery is insert.",
)
@click.option(
    "--wait-all",
    is_flag=True,
    help="Wait for the processes that the program leaves running, instead of ending them.",
)
@click.option(
    "--timeout",
    type=Seconds(min=0, min_open=True),
    metavar="SECONDS",
    help="End the program (SIGTERM) after this time, and exit with 124.",
)
@click.option(
    "--kill-after",
    type=Seconds(min=0, max=3600),
    metavar="SECONDS",
    default=5.0,
    show_default=True,
    help="From SIGTERM to SIGKILL, where a program is ended.",
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
    "--events",
    metavar="FILE|DESCRIPTOR",
    callback=_not_empty,
    help="Write these JSON lines to a file or an open descriptor (a number), apart from the program's own "
    "output. ./3 is a file.",
)
@click.option(
    "--report",
    metavar="FILE",
    callback=_not_empty,
    help="Write a summary of the run to this file, as JSON. - is standard output, after the program's.",
)
@click.option(
    "--junit",
    metavar="FILE",
    callback=_not_empty,
    help="Write a summary as JUnit XML, for build servers: each broken rule a failed test, those below "
    "--fail-on passed; what could not be seen is skipped.",
)
@click.option(
    "--collect",
    metavar="DIR",
    callback=_not_empty,
    help="Gather everything of this run in a new or empty directory: events, summary, journal, and the crash "
    "reports of its processes, which are waited for.",
)
@click.option(
    "--symbolicate/--no-symbolicate",
    default=None,
    help="Name the functions of hits: by atos on macOS (dSYMs that Spotlight finds, and programs that are "
    "not stripped), else by excguard[symbols].  [default: with --baseline, where one of them is installed]",
)
@click.option(
    "--dsym",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="A directory with dSYMs or Breakpad files; can be repeated. Implies --symbolicate.",
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
    **options: Any,  # noqa: ANN401 - the rest goes to `_run`
) -> int:
    """Run PROGRAM and explain every guard exception (EXC_GUARD) that the kernel raises in it.

    The program's input and output are its own. excguard writes to standard error: each hit as it happens, and
    a table of all of them at the end. Programs that PROGRAM starts are watched with it.

    \b
    Examples:
      excguard run -- ./app --its arguments
      excguard run --fail-on optional --log hits.jsonl -- ./tests
      excguard run --require-visible soft --junit run.xml -- ./tests
      excguard run --behavior state_identity_protected -- ./app
      excguard run --baseline guards.toml --update-baseline -- ./tests
      excguard run --baseline guards.toml --junit run.xml -- ./tests
      excguard run --behavior state_identity_protected --dsym build -- ./tests
      excguard run --collect artifacts -- ./tests
      excguard run -- python3 -m excguard.misuse double_deallocate

    \b
    Exit status:
      the program's own, or 128 and the number of the signal that ended it
      3    --fail-on was met, by a site that is in no baseline and no ignore rule
      4    --require-visible was not met
      124  --timeout has passed
      2    invalid command line or configuration
      125  excguard itself failed, or the program could not be started
           (a shell reports 126 or 127 for the latter)
    """  # noqa: D301 - click wants the real backspace
    with service_runner.json_errors(wanted=as_json):
        return _run(config_path, arguments, fail_on, as_json=as_json, **options)


def _run(  # noqa: PLR0913 - the options of the command
    config_path: Path | None,
    arguments: tuple[str, ...],
    fail_on: str | None,
    *,
    as_json: bool,
    report: str | None,
    junit: str | None,
    events: str | None,
    collect: str | None,
    symbolicate: bool | None,
    dsym: tuple[Path, ...],
    require_visible: str | None,
    timeout: float | None,
    **options: Any,  # noqa: ANN401 - the rest goes to `_adapted`
) -> int:
    started = rfc3339(time.time_ns())
    try:
        deprecated = service_runner.report_deprecated(as_json=as_json)
        config = configuration.load(config_path, on_deprecated=deprecated) if config_path else Config()
        config = _adapted(config, arguments, options)
        if collect is not None:
            config = _waiting_for_reports(config)
        configuration.check(config)
    except ConfigError as error:
        raise click.UsageError(str(error)) from None
    gate = gating.Gate(config.ignore, fail_on=fail_on, **{name: options[name] for name in gating.NAMES})
    must_see = _least(require_visible, gate.fail_on)
    with Results(
        report=report,
        junit=junit,
        events=events,
        collect=collect,
        symbolicate=symbolicate,
        names=options["baseline"] is not None,  # its ids have to hold in the next build
        directories=dsym,
    ) as results:
        form: LogFormat = "json" if as_json else "console"
        try:
            with service_runner.one_line_errors():
                results.open(*gate.files)
                run = Run(
                    config,
                    form,
                    timeout=timeout,
                    must_see=must_see,
                    streams=results.streams,
                    collection=results.collection,
                    symbolizer=results.symbolizer,
                )
                run.execute()
        except ConfigError as error:
            raise click.UsageError(f"{config_path}: {error}" if config_path else str(error)) from None
        except click.ClickException as error:
            results.failed(error.message)
            raise
        verdict = gate.judge(run.sites, run.hits)
        outcome = Outcome(run, verdict, gate.fail_on, gate.updates, require_visible)
        outcome.report(as_json=as_json)
        try:
            if run.error is None:
                _publish(gate, outcome, as_json=as_json)
        finally:  # also when the baseline cannot be written
            results.write(outcome, started=started)
    return outcome.status


def _publish(gate: gating.Gate, outcome: Outcome, *, as_json: bool) -> None:
    """Write the baseline and what else the gate's options ask for."""
    try:
        lines = gate.publish(outcome.run.name, outcome.gate, outcome.unseen)
    except (BaselineError, OSError) as error:
        raise Failure(service_runner.reason(error)) from None
    for line in lines:
        if line.startswith("::"):  # a workflow command stands alone on its line
            service_runner.write_stderr(f"{line}\n")
        elif not as_json:
            report_error(line)


def _least(*severities: str | None) -> Severity | None:
    """The least severe of some severities, "never" and None left out; None without any."""
    named = [Severity(severity) for severity in severities if severity not in (None, "never")]
    return min(named, key=lambda severity: severity.order, default=None)


def _waiting_for_reports(config: Config) -> Config:
    """``config`` with crash reports, which are waited for where a directory for them exists."""
    from excguard.cli.collection import WAIT  # noqa: PLC0415 - with all of crash_reports

    wait = config.crash_reports.wait
    if not wait and any(directory.is_dir() for directory in directories(config)):
        wait = WAIT
    replace = msgspec.structs.replace
    return replace(config, crash_reports=replace(config.crash_reports, enabled=wait > 0, wait=wait))


def _adapted(config: Config, arguments: tuple[str, ...], options: Mapping[str, Any]) -> Config:
    """``config`` with the one target of the command line, and with its options."""
    replace = msgspec.structs.replace
    name = utf8(options["name"] or Path(arguments[0]).name or arguments[0])
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
        # Reports come after the run, so without waiting for them there is nothing to read.
        crash_reports=replace(
            config.crash_reports, enabled=config.crash_reports.enabled and config.crash_reports.wait > 0
        ),
        target=(
            Target(
                name=name,
                command=arguments,
                restart=Restart.NEVER,
                behavior=behavior,
                reply=reply,
                stop_timeout=options["kill_after"],
                wait_all=options["wait_all"],
                delivery=Delivery(options["delivery"]),
                delivery_children=(
                    "auto" if options["delivery_children"] is None else options["delivery_children"]
                ),
            ),
        ),
    )

"""The configuration, and what it needs of this machine: programs, directories, a port."""

from collections.abc import Iterator
from pathlib import Path

from excguard import config as configuration
from excguard.config import Config, ConfigError, parse_listen
from excguard.doctor.finding import Finding, Status
from excguard.doctor.machine import System
from excguard.doctor.program import program
from excguard.knowledge.exception_behavior import Behavior
from excguard.mach.host import version
from excguard.sources.crash_reports import DEFAULT_DIRECTORIES
from excguard.targets.behavior import chosen


def read_config(path: Path, *, required: bool = True) -> tuple[Config | None, Finding]:
    """Is the configuration usable: what it holds, if it is, and the finding."""
    if not required and not path.exists():
        return Config(), Finding(
            "configuration",
            Status.OK,
            f"{path}: not there",
            "`excguard run` needs none; `excguard serve` does",
        )
    try:
        config = configuration.load(path)
    except ConfigError as error:
        return None, Finding(
            "configuration",
            Status.PROBLEM,
            str(error),
            "excguard does not start with it; one that runs keeps its old configuration",
            "fix the line that is named, and run this again",
        )
    names = ", ".join(target.name for target in config.target) or "no targets"
    return config, Finding("configuration", Status.OK, str(path), f"valid; watches {names}")


def behaviors(system: System, config: Config) -> Iterator[Finding]:
    """Does the release have the behaviors that the configuration asks for."""
    for target in config.target:
        behavior = chosen(target.behavior, target.reply, system.host)
        if system.host.version < version(behavior.since):
            yield Finding(
                f"target {target.name}",
                Status.PROBLEM,
                f'behavior "{behavior.value}" on macOS {system.host.release}',
                f"the kernel has it since macOS {behavior.since}; excguard refuses to start",
                f'set behavior = "{Behavior.IDENTITY_PROTECTED.value}"',
            )


def targets(system: System, config: Config) -> Iterator[Finding]:
    """Whether the configured programs can be watched."""
    for target in config.target:
        path = Path(target.command[0])
        check = f"target {target.name}"
        if path.is_absolute() and not path.exists():
            yield Finding(
                check,
                Status.PROBLEM,
                f"{path}: no such file",
                "it cannot be started",
                "correct its command in the configuration",
            )
        elif not system.host.simulated and path.is_absolute():
            yield from program(system, check, target)


def metrics_port(system: System, config: Config) -> Iterator[Finding]:
    """Is the port of the metrics free."""
    listen = parse_listen(config.metrics.listen)
    check = "metrics port"
    if listen is None:
        yield Finding(check, Status.OK, "off", "no metrics are served; metrics.listen is empty")
        return
    if isinstance(listen, Path):
        reason = system.unwritable(listen.parent)
        if reason is None:
            yield Finding(check, Status.OK, config.metrics.listen, "metrics can be served there")
        else:
            yield Finding(
                check,
                Status.PROBLEM,
                f"{config.metrics.listen}: {reason}",
                "excguard serve does not start: it cannot create the socket",
                "create the directory with write permission, or change metrics.listen",
            )
        return
    reason = system.taken(*listen)
    if reason is None:
        yield Finding(check, Status.OK, f"{config.metrics.listen} is free", "metrics can be served there")
    elif system.answers(*listen):
        yield Finding(
            check,
            Status.OK,
            f"{config.metrics.listen} is excguard's",
            "an excguard that runs serves its metrics there; `excguard run` beside it goes on without",
        )
    else:
        yield Finding(
            check,
            Status.PROBLEM,
            f"{config.metrics.listen}: {reason}",
            "excguard serve does not start: another program has the port, or the address is not of this Mac",
            f"see who has it (`lsof -nP -iTCP:{listen[1]}`), or set metrics.listen",
        )


def directories(system: System, config: Config) -> Iterator[Finding]:
    """Can the log and the journal be written."""
    wanted = {"log directory": config.log.path, "journal directory": config.journal.path}
    for check, path in wanted.items():
        if not path and check == "log directory":
            continue  # standard error
        directory = (Path(path) if path else configuration.default_journal_path()).parent
        reason = system.unwritable(directory)
        if reason is None:
            yield Finding(check, Status.OK, str(directory), "can be written to")
        else:
            yield Finding(
                check,
                Status.PROBLEM,
                f"{directory}: {reason}",
                "excguard serve does not start",
                f"make it writable for user id {system.uid}, or name another in the configuration",
            )


def report_directories(system: System, config: Config) -> Iterator[Finding]:
    """Can crash reports be read."""
    check = "crash reports"
    if not config.crash_reports.enabled:
        yield Finding(
            check, Status.OK, "off", "hits that are only in them are not seen; [crash_reports] is off"
        )
        return
    names = config.crash_reports.directories or (() if system.host.simulated else DEFAULT_DIRECTORIES)
    for name in names:
        directory = Path(name.replace("~", str(system.home), 1) if name.startswith("~/") else name)
        reason = system.unreadable(directory)
        if reason is None:
            yield Finding(check, Status.OK, str(directory), "new reports in it are read")
        else:
            yield Finding(
                check,
                Status.WARNING,
                f"{directory}: {reason}",
                "reports of what root runs are there, and administrators alone can read them",
                "run excguard as an administrator or as a daemon, if you watch such programs",
            )

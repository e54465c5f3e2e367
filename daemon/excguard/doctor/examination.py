"""Why does one (not) see guard hits on this machine? Small probes, each with an answer in words.

A probe asks a `System` (machine.py) and yields findings. What a
finding rests on is named beside it, by header or source file and release.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from excguard import config as configuration
from excguard.config import Config, ConfigError, parse_listen
from excguard.doctor import code_signature
from excguard.doctor.machine import System
from excguard.knowledge.exception_behavior import Behavior
from excguard.knowledge.guard_behavior import GuardBehavior
from excguard.launchd.install import domain_of
from excguard.launchd.job import Kind, Layout
from excguard.launchd.launchctl import Answer, Launchctl, LaunchctlError
from excguard.launchd.refusals import refusals
from excguard.mach.host import version
from excguard.sources.crash_reports import DEFAULT_DIRECTORIES

# osfmk/kern/exception.c of xnu-10002.41.9: from here on a fatal guard reaches no handler without Developer
# Mode.
_NEEDS_DEVELOPER_MODE = version("14.1")
# The oldest release with a protected behavior.
_OLDEST = version(Behavior.IDENTITY_PROTECTED.since)
# osfmk/kern/thread.c of the macOS 26 kernel writes one line for each guard into the unified log.
_LOGS_GUARDS = version("26")
# The directories that System Integrity Protection keeps for Apple.
_APPLES = ("/System/", "/bin/", "/sbin/", "/usr/bin/", "/usr/sbin/", "/usr/libexec/")


class Status(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True)
class Finding:
    """What a probe found.

    Attributes:
        check: which question it answers.
        status: whether it stands in the way.
        found: the fact.
        meaning: what follows from it for guard hits.
        advice: what to do; empty when there is nothing to do.
    """

    check: str
    status: Status
    found: str
    meaning: str
    advice: str = ""


def examine(system: System, config_path: Path | None = None, pid: int | None = None) -> list[Finding]:
    """Ask everything.

    Args:
        system: who answers.
        config_path: the configuration; None for the default one, which need not be there.
        pid: a process to attach to.
    """
    findings: list[Finding] = []
    for probe in (platform, developer_mode, integrity_protection, guard_flags, unified_log):
        findings += probe(system)
    path = config_path or configuration.default_path()
    config, finding = read_config(path, required=config_path is not None)
    findings.append(finding)
    if config is not None:
        findings += behaviors(system, config)
        findings += targets(system, config)
        findings += metrics_port(system, config)
        findings += directories(system, config)
        findings += report_directories(system, config)
    findings += attaching(system, pid)
    for kind in Kind:
        findings += launchd_job(system, kind)
    return findings


def platform(system: System) -> Iterator[Finding]:
    """Which kernel, and is it one that can do it at all."""
    host = system.host
    found = f"macOS {host.release} ({host.build}), {host.kernel}, {host.machine}"
    if host.simulated:
        yield Finding(
            "platform",
            Status.WARNING,
            f"no Mach here: the kernel is simulated, as macOS {host.release}",
            "only programs built for the simulated kernel raise guards; what is said below of Developer "
            "Mode and flags is said of it, and System Integrity Protection, code signing and launchd "
            "cannot be looked at",
            "run this on the Mac in question",
        )
    elif host.version < _OLDEST:
        yield Finding(
            "platform",
            Status.PROBLEM,
            found,
            "this kernel has no exception behavior that hands out no control port, and excguard uses no "
            "other",
            f"use macOS {Behavior.IDENTITY_PROTECTED.since} or later; reports of this Mac can still be read "
            "with `excguard report`",
        )
    else:
        yield Finding("platform", Status.OK, found, "guard exceptions can be received here")


def developer_mode(system: System) -> Iterator[Finding]:
    """Are fatal guards delivered to a handler."""
    host = system.host
    if host.developer_mode is None or host.version < _NEEDS_DEVELOPER_MODE:
        yield Finding(
            "developer mode",
            Status.OK,
            "plays no part on this release",
            "every guard goes to a handler, fatal ones too",
        )
    elif host.developer_mode:
        yield Finding("developer mode", Status.OK, "on", "every guard goes to a handler, fatal ones too")
    else:
        yield Finding(
            "developer mode",
            Status.PROBLEM,
            "off",
            "fatal guards kill the program and reach no handler (macOS 14.1 and later): excguard "
            "sees the program die, and the hit only when the crash report comes",
            "turn it on (System Settings, Privacy & Security, Developer Mode; or `sudo DevToolsSecurity "
            "-enable`) and restart, or have excguard watch crash reports ([crash_reports] in the "
            "configuration)",
        )


def integrity_protection(system: System) -> Iterator[Finding]:
    """Is System Integrity Protection on."""
    if system.host.simulated:
        return
    answer = system.run("csrutil", "status")
    words = re.search(r"status: (\w+)", answer.output) if answer else None
    if words and words[1] == "enabled":
        yield Finding(
            "System Integrity Protection",
            Status.OK,
            "on",
            "as on the Macs of your users; programs of Apple's cannot be attached to",
        )
    elif words and words[1] == "disabled":
        yield Finding(
            "System Integrity Protection",
            Status.WARNING,
            "off",
            "this Mac enforces other rules than those of your users, and kills in other cases",
            "test on a Mac where it is on as well (`csrutil enable` in Recovery)",
        )
    else:
        said = words[1] if words else "csrutil did not say"
        yield Finding(
            "System Integrity Protection",
            Status.WARNING,
            said,
            "parts of it may be off, so that other rules hold than on the Macs of your users",
            "look at `csrutil status`",
        )


def guard_flags(system: System) -> Iterator[Finding]:
    """What the kernel does about guards that need not be fatal: kern.task_exc_guard_default in words.

    The low byte is for Apple's and hardened programs, the next one for all others
    (``task_set_exc_guard_ctrl_port_default`` in osfmk/kern/task.c and
    ``TASK_EXC_GUARD_THIRD_PARTY_DEFAULT_SHIFT`` in osfmk/mach/task_info.h, xnu-11417.121.6).
    """
    value = system.host.guard_behavior
    if value is None:
        yield Finding(
            "guard flags",
            Status.WARNING,
            "kern.task_exc_guard_default cannot be read",
            "what becomes of soft and optional guards is not known",
        )
        return
    hardened, others = GuardBehavior(value & 0xFF), GuardBehavior(value >> 8 & 0xFF)
    for who, flags in (("Apple's and hardened programs", hardened), ("other programs", others)):
        yield _flags(who, flags, value)


def _flags(who: str, flags: GuardBehavior, value: int) -> Finding:
    check = f"guard flags of {who}"
    found = f"{flags.text()} (kern.task_exc_guard_default = {value:#x})"
    meaning = []
    advice = []
    if GuardBehavior.MP_FATAL in flags:
        meaning.append(
            "MP_FATAL: optional Mach port guards, such as INVALID_NAME, end the program like fatal ones"
        )
        advice.append("expect exits by SIGKILL; `excguard run --fail-on optional` makes a build fail on them")
    if GuardBehavior.MP_ONCE in flags or GuardBehavior.VM_ONCE in flags:
        kinds = " and ".join(
            kind
            for kind, flag in (("Mach port", GuardBehavior.MP_ONCE), ("memory", GuardBehavior.VM_ONCE))
            if flag in flags
        )
        meaning.append(
            f"ONCE: of soft and optional {kinds} guards only the first of a process is delivered, so counts "
            "are too low"
        )
        advice.append("take later ones from the unified log ([unified_log], macOS 26 and later)")
    if GuardBehavior.MP_CORPSE in flags or GuardBehavior.VM_CORPSE in flags:
        meaning.append("CORPSE: such guards are delivered for a copy of the process, with another pid")
    if GuardBehavior.MP_DELIVER not in flags:
        meaning.append(
            "without MP_DELIVER soft and optional Mach port guards are not delivered; fatal ones are"
        )
        advice.append(
            "let the program call task_set_exc_guard_behavior(mach_task_self(), TASK_EXC_GUARD_MP_DELIVER) "
            "in its test builds, or take them from the unified log ([unified_log], macOS 26 and later)"
        )
    if not meaning:
        return Finding(
            check, Status.OK, found, "each guard is delivered, and only fatal ones end the program"
        )
    return Finding(check, Status.WARNING, found, "; ".join(meaning), "; ".join(advice))


def unified_log(system: System) -> Iterator[Finding]:
    """Can guards be read from the unified log."""
    if system.host.simulated:
        return
    if system.host.version < _LOGS_GUARDS:
        yield Finding(
            "unified log",
            Status.OK,
            "this kernel writes no line for a guard",
            "the source [unified_log] finds nothing before macOS 26",
        )
        return
    groups = system.run("id", "-Gn")
    if system.uid != 0 and (groups is None or "admin" not in groups.output.split()):
        yield Finding(
            "unified log",
            Status.WARNING,
            "this user is no administrator",
            "`log stream` shows the kernel's lines to administrators only",
            "run excguard as one, or as a daemon, to use [unified_log]",
        )
    else:
        yield Finding(
            "unified log", Status.OK, "readable", "[unified_log] also sees programs that are not watched"
        )


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
        behavior = target.behavior
        if system.host.version < version(behavior.since):
            yield Finding(
                f"target {target.name}",
                Status.PROBLEM,
                f'behavior "{behavior.value}" on macOS {system.host.release}',
                f"the kernel has it since macOS {behavior.since}; excguard refuses to start",
                f'set behavior = "{Behavior.IDENTITY_PROTECTED.value}"',
            )


def targets(system: System, config: Config) -> Iterator[Finding]:
    """Would the configured programs let themselves be watched: their signatures."""
    for target in config.target:
        program = Path(target.command[0])
        check = f"target {target.name}"
        if program.is_absolute() and not program.exists():
            yield Finding(
                check,
                Status.PROBLEM,
                f"{program}: no such file",
                "it cannot be started",
                "correct its command in the configuration",
            )
        elif not system.host.simulated and program.is_absolute():
            yield signature(system, check, program)


def signature(system: System, check: str, program: Path) -> Finding:
    """What a program's code signature says about watching and attaching."""
    if str(program).startswith(_APPLES):
        return Finding(
            check,
            Status.WARNING,
            f"{program}: part of macOS",
            "System Integrity Protection keeps Apple's programs to itself: none can be attached to, and "
            "exception ports may be taken from it",
            "watch a program of your own; for Apple's, use [crash_reports] and [unified_log]",
        )
    signed = code_signature.read(system.run, program)
    if signed is None:
        return Finding(check, Status.OK, f"{program}: not signed", "it can be watched and attached to")
    found = f"{program}: {signed.text}"
    if signed.has("com.apple.security.only-one-exception-port"):
        return Finding(
            check,
            Status.PROBLEM,
            found,
            "only-one-exception-port: the program takes no handler but its own (KERN_DENIED), so no hit of "
            "it is live",
            "leave the entitlement out of test builds, or use [crash_reports] and [unified_log]",
        )
    notes = ["it can be watched"]
    if signed.platform_restrictions:
        notes.append(
            "platform restrictions: more misuse is fatal, and handlers must use a protected behavior, as "
            "excguard does"
        )
    if signed.runtime and not signed.has("com.apple.security.get-task-allow"):
        return Finding(
            check,
            Status.OK,
            found,
            "; ".join([*notes, "hardened runtime without get-task-allow: `excguard attach` is refused"]),
            "start it by excguard, or sign test builds with com.apple.security.get-task-allow",
        )
    return Finding(check, Status.OK, found, "; ".join([*notes, "and attached to"]))


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


def attaching(system: System, pid: int | None) -> Iterator[Finding]:
    """Would task_for_pid be allowed."""
    check = "attach" if pid is None else f"attach to {pid}"
    if pid is not None:
        error = system.task_for_pid(pid)
        if error is None:
            yield Finding(check, Status.OK, "task_for_pid is allowed", f"`excguard attach {pid}` can work")
        else:
            yield Finding(check, Status.PROBLEM, f"task_for_pid: {error}", *why_no_task_port(system, pid))
    elif system.host.simulated or system.uid == 0:
        yield Finding(
            check,
            Status.OK,
            "the simulated kernel gives a task port to its own user" if system.host.simulated else "root",
            "`excguard attach` can work on programs that neither System Integrity Protection nor the "
            "hardened runtime closes",
        )
    else:
        yield Finding(
            check,
            Status.WARNING,
            "not root",
            "`excguard attach` needs root or a signature with com.apple.security.cs.debugger, and a "
            "program with get-task-allow; `excguard run` needs neither",
            "start programs with `excguard run` or `serve` where you can; ask about one process with "
            "`excguard doctor --pid PID`",
        )


def why_no_task_port(system: System, pid: int) -> tuple[str, str]:  # noqa: PLR0911 - one for each reason
    """Why the kernel does not give away the task port of a process: meaning and advice."""
    run_it = "start the program with `excguard run`, which needs no task port"
    if system.host.simulated:
        return "there is no such process, or it belongs to another user", run_it
    found = system.run("ps", "-o", "uid=,comm=", "-p", str(pid))
    words = found.output.split(None, 1) if found else []
    if len(words) != 2:  # user id and command
        return f"there is no process {pid}", "look it up with `ps` or `pgrep`"
    owner, program = words[0], Path(words[1].strip())
    if str(program).startswith(_APPLES):
        return (
            f"{program} is part of macOS: System Integrity Protection gives its task port to no process",
            run_it,
        )
    if system.uid not in (0, int(owner)):
        return (
            f"{program} belongs to user id {owner}; only root may ask for the task port of another user's",
            f"sudo excguard attach {pid}",
        )
    signed = code_signature.read(system.run, program)
    if signed and signed.runtime and not signed.has("com.apple.security.get-task-allow"):
        return (
            f"{program} has the hardened runtime and no get-task-allow: no process gets its task port",
            f"sign test builds with com.apple.security.get-task-allow, or {run_it}",
        )
    if system.uid != 0:
        return (
            "other programs' task ports need root, or the entitlement com.apple.security.cs.debugger",
            f"sudo excguard attach {pid}, or {run_it}",
        )
    return "the kernel did not say why; a policy of this Mac may forbid it", run_it


def launchd_job(system: System, kind: Kind) -> Iterator[Finding]:
    """How the launchd job does."""
    if system.host.simulated:
        return
    layout = Layout(kind, system.home)
    check = f"launchd {kind.value}"
    option = " --daemon" if kind is Kind.DAEMON else ""

    def run(arguments: list[str]) -> Answer:
        answer = system.run("launchctl", *arguments)
        if answer is None:
            raise LaunchctlError("launchctl: not on this machine", 127)
        return answer

    installed = layout.property_list.exists()
    problems = (
        list(refusals(layout.property_list, owner=0 if kind is Kind.DAEMON else system.uid))
        if installed
        else []
    )
    for problem in problems:
        text, _, advice = problem.partition("; ")
        yield Finding(check, Status.PROBLEM, text, "launchd does not load or start it", advice)
    try:
        state = Launchctl(domain_of(kind, system.uid), kind.label, run=run).state()
    except LaunchctlError as error:
        yield Finding(check, Status.WARNING, str(error), "whether it runs is not known")
        return
    if state is None:
        yield Finding(
            check,
            Status.WARNING if installed else Status.OK,
            "installed, not loaded" if installed else "not installed",
            "it starts with the next login" if installed else "nothing runs in the background",
            f"excguard launchd install{option}" if installed else "",
        )
    elif state.pid is not None:
        yield Finding(
            check, Status.OK, f"runs, pid {state.pid}", "hits are being watched for in the background"
        )
    else:
        yield Finding(
            check,
            Status.PROBLEM,
            f"loaded, {state.state or 'not running'}"
            + (f", last exit {state.last_exit}" if state.last_exit else ""),
            "launchd starts it again and again, and it does not stay",
            f"see why: excguard launchd logs{option}",
        )

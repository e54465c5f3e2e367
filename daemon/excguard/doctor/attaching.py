"""Whether a process that runs already can be attached to, and why not."""

from collections.abc import Iterator
from pathlib import Path

from excguard.doctor.finding import Finding, Status
from excguard.doctor.machine import System
from excguard.doctor.program import signature_of
from excguard.targets.delivery import refused
from excguard.targets.executable import Executable
from excguard.targets.insertion import SYSTEM_DIRECTORIES


def attaching(system: System, pid: int | None) -> Iterator[Finding]:
    """Would task_for_pid be allowed."""
    check = "attach" if pid is None else f"attach to {pid}"
    if pid is not None:
        error = system.task_for_pid(pid)
        if reason := refused(Executable.of(Path(system.path_of(pid))), system.host):
            yield Finding(
                check,
                Status.PROBLEM,
                reason,
                "newer kernels end the process that registers another port with EXCEPTION_BEHAVIOR_ENFORCE, "
                "older ones refuse it (KERN_DENIED); `excguard attach` does not try",
                "leave the entitlement out of test builds, or use [crash_reports] and [unified_log]",
            )
        elif error is None:
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
    if str(program).startswith(SYSTEM_DIRECTORIES):
        return (
            f"{program} is part of macOS: System Integrity Protection gives its task port to no process",
            run_it,
        )
    if system.uid not in (0, int(owner)):
        return (
            f"{program} belongs to user id {owner}; only root may ask for the task port of another user's",
            f"sudo excguard attach {pid}",
        )
    signed = signature_of(system, program)
    if signed and signed.runtime and not signed.has("get-task-allow"):
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

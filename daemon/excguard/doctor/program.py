"""Whether a program can be watched: its signature, and whether a library can be inserted into it."""

import os
from collections.abc import Iterator
from pathlib import Path

from excguard.config import Delivery, Target
from excguard.doctor.finding import Finding, Status
from excguard.doctor.machine import System
from excguard.files import errors
from excguard.mach.spawn import find_program
from excguard.targets import insertion
from excguard.targets.code_signature import Signature
from excguard.targets.delivery import DELIVER, Plan, plan
from excguard.targets.executable import Executable
from excguard.targets.insertion import SYSTEM_DIRECTORIES, Effect


def program(system: System, check: str, target: Target) -> Iterator[Finding]:
    """Whether the program of a target can be watched, and how its hits come to be delivered."""
    environment = {**os.environ, **target.environment}
    try:
        path = Path(find_program(target.command, environment, target.directory))
    except (OSError, ValueError) as error:
        reason = errors.reason(error) if isinstance(error, OSError) else str(error)
        yield Finding(check, Status.PROBLEM, f"{target.command[0]}: {reason}", "it cannot be started")
        return
    chosen = plan(target, path, system.host, environment)
    if not system.host.simulated:
        yield _signed(check, chosen)
    yield _delivery(system, check, chosen, environment)


def signature_of(system: System, path: Path) -> Signature | None:
    """The signature of the code that runs when a file is started here; None when it has none."""
    slices = Executable.of(path).running_slices(system.host.machine)
    return next((one.signature for one in slices if one.signature is not None), None)


def _signed(check: str, chosen: Plan) -> Finding:
    """What a program's code signature says about watching and attaching."""
    path = chosen.executable.path
    if str(path).startswith(SYSTEM_DIRECTORIES):
        return Finding(
            check,
            Status.WARNING,
            f"{path}: part of macOS",
            "System Integrity Protection keeps Apple's programs to itself: none can be attached to, and "
            "exception ports may be taken from it",
            "watch a program of your own; for Apple's, use [crash_reports] and [unified_log]",
        )
    slices = chosen.executable.slices
    signed = next((one.signature for one in slices if one.signature is not None), None)
    if signed is None:
        return Finding(check, Status.OK, f"{path}: not signed", "it can be watched and attached to")
    found = f"{path}: {signed.text}"
    if chosen.refused:
        return Finding(
            check,
            Status.PROBLEM,
            found,
            f"{chosen.refused}: a registration of another one is refused with KERN_DENIED, or ends the "
            "process that tries, so no hit of it is live",
            "leave the entitlement out of test builds, or use [crash_reports] and [unified_log]",
        )
    notes = ["it can be watched"]
    if signed.platform_restrictions:
        notes.append(
            "platform restrictions: more misuse is fatal, and handlers must use a protected behavior, as "
            "excguard does"
        )
    if signed.runtime and not signed.has("get-task-allow"):
        return Finding(
            check,
            Status.OK,
            found,
            "; ".join([*notes, "hardened runtime without get-task-allow: `excguard attach` is refused"]),
            "start it by excguard, or sign test builds with com.apple.security.get-task-allow",
        )
    return Finding(check, Status.OK, found, "; ".join([*notes, "and attached to"]))


def _delivery(system: System, check: str, chosen: Plan, environment: dict[str, str]) -> Finding:
    """How the optional and soft hits of a program come to be seen."""
    check = f"{check}: delivery"
    script = f" (it runs {chosen.executable.script})" if chosen.executable.script else ""
    found = f"{chosen.executable.path}{script}: starts with {chosen.flags.text()}"
    if DELIVER in chosen.flags:
        return Finding(check, Status.OK, found, "its optional and soft hits are delivered as it is")
    if chosen.delivery is Delivery.INSERT and not chosen.undelivered:
        children = (
            f"; its children run without it: {chosen.children_reason}" if chosen.children_reason else ""
        )
        return Finding(
            check,
            Status.OK,
            found,
            f"dyld takes the library that excguard inserts, which has all hits delivered{children}",
        )
    effects = {
        Effect.FATAL: f"dyld would end the program if excguard inserted its library: {chosen.undelivered}",
        Effect.IGNORED: f"dyld ignores inserted libraries: {chosen.undelivered}",
        Effect.UNKNOWN: f"whether dyld takes an inserted library is not certain: {chosen.undelivered}",
        Effect.LOADED: f"its optional and soft hits are not delivered: {chosen.undelivered}",
    }
    try:
        effect = insertion.judge(chosen.executable, insertion.library_path(), system.host, environment).effect
    except FileNotFoundError:
        effect = Effect.UNKNOWN
    return Finding(check, Status.WARNING, found, effects[effect], chosen.fix)

"""The running system: what its kernel delivers, and what of it this user can read."""

import re
from collections.abc import Iterator

from excguard.doctor.finding import Finding, Status
from excguard.doctor.machine import System
from excguard.knowledge import releases
from excguard.knowledge.exception_behavior import Behavior
from excguard.knowledge.guard_behavior import GuardBehavior
from excguard.mach.host import version
from excguard.targets.visibility import LOGS_GUARDS, NEEDS_DEVELOPER_MODE, default_flags

# The oldest release with a protected behavior.
_OLDEST = version(Behavior.IDENTITY_PROTECTED.since)


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
    elif doubt := releases.doubt(host.release, host.kernel):
        yield Finding(
            "platform",
            Status.WARNING,
            found,
            f"guard exceptions can be received here; {doubt}",
            "look for a newer excguard, and give decode and report the release with --os",
        )
    else:
        yield Finding("platform", Status.OK, found, "guard exceptions can be received here")


def developer_mode(system: System) -> Iterator[Finding]:
    """Are fatal guards delivered to a handler."""
    host = system.host
    if host.developer_mode is None or host.version < NEEDS_DEVELOPER_MODE:
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
    """What the kernel does about guards that need not be fatal: kern.task_exc_guard_default in words."""
    value = system.host.guard_behavior
    if value is None:
        yield Finding(
            "guard flags",
            Status.WARNING,
            "kern.task_exc_guard_default cannot be read",
            "what becomes of soft and optional guards is not known",
        )
        return
    for who, hardened in (("Apple's and hardened programs", True), ("other programs", False)):
        yield _flags(who, default_flags(system.host, hardened=hardened), value)


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
            "excguard inserts a library that sets it into the program, where that works: see `excguard "
            "doctor -- PROGRAM`; elsewhere the program calls excguard_client_watch_self, or the unified log "
            "has the hits (macOS 26 and later)"
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
    if system.host.version < LOGS_GUARDS:
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

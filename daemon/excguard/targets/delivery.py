"""How the optional and soft guard hits of a program come to reach its handler: decided before each start.

xnu delivers those hits only to tasks that have DELIVER among their ``task_exc_guard`` flags, and programs
that are neither Apple's nor hardened start without it. Only a task itself can set its flags, and any task may
add DELIVER (``task_exc_guard_no_unset_mask``, osfmk/kern/task.c).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from excguard.config import Delivery, Registration, Target
from excguard.knowledge.exception_behavior import Behavior
from excguard.knowledge.guard_behavior import GuardBehavior
from excguard.knowledge.record import Record
from excguard.mach.host import Host, version
from excguard.targets import insertion
from excguard.targets.executable import Executable
from excguard.targets.insertion import Effect, Verdict
from excguard.targets.visibility import default_flags

DELIVER: Final = GuardBehavior.MP_DELIVER | GuardBehavior.VM_DELIVER

_ONE_PORT: Final = "only-one-exception-port"


class Plan(Record):
    """What is done about a program's flags.

    Attributes:
        delivery: INSERT, CLIENT or NONE.
        executable: the program.
        flags: those that it starts with.
        library: the library to insert; None without INSERT.
        children: whether the programs that it starts get the library too.
        children_reason: why they do not, though the configuration wants it; or empty.
        children_delivered: whether programs start with DELIVER here, so that those without it lose no hits.
        undelivered: why its flags are not changed by INSERT; empty with INSERT, and when they need no change.
        refused: why the program accepts no exception port; or empty.
        fix: what would let its hits be delivered; or empty.
    """

    delivery: Delivery
    executable: Executable
    flags: GuardBehavior
    library: Path | None = None
    children: bool = False
    children_reason: str = ""
    children_delivered: bool = False
    undelivered: str = ""
    refused: str = ""
    fix: str = ""

    @property
    def needed(self) -> bool:
        """Whether the program's hits do not reach handlers as it is."""
        return DELIVER not in self.flags

    @property
    def children_watched(self) -> bool:
        """Whether the library is needed in the programs that it starts, and inserted."""
        return self.delivery is Delivery.INSERT and self.children and not self.children_delivered

    def variables(self, target: Target, inherited: Mapping[str, str]) -> dict[str, str]:
        """What the program's environment needs for the library to be loaded.

        Args:
            target: whose program it is.
            inherited: excguard's own environment, which the program has as well.
        """
        if self.library is None:
            return {}
        name = insertion.VARIABLE
        libraries = target.environment.get(name, inherited.get(name, ""))
        return {name: insertion.with_library(self.library, libraries)}


def plan(
    target: Target,
    program: Path,
    host: Host,
    environment: Mapping[str, str],
    *,
    ended_with_library: bool = False,
) -> Plan:
    """Decide how the program of a target is started.

    Args:
        target: the configuration.
        program: the file that its command names.
        host: the running system.
        environment: of the program.
        ended_with_library: its last start may have been ended because of the library, which is not tried
            again then, unless the configuration demands it.
    """
    executable = Executable.of(program)
    flags = default_flags(host, hardened=_hardened(executable, host, environment))
    no_port = refused(executable, host)
    wanted = target.delivery
    # Registers say where a hit was if the images are known, which the library reports.
    if (
        wanted is Delivery.AUTO
        and DELIVER in flags
        and target.behavior is not Behavior.STATE_IDENTITY_PROTECTED
    ):
        return Plan(Delivery.NONE, executable, flags, refused=no_port)
    if wanted is Delivery.NONE:
        return Plan(
            Delivery.NONE,
            executable,
            flags,
            undelivered='delivery is "none"',
            refused=no_port,
            fix='set delivery = "auto"',
        )
    if wanted is Delivery.CLIENT:
        return _by_client(executable, flags, Verdict(Effect.IGNORED, 'delivery is "client"'), no_port)
    try:
        library = insertion.library_path()
        verdict = insertion.judge(executable, library, host, environment)
        if ended_with_library:
            verdict = Verdict(Effect.FATAL, "its last start was ended before the library had reported")
    except FileNotFoundError as error:
        return _without_library(target, executable, flags, Verdict(Effect.UNKNOWN, str(error)), no_port)
    if verdict.effect is Effect.LOADED or wanted is Delivery.INSERT:
        children, reason = _children(target, executable, library, host)
        return Plan(
            Delivery.INSERT,
            executable,
            flags,
            library=library,
            children=children,
            children_reason=reason,
            children_delivered=DELIVER in default_flags(host, hardened=False),
            undelivered=verdict.reason,
            refused=no_port,
            fix=verdict.fix,
        )
    return _without_library(target, executable, flags, verdict, no_port)


def _without_library(
    target: Target, executable: Executable, flags: GuardBehavior, verdict: Verdict, no_port: str
) -> Plan:
    if target.delivery is Delivery.AUTO and DELIVER in flags:
        return Plan(Delivery.NONE, executable, flags, refused=no_port)
    return _by_client(executable, flags, verdict, no_port)


def _children(target: Target, executable: Executable, library: Path, host: Host) -> tuple[bool, str]:
    """Whether the variables stay for the programs that a program starts, and why not.

    A program that accepts dyld's variables and validates its libraries is ended by dyld (`insertion.judge`).
    Which programs are started is not known beforehand, so it is a person who decides that none is such a one.
    """
    wanted = target.delivery_children
    if wanted is False or target.delivery is Delivery.INSERT or host.simulated:
        return wanted is not False, ""
    if wanted == "auto":
        return False, (
            "dyld would end one that accepts its variables and validates its libraries; if it starts none "
            "such, set delivery_children = true (--delivery-children)"
        )
    reason = insertion.endangered(executable, library, host)
    return not reason, reason


def _by_client(executable: Executable, flags: GuardBehavior, verdict: Verdict, no_port: str) -> Plan:
    fix = "have the program call excguard_client_watch_self (excguard_client.c)"
    return Plan(
        Delivery.CLIENT,
        executable,
        flags,
        undelivered=verdict.reason,
        refused=no_port,
        fix=f"{verdict.fix}, or {fix}" if verdict.fix else fix,
    )


def _hardened(executable: Executable, host: Host, environment: Mapping[str, str]) -> bool:
    """Whether the kernel gives the program the flags of hardened ones.

    Apple's programs in every release; from 14.4 to 15.x those with the hardened runtime, and from 26.0 on
    those with platform restrictions (task_set_exc_guard_ctrl_port_default, osfmk/kern/task.c).
    """
    if host.simulated:
        return environment.get(insertion.SIMULATED_HARDENED, "0") != "0"
    signatures = [one.signature for one in executable.running_slices(host.machine) if one.signature]
    if any(signature.platform for signature in signatures):
        return True
    if host.version >= version("26"):
        return any(signature.platform_restrictions for signature in signatures)
    return host.version >= version("14.4") and any(signature.runtime for signature in signatures)


def refused(executable: Executable, host: Host) -> str:
    """Why the program accepts no exception port of excguard's; empty when it does."""
    slices = [] if host.simulated else executable.running_slices(host.machine)
    if any(one.signature and one.signature.has(_ONE_PORT) for one in slices):
        return f"the program accepts no exception port but its own (com.apple.security.{_ONE_PORT})"
    return ""


def offers_client(chosen: Plan, target: Target) -> bool:
    """Whether the program may fetch its exception port, and set its flags, by excguard_client.c."""
    return chosen.delivery is Delivery.CLIENT or target.registration is not Registration.SPAWN

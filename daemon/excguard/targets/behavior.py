"""``behavior = "auto"``: with registers where that is possible: they say where in the code a hit was."""

import msgspec

from excguard.config import Config, Reply
from excguard.knowledge.exception_behavior import Behavior
from excguard.mach.errors import UnsupportedReleaseError
from excguard.mach.exception_ports import check_supported
from excguard.mach.host import Host


def with_behaviors(config: Config, host: Host) -> Config:
    """``config`` with a behavior that the kernel has in place of each "auto"."""
    replace = msgspec.structs.replace
    return replace(
        config,
        behavior=chosen(config.behavior, config.reply, host),
        target=tuple(
            replace(target, behavior=chosen(target.behavior, target.reply, host)) for target in config.target
        ),
    )


def chosen(behavior: Behavior, reply: Reply, host: Host) -> Behavior:
    """``behavior``, or what "auto" stands for: with registers unless the release or the reply forbids it.

    A reply of success makes the kernel write registers back (`config.checks`), so "consume" goes without.
    """
    if behavior is not Behavior.AUTO:
        return behavior
    if reply is Reply.CONSUME:
        return Behavior.IDENTITY_PROTECTED
    try:
        check_supported(Behavior.STATE_IDENTITY_PROTECTED, host)
    except UnsupportedReleaseError:
        return Behavior.IDENTITY_PROTECTED
    return Behavior.STATE_IDENTITY_PROTECTED

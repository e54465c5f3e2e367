"""``[unified_log] enabled = "auto"``: read the unified log where it shows hits that no handler receives."""

import grp
import os
from pathlib import Path

import msgspec

from excguard.config import Config, Delivery, Target
from excguard.mach.host import Host
from excguard.mach.spawn import find_program
from excguard.targets.delivery import DELIVER, plan
from excguard.targets.visibility import LOGS_GUARDS, developer_mode_hides_fatal


def with_log_where_needed(config: Config, host: Host) -> Config:
    """``config`` with the unified log switched on if "auto" says so here; unchanged otherwise."""
    log = config.unified_log
    if log.enabled != "auto" or not _readable(config, host):
        return config
    if not any(_keeps_hits_back(target, host) for target in config.target):
        return config
    return msgspec.structs.replace(config, unified_log=msgspec.structs.replace(log, enabled=True))


def _readable(config: Config, host: Host) -> bool:
    """Whether the kernel writes guards into the log, and this user can read them there."""
    if host.version < LOGS_GUARDS:
        return False
    if config.unified_log.command:
        return True
    return not host.simulated and (os.geteuid() == 0 or _is_administrator())


def _is_administrator() -> bool:
    try:
        return grp.getgrnam("admin").gr_gid in os.getgroups()
    except KeyError:
        return False


def _keeps_hits_back(target: Target, host: Host) -> bool:
    """Whether hits of a target do not reach its handler."""
    environment = {**os.environ, **target.environment}
    try:
        program = find_program(target.command, environment, target.directory)
    except (OSError, ValueError):  # its start will report that
        return False
    chosen = plan(target, Path(program), host, environment)
    delivered = DELIVER in chosen.flags or chosen.delivery is Delivery.INSERT
    return bool(chosen.refused) or not delivered or developer_mode_hides_fatal(host)

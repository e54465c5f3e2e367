"""Why are guard hits (not) seen on this machine? Small probes, each with a finding in words.

A probe asks a `System` (machine.py) and yields findings. What a finding rests on is named beside it, by
header or source file and release. There is a module for each subject.
"""

from collections.abc import Sequence
from pathlib import Path

from excguard import config as configuration
from excguard.config import Target
from excguard.doctor.attaching import attaching
from excguard.doctor.configuration import (
    behaviors,
    directories,
    metrics_port,
    read_config,
    report_directories,
    targets,
)
from excguard.doctor.finding import Finding
from excguard.doctor.kept_state import kept_state
from excguard.doctor.kernel import developer_mode, guard_flags, integrity_protection, platform, unified_log
from excguard.doctor.launchd_job import launchd_job
from excguard.doctor.machine import System
from excguard.doctor.program import program
from excguard.launchd.job import Kind

_SYSTEM = (platform, developer_mode, integrity_protection, guard_flags, unified_log)


def examine(
    system: System,
    config_path: Path | None = None,
    pid: int | None = None,
    command: Sequence[str] = (),
) -> list[Finding]:
    """Run every probe.

    Args:
        system: who answers.
        config_path: the configuration; None for the default one, which need not be there.
        pid: a process to attach to.
        command: a program to watch, and its arguments; empty for none.
    """
    findings: list[Finding] = []
    for probe in _SYSTEM:
        findings += probe(system)
    path = config_path or configuration.default_path()
    config, finding = read_config(path, required=config_path is not None)
    findings.append(finding)
    if config is not None:
        findings += behaviors(system, config)
        findings += targets(system, config)
        findings += metrics_port(system, config)
        findings += directories(system, config)
        findings += kept_state(system, config)
        findings += report_directories(system, config)
    if command:
        findings += program(system, "program", Target(name="program", command=tuple(command)))
    findings += attaching(system, pid)
    for kind in Kind:
        findings += launchd_job(system, kind)
    return findings

"""Compiles the C core into test programs."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from tests.support import ROOT, simulator
from tests.support.compiler import WARNINGS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

HERE = ROOT / "tests/native"
NATIVE = ROOT / "daemon/excguard/native"
KNOWLEDGE = ROOT / "daemon/excguard/knowledge"

# The core without the receiver: it calls nothing of Mach.
PURE_SOURCES = [
    KNOWLEDGE / "c_decoder/guard.c",
    *(NATIVE / name for name in ("message_handler.c", "journal.c", "journal_open.c", "parser.c")),
]


def guard_table(directory: Path) -> Path:
    """Generates guard_table.h in ``directory``."""
    table = directory / "guard_table.h"
    if not table.exists():
        subprocess.run([sys.executable, str(KNOWLEDGE / "generate_c.py"), str(table)], check=True)
    return table


def include_options(directory: Path) -> list[str]:
    """Where the headers are; on a Mac the SDK has its own."""
    return [
        f"-I{NATIVE}",
        f"-I{KNOWLEDGE}/c_decoder",
        f"-I{HERE}",
        f"-I{guard_table(directory).parent}",
        *simulator.HEADERS,
    ]


def build(cc: str, directory: Path, program: Path, out: str, *options: str) -> Path:
    """Compiles ``program`` with the pure part of the core to ``directory/out``."""
    return link(cc, directory, [program, *PURE_SOURCES], out, options)


def build_with_receiver(cc: str, directory: Path, program: Path, out: str, *options: str) -> Path:
    """Compiles ``program`` with all of the core; the simulator stands in for Mach where there is none."""
    sources = [program, *PURE_SOURCES, NATIVE / "receiver.c"]
    return link(cc, directory, [*sources, *simulator.LIBRARIES], out, ["-pthread", *options])


def link(cc: str, directory: Path, files: list[Path], out: str, options: Sequence[str]) -> Path:
    """Compiles ``files``, which are all that it takes, to ``directory/out``."""
    target = directory / out
    command = [cc, "-std=c11", *WARNINGS, *options, *include_options(directory)]
    subprocess.run([*command, *map(str, files), "-o", str(target)], check=True)
    return target

"""The readers in C: what is compiled into the fuzzer of each."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from tests.support import compiler, rendezvous_child, simulator, toolchain

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HERE = toolchain.ROOT / "tests/fuzz"
OPTIONS = ["-O1", "-fsanitize=fuzzer", *compiler.SANITIZERS]


def _messages(cc: str, directory: Path) -> Path:
    return toolchain.build(cc, directory, HERE / "messages.c", "messages", *OPTIONS)


def _journal(cc: str, directory: Path) -> Path:
    files = [HERE / "journal.c", toolchain.KNOWLEDGE / "c_decoder/guard.c"]
    names = ("journal.c", "journal_open.c", "journal_watch.c", "record_run.c", "parser.c")
    files += [toolchain.NATIVE / name for name in names]
    return toolchain.link(cc, directory, files, "journal", ["-pthread", *OPTIONS])


def _columns(cc: str, directory: Path) -> Path:
    files = [HERE / "columns.c", toolchain.KNOWLEDGE / "c_decoder/guard.c"]
    files += [toolchain.NATIVE / name for name in ("columns.c", "samples.c")]
    return toolchain.link(cc, directory, files, "columns", OPTIONS)


def _rendezvous_reply(cc: str, directory: Path) -> Path:
    client = rendezvous_child.CLIENT
    files = [HERE / "rendezvous_reply.c", client / "excguard_client.c", *simulator.LIBRARIES]
    return toolchain.link(cc, directory, files, "rendezvous-reply", [f"-I{client}", *OPTIONS])


READERS: dict[str, Callable[[str, Path], Path]] = {
    "messages": _messages,
    "journal": _journal,
    "columns": _columns,
    "rendezvous-reply": _rendezvous_reply,
}


def build(name: str, directory: Path) -> Path:
    """Compiles the fuzzer of a reader."""
    cc = compiler.clang()
    if cc is None:
        sys.exit("fuzzing readers in C needs clang with its sanitizers")
    return READERS[name](cc, directory)

"""Fuzzes the parser and the receiver's answer with libFuzzer: `python -m tests.native.fuzz CORPUS [OPTIONS]`.

CORPUS is a directory that keeps what libFuzzer finds interesting between runs; it is made when it is not
there, and seeded with well formed messages. OPTIONS are libFuzzer's: `-max_total_time=600` for ten minutes,
for example. A finding is written to the current directory as crash-*, and the exit status is then not 0.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from tests.support import compiler, corpus, toolchain


def run(directory: Path, options: list[str], build_directory: Path) -> subprocess.CompletedProcess[str]:
    """Builds the fuzzer and runs it on ``directory``."""
    cc = compiler.clang()
    if cc is None:
        sys.exit("fuzzing needs clang")
    fuzzer = toolchain.build(
        cc,
        build_directory,
        toolchain.HERE / "fuzz_messages.c",
        "fuzz_messages",
        "-O1",
        "-fsanitize=fuzzer",
        *compiler.SANITIZERS,
    )
    directory.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(corpus.seeds()):
        (directory / f"seed-{number:03}").write_bytes(seed)
    command = [str(fuzzer), str(directory), "-max_len=5400", *options]
    return subprocess.run(command, check=False, text=True, stderr=subprocess.PIPE)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: python -m tests.native.fuzz CORPUS [libFuzzer options]")
    with tempfile.TemporaryDirectory() as temporary:
        done = run(Path(sys.argv[1]), sys.argv[2:], Path(temporary))
    print(done.stderr[-4000:])  # noqa: T201 - a program
    sys.exit(done.returncode)

"""Parser, answer and journal under AddressSanitizer and UndefinedBehaviorSanitizer, and under a fuzzer."""

from __future__ import annotations

import struct
import subprocess
from typing import TYPE_CHECKING

import corpus
import fuzz
import pytest
import toolchain

if TYPE_CHECKING:
    from pathlib import Path

needs_clang = pytest.mark.skipif(toolchain.clang() is None, reason="no clang")


@pytest.fixture
def clang() -> str:
    found = toolchain.clang()
    assert found is not None
    return found


@needs_clang
def test_properties_hold_and_nothing_is_read_outside(tmp_path: Path, clang: str) -> None:
    messages = [*corpus.seeds(), *corpus.mutations(20_000, seed=2)]
    for message in corpus.seeds()[:8]:
        messages += [message[:length] for length in range(len(message))]
    file = tmp_path / "messages"
    file.write_bytes(b"".join(struct.pack("<I", len(message)) + message for message in messages))
    program = toolchain.build(
        clang, tmp_path, toolchain.HERE / "check_messages.c", "check", "-O1", *toolchain.SANITIZERS
    )

    done = subprocess.run([program, file], check=False, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == len(messages)


@needs_clang
def test_fuzzer_finds_nothing_in_a_moment(tmp_path: Path) -> None:
    """A run too short to find much: it shows that the harness works. fuzz.py runs as long as you like."""
    done = fuzz.run(tmp_path / "corpus", ["-runs=20000", f"-artifact_prefix={tmp_path}/"], tmp_path)

    assert done.returncode == 0, done.stderr[-4000:]
    assert "Done 20000 runs" in done.stderr

"""The journal's promise: whenever its process is killed, all acknowledged hits are there, counted once."""

from __future__ import annotations

import random
import struct
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from tests.support import compiler, toolchain
from tests.support.journal import Journal

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(compiler.find() is None, reason="no C compiler")

KINDS = 5


def build(directory: Path, name: str) -> Path:
    cc = compiler.find()
    assert cc is not None
    return toolchain.build(cc, directory, toolchain.HERE / f"{name}.c", name, "-O2", "-pthread")


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if sys.platform != "linux":
        pytest.skip("stepping through a process by instructions is written for Linux")
    return build(tmp_path_factory.mktemp("steps"), "journal_steps")


@pytest.mark.parametrize(
    ("action", "at_least"),
    [
        ("append", 8),
        ("answer", 9),
        ("first", 12),
        ("state", 9),
        ("fresh", 9),
        ("over", 8),
        ("full", 3),
        ("advance", 2),
        pytest.param("create", 5, marks=pytest.mark.slow),
        pytest.param("reset", 10, marks=pytest.mark.slow),
    ],
)
def test_a_kill_at_any_instruction(steps: Path, tmp_path: Path, action: str, at_least: int) -> None:
    done = subprocess.run([steps, action, tmp_path / "journal"], check=False, capture_output=True, text=True)

    if done.returncode == 3:
        pytest.skip("ptrace is not allowed here")
    assert done.returncode == 0, done.stderr
    instructions, states = map(int, done.stdout.split())
    assert instructions > 20
    assert states >= at_least  # every store was seen on its own


def test_kills_at_random_moments(tmp_path: Path) -> None:
    writer = build(tmp_path, "journal_writer")
    journal_path, acknowledged, log = tmp_path / "journal", tmp_path / "acknowledged", tmp_path / "log"
    acknowledged.write_bytes(bytes(8 * KINDS))
    rng = random.Random()  # noqa: S311 - moments, not secrets
    for _ in range(200):
        with subprocess.Popen([writer, journal_path, acknowledged, log], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.read(1), "it did not start"
            time.sleep(rng.random() * 0.005)  # any moment will do
            process.kill()

        with Journal(journal_path, 0) as journal:
            counted = [0] * KINDS
            recorded = 0
            for (target, guard_type, flavor), (with_record, lost) in journal.hits().items():
                assert (target, guard_type) == (1, 1)
                counted[flavor.bit_length() - 9] = with_record + lost
                recorded += with_record
            acks_written = list(struct.unpack(f"<{KINDS}Q", acknowledged.read_bytes()))
            ahead = sum(counted) - sum(acks_written)
            # The kill may have come between a hit's journalling and its acknowledgement; for one hit at most.
            assert ahead in (0, 1)
            assert all(count >= acks for count, acks in zip(counted, acks_written, strict=True))
            acknowledged.write_bytes(struct.pack(f"<{KINDS}Q", *counted))

            # Every record is in the log, or waits: what was given back was logged, in order.
            logged = log.read_bytes()
            seqs = struct.unpack(f"<{len(logged) // 8}Q", logged)
            pending = [record.seq for record in journal.peek()]
            oldest = recorded - journal.pending
            assert pending == list(range(oldest, oldest + len(pending)))
            assert set(range(oldest)) <= set(seqs)
            # A record may be logged again after a kill, but then it had not been given back.
            assert len(seqs) - len(set(seqs)) <= 16
        log.write_bytes(struct.pack(f"<{oldest}Q", *range(oldest)) if oldest < 5000 else b"")
        if oldest >= 5000:
            journal_path.unlink()
            acknowledged.write_bytes(bytes(8 * KINDS))

"""How many kernel calls a hit costs the receiver: exact, without a kernel (receiver_calls.c)."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support import ROOT, compiler, toolchain

if TYPE_CHECKING:
    from pathlib import Path

MESSAGES = 1000
TOKEN_BATCH = 64  # receiver.c


pytestmark = pytest.mark.skipif(sys.platform == "darwin", reason="on a Mac these functions are libSystem's")


def run(directory: Path, messages: int, tokens: int = 1) -> dict[str, float]:
    source = ROOT / "tests/native/receiver_calls.c"
    receiver = str(toolchain.NATIVE / "receiver.c")
    program = toolchain.build(
        compiler.require(), directory, source, "receiver_calls", "-O2", "-pthread", receiver
    )
    command = [program, directory / "journal", str(messages), str(tokens)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return {name: float(value) for name, value in (line.split() for line in done.stdout.splitlines())}


def test_records_keep_the_time_of_day_once_the_counter_is_calibrated(tmp_path: Path) -> None:
    """The program checks each record against the clock; the storm is longer than the calibration takes."""
    assert run(tmp_path, 2_000_000)["replies"] == 2_000_000


def test_a_hit_in_a_storm_costs_two_kernel_calls(tmp_path: Path) -> None:
    """The reply goes out with the next receive; the kernel makes a token for each exception."""
    counts = run(tmp_path, MESSAGES, tokens=MESSAGES)

    assert counts["replies"] == counts["timed"] == MESSAGES
    assert counts["mach_msg"] == MESSAGES + 2
    assert counts["released"] == counts["release_calls"] == MESSAGES
    assert counts["other"] == 4


def test_tokens_of_one_name_are_released_together(tmp_path: Path) -> None:
    """Then a hit costs one kernel call."""
    counts = run(tmp_path, MESSAGES)

    assert counts["replies"] == counts["timed"] == MESSAGES
    # One receive before the first reply, one that ends the burst after 10 ms, one that waits for the next.
    assert counts["mach_msg"] == MESSAGES + 2
    assert counts["released"] == MESSAGES
    assert counts["release_calls"] == -(-MESSAGES // TOKEN_BATCH)
    # The pid by the token's name port, which is then released; the control port at the end.
    assert counts["other"] == 4

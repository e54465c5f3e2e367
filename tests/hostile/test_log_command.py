"""Excguard ends without a line on standard error, however the command of the unified log behaves."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from excsim import Kernel
from tests.support.harness import Daemon
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

BEHAVIORS = {
    "writes without end": "exec yes 'not a line of log'",
    "ignores SIGTERM": "trap '' TERM; exec yes x",
    "ends again and again": "echo a; exit 1",
    "writes to both": "yes x & exec yes y >&2",
    "has ended": "exit 0",
    "is silent": "exec sleep 1000",
}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("behavior", BEHAVIORS)
def test_stopping_is_silent(tmp_path: Path, behavior: str, number: int) -> None:
    script = tmp_path / "log"
    script.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\n{BEHAVIORS[behavior]}\n")
    script.chmod(0o755)
    config = (
        f'[unified_log]\nenabled = true\nprocesses = ["*"]\ncommand = ["{script}"]\n'
        '[[target]]\nname = "a"\ncommand = ["sleep", "1000"]\n'
    )
    with Kernel() as kernel:
        daemon = Daemon(tmp_path, kernel.environ, config)
        try:
            wait_until((tmp_path / "pid").exists)
            daemon.wait_for("target_started")

            assert (daemon.stop(number), daemon.stderr) == (0, b"")
        finally:
            daemon.end()

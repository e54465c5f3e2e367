"""The socket's directory of a simulated kernel goes with it, whoever is killed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from excsim import Kernel
from tests.support.waiting import wait_until

STARTER = "import sys; from excsim import Kernel; k = Kernel(); print(k.socket, flush=True); sys.stdin.read()"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_killed_starter_leaves_no_directory(number: int) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STARTER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as starter:
        assert starter.stdout is not None
        socket = Path(starter.stdout.readline().strip())
        assert socket.exists()
        starter.send_signal(number)

    wait_until(lambda: not socket.parent.exists())


def test_killed_kernel_leaves_no_directory() -> None:
    kernel = Kernel()
    os.kill(kernel.pid, signal.SIGKILL)
    kernel.stop()

    assert not Path(kernel.socket).parent.exists()

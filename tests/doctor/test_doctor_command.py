"""`excguard doctor` against a kernel of each kind, as people start it."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from excsim import Kernel

# TASK_EXC_GUARD_ flags (mach/task_info.h)
DELIVER, MP_ONCE, MP_FATAL = 0x11, 0x20, 0x80


def run(kernel: Kernel, *arguments: str, home: Path) -> tuple[int, dict[str, dict]]:
    environment = {**kernel.environ, "HOME": str(home), "XDG_CONFIG_HOME": str(home)}
    done = subprocess.run(
        [sys.executable, "-m", "excguard", "doctor", "--json", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    return done.returncode, {found["check"]: found for found in json.loads(done.stdout)["findings"]}


@pytest.mark.parametrize(
    ("options", "check", "status", "part"),
    [
        ({"developer_mode": False}, "developer mode", "problem", "reach no handler"),
        (
            {"task_exc_guard": DELIVER | MP_FATAL},
            "guard flags of other programs",
            "warning",
            "MP_FATAL: optional",
        ),
        ({"task_exc_guard": DELIVER | MP_ONCE}, "guard flags of other programs", "warning", "only the first"),
        ({"release": "11.0"}, "platform", "warning", "simulated kernel"),
    ],
)
def test_kernels(tmp_path, *, options, check, status, part) -> None:
    with Kernel(**options) as kernel:
        code, found = run(kernel, home=tmp_path)

    assert found[check]["status"] == status
    assert part in found[check]["meaning"]
    assert code == any(finding["status"] == "problem" for finding in found.values())


def test_configuration_port_and_pid(tmp_path) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_text("[log]\nfrist = 1")
    taken = tmp_path / "taken.toml"
    child = os.fork()
    if child == 0:
        signal.pause()
    try:
        with Kernel() as kernel, socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            port = listener.getsockname()[1]
            taken.write_text(f'[metrics]\nlisten = "127.0.0.1:{port}"')
            code, found = run(kernel, "--config", str(broken), home=tmp_path)
            assert (code, found["configuration"]["status"]) == (1, "problem")
            code, found = run(kernel, "--config", str(taken), "--pid", str(child), home=tmp_path)
            assert (code, found["metrics port"]["status"]) == (1, "problem")
            assert found["metrics port"]["found"] == f"127.0.0.1:{port}: taken by another program"
            assert found[f"attach to {child}"]["status"] == "ok"
            _, found = run(kernel, "--pid", "4194304", home=tmp_path)
            assert found["attach to 4194304"]["status"] == "problem"
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_for_people(tmp_path) -> None:
    with Kernel(developer_mode=False) as kernel:
        done = subprocess.run(
            [sys.executable, "-m", "excguard", "doctor"],
            env={**kernel.environ, "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )

    assert done.returncode == 1
    assert "problem developer mode: off\n" in done.stdout
    assert "Fix: turn it on" in done.stdout


def test_a_program_is_looked_at_and_not_started(tmp_path) -> None:
    with Kernel(task_exc_guard=0) as kernel:
        code, found = run(kernel, "--", "touch", str(tmp_path / "started"), home=tmp_path)

    assert code == 0
    assert "dyld takes the library" in found["program: delivery"]["meaning"]
    assert not (tmp_path / "started").exists()

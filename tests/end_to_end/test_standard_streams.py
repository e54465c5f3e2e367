"""Standard streams that are closed, full, or no text: what excguard does when started so."""

import os
import subprocess
import sys

import pytest

from excsim import SOCKET_VARIABLE
from tests.support.harness import EXCGUARD
from tests.support.samples import INVALID_NAME

MISUSE = [sys.executable, "-m", "excguard.misuse", "double_deallocate"]


def shell(redirection: str, *command: str) -> "subprocess.CompletedProcess[str]":
    """Run a command in a shell that redirects its streams, with no kernel but the one that it starts."""
    return subprocess.run(
        ["sh", "-c", f'"$@" {redirection}', "sh", *command],
        env={name: value for name, value in os.environ.items() if name != SOCKET_VARIABLE},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&-", "<&- >&- 2>&-"])
def test_a_run_with_closed_streams(closed: str) -> None:
    done = shell(closed, *EXCGUARD, "run", "--metrics", "off", "--fail-on", "optional", "--", *MISUSE)

    assert done.returncode == 3, done.stderr
    assert ("INVALID_NAME" in done.stderr) == ("2>&-" not in closed)
    assert ("KERN_INVALID_NAME" in done.stdout) == (">&-" not in closed.replace("2>&-", ""))


def test_a_simulated_kernel_with_closed_streams() -> None:
    done = shell("<&- 2>&-", sys.executable, "-m", "excsim", "--", *MISUSE)

    assert done.returncode == 0
    assert "KERN_INVALID_NAME" in done.stdout


@pytest.mark.parametrize("arguments", [["decode"], ["decode", "-"], ["decode", "--raw"], ["report", "-"]])
def test_closed_standard_input_is_an_empty_one(arguments: list[str]) -> None:
    closed, empty = (shell(what, *EXCGUARD, *arguments) for what in ("<&-", "</dev/null"))

    assert (closed.returncode, closed.stderr) == (empty.returncode, empty.stderr)
    assert "Traceback" not in closed.stderr


@pytest.mark.parametrize(
    "arguments", [["decode", hex(INVALID_NAME)], ["decode", "--json", hex(INVALID_NAME)], ["--help"]]
)
def test_output_that_cannot_be_written_is_reported_in_one_line(arguments: list[str]) -> None:
    done = shell(">/dev/full", *EXCGUARD, *arguments)

    assert done.returncode == 125
    assert done.stderr == "excguard: standard output: no space left on device\n"


def test_a_closed_pipe_on_standard_output_ends_it_quietly() -> None:
    done = shell("| head -n 1", *EXCGUARD, "explain", "INVALID_NAME")

    assert done.stderr == ""


def test_report_that_cannot_be_written_is_named(run) -> None:
    done = run("--report", "/dev/full", "--", "true")

    assert done.returncode == 125
    assert done.stderr.endswith("excguard: /dev/full: no space left on device\n")

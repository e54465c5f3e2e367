"""The daemon takes its service port over from launchd, and does without it when it cannot have it."""

import os
import subprocess
import sys

import pytest

from excguard.cli.serve import service_name
from tests.support.harness import Daemon, scrape, total
from tests.support.waiting import wait_until

QUIET = '[[target]]\nname = "quiet"\ncommand = ["sleep", "1000"]\n'
LABEL = "org.excguard.daemon" if os.geteuid() == 0 else "org.excguard.agent"

HOLD = """
import sys
from excguard.mach import bootstrap
port = bootstrap.check_in(sys.argv[1])
print("held", flush=True)
sys.stdin.read()
port.close()
"""
SEND = """
import sys
from excguard.mach import bootstrap
from excguard.native import ffi, lib
with bootstrap.look_up(sys.argv[1]) as port:
    header = ffi.new("mach_msg_header_t *")
    header.msgh_bits = lib.MACH_MSG_TYPE_COPY_SEND
    header.msgh_size = ffi.sizeof("mach_msg_header_t")
    header.msgh_remote_port = port.name
    header.msgh_id = 2408
    assert lib.mach_msg(header, lib.MACH_SEND_MSG, header.msgh_size, 0, 0, 0, 0) == 0
"""


def test_service_port_is_taken_over_and_serves_no_client(serve, kernel) -> None:
    daemon: Daemon = serve(QUIET)
    (event,) = daemon.wait_for("checked_in")
    before = total(scrape(daemon.url), "excguard_messages_rejected_total")
    subprocess.run([sys.executable, "-c", SEND, LABEL], env=kernel.environ, check=True)
    wait_until(lambda: total(scrape(daemon.url), "excguard_messages_rejected_total") == before + 1)

    assert event["service"] == LABEL
    assert daemon.stop() == 0


def test_name_that_is_taken_is_logged_and_done_without(serve, kernel) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, LABEL],
        env=kernel.environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout.readline() == b"held\n"
    daemon: Daemon = serve(QUIET)
    (event,) = daemon.wait_for("check_in_failed")
    daemon.wait_for("target_started")
    assert daemon.stop() == 0
    holder.communicate()

    assert event["service"] == LABEL
    assert event["error"] == "BOOTSTRAP_SERVICE_ACTIVE"
    assert event["advice"]


@pytest.mark.parametrize(
    ("job", "uid", "name"),
    [
        ("org.excguard.daemon", 501, "org.excguard.daemon"),
        ("org.excguard.agent", 0, "org.excguard.agent"),
        ("application.com.apple.Terminal.1", 501, "org.excguard.agent"),
        (None, 0, "org.excguard.daemon"),
    ],
)
def test_name_is_that_of_the_job_that_runs(monkeypatch, job: str | None, uid: int, name: str) -> None:
    if job is None:
        monkeypatch.delenv("XPC_SERVICE_NAME", raising=False)
    else:
        monkeypatch.setenv("XPC_SERVICE_NAME", job)
    monkeypatch.setattr("os.geteuid", lambda: uid)

    assert service_name() == name

"""Few descriptors, little memory, and a clock that jumps: hits are counted, and the daemon ends as asked."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.end_to_end.conftest import child, kernel
from tests.hostile.test_files_and_sinks import report
from tests.support import compiler
from tests.support.harness import EXCGUARD, events, scrape, total
from tests.support.samples import INVALID_NAME
from tests.support.waiting import wait_until

__all__ = ["child", "kernel"]

# Shifts the clock of the day by as many seconds as a file says, as its user or a time server does.
CLOCK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long shift(void) {
    char text[32] = {0};
    int file = open(getenv("CLOCK_FILE"), O_RDONLY | O_CLOEXEC);
    ssize_t size = file < 0 ? -1 : read(file, text, sizeof text - 1);
    if (file >= 0) close(file);
    return size > 0 ? atol(text) : 0;
}
int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, now);
    if (!result && clock == CLOCK_REALTIME) now->tv_sec += shift();
    return result;
}
int gettimeofday(struct timeval *now, void *zone) {
    struct timespec exact;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &exact);
    *now = (struct timeval){exact.tv_sec, exact.tv_nsec / 1000};
    return 0;
}
time_t time(time_t *out) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    if (out) *out = exact.tv_sec;
    return exact.tv_sec;
}
"""


class Scarce:
    """A daemon with limits, which the tests' harness cannot set."""

    def __init__(self, directory: Path, config: str, environ: dict[str, str], limit: str) -> None:
        self.log = directory / "log"
        path = directory / "c.toml"
        path.write_text(
            f'[log]\npath = "{self.log}"\nformat = "json"\nfirst = 100000\n'
            f'[journal]\npath = "{directory / "journal"}"\n[metrics]\nlisten = "127.0.0.1:0"\n{config}'
        )

        shell = f'{limit}; exec "$@"'
        self.process = subprocess.Popen(
            ["/bin/sh", "-c", shell, "sh", *EXCGUARD, "serve", "--config", str(path)],
            env=environ,
            stderr=subprocess.PIPE,
        )

    def events(self, name: str) -> list[dict]:
        return events(self.log, name)

    def wait_for(self, name: str, count: int = 1) -> list[dict]:
        return wait_until(lambda: self.events(name), lambda found: len(found) >= count)

    def hits(self) -> int:
        (listening,) = self.wait_for("metrics_listening")
        return int(total(scrape(listening["url"]), "excguard_hits_total"))

    def stop(self) -> tuple[int, bytes]:
        self.process.send_signal(signal.SIGTERM)
        _, said = self.process.communicate(timeout=60)
        return self.process.returncode, said


@pytest.fixture
def start(tmp_path: Path, kernel):
    started: list[Scarce] = []

    def start(config: str, limit: str = "true", **environ: str) -> Scarce:
        started.append(Scarce(tmp_path, config, {**os.environ, **kernel.environ, **environ}, limit))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.communicate()


def target(name: str, command: str) -> str:
    return (
        f'[[target]]\nname = "{name}"\ncommand = ["sh", "-c", "{command}"]\nstop_timeout = 1.0\n'
        "restart_delay = 0.2\nrestart_delay_max = 0.5\n"
    )


def test_few_descriptors(start, child: str) -> None:
    raising = target("first", f"{child} raise {INVALID_NAME:#x} 50; exec sleep 1000")
    idle = "".join(target(f"t{number}", "exec sleep 1000") for number in range(30))
    daemon = start(raising + idle, "ulimit -n 40")
    failed = daemon.wait_for("target_start_failed")
    daemon.wait_for("guard_hit", 50)

    assert "too many open files" in failed[0]["error"]
    status, said = daemon.stop()
    assert status == 0
    assert b"Traceback" not in said


def test_little_memory(start, child: str, tmp_path: Path) -> None:
    directory = tmp_path / "reports"
    directory.mkdir()
    sources = f'[crash_reports]\ndirectories = ["{directory}"]\nprocesses = ["*"]\n'
    raising = target("first", f"{child} raise {INVALID_NAME:#x} 50; exec sleep 1000")
    daemon = start(sources + raising, "ulimit -v 600000")
    daemon.wait_for("guard_hit", 50)
    images = [{"a": number, "b": [number] * 3} for number in range(300_000)]
    (directory / "big.ips").write_text(report(usedImages=images))
    (directory / "small.ips").write_text(report(pid=1))
    wait_until(
        lambda: (
            any(daemon.events(name) for name in ("source_failed", "source_unreadable"))
            or len(daemon.events("guard_hit")) > 50
        )
    )

    assert daemon.process.poll() is None
    assert daemon.hits() >= 50
    status, said = daemon.stop()
    assert status == 0
    assert b"Traceback" not in said


def test_clock_that_jumps(start, child: str, tmp_path: Path) -> None:
    (tmp_path / "clock.c").write_text(CLOCK)
    library, shift = tmp_path / "clock.so", tmp_path / "shift"
    shift.write_text("0")
    command = [compiler.require(), "-shared", "-fPIC", "-O1", tmp_path / "clock.c", "-o", library, "-ldl"]
    subprocess.run(command, check=True)
    again = target("again", f"{child} raise {INVALID_NAME:#x} 20") + 'restart = "always"\n'
    daemon = start(again, LD_PRELOAD=str(library), CLOCK_FILE=str(shift))

    year = 365 * 86400
    for number, seconds in enumerate((0, year, -year, 40 * year, -40 * year, 0), start=1):
        shift.write_text(str(seconds))
        before = len(daemon.events("target_exited"))
        daemon.wait_for("target_exited", before + 3)
        assert daemon.process.poll() is None, number

    status, said = daemon.stop()
    assert status == 0
    assert b"Traceback" not in said
    logged = daemon.events("guard_hit")
    counted = sum(event["count"] for event in daemon.events("guard_hits_suppressed"))
    (stopped,) = daemon.events("service_stopped")
    assert len(logged) + counted == stopped["hits"]
    assert sorted(event["seq"] for event in logged) == list(range(len(logged)))

"""Each way launchctl fails ends in one line that says what to do; what passes by itself is waited for."""

import re
from pathlib import Path

import pytest

from excguard.launchd.launchctl import Answer, Launchctl, LaunchctlError, _advice, run_launchctl

LABEL = "org.excguard.agent"
TARGET = f"gui/501/{LABEL}"


class Clock:
    """Time that passes only in pauses."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> float:
        return self.seconds

    def pause(self, seconds: float) -> None:
        self.seconds += seconds


def job(domain: str = "gui/501") -> tuple[Launchctl, Clock]:
    clock = Clock()
    return Launchctl(domain, LABEL, pause=clock.pause, now=clock.now), clock


@pytest.fixture
def plist(tmp_path):
    path = tmp_path / f"{LABEL}.plist"
    path.write_text(f"<plist version='1.0'><dict><key>Label</key><string>{LABEL}</string></dict></plist>")
    return str(path)


@pytest.mark.parametrize(
    ("status", "parts"),
    [
        (1, ["not permitted", "sudo"]),
        (5, ["input/output error", f"launchctl bootout {TARGET}", "excguard doctor"]),
        (37, ["already bootstrapped", f"launchctl bootout {TARGET}", "install again"]),
        (112, ["gui/501 does not exist", "--domain user"]),
        (113, ["no such job", "excguard launchd install"]),
        (119, ["disabled", f"launchctl enable {TARGET}"]),
        (125, ["gui/501 does not take this job", "log in", "--domain user"]),
        (150, ["System Integrity Protection"]),
        (2, ["No such file or directory"]),
    ],
)
def test_failure_of_bootstrap_is_one_line_that_says_what_to_do(
    launchctl, plist, status: int, parts: list[str]
) -> None:
    launchctl.fail(bootstrap=[status] * 100)
    subject, _ = job()
    with pytest.raises(LaunchctlError) as caught:
        subject.bootstrap(plist)

    assert caught.value.status == status
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"launchctl bootstrap {TARGET} failed ({status}): ")
    for part in parts:
        assert part in message


@pytest.mark.parametrize("status", [5, 37, 113, 125, 150])
@pytest.mark.parametrize("verb", ["enable", "kickstart", "print", "bootout"])
def test_failure_of_any_verb_is_one_line(launchctl, status: int, verb: str) -> None:
    launchctl.fail(**{verb: [status]})
    subject, _ = job("system")
    call = {
        "enable": subject.enable,
        "kickstart": subject.restart,
        "print": subject.state,
        "bootout": subject.bootout,
    }[verb]
    if status == 113 and verb in ("print", "bootout"):
        assert not call()  # no job: that is an answer
        return
    with pytest.raises(LaunchctlError) as caught:
        call()

    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"launchctl {verb} system/{LABEL} failed ({status}): ")


def test_commands_for_the_system_domain_are_given_with_sudo(launchctl, plist) -> None:
    launchctl.fail(bootstrap=[119])
    with pytest.raises(LaunchctlError, match="`sudo launchctl enable system/"):
        job("system")[0].bootstrap(plist)


def test_bootstrap_waits_while_launchd_is_busy(launchctl, plist) -> None:
    launchctl.fail(bootstrap=[5, 37, 36])
    subject, clock = job()
    subject.bootstrap(plist)

    assert launchctl.commands == [f"bootstrap gui/501 {plist}"] * 4
    assert clock.seconds > 0
    assert subject.state() is not None


def test_bootstrap_that_stays_busy_gives_up(launchctl, plist) -> None:
    launchctl.fail(bootstrap=[37] * 1000)
    subject, clock = job()
    with pytest.raises(LaunchctlError, match=r"\(37\)"):
        subject.bootstrap(plist)

    assert clock.seconds <= 6


def test_bootstrap_of_a_job_that_was_loaded_meanwhile_is_done(launchctl, plist) -> None:
    subject, _ = job()
    subject.bootstrap(plist)
    subject.bootstrap(plist)

    assert launchctl.commands == [f"bootstrap gui/501 {plist}"] * 2


def test_bootout_waits_until_the_job_is_gone(launchctl, plist) -> None:
    subject, clock = job()
    subject.bootstrap(plist)
    launchctl.slow(3)

    assert subject.bootout()
    assert subject.state() is None
    assert clock.seconds == 2.0


def test_bootout_of_a_job_that_never_goes_says_so(launchctl, plist) -> None:
    subject, clock = job()
    subject.bootstrap(plist)
    launchctl.slow(10_000)
    with pytest.raises(LaunchctlError, match="still there 40 s after bootout"):
        # Asking the real stand-in that often takes a while: answer in its place.
        Launchctl(
            "gui/501", LABEL, run=lambda _: Answer(0, "", ""), pause=clock.pause, now=clock.now
        ).bootout()


def test_stop_waits_until_the_process_has_ended() -> None:
    clock = Clock()
    calls: list[list[str]] = []

    def run(arguments: list[str]) -> Answer:
        calls.append(arguments)
        return Answer(0, f"pid = {4711 if len(calls) < 5 else 4712}\n", "")

    subject = Launchctl("gui/501", LABEL, run=run, pause=clock.pause, now=clock.now)

    assert subject.stop()
    assert calls[1] == ["kill", "SIGTERM", TARGET]
    assert clock.seconds == 2.0


def test_stop_of_a_process_that_does_not_end_says_so() -> None:
    clock = Clock()
    subject = Launchctl(
        "gui/501",
        LABEL,
        run=lambda _: Answer(0, "pid = 4711\n", ""),
        end_seconds=125.0,
        pause=clock.pause,
        now=clock.now,
    )
    with pytest.raises(LaunchctlError, match="still there 125 s after SIGTERM"):
        subject.stop()


def test_state_is_read_as_far_as_it_is_there(launchctl, plist) -> None:
    subject, _ = job()
    subject.bootstrap(plist)
    state = subject.state()

    assert state is not None
    assert (state.state, state.pid, state.runs, state.last_exit) == ("running", 4711, 2, "78: EX_CONFIG")


def test_output_of_another_release_leaves_unknown_what_it_does_not_say() -> None:
    state = Launchctl("gui/501", LABEL, run=lambda _: Answer(0, "something else = entirely\n", "")).state()

    assert state is not None
    assert (state.state, state.pid, state.runs, state.last_exit) == (None, None, None, None)


def test_machine_without_launchctl(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LaunchctlError, match="not on this machine") as caught:
        run_launchctl(["print", "system"])

    assert caught.value.status == 127


def test_the_page_has_the_numbers_that_are_explained() -> None:
    page = (Path(__file__).parents[2] / "docs" / "troubleshooting.md").read_text()
    table = page.partition("## launchctl failed with a number")[2].partition("\n## ")[0]
    rows = re.findall(r"(?m)^\| ([\d, ]+) \|", table)
    numbers = {int(number) for row in rows for number in row.split(",")}

    assert numbers == {status for status in range(256) if _advice(status, "gui/501", TARGET)}

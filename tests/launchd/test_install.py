"""Installing and removing: every file and command, once; again changes nothing; cut short it is finished next
time."""

import os
import plistlib
import stat
from pathlib import Path

import pytest

from excguard.launchd import install as subject
from excguard.launchd.install import (
    Changes,
    InstallError,
    check_user,
    domain_of,
    install,
    launchctl_for,
    uninstall,
)
from excguard.launchd.job import Kind, Layout
from excguard.launchd.launchctl import LaunchctlError

DOMAIN = "gui/501"


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    made = Layout(Kind.AGENT, tmp_path / "home", tmp_path / "root")
    made.config.parent.mkdir(parents=True)
    made.config.write_text('[[target]]\nname = "a"\ncommand = ["a"]\n')
    return made


def run(layout: Layout, program: list[str], domain: str = DOMAIN, *, dry_run: bool = False) -> Changes:
    changes = Changes(dry_run=dry_run)
    install(layout, changes, domain, program=program, config=layout.config)
    return changes


def tree(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))


def test_first_install_writes_and_loads(launchctl, layout, program) -> None:
    run(layout, program)
    status = layout.property_list.stat()

    assert stat.S_IMODE(status.st_mode) == 0o644
    assert plistlib.loads(layout.property_list.read_bytes())["ProgramArguments"][0] == program[0]
    assert layout.logs.is_dir()
    assert launchctl.commands == [
        f"enable {DOMAIN}/org.excguard.agent",
        f"bootstrap {DOMAIN} {layout.property_list}",
    ]


def test_second_install_changes_nothing(launchctl, layout, program) -> None:
    run(layout, program)
    before = (launchctl.commands, tree(layout.home))
    changes = run(layout, program)

    assert changes.done == []
    assert (launchctl.commands, tree(layout.home)) == before


def test_changed_job_is_taken_out_waited_for_and_loaded_anew(launchctl, layout, program, monkeypatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    run(layout, program)
    launchctl.slow(3)
    run(layout, [*program, "-v"])

    assert launchctl.commands[2:] == [
        f"bootout {DOMAIN}/org.excguard.agent",
        f"enable {DOMAIN}/org.excguard.agent",
        f"bootstrap {DOMAIN} {layout.property_list}",
    ]


def test_install_cut_short_is_finished_by_the_next(launchctl, layout, program) -> None:
    launchctl.fail(bootstrap=[125])
    with pytest.raises(LaunchctlError):
        run(layout, program)
    changes = run(layout, program)

    assert [change.what.split()[1] for change in changes.done] == ["enable", "bootstrap"]


def test_file_with_wrong_mode_is_replaced(launchctl, layout, program) -> None:
    run(layout, program)
    layout.property_list.chmod(0o664)
    changes = run(layout, program)

    assert changes.done[0].verb == "write"
    assert stat.S_IMODE(layout.property_list.stat().st_mode) == 0o644


def test_disabled_job_is_enabled_again(launchctl, layout, program) -> None:
    launchctl.disable(f"{DOMAIN}/org.excguard.agent")
    run(layout, program)

    assert f"bootstrap {DOMAIN} {layout.property_list}" in launchctl.commands


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can install a daemon")
def test_daemon_also_gets_its_rotation_rule(launchctl, layout, program) -> None:
    daemon = Layout(Kind.DAEMON, layout.home, layout.root)
    daemon.config.parent.mkdir(parents=True)
    daemon.config.write_text('[[target]]\nname = "a"\ncommand = ["a"]\n')
    run(daemon, program, "system")

    assert str(daemon.hits) in daemon.newsyslog.read_text()
    assert launchctl.commands[-1] == f"bootstrap system {daemon.property_list}"
    changes = Changes()
    uninstall(daemon, changes, "system")
    assert [change.verb for change in changes.done] == ["run", "remove", "remove"]
    assert not daemon.newsyslog.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can install a daemon")
def test_program_that_others_can_exchange_is_no_daemon(launchctl, layout, program) -> None:
    daemon = Layout(Kind.DAEMON, layout.home, layout.root)
    daemon.config.parent.mkdir(parents=True)
    daemon.config.write_text(layout.config.read_text())
    Path(program[0]).chmod(0o777)
    with pytest.raises(InstallError, match=f"{program[0]}: users other than root may write"):
        run(daemon, program, "system")

    assert launchctl.calls == []


def test_dry_run_shows_all_and_touches_nothing(launchctl, layout, program) -> None:
    before = tree(layout.home)
    changes = run(layout, program, dry_run=True)

    assert tree(layout.home) == before
    assert launchctl.commands == []
    assert [(change.verb, change.what) for change in changes.done] == [
        ("mkdir", str(layout.logs)),
        ("mkdir", str(layout.property_list.parent)),
        ("write", str(layout.property_list)),
        ("run", f"launchctl enable {DOMAIN}/org.excguard.agent"),
        ("run", f"launchctl bootstrap {DOMAIN} {layout.property_list}"),
    ]
    assert "<key>MachServices</key>" in (changes.done[2].contents or "")


def test_dry_run_of_a_change_shows_that_the_old_job_goes(launchctl, layout, program) -> None:
    run(layout, program)
    changes = run(layout, [*program, "-v"], dry_run=True)

    assert [change.what.split()[1] for change in changes.done if change.verb == "run"] == [
        "bootout",
        "enable",
        "bootstrap",
    ]


def test_dry_run_works_without_launchctl(layout, program, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))

    assert len(run(layout, program, dry_run=True).done) == 5


def test_uninstall_is_the_reverse_and_can_be_repeated(launchctl, layout, program) -> None:
    run(layout, program)
    changes = Changes()
    uninstall(layout, changes, DOMAIN)
    again = Changes()
    uninstall(layout, again, DOMAIN)

    assert [(change.verb, change.what) for change in changes.done] == [
        ("run", f"launchctl bootout {DOMAIN}/org.excguard.agent"),
        ("remove", str(layout.property_list)),
    ]
    assert again.done == []
    assert layout.config.exists()
    assert layout.logs.is_dir()


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("frist = 1", 'unknown key "frist"'),
        ("reply = 'forward'", "nothing to watch"),
        (None, "no such file or directory"),
    ],
)
def test_job_that_would_fail_at_each_start_is_not_installed(launchctl, layout, program, text, part) -> None:
    layout.config.unlink()
    if text:
        layout.config.write_text(text)
    with pytest.raises(InstallError, match=part):
        run(layout, program)

    assert launchctl.calls == []
    assert not layout.property_list.exists()


def test_job_has_the_time_that_its_slowest_target_takes_to_end(launchctl, layout, program) -> None:
    layout.config.write_text('[[target]]\nname = "a"\ncommand = ["a"]\nstop_timeout = 90.5\n')
    run(layout, program)

    assert plistlib.loads(layout.property_list.read_bytes())["ExitTimeOut"] == 25 + 91


def test_the_end_of_a_slow_job_is_waited_for(layout) -> None:
    assert launchctl_for(layout, DOMAIN)._end_seconds == 40
    layout.property_list.parent.mkdir(parents=True)
    layout.property_list.write_bytes(plistlib.dumps({"ExitTimeOut": 115}))
    assert launchctl_for(layout, DOMAIN)._end_seconds == 125
    layout.property_list.write_bytes(b"garbage")
    assert launchctl_for(layout, DOMAIN)._end_seconds == 40


@pytest.mark.parametrize("bad", ["relative", "/nowhere/excguard"])
def test_refused_job_leaves_nothing_behind(launchctl, layout, bad: str) -> None:
    with pytest.raises(InstallError, match="ProgramArguments"):
        run(layout, [bad])

    assert launchctl.calls == []
    assert not layout.property_list.exists()


def test_failed_write_leaves_the_old_file_and_no_litter(launchctl, layout, program, monkeypatch) -> None:
    run(layout, program)
    before = layout.property_list.read_bytes()

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(subject.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        run(layout, [*program, "-v"])

    assert layout.property_list.read_bytes() == before
    assert tree(layout.property_list.parent) == [layout.property_list.name]


def test_users_and_domains() -> None:
    assert domain_of(Kind.AGENT, 501) == "gui/501"
    assert domain_of(Kind.AGENT, 501, headless=True) == "user/501"
    assert domain_of(Kind.DAEMON, 0) == "system"
    check_user(Kind.AGENT, 501)
    check_user(Kind.DAEMON, 0)
    with pytest.raises(InstallError, match="use sudo"):
        check_user(Kind.DAEMON, 501)
    with pytest.raises(InstallError, match="leave out sudo"):
        check_user(Kind.AGENT, 0)

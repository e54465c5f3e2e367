"""The commands as people and scripts meet them."""

import json
import plistlib
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from excguard.cli.launchd import command
from excguard.launchd.install import check_user


@pytest.fixture
def home(tmp_path, monkeypatch, program) -> Path:
    directory = tmp_path / "home"
    config = directory / "Library/Application Support/excguard/config.toml"
    config.parent.mkdir(parents=True)
    config.write_text('[[target]]\nname = "a"\ncommand = ["a"]\n')
    monkeypatch.setenv("HOME", str(directory))
    monkeypatch.setattr("excguard.launchd.job.program_arguments", lambda: program)
    # These tests may be run by root, to whom no agent can belong.
    monkeypatch.setattr("excguard.cli.launchd.check_user", lambda kind, _: check_user(kind, 501))
    return directory


def run(*arguments: str) -> Result:
    return CliRunner().invoke(command, list(arguments))


def test_from_install_to_uninstall(launchctl, home) -> None:
    assert run("status").output.endswith("org.excguard.agent: not installed\n")
    installed = run("install")
    assert installed.exit_code == 0, installed.output
    assert "launchctl bootstrap gui/" in installed.output
    assert "sudo tee /etc/newsyslog.d/org.excguard.agent.conf" in installed.output
    assert "nothing to do" in run("install").output
    status = run("status")
    assert status.exit_code == 0
    assert "running, pid 4711; last exit 78: EX_CONFIG" in status.output
    assert run("uninstall").exit_code == 0
    assert run("status").exit_code == 1


def test_restart_starts_an_unchanged_job_anew(launchctl, home) -> None:
    run("install")
    result = run("install", "--restart", "--json")

    (change,) = json.loads(result.output)["changes"]
    assert change["what"].startswith("launchctl kickstart -k gui/")
    assert launchctl.commands[-1].startswith("kickstart -k gui/")


def test_status_as_json(launchctl, home) -> None:
    run("install", "--domain", "user")
    found = json.loads(run("status", "--json", "--domain", "user").output)

    assert found["job"].startswith("user/")
    assert (found["installed"], found["loaded"], found["running"], found["pid"]) == (True, True, True, 4711)
    assert found["problems"] == []


def test_status_shows_what_launchd_would_refuse(launchctl, home) -> None:
    run("install")
    next((home / "Library/LaunchAgents").iterdir()).chmod(0o666)

    assert "chmod 644" in run("status").output


def test_dry_run_shows_the_contents(launchctl, home) -> None:
    result = run("install", "--dry-run")

    assert "<key>ProcessType</key>" in result.output
    assert launchctl.commands == []


@pytest.mark.parametrize("status", [5, 37, 113, 125, 150])
def test_each_failure_is_one_line_and_exit_1(launchctl, home, status: int, monkeypatch) -> None:
    monkeypatch.setattr("excguard.launchd.launchctl._BOOTSTRAP_SECONDS", 0.0)
    launchctl.fail(bootstrap=[status] * 10)
    result = run("install")

    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("excguard: launchctl bootstrap gui/")
    assert f"failed ({status}): " in result.stderr
    assert result.stderr.count("\n") == 1


def test_wrong_user(launchctl, home) -> None:
    result = run("install", "--daemon")

    assert result.exit_code == 1
    assert "use sudo" in result.stderr


def test_print_is_what_install_writes(launchctl, home) -> None:
    printed = run("print").stdout
    run("install")
    (path,) = (home / "Library/LaunchAgents").iterdir()

    assert printed.encode() == path.read_bytes()
    assert json.loads(run("print", "--json").output) == plistlib.loads(path.read_bytes())
    assert "excguard.jsonl" in run("print", "--newsyslog").output
    assert json.loads(run("print", "--newsyslog", "--json").output)["path"].startswith("/etc/newsyslog.d/")


def test_print_reads_the_configuration_as_install_does(launchctl, home) -> None:
    config = home / "Library/Application Support/excguard/config.toml"
    config.write_text('[[target]]\nname = "a"\ncommand = ["a"]\nstop_timeout = 90\n')

    assert json.loads(run("print", "--json").output)["ExitTimeOut"] == 115
    printed = run("print").stdout
    run("install")
    assert printed.encode() == next((home / "Library/LaunchAgents").iterdir()).read_bytes()


@pytest.mark.parametrize("text", [None, "frist = 1", ""])
def test_print_refuses_what_install_refuses(launchctl, home, tmp_path, text: str | None) -> None:
    path = tmp_path / "other.toml"
    if text is not None:
        path.write_text(text)
    printed = run("print", "--config", str(path))

    assert printed.exit_code == 1
    assert printed.stdout == ""
    assert printed.stderr == run("install", "--config", str(path)).stderr
    assert printed.stderr.startswith(f"excguard: {path}: ")


def test_stop_start_and_restart(launchctl, home) -> None:
    run("install")
    stopped = run("stop")
    assert (stopped.exit_code, stopped.output.split(": ")[1]) == (0, "stopped\n")
    assert run("status").exit_code == 1
    again = run("stop", "--json")
    assert (again.exit_code, json.loads(again.output)["stopped"]) == (0, False)
    started = run("start")
    assert (started.exit_code, "running, pid 4711" in started.output) == (0, True)
    assert json.loads(run("restart", "--json").output)["running"]

    assert [command.split(" gui/")[0] for command in launchctl.commands[2:]] == [
        "kill SIGTERM",
        "kill SIGTERM",
        "kickstart",
        "kickstart -k",
    ]


def test_status_shows_that_the_property_list_is_out_of_date(launchctl, home) -> None:
    config = home / "Library/Application Support/excguard/config.toml"
    run("install")
    assert json.loads(run("status", "--json").output)["problems"] == []
    config.write_text(config.read_text() + "stop_timeout = 90\n")
    (problem,) = json.loads(run("status", "--json").output)["problems"]
    assert problem.endswith("the configuration or the program has changed; run it again")
    run("install")

    assert json.loads(run("status", "--json").output)["problems"] == []


@pytest.mark.parametrize("verb", ["start", "restart"])
def test_a_job_that_is_installed_and_not_loaded_is_loaded(launchctl, home, verb: str) -> None:
    run("install")
    target = launchctl.commands[0].split()[1]
    (launchctl.directory / "jobs" / target.replace("/", "+")).unlink()

    assert run(verb).exit_code == 0
    assert [command.split()[0] for command in launchctl.commands[2:]] == ["enable", "bootstrap"]


@pytest.mark.parametrize("verb", ["start", "restart"])
def test_a_job_that_is_not_installed_cannot_be_started(launchctl, home, verb: str) -> None:
    result = run(verb)

    assert result.exit_code == 1
    assert result.stderr.endswith("not installed; run `excguard launchd install`\n")
    assert run("stop").exit_code == 0


def test_a_program_that_launchd_would_not_find_is_named(launchctl, home) -> None:
    config = home / "Library/Application Support/excguard/config.toml"
    config.write_text(
        '[[target]]\nname = "a"\ncommand = ["excguard-no-such-program"]\n'
        '[[target]]\nname = "b"\ncommand = ["sh"]\n'
        f'[[target]]\nname = "c"\ncommand = ["excguard"]\nenvironment = {{ PATH = "{home.parent}" }}\n'
    )
    installed = run("install")

    assert installed.exit_code == 0
    assert installed.stderr == (
        f'excguard: {config}: [[target]] "a" command: excguard-no-such-program is not on launchd\'s PATH '
        "(/usr/bin:/bin:/usr/sbin:/sbin); give its absolute path, or set PATH in its environment\n"
    )
    assert len(json.loads(run("install", "--json").output)["warnings"]) == 1


def test_logs(launchctl, home, capfd) -> None:
    assert "no logs; see `excguard launchd status`" in run("logs").stderr
    directory = home / "Library/Logs/excguard"
    directory.mkdir(parents=True)
    (directory / "excguard.jsonl").write_text("one\ntwo\nthree\n")

    assert json.loads(run("logs", "--json").output) == {
        "logs": [{"path": str(directory / "excguard.jsonl"), "bytes": 14}]
    }
    assert run("logs", "-n", "2").exit_code == 0
    assert capfd.readouterr().out == "two\nthree\n"

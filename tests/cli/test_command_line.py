"""The command line as a whole: help, version, completion, errors for words that are not commands."""

import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import excguard
from excguard.cli import main

PROGRAM = Path(sys.executable).with_name("excguard")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "excguard", *arguments], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["runn"], "no command 'runn': did you mean `excguard run`? (see `excguard --help`)"),
        (["Decode"], "no command 'Decode': did you mean `excguard decode`? (see `excguard --help`)"),
        (
            ["launchd", "instal"],
            "no command 'instal': did you mean `excguard launchd install`? (see `excguard launchd --help`)",
        ),
        (
            ["launchd", "stat"],
            "no command 'stat': did you mean `excguard launchd status`? (see `excguard launchd --help`)",
        ),
        (["help", "exlain"], "no command 'exlain': did you mean `excguard explain`? (see `excguard --help`)"),
        (
            ["help", "run", "x"],
            "`excguard run` has no commands of its own (see `excguard run --help`)",
        ),
        (
            ["attach", "Mail"],
            (
                "Invalid value for 'PID': 'Mail' is not a process id; `pgrep NAME` prints a program's "
                "(see `excguard attach --help`)"
            ),
        ),
        (
            ["doctor", "--pid", "0"],
            "Invalid value for '--pid': 0 is not a process id: 1 or more (see `excguard doctor --help`)",
        ),
    ],
    ids=" ".join,
)
def test_misuse_is_one_line_with_what_to_do(arguments: list[str], error: str) -> None:
    done = run(*arguments)

    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"excguard: {error}\n")


def test_a_word_that_resembles_no_command_gets_the_list() -> None:
    done = run("zzzz")

    assert done.returncode == 2
    for name in main.list_commands(click.Context(main)):
        assert f" {name}" in done.stderr


@pytest.mark.parametrize("command", [["run"], ["launchd", "install"], []], ids=" ".join)
def test_help_prints_what_the_option_prints(command: list[str]) -> None:
    option = CliRunner().invoke(main, [*command, "--help"], prog_name="excguard")
    word = CliRunner().invoke(main, ["help", *command], prog_name="excguard")

    assert (word.exit_code, word.stdout) == (0, option.stdout)
    assert option.stdout.startswith(f"Usage: {' '.join(['excguard', *command])} ")


@pytest.mark.parametrize("argument", ["version", "--version"])
def test_version(argument: str) -> None:
    done = run(argument)

    assert (done.returncode, done.stdout) == (0, f"excguard, version {excguard.__version__}\n")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_call_excguard(shell: str) -> None:
    done = run("completion", shell)

    assert (done.returncode, done.stderr) == (0, "")
    assert f"_EXCGUARD_COMPLETE={shell}_complete" in done.stdout


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
@pytest.mark.parametrize(
    ("line", "completed"),
    [
        ("excguard ex", {"explain"}),
        ("excguard launchd un", {"uninstall"}),
        ("excguard run --juni", {"--junit"}),
        ("excguard completion z", {"zsh"}),
        ("excguard explain invalid_na", {"INVALID_NAME"}),
    ],
)
def test_bash_completes(line: str, completed: set[str]) -> None:
    words = line.split()
    script = (
        f'PATH="{PROGRAM.parent}:$PATH"; eval "$(excguard completion bash)"\n'
        f"COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; _excguard_completion excguard\n"
        'printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    done = subprocess.run(
        ["bash", "--norc", "-c", script], capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL
    )

    assert set(done.stdout.split()) == completed


def test_completion_of_commands_imports_none_of_them() -> None:
    program = (
        "import sys, click\nfrom excguard.cli import main\n"
        "assert [item.value for item in main.shell_complete(click.Context(main), 'to')] == ['top']\n"
        "print([name for name in sys.modules if name == 'excguard.cli.top'])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    ("arguments", "without"),
    [
        (["decode", "2305845208236959491"], {"csv", "dataclasses", "json", "msgspec", "pathlib", "textwrap"}),
        (["--help"], {"excguard.decoding", "excguard.knowledge", "msgspec"}),
    ],
)
def test_commands_for_people_start_without_what_the_daemon_needs(
    arguments: list[str], without: set[str]
) -> None:
    script = (
        "import sys\n"
        "from excguard.__main__ import main\n"
        f"sys.argv = ['excguard', *{arguments!r}]\n"
        "try:\n"
        "    main()\n"
        "except SystemExit:\n"
        "    pass\n"
        "print(*sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert "click" in loaded
    assert not loaded & without
    assert not loaded & {"_cffi_backend", "asyncio", "h11", "logging", "pathlib", "rich", "structlog"}

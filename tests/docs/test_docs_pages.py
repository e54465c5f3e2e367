"""What the pages say of commands, options, keys and events is so; links and man pages are right."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec
import pytest
from click.testing import CliRunner

from excguard.cli import main as excguard
from excguard.config import Config, parse
from excguard.gate.baseline import Entry

ROOT = Path(__file__).parents[2]
LINKED = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES = [ROOT / "docs" / f"{name}.md" for name in ("launchd", "ci", "permissions", "troubleshooting")]

# Commands that read or write files whose paths are not given; the program itself has no name of a command.
WITH_FILES = [[], ["config"], ["doctor"], ["launchd"], ["recover"], ["run"], ["serve"], ["uninstall"]]


def commands_in(text: str) -> Iterator[list[str]]:
    """The command lines of excguard in code spans and blocks, as words after "excguard"."""
    code = re.findall(r"`([^`\n]+)`", text) + [
        line for block in re.findall(r"```\w*\n(.*?)```", text, re.DOTALL) for line in block.splitlines()
    ]
    for line in code:
        for found in re.finditer(r"(?:^|[\s/])excguard ((?:[\w.-]+|[A-Z]+\.{3})(?: [^|;#&\s]+)*)", line):
            yield found[1].split()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_and_options_exist(page: Path) -> None:
    found = list(commands_in(page.read_text()))
    assert found
    for words in found:
        command: click.Command = excguard
        context = click.Context(excguard)
        rest = words
        while isinstance(command, click.Group) and rest:
            child = command.get_command(context, rest[0])
            assert child is not None, f"{page.name}: no command {words}"
            command, rest = child, rest[1:]
        if "--" in rest:
            rest = rest[: rest.index("--")]
        options = {name for parameter in command.params for name in parameter.opts}
        for word in rest:
            if word.startswith("--"):
                assert word in options, f"{page.name}: {' '.join(words)}: no option {word}"


@pytest.mark.parametrize("page", LINKED, ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        if target.startswith("http"):
            continue
        name, _, anchor = target.partition("#")
        file = page.parent / name if name else page
        assert file.exists(), target
        if anchor:
            titles = re.findall(r"(?m)^#+ (.*)$", file.read_text())
            anchors = [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles]
            anchors += re.findall(r'<a id="([^"]+)"', file.read_text())
            assert anchor in anchors, target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_configurations_can_be_used(page: Path) -> None:
    for block in re.findall(r"```toml\n(.*?)```", page.read_text(), re.DOTALL):
        if block.startswith("[[site]]"):  # a baseline
            assert msgspec.toml.decode(block, type=dict[str, list[Entry]])["site"]
        else:
            assert isinstance(parse(block, file=page.name, directory=ROOT), Config)


def test_events_that_are_named_are_written() -> None:
    code = "".join(path.read_text() for path in (ROOT / "daemon").rglob("*.py"))
    events = set(re.findall(r"`(\w+_\w+)`", "".join(page.read_text() for page in PAGES)))
    for event in ("configuration_reloaded", "configuration_rejected", "check_in_failed", "log_not_reopened"):
        assert event in events
        assert f'"{event}"' in code
    for event in ("service_stopped", "source_unreadable", "source_failed", "guard_hits_suppressed"):
        assert f'"{event}"' in code


@pytest.mark.parametrize("name", excguard.list_commands(click.Context(excguard)))
def test_the_help_keeps_its_examples_line_by_line(name: str) -> None:
    help_text = CliRunner().invoke(excguard, [name, "--help"]).stdout

    assert "Usage:" in help_text
    assert "\\b" not in help_text, "a raw docstring: click wants the real backspace"


@pytest.mark.parametrize("script", sorted(path.name for path in (ROOT / "docs").glob("generate_*.py")))
def test_pages_that_a_script_writes_are_up_to_date(script: str) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "docs" / script, "--check"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed")
@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "man").glob("*.1")), ids=lambda page: page.stem)
def test_manual_pages_are_well_formed(page: Path) -> None:
    done = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww", "-z", page], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "man").glob("*.1")), ids=lambda page: page.stem)
def test_manual_pages_have_environment_and_exit_status(page: Path) -> None:
    sections = re.findall(r"(?m)^\.SH (.+)$", page.read_text())

    assert {"NAME", "SYNOPSIS", "DESCRIPTION", "ENVIRONMENT", "EXIT STATUS", "SEE ALSO"} <= set(sections)
    assert ("FILES" in sections) == (page.stem.replace("-", " ").split()[1:2] in WITH_FILES)


def every_command(context: click.Context) -> Iterator[click.Context]:
    """The command of ``context`` and all below it."""
    yield context
    command = context.command
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            yield from every_command(click.Context(child, info_name=name, parent=context))


def test_help_fits_a_terminal_and_is_not_cut_short() -> None:
    for context in every_command(click.Context(excguard, info_name="excguard", terminal_width=80)):
        context.terminal_width = 80
        text = context.command.get_help(context)

        assert [line for line in text.splitlines() if len(line) > 80] == [], context.command_path
        assert not re.search(r"\.\.\.$", text.partition("\nCommands:\n")[2], re.MULTILINE), (
            context.command_path
        )

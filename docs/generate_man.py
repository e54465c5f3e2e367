"""Writes docs/man/*.1, the manual pages, from the command line's own help.

python docs/generate_man.py            # writes them
python docs/generate_man.py --check    # says whether they are as they should be
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from excguard import __version__
from excguard import config as configuration
from excguard.cli import main as excguard

DIRECTORY = Path(__file__).with_name("man")
# What the help names depends on the machine; the page is about a Mac.
CONFIG = "~/Library/Application Support/excguard/config.toml"
# Paragraphs of the help that are sections of their own.
SECTIONS = {
    "Examples:": "EXAMPLES",
    "Exit status:": "EXIT STATUS",
    "Signals:": "SIGNALS",
}


def pages() -> dict[str, str]:
    """Each page by its file's name."""
    return {f"{'-'.join(context.command_path.split())}.1": page(context) for context in commands()}


def commands() -> Iterator[click.Context]:
    """Every command, the whole program first."""
    waiting = [click.Context(excguard, info_name="excguard")]
    while waiting:
        context = waiting.pop(0)
        yield context
        if isinstance(context.command, click.Group):
            for name in context.command.list_commands(context):
                command = context.command.get_command(context, name)
                assert command is not None  # noqa: S101 - it is in the list
                waiting.append(click.Context(command, info_name=name, parent=context))


def page(context: click.Context) -> str:
    """One page, in the macros of man(7)."""
    command = context.command
    path = context.command_path
    name = "-".join(path.split())
    text, sections = split(command.help or "")
    lines = [
        '.\\" Written by docs/generate_man.py from the help of the command.',
        f'.TH {quoted(name.upper())} 1 "" {quoted(f"excguard {__version__}")} "excguard"',
        ".SH NAME",
        f"{escaped(name)} \\- {escaped(command.get_short_help_str(200).rstrip('.'))}",
        ".SH SYNOPSIS",
        f".B {escaped(path)}",
        *[escaped(piece) for piece in command.collect_usage_pieces(context)],
        ".SH DESCRIPTION",
        *text,
    ]
    options = [option for option in command.get_params(context) if isinstance(option, click.Option)]
    if options:
        lines.append(".SH OPTIONS")
        for option in options:
            lines += described(option, context)
    if isinstance(command, click.Group):
        lines.append(".SH COMMANDS")
        for child in command.list_commands(context):
            found = command.get_command(context, child)
            assert found is not None  # noqa: S101 - it is in the list
            lines += [
                ".TP",
                f".BR {escaped(name)}-{escaped(child)} (1)",
                escaped(found.get_short_help_str(200)),
            ]
    for title, body in sections.items():
        lines += [f".SH {title}", *body]
    lines += [".SH SEE ALSO", *see_also(context)]
    return "\n".join(lines) + "\n"


def split(text: str) -> tuple[list[str], dict[str, list[str]]]:
    """A help text as the lines of its description, and of its sections."""
    description: list[str] = []
    sections: dict[str, list[str]] = {}
    for paragraph in re.split(r"\n[ \t]*\n", text.replace("\r", "").strip()):
        lines = paragraph.split("\n")
        if lines[0].strip() != "\b":
            description += [".PP", *[escaped(line.strip()) for line in lines]]
            continue
        title = lines[1].strip()
        if title in SECTIONS:
            sections[SECTIONS[title]] = verbatim(lines[2:])
        else:
            description += verbatim(lines[1:])
    return description, sections


def verbatim(lines: list[str]) -> list[str]:
    """Lines that stay as they are."""
    indent = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    return [".PP", ".nf", *[escaped(line[indent:]) for line in lines], ".fi"]


def described(option: click.Option, context: click.Context) -> list[str]:
    """One option."""
    record = option.get_help_record(context)
    if record is None:
        return []
    names, text = record
    text = text.replace(str(configuration.default_path()), CONFIG)
    return [".TP", f".B {escaped(names)}", escaped(" ".join(text.split()))]


def see_also(context: click.Context) -> list[str]:
    """The pages around this one."""
    names = ["excguard"] if context.parent else []
    if isinstance(context.command, click.Group):
        names += [f"{context.command_path} {name}" for name in context.command.list_commands(context)]
    elif context.parent is not None and context.parent.parent is not None:
        names.append(context.parent.command_path)
    pages = sorted("-".join(name.split()) for name in names)
    last = len(pages) - 1
    return [f".BR {escaped(name)} (1){',' if number < last else ''}" for number, name in enumerate(pages)]


def escaped(text: str) -> str:
    """Text that roff shows as it is."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    text = "".join(c if ord(c) < 128 else f"\\[u{ord(c):04X}]" for c in text)
    return f"\\&{text}" if text.startswith((".", "'")) else text


def quoted(text: str) -> str:
    """An argument of a macro."""
    return '"' + escaped(text).replace('"', "\\(dq") + '"'


def main() -> int:
    """Write or check all pages; the exit status."""
    made = pages()
    there = {path.name: path.read_text() for path in DIRECTORY.glob("*.1")}
    if "--check" in sys.argv[1:]:
        wrong = sorted(name for name in {*made, *there} if made.get(name) != there.get(name))
        if wrong:
            print(
                f"docs/man: not as the commands are: {', '.join(wrong)}; run docs/generate_man.py",
                file=sys.stderr,
            )
        return int(bool(wrong))
    DIRECTORY.mkdir(exist_ok=True)
    for name in there.keys() - made.keys():
        (DIRECTORY / name).unlink()
    for name, text in made.items():
        (DIRECTORY / name).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())

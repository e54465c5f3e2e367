"""Writes docs/man/*: a page for each command from its help, one for the configuration from config.toml.

python docs/generate_man.py            # writes them
python docs/generate_man.py --check    # exits with 1 when they are out of date
"""

import itertools
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from excguard import __version__
from excguard import config as configuration
from excguard.cli import main as excguard
from excguard.launchd.job import Kind, Layout
from excguard.sources.crash_reports import DEFAULT_DIRECTORIES

DIRECTORY = Path(__file__).with_name("man")
SETTINGS = Path(__file__).parents[1] / "config.toml"

# Paths that the help contains depend on the machine; the pages are about a Mac.
AGENT = Layout(Kind.AGENT, Path("~"))
DAEMON = Layout(Kind.DAEMON, Path("~"))
CONFIG = str(AGENT.config)
JOURNAL = str(AGENT.config.with_name("journal"))

RUNS = str(AGENT.config.with_name("runs"))

_RUNS = (RUNS, "The journals of runs, until everything is logged.")
_CONFIGURATION = (CONFIG, "The configuration, unless --config names another: excguard-config(5).")
_REPORTS = (" and ".join(DEFAULT_DIRECTORIES), "The directories in which ReportCrash writes crash reports.")
_JOB = [
    (f"{AGENT.property_list}, {DAEMON.property_list}", "The property list of the agent, of the daemon."),
    (f"{AGENT.config}, {DAEMON.config}", "The configuration that the job reads: excguard-config(5)."),
    (f"{AGENT.hits}, {DAEMON.hits}", "The log, as JSON lines."),
    (f"{AGENT.errors}, {DAEMON.errors}", "Errors from before the log was open."),
    (f"{AGENT.pid_file}, {DAEMON.pid_file}", "The process id of the job, for newsyslog."),
    (f"{AGENT.newsyslog}, {DAEMON.newsyslog}", "The rule by which newsyslog rotates the log."),
]
FILES = {
    "excguard serve": [
        _CONFIGURATION,
        (JOURNAL, "Hits that are not logged yet, and the counters; journal.path names another."),
        (f"{JOURNAL}.targets.json", "The names of the targets in the journal."),
        _REPORTS,
    ],
    "excguard": [_CONFIGURATION, (JOURNAL, "The journal of excguard serve."), _RUNS, _REPORTS],
    "excguard recover": [_RUNS],
    "excguard run": [_RUNS, _REPORTS],
    "excguard uninstall-data": [
        (str(AGENT.config.parent), "The configuration and the journals."),
        (str(AGENT.logs), "The logs of the agent."),
        ("$TMPDIR/excguard-run-*, $TMPDIR/excsim-*, /tmp/excguard-demo.*", "Temporary files."),
    ],
    "excguard config": [_CONFIGURATION],
    "excguard config check": [_CONFIGURATION],
    "excguard config path": [_CONFIGURATION],
    "excguard config show": [_CONFIGURATION],
    "excguard doctor": [_CONFIGURATION, _REPORTS],
    "excguard launchd": _JOB,
    "excguard launchd install": _JOB,
    "excguard launchd logs": _JOB[2:4],
    "excguard launchd print": _JOB,
    "excguard launchd restart": _JOB[:1],
    "excguard launchd start": _JOB[:1],
    "excguard launchd status": _JOB,
    "excguard launchd stop": _JOB[:1],
    "excguard launchd uninstall": _JOB,
}
"""Files that a command reads or writes by itself."""

_NO_COLOR = (
    "NO_COLOR, TERM",
    "No colors when NO_COLOR is set to any text or TERM is dumb: https://no-color.org.",
)
_KERNEL = (
    "EXCSIM_SOCKET",
    "The simulated kernel to use, on systems without Mach. Without it one is started.",
)
_PLACES = (
    "XDG_CONFIG_HOME, XDG_STATE_HOME",
    "On other systems than macOS: where the directories of the configuration and of the journals are.",
)
_TEMPORARY = ("TMPDIR", "The directory of temporary files.")
_OTLP = (
    "OTEL_EXPORTER_OTLP_..., OTEL_RESOURCE_ATTRIBUTES, OTEL_SERVICE_NAME",
    "For [otlp]: the variables of OpenTelemetry.",
)
_COLUMNS = ("COLUMNS", "The width of text for people; without it, that of the terminal.")
ENVIRONMENT = {
    "excguard attach": [_NO_COLOR, _KERNEL],
    "excguard config": [_PLACES],
    "excguard config check": [_PLACES],
    "excguard config path": [_PLACES],
    "excguard config show": [_PLACES],
    "excguard demo": [_NO_COLOR, _KERNEL, _TEMPORARY],
    "excguard doctor": [_NO_COLOR, _KERNEL, _PLACES],
    "excguard fleet scan": [
        ("AWS_...", "Keys, region and AWS_ENDPOINT_URL of s3:// addresses; likewise those of other stores.")
    ],
    "excguard recover": [_KERNEL, _PLACES],
    "excguard run": [
        _NO_COLOR,
        _KERNEL,
        _PLACES,
        _OTLP,
        ("GITHUB_ACTIONS", "With --ci auto: set where annotations and a job summary are to be written."),
        ("GITHUB_STEP_SUMMARY", "The file of the job summary."),
    ],
    "excguard serve": [
        _NO_COLOR,
        _KERNEL,
        _PLACES,
        _OTLP,
        ("XPC_SERVICE_NAME", "Set by launchd: the job, whose Mach service is checked in for."),
    ],
    "excguard sim": [("EXCSIM_SOCKET", "Set for PROGRAM: the kernel that it belongs to.")],
    "excguard top": [("EXCGUARD_PASSWORD", "The password of --user."), _NO_COLOR],
    "excguard completion": [("_EXCGUARD_COMPLETE", "Set by the printed script.")],
    "excguard uninstall-data": [_PLACES, _TEMPORARY],
}
"""Variables that a command reads, beside COLUMNS."""
OF_A_GROUP = ["That of the command; 2 when there is no such command."]
# Paragraphs of the help that are sections of their own.
SECTIONS = {
    "Examples:": "EXAMPLES",
    "Exit status:": "EXIT STATUS",
    "Signals:": "SIGNALS",
}


def pages() -> dict[str, str]:
    """Each page by its file's name."""
    made = {f"{'-'.join(context.command_path.split())}.1": page(context) for context in commands()}
    return made | {"excguard-config.5": settings_page(SETTINGS.read_text())}


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
    exit_status = sections.pop("EXIT STATUS", None)
    for title, body in sections.items():
        lines += [f".SH {title}", *body]
    lines += table("FILES", FILES.get(path, []))
    lines += table("ENVIRONMENT", [*ENVIRONMENT.get(path, []), _COLUMNS])
    lines += [".SH EXIT STATUS", *(exit_status or [".PP", *OF_A_GROUP])]
    lines += [".SH SEE ALSO", *see_also(context)]
    return "\n".join(lines) + "\n"


def settings_page(text: str) -> str:
    """The page about the configuration, from the annotated default configuration."""
    lines = [
        '.\\" Written by docs/generate_man.py from config.toml.',
        f'.TH EXCGUARD\\-CONFIG 5 "" {quoted(f"excguard {__version__}")} "excguard"',
        ".SH NAME",
        "excguard\\-config \\- the configuration of excguard",
        ".SH SYNOPSIS",
        f".I {escaped(CONFIG)}",
    ]
    blocks = [block.splitlines() for block in re.split(r"\n\n+", text.strip())]
    lines += [".SH DESCRIPTION", ".PP", "A TOML file.", *map(escaped, comment(blocks[0]))]
    lines += [".SH TOP LEVEL"]
    for block in itertools.chain.from_iterable(map(parts, blocks[1:])):
        last = block[-1]
        example = next((line for line in block if line.startswith("# [[")), None)
        if example is not None:
            start = block.index(example)
            lines += [f".SH {escaped(example[2:])}", *map(escaped, comment(block[:start]))]
            lines += [".PP", ".nf", *[escaped(line[2:]) for line in block[start:]], ".fi"]
        elif last.startswith("["):
            lines += [f".SH {escaped(last)}", *map(escaped, comment(block[:-1]))]
        else:
            keys = [line for line in block if not line.startswith("#")]
            lines += [".TP", f".B {bare(keys[0])}"]
            lines += [piece for key in keys[1:] for piece in (".TQ", f".B {bare(key)}")]
            lines += described_lines(block[: len(block) - len(keys)])
    lines += table("FILES", [(CONFIG, "The file that excguard serve reads.")])
    lines += [".SH SEE ALSO", ".BR excguard\\-serve (1),", ".BR excguard\\-run (1)"]
    return "\n".join(lines) + "\n"


def parts(block: list[str]) -> Iterator[list[str]]:
    """A block of the file, its ``[table]`` line, with what explains it, apart from the first key."""
    header = next((number for number, line in enumerate(block) if line.startswith("[")), None)
    if header is None:
        yield block
        return
    yield block[: header + 1]
    if rest := block[header + 1 :]:
        yield rest


def comment(lines: list[str]) -> list[str]:
    """The text of comment lines; an empty one separates paragraphs."""
    return [line.removeprefix("#").removeprefix(" ") for line in lines]


def described_lines(lines: list[str]) -> list[str]:
    """The comment above a key. A line such as ``"word"   meaning`` begins an item of a list."""
    made: list[str] = []
    in_list = False
    for line in comment(lines):
        item = re.fullmatch(r"\s*(\S+) {2,}(.*)", line)
        if item:
            made += [*([] if in_list else [".RS"]), ".TP", f".B {bare(item[1])}", escaped(item[2])]
            in_list = True
        else:
            made.append(escaped(line.strip()))
    return [*made, ".RE"] if in_list else made


def table(title: str, rows: list[tuple[str, str]]) -> list[str]:
    """A section of names and what they are; nothing without any."""
    lines = [f".SH {title}"] if rows else []
    for name, text in rows:
        lines += [".TP", f".I {escaped(name)}", escaped(text)]
    return lines


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
    pages = sorted(("-".join(name.split()), 1) for name in names)
    if any(option.name == "config_path" for option in context.command.params):
        pages.append(("excguard-config", 5))
    last = len(pages) - 1
    return [
        f".BR {escaped(name)} ({section}){',' if number < last else ''}"
        for number, (name, section) in enumerate(pages)
    ]


def escaped(text: str) -> str:
    """Text that roff shows as it is."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    text = "".join(c if ord(c) < 128 else f"\\[u{ord(c):04X}]" for c in text)
    return f"\\&{text}" if text.startswith((".", "'")) else text


def bare(text: str) -> str:
    """Text as the rest of a macro's line, where a quotation mark would begin an argument."""
    return escaped(text).replace('"', "\\(dq")


def quoted(text: str) -> str:
    """An argument of a macro."""
    return f'"{bare(text)}"'


def main() -> int:
    """Write or check all pages.

    Returns:
        The exit status.
    """
    made = pages()
    there = {path.name: path.read_text() for path in DIRECTORY.glob("*.[15]")}
    if "--check" in sys.argv[1:]:
        wrong = sorted(name for name in {*made, *there} if made.get(name) != there.get(name))
        if wrong:
            print(
                f"docs/man: out of date: {', '.join(wrong)}; run docs/generate_man.py",
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

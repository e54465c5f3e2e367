"""The command line: one module a command, imported when the command runs."""

import gc
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

import excguard
from excguard.cli.group import Group
from excguard.files import errors
from excguard.process import interrupt, standard_streams

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

FAILED = 125
"""Exit status when excguard itself failed, as of env(1) and timeout(1)."""

_COMMANDS = {
    "run": "Watch one run of a program.",
    "serve": "Watch programs continuously: the daemon.",
    "attach": "Watch a process that runs already.",
    "demo": "Show what excguard reports: a program breaks rules on purpose.",
    "recover": "Show the hits that a killed run has left.",
    "top": "Show hits live, in the terminal.",
    "decode": "Explain a code, a line of a report, or a whole report.",
    "doctor": "Say why guard hits are (not) seen on this machine.",
    "config": "Check and show the configuration.",
    "launchd": "Run excguard at login or from boot on.",
    "explain": "Explain one guard, by any of its names or numbers.",
    "report": "List the guard violations in crash reports.",
    "scan": "Count the guard violations in directories of crash reports.",
    "fleet": "Find the guard violations in crash reports by the million.",
    "events": "List the events of the JSON log, or print their schema.",
    "sim": "Run a program under a simulated Mach kernel.",
    "uninstall-data": "Remove the files that excguard keeps for this user.",
    "completion": "Print a script that completes command lines in a shell.",
    "help": "Print the help of a command.",
    "version": "Print the version.",
}
_WITH_ASYNCIO = {"serve", "run", "attach"}
"""Each command, which is ``command`` of the module of its name, and its line in the list of commands.

The lines stand here so that the list costs no import of a command.
"""


class LazyGroup(Group):
    """A group that imports a command's module when that command runs.

    Its errors are one line on standard error that says what to do; misuse ends with status 2.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of every command, in the order of the table."""
        del ctx
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, imported now."""
        del ctx
        if cmd_name not in _COMMANDS:
            return None
        if cmd_name in _WITH_ASYNCIO:
            late_ssl = import_module("excguard.process.late_ssl")  # which other commands do not need
            late_ssl.import_asyncio()
        found = import_module(f"excguard.cli.{cmd_name.replace('-', '_')}").command
        assert isinstance(found, click.Command)  # noqa: S101 - each module of the table has one
        found.short_help = _COMMANDS[cmd_name]
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, from the table."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> "list[CompletionItem]":
        """Commands that begin with ``incomplete``, from the table; else what click completes."""
        if incomplete.startswith("-"):
            return super().shell_complete(ctx, incomplete)
        from click.shell_completion import CompletionItem as Item  # noqa: PLC0415 - click imports it then, too

        return [Item(name, help=line) for name, line in _COMMANDS.items() if name.startswith(incomplete)]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that ``args`` name. It runs next: from here on there can be resources to release."""
        found = super().resolve_command(ctx, args)
        interrupt.is_an_exception()
        if not gc.isenabled():  # as the program's start has left it
            gc.freeze()  # modules stay: no collection has to look at them
            gc.enable()
        return found

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - as in click
        """Run the command that the arguments name."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise click.Abort from None  # click would write an empty line first, amid JSON too

    def main(  # type: ignore[override]
        self,
        args: Sequence[str] | None = None,
        *,
        standalone_mode: bool = True,
        **extra: Any,  # noqa: ANN401 - as in click
    ) -> Any:  # noqa: ANN401 - as in click
        """Run the command line and exit, unless ``standalone_mode`` is off."""
        if not standalone_mode:
            return super().main(args, standalone_mode=False, **extra)
        standard_streams.open_missing()
        try:
            status = super().main(args, standalone_mode=False, **extra)
        except click.exceptions.NoArgsIsHelpError as error:
            _complain(error.format_message())
            sys.exit(error.exit_code)
        except click.UsageError as error:
            command = error.ctx.command_path if error.ctx else "excguard"
            _complain(f"excguard: {_line(error)} (see `{command} --help`)")
            sys.exit(error.exit_code)
        except click.ClickException as error:
            _complain(f"excguard: {_line(error)}")
            sys.exit(error.exit_code)
        except click.Abort:
            sys.exit(interrupt.STATUS)
        except OSError as error:
            # Errors of files are reported where they are opened, so this is the output. What it did not take
            # is discarded: the interpreter would try to flush it at exit, and exit with a status of its own.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            _complain(f"excguard: {errors.message(error, 'standard output')}")
            sys.exit(FAILED)
        sys.exit(status if isinstance(status, int) else 0)


def _complain(text: str) -> None:
    """One line on standard error; given up when that is not being read."""
    if sys.stderr is sys.__stderr__:
        standard_streams.write_error(f"{text}\n", patience=1.0)
    else:  # a caller's own stream, as under click.testing
        click.echo(text, err=True)


def _line(error: click.ClickException) -> str:
    return " ".join(error.format_message().split()).rstrip(".")


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(excguard.__version__, prog_name="excguard")
def main() -> None:
    """See every EXC_GUARD that the kernel raises in a watched app, and what it means.

    \b
    Watch one run of a program:        excguard run -- ./app --its arguments
    Show an example of every guard:    excguard demo
    Watch programs continuously:       excguard serve --config excguard.toml
    Explain the numbers of a report:   excguard decode 0x2000020000002703
    """  # noqa: D301 - click wants the real backspace

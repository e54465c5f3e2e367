"""The command line: one module a command, imported when it is asked for."""

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import click

import excguard
from excguard.process import interrupt, standard_streams

FAILED = 125
"""Exit status when excguard itself failed, as of env(1) and timeout(1)."""

_COMMANDS = {
    "run": "excguard.cli.run:command",
    "serve": "excguard.cli.serve:command",
    "attach": "excguard.cli.attach:command",
    "demo": "excguard.cli.demo:command",
    "top": "excguard.cli.top:command",
    "decode": "excguard.cli.decode:command",
    "doctor": "excguard.cli.doctor:command",
    "launchd": "excguard.cli.launchd:command",
    "explain": "excguard.cli.explain:command",
    "report": "excguard.cli.report:command",
    "scan": "excguard.cli.scan:command",
}


class LazyGroup(click.Group):
    """A group that imports a command's module when that command runs or its help is listed.

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
        module, _, attribute = _COMMANDS[cmd_name].partition(":")
        found = getattr(import_module(module), attribute)
        assert isinstance(found, click.Command)  # noqa: S101 - the table above names nothing else
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that ``args`` name. It is run next: from here on there can be things to clean up."""
        found = super().resolve_command(ctx, args)
        interrupt.is_an_exception()
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
            click.echo(error.format_message(), err=True)
            sys.exit(error.exit_code)
        except click.UsageError as error:
            command = error.ctx.command_path if error.ctx else "excguard"
            click.echo(f"excguard: {_line(error)} (see `{command} --help`)", err=True)
            sys.exit(error.exit_code)
        except click.ClickException as error:
            click.echo(f"excguard: {_line(error)}", err=True)
            sys.exit(error.exit_code)
        except click.Abort:
            sys.exit(interrupt.STATUS)
        except OSError as error:
            # Files are told of where they are opened, so this is the output. What it did not take is given
            # up: the interpreter would try again at its end, and end with a status of its own.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            place = error.filename or "standard output"
            click.echo(f"excguard: {place}: {error.strerror or error}", err=True)
            sys.exit(FAILED)
        sys.exit(status if isinstance(status, int) else 0)


def _line(error: click.ClickException) -> str:
    return " ".join(error.format_message().split()).rstrip(".")


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(excguard.__version__, prog_name="excguard")
def main() -> None:
    """See every EXC_GUARD that the kernel raises in a watched app, and what it means.

    \b
    Watch one run of a program:        excguard run -- ./app --its arguments
    See what excguard shows:           excguard demo
    Watch programs day and night:      excguard serve --config excguard.toml
    Ask what the numbers mean:         excguard decode 0x2000020000002703
    """  # noqa: D301 - click wants the real backspace

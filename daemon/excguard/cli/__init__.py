"""The command line: one module a command, imported when it is asked for."""

from __future__ import annotations

from importlib import import_module

import click

import excguard

_COMMANDS = {
    "decode": "excguard.cli.decode:command",
}


class LazyGroup(click.Group):
    """A group that imports a command's module when that command runs or its help is listed."""

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


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(excguard.__version__, prog_name="excguard")
def main() -> None:
    """See every EXC_GUARD that the kernel raises in a watched app, and what it means."""

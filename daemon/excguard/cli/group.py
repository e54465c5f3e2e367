"""A command with commands of its own."""

import click


class Group(click.Group):
    """A group whose error for an unknown command names the nearest one, or lists all."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that ``args`` name.

        Raises:
            click.UsageError: there is no such command.
        """
        name, commands = str(args[0]), self.list_commands(ctx)
        if name not in commands and not name.startswith("-"):
            from difflib import get_close_matches  # noqa: PLC0415 - only for this error

            begun = [command for command in commands if command.startswith(name)]
            near = begun or get_close_matches(name, commands, n=1)
            hint = f"did you mean `{ctx.command_path} {near[0]}`?" if near else ", ".join(commands)
            ctx.fail(f"no command {name!r}: {hint}")
        return super().resolve_command(ctx, args)

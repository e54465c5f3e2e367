"""`excguard help`: the help of a command, as `excguard COMMAND --help` prints it."""

import click


@click.command("help")
@click.argument("words", nargs=-1, metavar="[COMMAND]...")
@click.pass_context
def command(ctx: click.Context, words: tuple[str, ...]) -> None:
    """Print the help of a command, or the list of commands.

    \b
    Examples:
      excguard help run
      excguard help launchd install

    \b
    Exit status:
      0    the help was printed
      2    there is no such command
    """  # noqa: D301 - click wants the real backspace
    context = ctx.find_root()
    for word in words:
        group = context.command
        if not isinstance(group, click.Group):
            raise click.UsageError(f"`{context.command_path}` has no commands of its own", context)
        name, found, _rest = group.resolve_command(context, [word])
        assert found is not None  # noqa: S101 - else resolve_command has raised
        context = click.Context(found, info_name=name, parent=context)
    click.echo(context.command.get_help(context))

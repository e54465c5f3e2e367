"""`excguard completion`: what a shell needs to complete excguard's commands, options and names of guards."""

import click
from click.shell_completion import get_completion_class

VARIABLE = "_EXCGUARD_COMPLETE"
"""Set by the shell's script when it calls excguard to complete a command line; click looks for this name."""


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print a script that completes excguard's command lines in a shell.

    It completes commands, options and their values, and the names of guards after `excguard explain`. bash
    has to be 4.4 or later; the one of macOS is 3.2.

    \b
    Examples:
      eval "$(excguard completion bash)"      in ~/.bashrc
      eval "$(excguard completion zsh)"       in ~/.zshrc, after compinit
      excguard completion fish > ~/.config/fish/completions/excguard.fish

    \b
    Exit status:
      0    the script was printed
      2    the command line is wrong
    """  # noqa: D301 - click wants the real backspace
    root = ctx.find_root()
    script = get_completion_class(shell)
    assert script is not None  # noqa: S101 - click has one for each of the choices
    click.echo(script(root.command, {}, root.info_name or "excguard", VARIABLE).source())

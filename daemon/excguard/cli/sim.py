"""`excguard sim`: the simulator's own command, where it is installed."""

import click


@click.command("sim", context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def _missing(arguments: tuple[str, ...]) -> None:
    """Run a program under a simulated Mach kernel: not in this installation."""
    del arguments
    raise click.ClickException("this installation has no simulator: macOS has a Mach kernel of its own")


def _find() -> click.Command:
    try:
        from excsim.__main__ import command as installed  # noqa: PLC0415 - macOS wheels do not have it
    except ImportError:
        return _missing
    return installed


command = _find()

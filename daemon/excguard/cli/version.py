"""`excguard version`: as `excguard --version`."""

import click

import excguard


@click.command("version")
def command() -> None:
    """Print the version of excguard.

    \b
    Exit status:
      0    always
    """  # noqa: D301 - click wants the real backspace
    click.echo(f"excguard, version {excguard.__version__}")

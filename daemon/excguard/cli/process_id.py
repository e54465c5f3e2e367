"""The id of a process, as the type of an argument or option."""

import click


def process_id(text: str) -> int:
    """A number of 1 or more.

    Raises:
        click.BadParameter: it is not one; a name is refused with the command that finds its number.
    """
    try:
        number = int(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a process id; `pgrep NAME` prints a program's") from None
    if number < 1:
        raise click.BadParameter(f"{number} is not a process id: 1 or more")
    return number

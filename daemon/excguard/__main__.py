"""The program: `excguard` and `python3 -m excguard` begin here."""

import gc

from excguard.process import interrupt


def main() -> None:
    """Run the command line and exit."""
    interrupt.ends_at_once()
    gc.disable()  # what imports leave behind stays: `LazyGroup.resolve_command` enables it again
    from excguard.cli import main as command_line  # noqa: PLC0415 - this takes a while

    command_line(prog_name="excguard")


if __name__ == "__main__":
    main()

"""TOML of others: what tomllib takes too long for, or cannot read, is an error.

tomllib (CPython 3.11) has no bound on its time that follows from the size of the text alone; with keys of no
more parts than any configuration has it is linear. Numbers of more than 4,300 digits raise ValueError, not
TOMLDecodeError.
"""

import re
from typing import Any, Final

MAX_KEY_PARTS: Final = 32
"""Parts of a dotted key."""

_LONG_KEY = (  # compiled when first used: most starts are without a configuration
    rf"""(?<![\w-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){{{MAX_KEY_PARTS}}}"""
)


class TomlError(Exception):
    """The text is not TOML that is read; says why in one line.

    Attributes:
        line: where, counted from 1; None when it is not known.
    """

    def __init__(self, text: str, line: int | None = None) -> None:
        """Describe the error; ``text`` has the line in it, where that is known."""
        super().__init__(text)
        self.line = line


def loads(text: str) -> dict[str, Any]:
    """Parse TOML.

    Raises:
        TomlError: it is not TOML, or is not read.
    """
    if found := re.search(_LONG_KEY, text):
        line = text.count("\n", 0, found.start()) + 1
        raise TomlError(f"a key of more than {MAX_KEY_PARTS} parts (at line {line})", line)
    import tomllib  # noqa: PLC0415 - compiles patterns, too

    try:
        return tomllib.loads(text)
    except RecursionError:
        raise TomlError("nested too deeply") from None
    except ValueError as error:  # TOMLDecodeError among them
        place = re.search(r"at line (\d+)", str(error))
        raise TomlError(" ".join(str(error).split()), int(place[1]) if place else None) from None

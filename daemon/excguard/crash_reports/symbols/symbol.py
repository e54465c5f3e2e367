"""What a symbolizer takes and gives."""

from typing import NamedTuple, Protocol


class Image(NamedTuple):
    """A library or program as a report names it.

    Attributes:
        name: its file name.
        uuid: LC_UUID, hexadecimal digits with or without hyphens; "" when not known.
        arch: "arm64", "arm64e", "x86_64"; "" when not known.
        path: where it was loaded from; "" when not known. A program that is not stripped has its own symbols.
    """

    name: str
    uuid: str
    arch: str = ""
    path: str = ""


class Symbol(NamedTuple):
    """A place in the source.

    Attributes:
        name: the function.
        offset: bytes from its start; None when the symbolizer gives a line instead.
        file: the source file; "" when not known.
        line: in it; 0 when not known.
    """

    name: str
    offset: int | None = None
    file: str = ""
    line: int = 0


class Symbolizer(Protocol):
    """Finds functions."""

    def symbol(self, image: Image, offset: int) -> Symbol | None:
        """The function at ``offset`` bytes from the start of ``image``; None when nothing is known of it."""

"""Text from outside, made safe for what shows it: terminals and spreadsheets.

Names, arguments, reports and logs are written by programs that can be hostile. A terminal acts on escape
sequences (ESC, OSC, C1 controls, BEL) and on characters that reverse the direction of text; a spreadsheet
runs cells that begin like a formula.
"""

from __future__ import annotations

import os

_FORMULAS = ("=", "+", "-", "@", "\t", "\r")


def printable(text: str) -> str:
    """The text with every character escaped that is not shown as itself: controls, bidi and other formats."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text
    )


def utf8(name: str) -> str:
    r"""A file name or argument, which can be any bytes, as text: what is not UTF-8 stands as ``\xff``."""
    return name if name.isascii() else os.fsencode(name).decode("utf-8", "backslashreplace")


def csv_cell(value: object) -> object:
    """The value of a CSV cell; text that a spreadsheet would run as a formula has an apostrophe before it."""
    if not isinstance(value, str):
        return value
    text = printable(value)
    return f"'{text}" if text.startswith(_FORMULAS) else text

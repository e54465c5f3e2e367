"""Numbers as reports and tools print them."""

from __future__ import annotations

from contextlib import suppress

from excguard.crash_reports.lazy_pattern import LazyPattern

HEX = r"0[xX][0-9a-fA-F]{1,16}"
NUMBER = r"(?:0[xX][0-9a-fA-F]{1,16}|-?\d{1,20})(?![0-9a-zA-Z])"


_GROUPED = LazyPattern(r"(?<![\w.,'])\d{1,3}(?:([,.'_ \u00a0\u2009\u202f])\d{3})(?:\1\d{3}){4,5}(?!\1?\d)")
"""A decimal number of 16 digits and more in groups of three: "2,305,845,208,236,959,491"."""


CODE = r"(?:0[xX][0-9a-fA-F]{1,16}|[0-9a-fA-F]{16}|-?\d{1,20})(?![0-9a-zA-Z])"
"""A whole code: as `NUMBER`, or the 16 digits of hex without 0x."""


def code_number(text: str | None) -> int | None:
    """The whole code that text prints; 16 digits are hex where only that gives a guard type."""
    value = number(text)
    if text and len(text) == 16 and not text.startswith("-") and (value is None or value >> 61 == 0):
        with suppress(ValueError):
            bare = int(text, 16)
            return bare if 1 <= bare >> 61 <= 6 else value
    return value


def ungrouped(text: str) -> str:
    """The text with its long decimal numbers written without separators."""
    at = 0
    while match := _GROUPED.search(text, at):
        plain = match[0].replace(match[1], "")
        text = text[: match.start()] + plain + text[match.end() :]
        at = match.start() + len(plain)
    return text


def number(text: str | None) -> int | None:
    """The number that text prints, as unsigned 64 bits; None when it prints none."""
    try:
        value = int(text or "", 16 if text and text.lstrip("-")[:2].lower() == "0x" else 10)
    except ValueError:
        return None
    return value & 2**64 - 1 if -(2**63) <= value < 2**64 else None


def word32(text: str | None) -> int | None:
    """A 32-bit number, hex or decimal; None when it is none or does not fit."""
    value = number(text)
    if value is None:
        return None
    if text and text.startswith("-") and value >= 2**64 - 2**31:
        return value & 0xFFFFFFFF
    return value if value < 2**32 else None


def whole(value: object, width: int) -> int | None:
    """A whole number of so many bits out of JSON, unsigned; None for others (floats have lost bits)."""
    if isinstance(value, str):
        value = number(value)
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return int(value & 2**width - 1) if -(2 ** (width - 1)) <= value < 2**width else None

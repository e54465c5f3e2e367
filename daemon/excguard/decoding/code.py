"""The 64-bit code of EXC_GUARD: its fields, and reading it from text."""

from __future__ import annotations

TYPE_SHIFT, FLAVOR_SHIFT, FLAVOR_MASK, TARGET_MASK = 61, 32, 0x1FFFFFFF, 0xFFFFFFFF
"""Layout of a code (osfmk/kern/exc_guard.h): type in bits 63..61, flavor in 60..32, target in 31..0."""


class DecodeError(ValueError):
    """The text or number is not a 64-bit code; the message says what is accepted."""


def split(code: int) -> tuple[int, int, int]:
    """The guard type number, flavor and target of an unsigned code."""
    return code >> TYPE_SHIFT, code >> FLAVOR_SHIFT & FLAVOR_MASK, code & TARGET_MASK


def join(guard_type: int, flavor: int, target: int) -> int:
    """The code with these three fields; bits that do not fit are dropped."""
    return (guard_type & 7) << TYPE_SHIFT | (flavor & FLAVOR_MASK) << FLAVOR_SHIFT | target & TARGET_MASK


def parse_number(text: str) -> int:
    """A code as people write it: decimal, negative decimal, 0x hex. Raises DecodeError."""
    stripped = text.strip().replace("_", "")
    if len(stripped) > 200 and stripped.isalnum() and stripped[0].isdigit():
        raise DecodeError(f"a number of {len(stripped)} digits does not fit 64 bits")
    try:
        value = int(stripped, 16 if stripped.lower().lstrip("+-").startswith("0x") else 10)
    except ValueError:
        raise DecodeError(f"not a number: {text[:60]!r} (write decimal or 0x hex)") from None
    return unsigned(value, "the number")


def unsigned(value: int, what: str) -> int:
    """The number as 64 unsigned bits; raises DecodeError (naming it `what`) when it does not fit."""
    if not -(2**63) <= value < 2**64:
        shown = str(value) if value.bit_length() <= 128 else "of more than 128 bits"
        raise DecodeError(f"{what} {shown} does not fit 64 bits: -2^63 to 2^64-1 is accepted")
    return value & 2**64 - 1

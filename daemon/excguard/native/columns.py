"""Columns of EXC_GUARD codes at once: `excguard.decode_columns`, by the tables of the C core."""

from __future__ import annotations

from functools import cache
from itertools import accumulate
from typing import Any, Literal, NamedTuple

from excguard.decoding.code import DecodeError
from excguard.knowledge import releases
from excguard.native import ffi, lib

_ffi: Any = ffi  # the stub has no allocators and no types that are made of variables
_new = _ffi.new_allocator(should_clear_after_alloc=False)
_FORMATS = frozenset("QqLlNn")  # of memoryviews, for integers as wide as a code


class Columns(NamedTuple):
    """Decoded codes, one value a code in each column, in their order.

    The columns are memoryviews, which `numpy.asarray` and `pyarrow.py_buffer` take without a copy.

    Attributes:
        guard_type: Bits 63..61 of the code (uint8).
        flavor: Bits 60..32 (uint32).
        target: Bits 31..0 (uint32).
        severity: The `order` of knowledge.severity.Severity (uint8): 0 unknown, 1 soft, 2 optional, 3 fatal.
        known: 1 where a table has the flavor (uint8).
        name: The place of the flavor's name in `names` (uint16); 0 for a flavor without a name.
        names: The names: None, then "INVALID_NAME" ... They are the same for every call.
        payload: The subcodes that were passed, as a view; None without subcodes.
    """

    guard_type: memoryview
    flavor: memoryview
    target: memoryview
    severity: memoryview
    known: memoryview
    name: memoryview
    names: tuple[str | None, ...]
    payload: memoryview | None


def decode_columns(codes: object, subcodes: object = None, release: str | None = None) -> Columns:
    """Decode a column of codes, as `excguard.decode` does one; the interpreter lock is free meanwhile.

    Args:
        codes: 64-bit integers, signed or unsigned, in one dimension: a numpy array, a pyarrow array without
            nulls, an array.array("Q"), or anything else with the buffer protocol.
        subcodes: As many subcodes likewise; None where there are none.
        release: The release that the numbers come from, in any form that `knowledge.releases.parse` takes;
            without it each number has its newest meaning.

    Raises:
        DecodeError: the codes are not 64-bit integers in one contiguous dimension, or have nulls; or there is
            another number of subcodes.
        knowledge.releases.ReleaseError: a release that cannot be placed.
    """
    view = _integers(codes, "codes")
    payload = None if subcodes is None else _integers(subcodes, "subcodes")
    if payload is not None and len(payload) != len(view):
        raise DecodeError(f"{len(view)} codes, but {len(payload)} subcodes")
    placed = releases.NEWEST if release is None else releases.parse(release).version
    names, of_rows = _names()
    count = len(view)
    # One allocation: the next call reuses a large one, and touches several small ones anew.
    ends = list(accumulate(-(-count * column.size // _ALIGNMENT) * _ALIGNMENT for column in _COLUMNS))
    starts = [0, *ends[:-1]]
    memory = _new("uint8_t[]", ends[-1] or 1)
    pointers = [
        _ffi.cast(f"{column.c_type} *", memory + start)
        for column, start in zip(_COLUMNS, starts, strict=True)
    ]
    out = ffi.new("struct excguard_columns *", pointers)
    if not lib.excguard_decode_columns(_ffi.from_buffer(view), count, placed, of_rows, out):
        raise AssertionError("the tables do not fit native/columns.c")
    whole = memoryview(_ffi.buffer(memory))
    guard_type, flavor, target, severity, known, name = (
        whole[start : start + count * column.size].cast(column.format)
        for column, start in zip(_COLUMNS, starts, strict=True)
    )
    return Columns(guard_type, flavor, target, severity, known, name, names, payload)


class _Column(NamedTuple):
    c_type: str
    format: Literal["B", "H", "I"]
    size: int


_BYTE, _SHORT, _WORD = _Column("uint8_t", "B", 1), _Column("uint16_t", "H", 2), _Column("uint32_t", "I", 4)
_COLUMNS = (_BYTE, _WORD, _WORD, _BYTE, _BYTE, _SHORT)
"""The columns of `struct excguard_columns`, in its order."""

_ALIGNMENT = 64


def _integers(values: object, what: str) -> memoryview:
    """The integers of an array as a view of unsigned 64-bit ones. Raises DecodeError."""
    if hasattr(values, "buffers") and hasattr(values, "null_count"):  # a pyarrow array
        return _of_arrow(values, what)
    try:
        view = memoryview(values)  # type: ignore[arg-type]
    except TypeError:
        wanted = 'pass a numpy or pyarrow array, or array.array("Q", ...)'
        raise DecodeError(f"{what}: {type(values).__name__} has no buffer; {wanted}") from None
    if view.format.lstrip("@=<") not in _FORMATS or view.itemsize != 8 or view.ndim != 1:
        shape = f"{view.ndim} dimensions of {view.format!r}"
        raise DecodeError(f"{what}: {shape}, not one dimension of 64-bit integers in this machine's order")
    if not view.contiguous:
        raise DecodeError(f"{what}: not contiguous; pass a copy")
    return view.cast("B").cast("Q")


def _of_arrow(values: Any, what: str) -> memoryview:  # noqa: ANN401 - pyarrow has no types
    if str(values.type) not in {"int64", "uint64"}:
        raise DecodeError(f"{what}: a pyarrow array of {values.type}, not of int64 or uint64")
    if values.null_count:
        raise DecodeError(f"{what}: {values.null_count} nulls; drop or fill them first")
    if len(values) == 0:
        return memoryview(b"").cast("Q")
    whole = memoryview(values.buffers()[1]).cast("B").cast("Q")
    return whole[values.offset : values.offset + len(values)]


@cache
def _names() -> tuple[tuple[str | None, ...], Any]:
    """The names, and the number of each row's name for the C core."""
    count = ffi.new("uint32_t *")
    rows = lib.excguard_guard_rows(count)
    names: dict[str | None, int] = {None: 0}
    numbers = []
    for index in range(count[0]):
        kernel_name = rows[index].kernel_name
        name = None if kernel_name == ffi.NULL else _bare(ffi.string(kernel_name).decode())
        numbers.append(names.setdefault(name, len(names)))
    return tuple(names), _ffi.new("uint16_t[]", numbers)


def _bare(kernel_name: str) -> str:
    return kernel_name.removeprefix("kGUARD_EXC_").removeprefix("VNG_")

"""The hostile texts of bench/shapes.py, small: what reading them takes, counted."""

import io
import sys
import tracemalloc
from types import FrameType

import pytest

from bench.shapes import FLOOR, LIMIT, SHAPES
from excguard import crash_reports

# Those that took 9 to 29 bytes of memory for each byte of the text, or are nearest to the limit now.
LARGE = [
    *("exceptions", "kernel lines", "Mach exceptions", "unified log", "headers", "strings in strings"),
    *("empty images", "empty threads", "empty lists", "UTF-16"),
]


def _read(text: bytes) -> list[crash_reports.Report]:
    return crash_reports.read_documents(io.BytesIO(text), "a.ips")


@pytest.mark.parametrize("name", LARGE)
def test_memory_is_bounded_by_the_size(name: str) -> None:
    text = SHAPES[name](990 << 10)  # just below the size from which values of JSON are read one by one
    _read(SHAPES[name](1000))
    tracemalloc.start()
    try:
        reports = _read(text)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert reports
    assert peak < LIMIT * len(text) + FLOOR


def _calls(text: bytes) -> int:
    """How many functions are called to read a text, those of C included."""
    count = 0

    def called(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal count
        count += event in {"call", "c_call"}

    sys.setprofile(called)
    try:
        _read(text)
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize("name", SHAPES)
def test_work_is_linear_in_the_size(name: str) -> None:
    make = SHAPES[name]
    small, large = make(12 << 10), make(48 << 10)
    _read(large)  # compiles patterns

    assert _calls(large) < 4.4 * _calls(small) + 20_000

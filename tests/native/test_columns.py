"""decode_columns(): many codes, as decode() reads each."""

from __future__ import annotations

import array
import struct
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import excguard
from excguard.decoding.code import DecodeError, join
from excguard.knowledge import flavors, guards, releases
from excguard.knowledge.severity import Severity

KNOWN = sorted({(guards.NUMBERS[row.guard_type], row.value) for row in flavors.table()})
CODES = st.builds(
    lambda head, target: join(*head, target),
    st.sampled_from(KNOWN) | st.tuples(st.integers(0, 7), st.integers(0, 2**29 - 1)),
    st.integers(0, 2**32 - 1),
) | st.integers(0, 2**64 - 1)
RELEASES = [None, "10.9", "10.14.6", "11.2", "14.1", "14.2", "15.5", "15.6", "26.0", "26.4", "27.0", "99"]


def rows(columns: excguard.Columns) -> list[tuple[Any, ...]]:
    """The columns as rows, with words in place of numbers."""
    plain = (columns.guard_type, columns.flavor, columns.target)
    severities = [Severity.numbered(order) for order in columns.severity]
    names = [columns.names[place] for place in columns.name]
    return list(zip(*plain, severities, map(bool, columns.known), names, strict=True))


def expected(code: int, release: str | None) -> tuple[Any, ...]:
    found = excguard.decode(code, None, release)
    severity = Severity.of(found.severity)
    return (found.guard_type_number, found.flavor, found.target, severity, found.known, found.flavor_name)


@given(st.lists(CODES, max_size=40), st.sampled_from(RELEASES))
def test_a_column_is_decoded_as_each_code(codes: list[int], release: str | None) -> None:
    found = excguard.decode_columns(array.array("Q", codes), release=release)

    assert rows(found) == [expected(code, release) for code in codes]


@pytest.mark.parametrize("release", RELEASES)
def test_every_number_of_the_tables(release: str | None) -> None:
    heads = [head for number, value in KNOWN for head in ((number, value), (number, value + 1))]
    codes = [join(*head, target) for head in heads for target in (0, 0x103, 0x100106)]

    known = [expected(code, release) for code in codes]
    assert rows(excguard.decode_columns(array.array("Q", codes), release=release)) == known
    few = 7  # too few for vectors
    for start in range(0, len(codes), few):
        part = array.array("Q", codes[start : start + few])
        assert rows(excguard.decode_columns(part, release=release)) == known[start : start + few]


def test_signed_unaligned_and_empty_columns() -> None:
    code = join(5, 0xC8, 0x100106)
    signed = array.array("q", [code - 2**64])
    shifted = memoryview(b"\0" + struct.pack("=Q", code))[1:].cast("Q")

    for codes in (signed, shifted, memoryview(signed)):
        assert rows(excguard.decode_columns(codes, release="26.4")) == [
            (5, 0xC8, 0x100106, Severity.SOFT, True, "MTE_SYNC_FAULT")
        ]
    assert rows(excguard.decode_columns(array.array("Q"))) == []


def test_subcodes_are_passed_through() -> None:
    found = excguard.decode_columns(array.array("Q", [1, 2]), array.array("q", [-1, 7]))

    assert found.payload is not None
    assert found.payload.tolist() == [2**64 - 1, 7]
    assert excguard.decode_columns(array.array("Q", [1])).payload is None


@pytest.mark.parametrize(
    ("codes", "subcodes", "said"),
    [
        ([1, 2], None, 'list has no buffer; pass a numpy or pyarrow array, or array.array("Q", ...)'),
        (array.array("I", [1]), None, "not one dimension of 64-bit integers"),
        (array.array("d", [1.0]), None, "not one dimension of 64-bit integers"),
        (b"12345678", None, "not one dimension of 64-bit integers"),
        (memoryview(array.array("Q", [1, 2, 3, 4]))[::2], None, "not contiguous"),
        (memoryview(bytes(16)).cast("Q", (1, 2)), None, "2 dimensions"),
        (array.array("Q", [1]), array.array("Q"), "1 codes, but 0 subcodes"),
        (array.array("Q", [1]), 5, "subcodes: int has no buffer"),
    ],
)
def test_invalid_columns_are_refused(codes: object, subcodes: object, said: str) -> None:
    with pytest.raises(DecodeError) as caught:
        excguard.decode_columns(codes, subcodes)

    assert said in str(caught.value)


def test_an_invalid_release_is_refused() -> None:
    with pytest.raises(releases.ReleaseError):
        excguard.decode_columns(array.array("Q"), release="?")


def test_numpy_arrays_and_back() -> None:
    numpy = pytest.importorskip("numpy")
    codes = numpy.array([join(1, 0x200, 0x2703), join(2, 1, 3)], dtype=numpy.uint64)
    found = excguard.decode_columns(codes, codes.astype(numpy.int64))

    assert numpy.asarray(found.flavor).tolist() == [0x200, 1]
    assert [found.names[place] for place in numpy.asarray(found.name)] == ["INVALID_NAME", "CLOSE"]
    with pytest.raises(DecodeError, match="this machine's order"):
        excguard.decode_columns(codes.astype(">u8"))


def test_arrow_arrays() -> None:
    pyarrow = pytest.importorskip("pyarrow")
    codes = pyarrow.array([1, join(1, 0x200, 0x2703), join(2, 1, 3)], pyarrow.uint64())

    assert excguard.decode_columns(codes[1:]).target.tolist() == [0x2703, 3]
    assert excguard.decode_columns(codes[:0]).target.tolist() == []
    with pytest.raises(DecodeError, match="1 nulls"):
        excguard.decode_columns(pyarrow.array([1, None], pyarrow.uint64()))
    with pytest.raises(DecodeError, match="of string"):
        excguard.decode_columns(pyarrow.array(["1"]))


def test_threads_decode_at_once() -> None:
    codes = array.array("Q", [join(1, 0x200, target) for target in range(10_000)])
    found: list[list[int]] = []
    threads = [
        threading.Thread(target=lambda: found.append(excguard.decode_columns(codes).target.tolist()))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert found == [list(range(10_000))] * 4

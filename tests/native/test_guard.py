"""The C guard decoder against the tables it was generated from."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from excguard.decoding.decode import decode
from excguard.knowledge import flavors, guards, releases
from excguard.knowledge.severity import Severity
from excguard.native import ffi, lib


def native(code: int, release: int) -> Any:
    out = ffi.new("struct excguard_guard *")
    lib.excguard_guard_decode(code, release, out)
    return out


def string(pointer: Any) -> str | None:
    return None if pointer == ffi.NULL else str(ffi.string(pointer).decode())


def versions() -> list[int]:
    """Every release at which something begins or ends, and its neighbors."""
    bounds = {row.first_release for row in c_rows()} | {row.last_release for row in c_rows()}
    near = {version + step for version in bounds for step in (-1, 0, 1)}
    return sorted({version for version in near if 0 < version < 2**32} | {100900, 260400, 270000, 990000})


def c_rows() -> list[Any]:
    count = ffi.new("uint32_t *")
    rows = lib.excguard_guard_rows(count)
    return [rows[index] for index in range(count[0])]


def numbers() -> list[tuple[int, int]]:
    """Every (guard type, flavor) of any release, with neighbors that no release has."""
    known = {(guards.NUMBERS[row.guard_type], row.value) for row in flavors.table()}
    near = {(number, max(0, flavor + step)) for number, flavor in known for step in (-1, 1)}
    plain = {
        (number, flavor) for number in range(8) for flavor in (0, 1, 0x40, 0x80, 0x81, 0x80001, 0x1FFFFFFF)
    }
    return sorted(known | near | plain)


@pytest.mark.parametrize("release", versions())
def test_agrees_with_the_tables(release: int) -> None:
    text = releases.show(release)
    for number, flavor in numbers():
        code = number << 61 | flavor << 32 | 0xABCD
        found = native(code, release)
        guard_type = guards.NAMES.get(number)
        rows = flavors.at(guard_type, flavor, release) if guard_type else []
        severity = flavors.severity(guard_type, flavor, release) if guard_type else None
        assert (found.guard_type, found.flavor, found.target) == (number, flavor, 0xABCD)
        assert Severity.numbered(found.severity) == (severity or "unknown"), (code, text)
        assert string(found.kernel_name) == (rows[0].kernel_name if rows else None), (code, text)
        assert found.known == (bool(rows) or (guard_type in guards.WITHOUT_FLAVORS and flavor == 0))


def test_every_row_of_the_tables_is_there() -> None:
    ours = {(row.guard_type, row.flavor, string(row.kernel_name)) for row in c_rows()}
    for row in flavors.table():
        number = guards.NUMBERS[row.guard_type]
        at = flavors.at(row.guard_type, row.value, row.first)
        assert (number, row.value, at[0].kernel_name) in ours


@given(st.integers(0, 2**64 - 1), st.sampled_from(["10.14.1", "12.0.1", "14.4", "15.5", "26.4", "27.0"]))
def test_agrees_with_decode(code: int, release: str) -> None:
    found = native(code, releases.parse(release).version)
    expected = decode(code, 0, release)
    assert found.guard_type == expected.guard_type_number
    assert (found.flavor, found.target) == (expected.flavor, expected.target)
    assert found.known == expected.known
    assert string(found.kernel_name) == expected.kernel_name
    assert Severity.numbered(found.severity) == (expected.severity or "unknown")

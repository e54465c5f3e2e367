"""Text from outside on terminals and in spreadsheets."""

import pytest

from excguard.files.escaping import csv_cell, printable, utf8


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Mail", "Mail"),
        ("Ma\u00efl \u90ae\u4ef6", "Ma\u00efl \u90ae\u4ef6"),
        ("\x1b[2J", r"\x1b[2J"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("\x9b31m", r"\x9b31m"),
        ("a\u202eb", r"a\u202eb"),
        ("a\u2066b", r"a\u2066b"),
        ("two\nlines\r\t", r"two\nlines\r\t"),
        ("\udcff", r"\udcff"),
    ],
)
def test_what_a_terminal_acts_on_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


@pytest.mark.parametrize(
    ("name", "text"), [("a", "a"), ("ä日", "ä日"), ("a\udcff", r"a\xff"), ("\udce9\udca9/x", r"\xe9\xa9/x")]
)
def test_a_name_of_any_bytes_is_text(name: str, text: str) -> None:
    assert utf8(name) == text
    text.encode()


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)"])
def test_a_cell_that_is_a_formula_is_text(text: str) -> None:
    assert csv_cell(text) == f"'{text}"


@pytest.mark.parametrize("value", [7, None, "Mail", "0x2000020000002703"])
def test_other_cells_stay_as_they_are(value: object) -> None:
    assert csv_cell(value) == value

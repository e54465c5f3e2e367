"""TOML that takes too long to parse is refused; all other TOML is read."""

import tomllib

import pytest

from excguard.files import bounded_toml


@pytest.mark.parametrize(
    "text",
    [
        "a.b.'c d'.\"e.f\" = 1\n[x.y]\nz = 2026-11-27",
        ".".join(["a"] * 32) + " = 1",
        "url = 'https://" + "a." * 31 + "org'",
        "ellipses = '" + "... " * 100 + "'",
        "paths = [" + "'/a/b.txt', " * 100 + "]",
        "words = '" + "a" * 100_000 + "'",
    ],
)
def test_toml_is_read_as_tomllib_reads_it(text: str) -> None:
    assert bounded_toml.loads(text) == tomllib.loads(text)


@pytest.mark.parametrize(
    ("text", "expected", "line"),
    [
        ("a = 1\n" + ".".join(["a"] * 33) + " = 1", "a key of more than 32 parts (at line 2)", 2),
        ("[" + " . ".join(["'a'"] * 33) + "]", "a key of more than 32 parts (at line 1)", 1),
        ("a = " + "[" * 9_000, "nested too deeply", None),
        ("a = ", "Invalid value (at end of document)", None),
        ("a = 1\nb = \n", "Invalid value (at line 2, column 5)", 2),
    ],
)
def test_what_is_not_read_is_an_error(text: str, expected: str, line: int | None) -> None:
    with pytest.raises(bounded_toml.TomlError) as caught:
        bounded_toml.loads(text)

    assert (str(caught.value), caught.value.line) == (expected, line)

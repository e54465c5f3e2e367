"""The examples in docstrings run, and arguments of a wrong type are explained."""

import doctest
import io
from importlib import import_module
from typing import Any

import pytest

import excguard


@pytest.mark.parametrize("name", ["excguard", "excguard.crash_reports", "excguard.fleet"])
def test_examples_run(name: str) -> None:
    if name == "excguard.fleet":
        pytest.importorskip("pyarrow")
    found = doctest.testmod(import_module(name))

    assert found.failed == 0
    assert found.attempted > 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("123",), "code must be an int, not str; excguard.reports.read_text finds codes in text"),
        ((2.3058452e18,), "code must be an int, not float, which has lost its low bits"),
        ((None,), "code must be an int, not NoneType"),
        ((1, b"1"), "subcode must be an int, not bytes"),
        ((2305845208236959491, 0, 14.4), "a release must be a str such as '14.4', not float"),
    ],
)
def test_decode_says_what_it_takes(arguments: tuple[Any, ...], said: str) -> None:
    with pytest.raises(TypeError) as error:
        excguard.decode(*arguments)

    assert str(error.value) == said


@pytest.mark.parametrize(
    ("source", "said"),
    [(b"GUARD", "read_bytes reads the bytes"), (io.BytesIO(), "read_file reads an open file")],
)
def test_read_says_what_it_takes(source: Any, said: str) -> None:
    with pytest.raises(TypeError, match=said):
        excguard.reports.read(source)

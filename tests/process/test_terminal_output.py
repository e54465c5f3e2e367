"""How wide lines can be on a descriptor."""

import fcntl
import os
import pty
import struct
import termios
from collections.abc import Iterator

import pytest

from excguard.process.terminal_output import terminal_width, wants_color


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A terminal of 90 columns."""
    monkeypatch.delenv("COLUMNS", raising=False)
    main, other = pty.openpty()
    fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 90, 0, 0))
    yield other
    os.close(main)
    os.close(other)


def test_the_terminals_own_width(terminal: int) -> None:
    assert terminal_width(terminal) == 90


@pytest.mark.parametrize(("columns", "width"), [("70", 70), ("400", 120), ("0", 90), ("wide", 90), ("²", 90)])
def test_columns_of_the_environment(
    terminal: int, monkeypatch: pytest.MonkeyPatch, columns: str, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert terminal_width(terminal) == width


def test_a_pipe_has_a_fixed_width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "70")
    read, write = os.pipe()
    try:
        assert terminal_width(write) == 100
        assert not wants_color(write)
    finally:
        os.close(read)
        os.close(write)


@pytest.mark.parametrize(("variable", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_colors_can_be_declined(
    terminal: int, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert wants_color(terminal)
    monkeypatch.setenv(variable, value)
    assert not wants_color(terminal)

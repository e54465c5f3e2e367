"""The line of a configuration file that a key stands on: tomllib reports it for errors of syntax only."""

import re
from collections.abc import Iterator
from typing import Any

KeyPath = tuple[str | int, ...]
"""Names of tables and keys, and numbers (from 0) of elements: ``("target", 1, "stop_timeout")``."""

# What can hold a newline, a bracket or a quotation mark that ends nothing, then what structures a file.
_TOKEN = re.compile(
    r'''"""(?:\\.|[^\\])*?""""{0,2}'''
    r"""|\'\'\'.*?\'\'\'\'{0,2}"""
    r"""|"(?:\\.|[^"\\])*"|'[^']*'|\#[^\n]*|[\[\]{}\n]""",
    re.DOTALL,
)


def line_of(text: str, path: KeyPath) -> int | None:
    """The line, from 1, on which ``path`` is set, or else what contains it; None when it is not in the file.

    Args:
        text: valid TOML.
        path: may go on below what the file holds: the line of what is there is returned then.
    """
    best, found = 0, None
    table: KeyPath = ()
    counts: dict[KeyPath, int] = {}
    for line, statement in _statements(text):
        if statement.startswith("["):
            place = table = _table(statement, counts)
        else:
            place = (*table, *_names(statement))
        common = _common(place, path)
        if common > best and common == min(len(place), len(path)):
            best, found = common, line
    return found


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Each header of a table and each key with its value, with the line on which it begins."""
    line = first = 1
    start = depth = 0
    text += "\n"
    for token in _TOKEN.finditer(text):
        if token[0] in "[{":
            depth += 1
        elif token[0] in "]}":
            depth -= 1
        elif token[0] == "\n" and depth == 0:
            statement = text[start : token.start()].strip()
            if statement and not statement.startswith("#"):
                yield first, statement
            start, first = token.end(), line + 1
        line += token[0].count("\n")


def _table(header: str, counts: dict[KeyPath, int]) -> KeyPath:
    """The table that a header opens; ``counts`` has the number of elements of each array of tables so far."""
    *outer, last = _names(header)
    path: KeyPath = ()
    for name in outer:
        path = (*path, name)
        if path in counts:
            path = (*path, counts[path] - 1)
    path = (*path, last)
    if header.startswith("[["):
        counts[path] = counts.get(path, 0) + 1
        path = (*path, counts[path] - 1)
    return path


def _names(statement: str) -> list[str]:
    """The names that a line of TOML sets, from the outside in, as far as there is one."""
    import tomllib  # noqa: PLC0415 - compiles patterns, for starts without a configuration

    parsed: Any = tomllib.loads(statement)
    names: list[str] = []
    while isinstance(parsed, dict) and len(parsed) == 1:
        ((name, parsed),) = parsed.items()
        names.append(name)
    return names


def _common(one: KeyPath, other: KeyPath) -> int:
    """How many steps both begin with."""
    number = 0
    for mine, its in zip(one, other, strict=False):
        if mine != its:
            break
        number += 1
    return number

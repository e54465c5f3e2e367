"""Each key is found on its line, whatever TOML stands between."""

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from excguard.config import ConfigError, parse
from excguard.config.lines import line_of

TEXT = '''\
# [log]
behavior = "identity_protected"   # [metrics]

[log]
path = """
[journal]
first = 1 \\""" "
"""
first = 10

[[target]]
name = "a # ]"
command = [
  "x",   # a comment with ] and "
  '"[["',
]
[target.environment]
A = "1"
"B.C" = "2"

[[target]]
name = 'b'
command = ["b"]
environment = { D = "]" }
restart_delay = 2.0

[crash_reports]
wait = 1.0
journal.path = "dotted"
'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("behavior",), 2),
        (("log",), 4),
        (("log", "path"), 5),
        (("log", "first"), 9),
        (("log", "missing"), 4),
        (("target", 0), 11),
        (("target", 0, "name"), 12),
        (("target", 0, "command"), 13),
        (("target", 0, "command", 1), 13),
        (("target", 0, "environment"), 17),
        (("target", 0, "environment", "B.C"), 19),
        (("target", 1), 21),
        (("target", 1, "name"), 22),
        (("target", 1, "environment", "D"), 24),
        (("target", 1, "restart_delay"), 25),
        (("target", 1, "stop_timeout"), 21),
        (("crash_reports", "wait"), 28),
        (("crash_reports", "journal", "path"), 29),
        (("nothing",), None),
        ((), None),
    ],
)
def test_line_of_a_key(path: tuple[str | int, ...], line: int | None) -> None:
    assert tomllib.loads(TEXT)
    assert line_of(TEXT, path) == line
    assert line_of(TEXT.replace("\n", "\r\n"), path) == line


def test_an_element_of_an_array_on_one_line() -> None:
    assert line_of('a = 1\ntarget = [{name = "x"}, {nme = "y"}]', ("target", 1, "nme")) == 2


STRINGS = st.text(st.sampled_from("ab\\\"'[]{}#=\n "), max_size=12)


@given(st.lists(st.tuples(STRINGS, st.sampled_from(['"', "'", '"""', "'''"])), max_size=6))
def test_any_strings_do_not_shift_the_lines(values: list[tuple[str, str]]) -> None:
    text = ""
    expected: list[int] = []
    for number, (value, quote) in enumerate(values):
        statement = f"k{number} = [{quote}{value}{quote}, {{a = {number}}}] # {quote}[\n"
        try:
            tomllib.loads(statement)
        except tomllib.TOMLDecodeError:
            continue
        if list(tomllib.loads(statement)) != [f"k{number}"]:  # the string has ended early
            continue
        expected.append(text.count("\n") + 1)
        text += statement

    assert [line_of(text, (key,)) for key in tomllib.loads(text)] == expected


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("[log]\n\nfirst = 'x'", "f.toml: line 3: log.first: "),
        ('\n[[target]]\nname = "a"\ncommand = ["a"]\nrestrat = 1', 'f.toml: line 5: [[target]] "a": unknown'),
        ('\n[[target]]\nname = "a"', 'f.toml: line 2: [[target]] "a": command is missing'),
        (
            '[[target]]\nname = "a"\ncommand = ["a"]\n[[target]]\ncommand = ["a"]\nname = "a"',
            'f.toml: line 6: [[target]] "a" name: another target',
        ),
        ("a = 1\nb = \n", "f.toml: not TOML: Invalid value (at line 2, column 5)"),
        ("\n[metrics]\nlisten = 'x'", "f.toml: line 3: metrics.listen: "),
    ],
)
def test_errors_name_file_line_and_key(text: str, start: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text, file="f.toml", directory=Path("/"))

    assert str(caught.value).startswith(start)

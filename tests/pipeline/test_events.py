"""The events of the log: all that the code writes are described, and none besides."""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import msgspec
import pytest
from click.testing import CliRunner

import excguard
from excguard.cli import main
from excguard.pipeline import events
from excguard.sinks.log import VIOLATION_FIELDS
from excguard.testing import simulated_hit

PACKAGE = Path(excguard.__file__).parent
WRITERS = re.compile(r"(emit|event|_write|_report_once)$")
"""Functions that are given the name of an event."""


def written(path: Path) -> Iterator[tuple[str, set[str]]]:
    """The events that a file writes, by name, each with the fields that are spelled out in the call."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and WRITERS.search(ast.unparse(node.func)):
            for argument in node.args:
                if isinstance(argument, ast.Constant) and re.fullmatch(
                    "[a-z]+(_[a-z]+)+", str(argument.value)
                ):
                    yield str(argument.value), {word.arg for word in node.keywords if word.arg}


CALLS = [
    (f"{path.stem} {name}", name, fields)
    for path in sorted(PACKAGE.rglob("*.py"))
    for name, fields in written(path)
]


@pytest.mark.parametrize(("name", "fields"), [call[1:] for call in CALLS], ids=[call[0] for call in CALLS])
def test_what_the_code_writes_is_described(name: str, fields: set[str]) -> None:
    assert fields <= {field.name for field in events.fields(events.EVENTS[name])}


def test_what_is_described_is_written() -> None:
    literals = {
        str(node.value)
        for path in PACKAGE.rglob("*.py")
        if path.name != "events.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant)
    }

    assert events.EVENTS.keys() <= literals


def test_a_line_is_read_as_its_event() -> None:
    line = {"timestamp": "2026-03-01T12:00:00.000000Z", "level": "info", "event": "target_restarting"}

    event = events.check(line | {"target": "mail", "delay": 2.0})

    assert isinstance(event, events.TargetRestarting)
    assert (event.target, event.delay) == ("mail", 2.0)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"event": "target_begun"}, "target_begun"),
        ({"delay": "2"}, r"Expected `float`, got `str` - at `\$.delay`"),
        ({"hue": 1}, "unknown field `hue`"),
        ({"timestamp": "yesterday"}, "timestamp"),
    ],
)
def test_a_line_that_is_not_as_described_is_refused(change: dict[str, object], problem: str) -> None:
    line = {"timestamp": "2026-03-01T12:00:00.000000Z", "level": "info", "event": "target_restarting"}

    with pytest.raises(msgspec.ValidationError, match=problem):
        events.check(line | {"target": "mail", "delay": 2.0} | change)


def test_the_command_lists_explains_and_prints_the_schema() -> None:
    run = CliRunner().invoke
    listed = run(main, ["events"]).stdout.splitlines()
    explained = run(main, ["events", "target_exited"]).stdout
    schema = json.loads(run(main, ["events", "--schema"]).stdout)

    assert [line.split()[0] for line in listed] == list(events.EVENTS)
    assert re.search(r"(?m)^  signal +integer or null +the number of the signal", explained)
    assert run(main, ["events", "nope"]).exit_code == 2
    jsonschema.Draft202012Validator.check_schema(schema)


def test_the_schema_accepts_a_hit_and_refuses_one_without_its_code() -> None:
    line = {"level": "warning", "event": "guard_hit", **simulated_hit().select(VIOLATION_FIELDS)}
    validator = jsonschema.Draft202012Validator(events.schema())

    assert validator.is_valid(line)
    assert validator.is_valid(line | {"added_later": 1})
    assert not validator.is_valid({key: value for key, value in line.items() if key != "code"})


def test_the_lines_of_a_run_are_as_described() -> None:
    command = [sys.executable, "-m", "excguard", "run", "--json", "--"]
    misuse = [sys.executable, "-m", "excguard.misuse", "--quiet", "double_deallocate"]
    done = subprocess.run([*command, *misuse], capture_output=True, text=True, check=True)
    names = [type(events.check(json.loads(line))).__name__ for line in done.stderr.splitlines()]

    assert "GuardHit" in names
    assert names[-1] == "RunSummary"


def levels_in_the_code() -> Iterator[tuple[str, str]]:
    """Each event with the levels that calls spell out for it."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and WRITERS.search(ast.unparse(node.func))):
                continue
            names = [a.value for a in node.args if isinstance(a, ast.Constant) and a.value in events.EVENTS]
            words = [a.value for a in ast.walk(node.args[0]) if isinstance(a, ast.Constant)] if names else []
            for word in set(words) & {"info", "warning", "error"}:
                yield names[0], word


def test_each_event_states_the_levels_that_it_is_written_with() -> None:
    found: dict[str, set[str]] = {}
    for name, level in levels_in_the_code():
        found.setdefault(name, set()).add(level)

    assert len(found) > 30
    for name, used in found.items():
        assert set(events.EVENTS[name].levels) == used, name

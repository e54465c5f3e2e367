"""How a decoded violation reads on a terminal or in a pipe."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from excguard.files.escaping import printable
from excguard.knowledge import guards
from excguard.knowledge.severity import Severity
from excguard.process.terminal_output import terminal_width

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from excguard.decoding.violation import PartialViolation

_LABEL = 10
_STDOUT = 1


def violation_lines(violation: PartialViolation) -> Iterator[str]:
    """The lines about one violation."""
    yield click.style(printable(violation.summary), bold=True)
    if violation.code is not None:
        yield from labelled("code", _code(violation))
    yield from labelled("target", violation.target_meaning)
    yield from _payload(violation)
    severity = Severity.of(violation.severity)
    kind = guards.BY_NAME.get(violation.guard_type or "")
    text = kind.severity_text(severity) if kind else severity.text
    if severity is Severity.SOFT and kind and kind.soft_mode(violation.flavor_name, violation.target or 0):
        text = "in soft mode the process goes on, whatever the flavor"
    if not guards.is_policy_telemetry(violation.guard_type, violation.flavor):
        yield from labelled("severity", f"{severity}: {text}", severity.color)
    if violation.release:
        yield from labelled("release", violation.release)
    for reading in violation.readings:
        yield from labelled("or", f"{reading.flavor_name} on {reading.releases}", "yellow")
    if violation.aliases:
        yield from labelled("also", ", ".join(violation.aliases))
    yield from listed("causes", violation.causes)
    if violation.advice:
        yield from labelled("fix", violation.advice)
    yield from listed("notes", violation.notes)


def _payload(violation: PartialViolation) -> Iterator[str]:
    if violation.subcode is not None:
        yield from labelled("payload", f"{violation.subcode:#x}")
    for field in violation.payload_fields:
        text = f"{field.name} {field.value:#x}: {field.text}"
        yield from labelled("", text if field.confidence == "documented" else f"{text} [{field.confidence}]")
    for reading in violation.payload_readings:
        fields = "; ".join(f"{field.name} {field.value:#x}: {field.text}" for field in reading.fields)
        yield from labelled("", f"on {reading.releases}: {fields}", "yellow")


def _code(violation: PartialViolation) -> str:
    kind = violation.guard_type or "no known guard type"
    flavor = f"flavor {violation.flavor:#x}" + (f" {violation.flavor_name}" if violation.flavor_name else "")
    target = f"target {violation.target:#x}"
    return f"{violation.code:#018x}: {kind} ({violation.guard_type_number}), {flavor}, {target}"


def labelled(label: str, text: str, color: str | None = None) -> Iterator[str]:
    """Text beside its label, wrapped to the terminal."""
    width = max(60, terminal_width(_STDOUT))
    text = printable(" ".join(text.split()))
    for index, line in enumerate(wrapped(text, width - _LABEL - 2)):
        head = click.style(f"  {label if index == 0 else '':<{_LABEL}}", dim=True)
        yield head + (click.style(line, fg=color) if color else line)


def wrapped(text: str, width: int) -> list[str]:
    """The lines of a text with single spaces, each as long as fits; a word that does not fit is split."""
    words = text.split(" ")
    if max(map(len, words)) > width:
        import textwrap  # noqa: PLC0415 - compiles patterns, 4 million instructions, for what is rare

        return textwrap.wrap(text, width, break_on_hyphens=False)
    lines = [words[0]]
    for word in words[1:]:
        if len(lines[-1]) + 1 + len(word) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def listed(label: str, items: Iterable[str]) -> Iterator[str]:
    """Items one below the other, the first one beside the label."""
    for index, item in enumerate(items):
        for line_index, line in enumerate(labelled(label if index == 0 else "", f"- {item}")):
            yield line if line_index == 0 else line.replace(" " * _LABEL, " " * (_LABEL + 2), 1)

"""`excguard explain`: the page of one guard."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import msgspec

from excguard.cli.closed_output import ends_with
from excguard.cli.violation_text import labelled, listed
from excguard.decoding import drawing, pages
from excguard.knowledge import flavors, guards, names, releases

if TYPE_CHECKING:
    from collections.abc import Iterator

_OF_ALL = {"", "EXC", "EXC_GUARD", "GUARD", "GUARD_EXC", "KGUARD", "KGUARD_EXC", "GUARD_TYPE", "TYPE", "VNG"}
"""Names, or the beginnings of names, that belong to every guard."""


def _complete(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    names = {row.name for row in flavors.table()} | set(guards.NUMBERS)
    return sorted(name for name in names if name.startswith(incomplete.upper()))


@click.command("explain")
@click.argument("name", nargs=-1, metavar="[NAME | NUMBER]", shell_complete=_complete)
@click.option("--os", "release", metavar="RELEASE", help="Show the numbers and layouts of this release.")
@click.option("--list", "list_all", is_flag=True, help="List every guard, one per line.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per guard, one per line.")
def command(name: tuple[str, ...], release: str | None, *, list_all: bool, as_json: bool) -> None:
    """Explain a guard: the rule, its numbers by release, its bits, causes and fix.

    Shows the rule, its numbers on every release, its target and payload bit by bit, why programs break it and
    how to fix that, and where Apple's guide and the kernel disagree.

    NAME is the kernel's (kGUARD_EXC_IMMOVABLE or IMMOVABLE), ReportCrash's (ILLEGAL_MOVE) or Apple's
    documentation's (SET_EXCEPTION_BEHAVIOR); a guard type lists its guards. NUMBER is a flavor (0x200; FD:1
    for one guard type's) or a whole code.

    \b
    Examples:
      excguard explain INVALID_NAME
      excguard explain 0x20000 --os 10.14.6
      excguard explain --list

    \b
    Exit status:
      0    the guard was found
      1    no guard has that name or number
      2    the command line is wrong
    """  # noqa: D301 - click wants the real backspace
    placed = None
    if release is not None:
        try:
            placed = releases.parse(release)
        except releases.ReleaseError as error:
            raise click.UsageError(str(error)) from None
    if list_all == bool(name):
        raise click.UsageError("give one name or number, or --list for all of them")
    if list_all:
        with ends_with(lambda: True):
            _print(pages.every(), placed, as_json=as_json, short=True)
        return
    asked = " ".join(name)
    found = pages.find(asked, placed)
    if not found:
        raise click.ClickException(no_such_guard(asked, placed))
    whole_type = guards.type_named(asked) is not None and len(found) > 1
    with ends_with(lambda: True):
        _print(found, placed, as_json=as_json, short=whole_type)


def no_such_guard(asked: str, placed: releases.Release | None) -> str:
    """What to say of a name or number that no guard has."""
    if placed and pages.find(asked):
        return f"{asked} is not a guard's number on {placed.text}; leave out --os for every release's numbers"
    shown = " ".join(asked.split())[:60]
    if flavors.canonical(asked).strip("_") in _OF_ALL:
        types = ", ".join(guards.NUMBERS)
        return f"{shown!r} stands for every guard: give the name of one, or a guard type ({types})"
    if asked.strip().upper() in names.NAMESPACES.values():
        return (
            f"{shown!r} is a namespace of exit reasons, the target of USER guards: "
            "`excguard explain USER` explains them"
        )
    close = pages.suggest(asked)
    hint = f"; did you mean {', '.join(close)}?" if close else "; `excguard explain --list` lists all names"
    return f"no guard has the name or number {shown!r}{hint}"


def _print(
    found: list[pages.Explanation], placed: releases.Release | None, *, as_json: bool, short: bool
) -> None:
    if as_json:
        for page in found:
            click.echo(msgspec.json.encode(page).decode())
    elif short:
        for page in found:
            click.echo(_line(page, placed))
    else:
        for index, page in enumerate(found):
            if index:
                click.echo()
            for line in _page_lines(page, placed):
                click.echo(line)


def _line(page: pages.Explanation, placed: releases.Release | None) -> str:
    era = _era(page, placed)
    value = "-" if era is None or era.value is None else f"{era.value:#x}"
    severity = (era.severity if era else None) or "-"
    return f"{page.guard_type:<12} {value:<10} {page.name:<40} {severity:<9} {page.rule}"


def _era(page: pages.Explanation, placed: releases.Release | None) -> pages.Era | None:
    """The newest era, or the one of a release."""
    if placed is None:
        return page.timeline[-1]
    for era in page.timeline:
        first = releases.parse_version(era.first)
        last = releases.parse_version(era.last) if era.last else releases.NEWEST
        if first <= placed.version <= max(last, releases.covers_until(last) if era.last else last):
            return era
    return None


def _page_lines(page: pages.Explanation, placed: releases.Release | None) -> Iterator[str]:
    yield click.style(f"{page.name}: {page.rule}.", bold=True)
    yield from labelled("also", ", ".join(page.aliases) or "-")
    yield from _timeline(page)
    if placed:
        yield from _on(page, placed)
    for other in page.others:
        yield from labelled("", other, "yellow")
    era = _era(page, placed) or page.timeline[-1]
    effect = guards.BY_NAME[page.guard_type].severity_effect(era.severity) if era.severity else ""
    if effect:
        yield from labelled("severity", f"{era.severity}. {effect}")
    yield ""
    yield from _drawing("code", _code_boxes(page, era))
    for target in page.targets[1:]:
        yield from labelled("", _dated(target.releases, f"target: {target.text}"))
    yield ""
    yield from _payload(page, every=placed is not None)
    yield from listed("causes", page.causes)
    yield from labelled("fix", page.advice)
    yield from listed("notes", page.notes)
    yield from listed("sources", page.sources)


def _on(page: pages.Explanation, placed: releases.Release) -> Iterator[str]:
    era = _era(page, placed)
    if era is None:
        yield from labelled("", f"not on {placed.text}", "yellow")
    elif era.value is not None:
        yield from labelled("", f"{placed.text}: {era.value:#x}, {era.severity}")
    if placed.note:
        yield from labelled("", placed.note)


def _timeline(page: pages.Explanation) -> Iterator[str]:
    """One bar an era: ├─ 0x40000 optional ─┤."""
    width = max(len(era.first) for era in page.timeline)
    for index, era in enumerate(page.timeline):
        value = f"{era.value:#x} " if era.value is not None else ""
        end = f"─┤ {era.last}" if era.last else "─▶"
        bar = f"{era.first:>{width}} ├─ {value}{era.severity} {end}"
        renamed = len({e.kernel_name for e in page.timeline}) > 1 and era.kernel_name
        yield from labelled("macOS" if index == 0 else "", bar + (f"  {era.kernel_name}" if renamed else ""))


def _code_boxes(page: pages.Explanation, era: pages.Era) -> list[tuple[int, int, str]]:
    flavor = f"flavor {era.value:#x}" if era.value is not None else "not used"
    return [(63, 61, f"type {page.guard_type_number}"), (60, 32, flavor), (31, 0, page.target)]


def _payload(page: pages.Explanation, *, every: bool) -> Iterator[str]:
    """The layouts of the payload as boxes; without `every` the current ones, and the others in words."""
    drawn = [layout for layout in page.layouts if every or layout.current]
    shapes: dict[tuple[tuple[int, int, str], ...], list[str]] = {}
    for layout in drawn:
        shapes.setdefault(tuple(_payload_boxes(layout)), []).append(layout.when)
    for boxes, whens in shapes.items() or [(((63, 0, page.payload_text or "0"),), [""])]:
        if words := "; ".join(when for when in whens if when):
            yield from labelled("", f"when {words}:")
        yield from _drawing("subcode", list(boxes))
    for layout in page.layouts:
        if layout not in drawn:
            shown = ", ".join(f"{bits.high}..{bits.low} {bits.name}" for bits in layout.bits)
            when = f" when {layout.when}" if layout.when else ""
            yield from labelled("", _dated(layout.releases, f"payload{when}: {shown or 'always 0'}"))
    yield ""
    fields = dict.fromkeys((b.name, b.text, tuple(b.values.items())) for layout in drawn for b in layout.bits)
    for name, text, values in fields:
        yield from labelled("field", f"{name}: {text}")
        for value, meaning in values:
            yield from labelled("", f"{value:#x}  {meaning}")


def _payload_boxes(layout: drawing.Layout) -> Iterator[tuple[int, int, str]]:
    """The bits with what lies between them, so that all 64 are drawn."""
    above = 63
    for bits in layout.bits:
        if bits.high < above:
            yield above, bits.high + 1, "0"
        yield bits.high, bits.low, bits.name
        above = bits.low - 1
    if above >= 0:
        yield above, 0, "0" if layout.bits else "always 0"


def _dated(when: str, text: str) -> str:
    return f"{when}: {text}" if when else text


def _drawing(label: str, parts: list[tuple[int, int, str]]) -> Iterator[str]:
    """Bits as boxes: their numbers above, what they hold inside."""
    widths = [max(len(text), len(f"{high}  {low}")) + 2 for high, low, text in parts]
    numbers = "".join(
        f" {high:<{w - len(str(low))}}{low}" for (high, low, _), w in zip(parts, widths, strict=True)
    )
    boxes = "│".join(f"{text:^{w}}" for (_, _, text), w in zip(parts, widths, strict=True))
    yield f"  {label:<8} {numbers}"
    yield f"  {'':<8} ┌{'┬'.join('─' * w for w in widths)}┐"
    yield f"  {'':<8} │{boxes}│"
    yield f"  {'':<8} └{'┴'.join('─' * w for w in widths)}┘"

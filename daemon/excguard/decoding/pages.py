"""The page of one guard.

All that is known of it, gathered for `excguard explain` and for the documentation.
"""

from __future__ import annotations

import difflib

import msgspec

from excguard.decoding import drawing
from excguard.decoding.code import DecodeError, parse_numbers, split
from excguard.knowledge import flavors, guards, releases
from excguard.knowledge.severity import Severity  # noqa: TC001 - msgspec reads annotations


class Era(msgspec.Struct, frozen=True):
    """A span of releases on which the guard has one number, name and severity.

    Attributes:
        first: The first release that was seen to have it ("10.14.1").
        last: The last one; None while it stands.
        value: The flavor number; None for guard types without flavors.
        kernel_name: What the header calls it.
        severity: How severe it is on them.
        source: The header and kernel it was read in.
    """

    first: str
    last: str | None
    value: int | None
    kernel_name: str | None
    severity: Severity | None
    source: str


class Explanation(msgspec.Struct, frozen=True):
    """All that is known of one guard.

    Attributes:
        guard_type: "MACH_PORT", ...
        guard_type_number: 1, ...
        name: "INVALID_NAME"; the guard type's for those without flavors.
        aliases: Every other name.
        rule: What went wrong.
        timeline: Its numbers by release, oldest first.
        others: Other flavors that had one of these numbers, with their releases.
        target: What the target is on the newest release.
        targets: What it is on each release, newest first.
        payload: The bits of the payload in its fullest current layout.
        payload_text: What it is where it has no parts.
        layouts: Every layout of the payload, newest first.
        causes: Usual causes.
        advice: How to fix it.
        notes: Where sources disagree, and what changed.
        sources: Where this is from.
    """

    guard_type: str
    guard_type_number: int
    name: str
    aliases: tuple[str, ...]
    rule: str
    timeline: tuple[Era, ...]
    others: tuple[str, ...]
    target: str
    payload: tuple[drawing.Bits, ...]
    payload_text: str
    causes: tuple[str, ...]
    advice: str
    notes: tuple[str, ...]
    sources: tuple[str, ...]
    targets: tuple[drawing.TargetEra, ...]
    layouts: tuple[drawing.Layout, ...]


def every() -> list[Explanation]:
    """Every page: by guard type, flavors by their newest number."""
    found = []
    for kind in guards.TYPES:
        if not kind.has_flavors:
            found.append(of(kind.name, None))
            continue
        rows = [f for f in flavors.table() if f.guard_type == kind.name and f.role == "flavor"]
        newest = {f.name: f.value for f in sorted(rows, key=lambda f: f.last)}
        found += [of(kind.name, name) for name in sorted(newest, key=lambda name: (newest[name], name))]
    return found


def of(guard_type: str, name: str | None, release: releases.Release | None = None) -> Explanation:
    """The page of a flavor, or of a guard type without flavors (name None). Raises MissingPageError.

    With a release that has the flavor, layouts and targets are those of that release only.
    """
    kind = guards.BY_NAME[guard_type]
    known = kind.page(name)
    rows = sorted(
        (f for f in flavors.table() if f.guard_type == guard_type and f.name == name and f.role == "flavor"),
        key=lambda f: f.first,
    )
    timeline = [era for row in rows for era in _eras(row)] or [
        Era(kind.first, None, None, None, flavors.severity(guard_type, 0, releases.NEWEST), known.sources[0])
    ]
    others = [
        f"{other.value:#x} is {other.name} on {releases.span(other.first, other.last)}"
        for row in rows
        for other in flavors.with_value(guard_type, row.value)
        if other.name != name
    ]
    aliases = [row.kernel_name for row in rows] + [a for a in (*known.aliases, *known.reported) if a != name]
    has_it = release and (not rows or any(row.first <= release.version <= row.last for row in rows))
    placed = release if has_it else None
    layouts = drawing.layouts(kind.payload_rows(name), placed)
    targets = drawing.targets(kind.target_rows(name), placed)
    return Explanation(
        guard_type=guard_type,
        guard_type_number=kind.number,
        name=name or guard_type,
        aliases=tuple(dict.fromkeys(aliases)),
        rule=known.rule,
        timeline=tuple(timeline),
        others=tuple(dict.fromkeys(others)),
        target=targets[0].text,
        payload=max((each.bits for each in layouts if each.current or placed), key=len, default=()),
        payload_text=payload_text(layouts),
        causes=known.causes,
        advice=known.advice,
        notes=known.notes,
        sources=tuple(dict.fromkeys([*(f"{r.header} ({r.first_source})" for r in rows), *known.sources])),
        targets=tuple(targets),
        layouts=tuple(layouts),
    )


def payload_text(layouts: list[drawing.Layout]) -> str:
    """What a payload is in a few words, where none of these layouts has parts."""
    if any(layout.bits for layout in layouts):
        return ""
    return "always 0" if layouts else "no source says"


def find(text: str, release: releases.Release | None = None) -> list[Explanation]:
    """The pages that a name, an alias, a flavor number or a whole code stands for.

    Args:
        text: "INVALID_NAME", "SET_EXCEPTION_BEHAVIOR", "0x200", "FD CLOSE", "FD:1", "2305845208236959491" ...
        release: Numbers and layouts are those of this release; of all releases without it.
    """
    words = text[:400].replace(":", " ").split()
    for count in range(min(len(words), 2), 0, -1):  # "file descriptor close" has a guard type of two words
        guard_type = guards.type_named(" ".join(words[:count]))
        if guard_type is not None:
            rest = " ".join(words[count:])
            if not rest:
                return [page for page in every() if page.guard_type == guard_type]
            return _numbered(rest, guard_type, release) or _named(rest, guard_type, release)
    found = _numbered(text, None, release) or _named(" ".join(words), None, release)
    if not found and len(words) > 1:  # a message: "INVALID_NAME on mach port 9987"
        found = next((named for word in words if "_" in word and (named := _named(word, None, release))), [])
    return found


def suggest(text: str) -> list[str]:
    """At most five names of guards like a name that no guard has; [] when none is like it."""
    wanted = flavors.canonical(text[:100])
    names = guards.names()
    inside = [key for key in names if wanted in key] if len(wanted) > 2 else []
    inside.sort(key=lambda key: (not key.startswith(wanted), len(key)))
    close = difflib.get_close_matches(wanted, names, 3, 0.6)
    return list(dict.fromkeys(names[key] for key in (*inside, *close)))[:5]


def _named(name: str, guard_type: str | None, release: releases.Release | None) -> list[Explanation]:
    wanted = flavors.canonical(name)
    keys = dict.fromkeys((f.guard_type, f.name) for f in guards.named(name, guard_type))
    # A name of its own goes before another's alias: WEAK_REPLY_PORT was PROVISIONAL_REPLY_PORT.
    own = [key for key in keys if flavors.canonical(key[1]) == wanted]
    return [of(*key, release) for key in own or keys]


def _numbered(text: str, guard_type: str | None, release: releases.Release | None) -> list[Explanation]:
    try:
        numbers = parse_numbers(text)
    except DecodeError:
        return []
    if not numbers:
        return []
    number, flavor, _ = split(numbers[0])
    if number:
        guard_type = guards.NAMES.get(number)
        if guard_type is None:
            return []
        if guard_type in guards.WITHOUT_FLAVORS:
            return [of(guard_type, None, release)]
    else:
        flavor = numbers[0]
    types = [guard_type] if guard_type else [kind.name for kind in guards.TYPES if kind.has_flavors]
    found = []
    for kind in types:
        here = flavors.at(kind, flavor, release.version) if release else flavors.with_value(kind, flavor)
        found += [of(kind, each.name, release) for each in here]
    return found


def _eras(row: flavors.Flavor) -> list[Era]:
    """The row's span, cut where its severity changed."""
    eras: list[Era] = []
    source = f"{row.header} ({row.first_source})"
    starts = sorted(
        {r.first for r in flavors.severity_table() if row.first < r.first <= row.last} | {row.first}
    )
    for index, start in enumerate(starts):
        end = starts[index + 1] - 1 if index + 1 < len(starts) else row.last
        severity = flavors.severity(row.guard_type, row.value, start)
        if eras and eras[-1].severity == severity:
            eras[-1] = msgspec.structs.replace(eras[-1], last=_shown(row.last))
        else:
            last = (
                _shown(row.last) if end == row.last else releases.show(releases.preceding(starts[index + 1]))
            )
            eras.append(Era(releases.show(start), last, row.value, row.kernel_name, severity, source))
    return eras


def _shown(version: int) -> str | None:
    return None if version == releases.NEWEST else releases.show(version)

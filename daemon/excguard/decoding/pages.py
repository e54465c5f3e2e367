"""The page of one guard.

All that is known of it, gathered for `excguard explain` and for the documentation.
"""

from __future__ import annotations

import difflib

import msgspec

from excguard.decoding import payload
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


class Page(msgspec.Struct, frozen=True):
    """All that is known of one guard.

    Attributes:
        guard_type: "MACH_PORT", ...
        guard_type_number: 1, ...
        name: "INVALID_NAME"; the guard type's for those without flavors.
        aliases: Every other name.
        rule: What went wrong.
        timeline: Its numbers by release, oldest first.
        others: Other flavors that had one of these numbers, with their releases.
        target: What the target is.
        payload: The parts of the payload.
        payload_text: What it is where it has no parts.
        causes: Usual causes.
        advice: How to mend it.
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
    payload: tuple[payload.Part, ...]
    payload_text: str
    causes: tuple[str, ...]
    advice: str
    notes: tuple[str, ...]
    sources: tuple[str, ...]


def every() -> list[Page]:
    """Every page: by guard type, flavors by their newest number."""
    found = []
    for number, guard_type in flavors.GUARD_TYPES.items():
        del number
        if guard_type in flavors.WITHOUT_FLAVORS:
            found.append(of(guard_type, None))
            continue
        rows = [f for f in flavors.table() if f.guard_type == guard_type and f.role == "flavor"]
        newest = {f.name: f.value for f in sorted(rows, key=lambda f: f.last)}
        found += [of(guard_type, name) for name in sorted(newest, key=lambda name: (newest[name], name))]
    return found


def of(guard_type: str, name: str | None) -> Page:
    """The page of a flavor, or of a guard type without flavors (name None)."""
    guard = guards.page(guard_type, name)
    assert guard is not None  # noqa: S101 - a test holds pages and tables against each other
    rows = sorted(
        (f for f in flavors.table() if f.guard_type == guard_type and f.name == name and f.role == "flavor"),
        key=lambda f: f.first,
    )
    timeline = [era for row in rows for era in _eras(row)] or [
        Era(
            "10.13" if guard_type == "USER" else "12.0",
            None,
            None,
            None,
            _now(guard_type, 0),
            guard.sources[0],
        )
    ]
    others = [
        f"{other.value:#x} is {other.name} on {_span(other)}"
        for row in rows
        for other in flavors.with_value(guard_type, row.value)
        if other.name != name
    ]
    aliases = [row.kernel_name for row in rows] + [a for a in (*guard.aliases, *guard.reported) if a != name]
    return Page(
        guard_type=guard_type,
        guard_type_number=flavors.TYPE_NUMBERS[guard_type],
        name=name or guard_type,
        aliases=tuple(dict.fromkeys(aliases)),
        rule=guard.rule,
        timeline=tuple(timeline),
        others=tuple(dict.fromkeys(others)),
        target=payload.target_text(guard_type, name),
        payload=payload.layout(guard_type, name),
        payload_text=payload.payload_text(guard_type, name),
        causes=guard.causes,
        advice=guard.advice,
        notes=guard.notes,
        sources=tuple(dict.fromkeys([*(f"{r.header} ({r.first_source})" for r in rows), *guard.sources])),
    )


def find(text: str, release: releases.Release | None = None) -> list[Page]:
    """The pages that a name, an alias, a flavor number or a whole code stands for.

    Args:
        text: "INVALID_NAME", "SET_EXCEPTION_BEHAVIOR", "0x200", "FD CLOSE", "FD:1", "2305845208236959491" ...
        release: Numbers are those of this release; of all releases without it.
    """
    words = text[:400].replace(":", " ").split()
    for count in range(min(len(words), 2), 0, -1):  # "file descriptor close" has a guard type of two words
        guard_type = flavors.guard_type_named(" ".join(words[:count]))
        if guard_type is not None:
            rest = " ".join(words[count:])
            if not rest:
                return [page for page in every() if page.guard_type == guard_type]
            return _numbered(rest, guard_type, release) or _named(rest, guard_type)
    return _numbered(text, None, release) or _named(" ".join(words), None)


def suggest(text: str) -> list[str]:
    """At most five names of guards like a name that no guard has; [] when none is like it."""
    wanted = flavors.canonical(text[:100])
    names = guards.names()
    inside = [key for key in names if wanted in key] if len(wanted) > 2 else []
    inside.sort(key=lambda key: (not key.startswith(wanted), len(key)))
    close = difflib.get_close_matches(wanted, names, 3, 0.6)
    return list(dict.fromkeys(names[key] for key in (*inside, *close)))[:5]


def _named(name: str, guard_type: str | None) -> list[Page]:
    wanted = flavors.canonical(name)
    keys = dict.fromkeys((f.guard_type, f.name) for f in guards.named(name, guard_type))
    # A name of its own goes before another's alias: WEAK_REPLY_PORT was PROVISIONAL_REPLY_PORT.
    return [of(*key) for key in keys if flavors.canonical(key[1]) == wanted] or [of(*key) for key in keys]


def _numbered(text: str, guard_type: str | None, release: releases.Release | None) -> list[Page]:
    try:
        numbers = parse_numbers(text)
    except DecodeError:
        return []
    if not numbers:
        return []
    number, flavor, _ = split(numbers[0])
    if number:
        guard_type = flavors.GUARD_TYPES.get(number)
        if guard_type is None:
            return []
        if guard_type in flavors.WITHOUT_FLAVORS:
            return [of(guard_type, None)]
    else:
        flavor = numbers[0]
    types = (
        [guard_type] if guard_type else [t for t in flavors.TYPE_NUMBERS if t not in flavors.WITHOUT_FLAVORS]
    )
    found = []
    for kind in types:
        here = flavors.at(kind, flavor, release.version) if release else flavors.with_value(kind, flavor)
        found += [of(kind, each.name) for each in here]
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
            last = _shown(row.last) if end == row.last else releases.show(_before(starts[index + 1]))
            eras.append(Era(releases.show(start), last, row.value, row.kernel_name, severity, source))
    return eras


def _before(release: int) -> int:
    """The last release before this one that was read."""
    return max(known.version for known in releases.known() if known.version < release)


def _shown(version: int) -> str | None:
    return None if version == releases.NEWEST else releases.show(version)


def _now(guard_type: str, value: int) -> Severity | None:
    return flavors.severity(guard_type, value, releases.NEWEST)


def _span(flavor: flavors.Flavor) -> str:
    last = _shown(flavor.last)
    first = releases.show(flavor.first)
    if last is None:
        return f"macOS {first} and later"
    return f"macOS {first}" if first == last else f"macOS {first} to {last}"

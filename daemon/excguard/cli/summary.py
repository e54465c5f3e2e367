"""How a run went: the hits by site, for the table and the JSON object that close a run."""

import io
from collections.abc import Iterable, Mapping
from typing import Any

from excguard.decoding.decode import decode
from excguard.decoding.violation import Violation
from excguard.files.escaping import printable
from excguard.knowledge.severity import Severity
from excguard.pipeline.tally import MAX_PORTS, SiteTally

_VIOLATION_FIELDS = (
    "guard_type",
    "flavor",
    "flavor_name",
    "severity",
    "summary",
    "advice",
    "code",
    "subcode",
)
_SHORT = 60  # characters of advice that say something
# What different targets of codes are, by the start of `Violation.target_meaning`.
_TARGETS = (("port name ", "ports"), ("file descriptor ", "descriptors"))
_COLORS: dict[bool, Any] = {True: "standard", False: None}


def explained(tallies: Iterable[SiteTally]) -> list[tuple[SiteTally, Violation]]:
    """Each site with what its first hit means; the worst first, then the most frequent."""
    found = [(tally, decode(tally.code, tally.subcode, tally.release)) for tally in tallies]
    return sorted(found, key=lambda entry: (-Severity.of(entry[1].severity).order, -entry[0].hits))


def meets(severities: Iterable[str | None], fail_on: str) -> bool:
    """Whether one of the hits' severities is as bad as ``fail_on`` says ("never": none is).

    "soft" is met by any hit at all, also by one whose severity is in no table.
    """
    if fail_on == "never":
        return False
    least = Severity(fail_on)
    return any(Severity.of(severity).reaches(least) for severity in severities)


def site_objects(tallies: Iterable[SiteTally]) -> list[dict[str, Any]]:
    """The sites for JSON."""
    return [
        {
            "target": tally.target,
            "source": tally.source,
            "hits": tally.hits,
            **violation.select(_VIOLATION_FIELDS),
            "pc": f"{tally.pc:#x}" if tally.pc else None,
            "guard_targets": len(tally.ports),
            "site_id": tally.site.id,
            "site_precision": tally.site.precision,
            "executable": tally.site.executable,
            **(tally.site.place.fields() if tally.site.place else {}),
            **({"report": tally.report, "frames": tally.frames} if tally.report else {}),
        }
        for tally, violation in explained(tallies)
    ]


def _in_short(advice: str) -> str:
    """The first sentences of an advice are about its one rule; the rest repeats, and the log has it."""
    short, rest = "", advice
    while rest and len(short) < _SHORT:
        sentence, stop, rest = rest.partition(". ")
        short += sentence + stop
    return short.rstrip()


def _ports(tally: SiteTally, violation: Violation) -> str:
    """How many different ports (or descriptors) the hits were about, if that is more than one."""
    kind = next((many for one, many in _TARGETS if violation.target_meaning.startswith(one)), None)
    if kind is None or len(tally.ports) < 2:
        return ""
    count = f"{MAX_PORTS} or more" if len(tally.ports) >= MAX_PORTS else str(len(tally.ports))
    return f" {count} different {kind}."


def table(
    title: str,
    tallies: Iterable[SiteTally],
    *,
    width: int,
    color: bool,
    notes: Mapping[str, str] | None = None,
) -> str:
    """One row a site: how often, how severe, which rule, what that means and how to fix it.

    A fix is there with the first site that it is for, and not for one that is accepted.

    Args:
        title: above it.
        tallies: the hits.
        width: columns.
        color: whether to use colors.
        notes: by site id, why it is accepted.
    """
    sites = explained(tallies)
    from rich import box  # noqa: PLC0415 - most runs have no hits to show, and structlog would use it, too
    from rich.console import Console  # noqa: PLC0415 - likewise
    from rich.table import Table  # noqa: PLC0415 - likewise
    from rich.text import Text  # noqa: PLC0415 - likewise

    rows = Table(title=Text(title), title_justify="left", box=box.SIMPLE_HEAD, expand=False)
    rows.add_column("hits", justify="right")
    rows.add_column("severity")
    rows.add_column("rule")
    many = len({tally.target for tally, _ in sites}) > 1
    if many:
        rows.add_column("target")
    rows.add_column("what happened", ratio=1)
    shown: set[str] = set()
    for tally, violation in sites:
        severity = Severity.of(violation.severity)
        text = Text(printable(violation.summary))
        if tally.site.place is not None:
            text.append(f" In {printable(str(tally.site.place))}.")
        elif tally.pc:
            text.append(f" At pc {tally.pc:#x}.")
        text.append(_ports(tally, violation))
        note = (notes or {}).get(tally.site.id)
        if note:
            text.append(f"\n{printable(note)}", style="bold")
        elif violation.advice and violation.advice not in shown:
            shown.add(violation.advice)
            text.append(f"\nFix: {printable(_in_short(violation.advice))}", style="green")
        rows.add_row(
            str(tally.hits),
            Text(severity, style=severity.color or ""),
            Text(violation.flavor_name or violation.guard_type or "unknown", style="bold"),
            *([Text(printable(tally.target))] if many else []),
            text,
        )
    written = io.StringIO()
    console = Console(
        file=written, width=width, force_terminal=color, highlight=False, color_system=_COLORS[color]
    )
    console.print(rows)
    return "\n".join(line.rstrip() for line in written.getvalue().splitlines()) + "\n"

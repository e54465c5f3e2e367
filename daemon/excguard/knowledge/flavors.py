"""Which name a flavor number has on which release, and how severe it is.

`flavors.csv` holds what kernel headers declare, with the first and last release in which each was seen.
Headers were read for some releases only (`releases.csv`, column `read`), so a look-up works on those:

* at a release that was read, its own table;
* between two of them, the earlier table, or the later one for a number that the earlier did not have (the
  release in between raised it, so it must have known it);
* above the newest, the newest; below the oldest, the oldest.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache

from excguard.knowledge import releases, tables
from excguard.knowledge.record import Record
from excguard.knowledge.severity import Severity


class Flavor(Record):
    """One name for one number, as headers declare it.

    Attributes:
        guard_type: "MACH_PORT", ...
        value: The flavor number.
        kernel_name: "kGUARD_EXC_INVALID_NAME".
        first: First release (packed) in which it was seen.
        last: Last release in which it was seen; releases.NEWEST while it still stands.
        first_source: Kernel tag or SDK of `first`; likewise last_source ("" while it stands).
        header: The header that declares it.
        role: "flavor", or "marker" for a name that only bounds a range of flavors.
        severity: Its own severity where the kernel does not go by the range (None where it does).
    """

    guard_type: str
    value: int
    kernel_name: str
    first: int
    last: int
    first_source: str
    last_source: str
    header: str
    role: str
    severity: Severity | None

    @property
    def name(self) -> str:
        """The name without the kernel's prefix: "INVALID_NAME"."""
        return self.kernel_name.removeprefix("kGUARD_EXC_").removeprefix("VNG_")


_PREFIXES = re.compile(r"^(?:K?GUARD_EXC_|GUARD_|VNG_)+(?=.)")


def canonical(name: str) -> str:
    """One form for all spellings of a name: without prefixes, in capitals, with underscores.

    Headers write kGUARD_EXC_ and VNG_, ReportCrash also GUARD_EXC_ and GUARD_, people none of them:
    "kGUARD_EXC_MTE_SYNC_FAULT", "GUARD_EXC_MTE_SYNC_FAULT" and "mte sync-fault" are "MTE_SYNC_FAULT".
    """
    return _PREFIXES.sub("", "_".join(re.split(r"[\s_-]+", name.strip())).upper())


class Span(Record):
    """A flavor with the releases (both inclusive) in which a look-up answers with it."""

    first: int
    last: int
    flavor: Flavor


class SeverityRange(Record):
    """Flavors (both inclusive) of a guard type that have one severity from release `first` to `last`."""

    guard_type: str
    first: int
    last: int
    first_flavor: int
    last_flavor: int
    severity: Severity
    source: str


@cache
def table() -> tuple[Flavor, ...]:
    """Every row of flavors.csv, in its order."""
    return tuple(
        Flavor(
            row["guard_type"],
            int(row["value"], 16),
            row["kernel_name"],
            releases.parse_version(row["first_macos"]),
            releases.parse_version(row["last_macos"]) if row["last_macos"] else releases.NEWEST,
            row["first_source"],
            row["last_source"],
            row["header"],
            row["role"],
            Severity(row["severity"]) if row["severity"] else None,
        )
        for row in tables.rows("flavors.csv")
    )


def with_value(guard_type: str, value: int) -> list[Flavor]:
    """Every flavor that ever had this number, newest first (equal ones in the table's order)."""
    found = [f for f in table() if f.value == value and f.guard_type == guard_type and f.role == "flavor"]
    return sorted(found, key=lambda flavor: (-flavor.last, -flavor.first))


@lru_cache(maxsize=4096)  # numbers of a log that never ends can be any
def at(guard_type: str, value: int, release: int) -> tuple[Flavor, ...]:
    """The names of a number on a release.

    Usually one; none when it is in no table; two where a header gave one number two names (10.14's 0x10000).
    """
    return tuple(span.flavor for span in spans(guard_type, value) if span.first <= release <= span.last)


def spans(guard_type: str, value: int) -> list[Span]:
    """For which releases `at` answers with which flavor, oldest first (the rule of the module's text)."""
    read = releases.read_for(guard_type)
    flavors = [f for f in table() if f.value == value and f.guard_type == guard_type and f.role == "flavor"]
    found: dict[Flavor, Span] = {}
    previous: list[Flavor] = []
    for index, release in enumerate(read):
        following = read[index + 1] if index + 1 < len(read) else None
        here = [flavor for flavor in flavors if flavor.first <= release <= flavor.last]
        for flavor in here:
            first = release if index else 0
            if index and not previous:
                first = releases.covers_until(read[index - 1]) + 1
            last = following - 1 if following else releases.NEWEST
            known = found.get(flavor)
            found[flavor] = Span(known.first if known else first, last, flavor)
        previous = here
    return sorted(found.values(), key=lambda span: span.first)


@cache
def severity_table() -> tuple[SeverityRange, ...]:
    """Every row of severity.csv with the release before the guard type's next set of ranges as its end."""
    rows = tables.rows("severity.csv")
    starts: dict[str, set[int]] = {}
    for row in rows:
        starts.setdefault(row["guard_type"], set()).add(releases.parse_version(row["first_macos"]))
    ranges = []
    for row in rows:
        first = releases.parse_version(row["first_macos"])
        later = [start for start in starts[row["guard_type"]] if start > first]
        ranges.append(
            SeverityRange(
                row["guard_type"],
                0 if first == min(starts[row["guard_type"]]) else first,
                min(later) - 1 if later else releases.NEWEST,
                int(row["first_flavor"], 16),
                int(row["last_flavor"], 16),
                Severity(row["severity"]),
                row["source"],
            )
        )
    return tuple(ranges)


def severity(guard_type: str, value: int, release: int) -> Severity | None:
    """How severe a flavor number is on a release, named in a table or not; None for an unknown guard type."""
    here = at(guard_type, value, release)
    if here and here[0].severity:
        return here[0].severity
    for row in severity_table():
        if (
            row.guard_type == guard_type
            and row.first <= release <= row.last
            and row.first_flavor <= value <= row.last_flavor
        ):
            return row.severity
    return None

"""The baseline file: sites that a team has accepted for now. TOML, made to be read and reviewed.

Example::

    [[site]]
    id = "3f9c2a71b04e"
    flavor = "INVALID_NAME"
    image = "libvendor.dylib"
    symbol = "vendor_close"
    since = 2026-11-27
    reason = "vendor bug 4711"
    expires = 2027-03-31

``id`` decides; ``flavor``, ``image`` and ``symbol`` are for the reader. `update` keeps comments, order and
what people wrote into entries that stay.
"""

from __future__ import annotations

import stat
from datetime import date
from typing import TYPE_CHECKING

import msgspec

from excguard.files import atomic, bounded, bounded_toml
from excguard.files.errors import reason

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from excguard.gate.site_result import SiteResult

MAX_BYTES = 4 << 20
"""A baseline of tens of thousands of sites is smaller; a larger file is something else."""

_HEAD = """\
# Guard sites that do not fail `excguard run --baseline` of this file. Review it like code: give each entry a
# `reason`, and where you can a date in `expires`. Written by `excguard run --update-baseline`; comments stay.
"""


class BaselineError(ValueError):
    """The file is not a baseline; the text names the place and what to do."""


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A known site.

    Attributes:
        id: `excguard.decoding.site.Site.id`: twelve hexadecimal digits.
        flavor, image, symbol: what the reader sees; not compared.
        since: the day it was added.
        reason: why it is accepted.
        expires: the last day on which it is.
    """

    id: str
    flavor: str = ""
    image: str = ""
    symbol: str = ""
    since: date | None = None
    reason: str = ""
    expires: date | None = None

    @property
    def place(self) -> str:
        """What the reader sees of its place: "libvendor.dylib vendor_close"."""
        return f"{self.image} {self.symbol}".strip()

    def expired(self, today: date) -> bool:
        """Whether its last day has passed."""
        return self.expires is not None and self.expires < today


class _File(msgspec.Struct, forbid_unknown_fields=True):
    site: list[Entry] = []


class Baseline:
    """The known sites of one file."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        """Hold ``entries``, whose ids differ."""
        self._entries = {entry.id: entry for entry in entries}

    @property
    def entries(self) -> list[Entry]:
        """All of them, as the file has them."""
        return list(self._entries.values())

    def find(self, site_id: str) -> Entry | None:
        """The entry of this id."""
        return self._entries.get(site_id)


def load(path: Path) -> Baseline:
    """Read a baseline.

    Raises:
        BaselineError: it cannot be read, or is not one.
    """
    return Baseline(_parse(path, _text(path)).site)


def update(path: Path, sites: Iterable[SiteResult], *, today: date, remove_stale: bool) -> tuple[int, int]:
    """Add the sites that the file lacks; with ``remove_stale`` remove entries of sites that did not occur.

    A site whose entry has expired is renewed: its ``expires`` goes, and its ``since`` is today. The file is
    replaced in one step, and made when it does not exist.

    Returns:
        How many entries were added (or renewed) and removed.

    Raises:
        BaselineError: the file cannot be read or written, or is not a baseline.
    """
    import tomlkit  # noqa: PLC0415 - only for this option

    text = _text(path) if path.exists() else _HEAD
    known = Baseline(_parse(path, text).site)
    document = tomlkit.parse(text)
    tables = document.setdefault("site", tomlkit.aot())
    occurred = {site.id: site for site in sites}
    added = removed = 0
    for site in occurred.values():
        entry = known.find(site.id)
        if entry is None:
            table = tomlkit.table()
            for key, value in (
                ("id", site.id),
                ("flavor", site.flavor),
                ("image", site.image or site.executable),
                ("symbol", site.symbol),
                ("since", today),
                ("reason", ""),
            ):
                if value or key == "reason":
                    table.add(key, value)
            tables.append(table)
            added += 1
        elif entry.expired(today):
            table = next(table for table in tables if table["id"] == site.id)
            del table["expires"]
            table["since"] = today
            added += 1
    if remove_stale:
        for index in reversed(range(len(tables))):
            if tables[index]["id"] not in occurred:
                del tables[index]
                removed += 1
    if added or removed or not path.exists():
        _replace(path, tomlkit.dumps(document))
    return added, removed


def _text(path: Path) -> str:
    try:
        return bounded.read(path, MAX_BYTES).decode("utf-8")
    except OSError as error:
        raise BaselineError(f"{path}: invalid baseline: {reason(error)}") from None
    except UnicodeDecodeError as error:
        raise BaselineError(f"{path}: invalid baseline: byte {error.start} is not UTF-8") from None


def _replace(path: Path, text: str) -> None:
    """Write the file, with the permissions that it has; a new one is readable by all, as sources are."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o644
        atomic.write(path, text.encode("utf-8"), mode=mode)
    except OSError as error:
        raise BaselineError(f"{path}: cannot write the baseline: {reason(error)}") from None


def _parse(path: Path, text: str) -> _File:
    try:
        found = msgspec.convert(bounded_toml.loads(text), _File, builtin_types=(date,))
    except (bounded_toml.TomlError, msgspec.ValidationError) as error:
        raise BaselineError(
            f'{path}: invalid baseline: {error}. Entries look like: [[site]] id = "..."'
        ) from None
    seen: set[str] = set()
    for entry in found.site:
        if len(entry.id) != 12 or not all(digit in "0123456789abcdef" for digit in entry.id):
            raise BaselineError(f"{path}: invalid site id {entry.id!r}: expected twelve hexadecimal digits")
        if entry.id in seen:
            raise BaselineError(f"{path}: site {entry.id} is listed twice: remove one of the entries")
        seen.add(entry.id)
    return found

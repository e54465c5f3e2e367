"""The keys of a job: of a prefix, of an inventory or of standard input; and its part of an array."""

from __future__ import annotations

import zlib
from datetime import datetime  # noqa: TC003 - msgspec reads the annotations
from itertools import islice
from typing import TYPE_CHECKING

import msgspec

from excguard.files import suffixes
from excguard.fleet import inventory
from excguard.fleet.store import Key, StoreError, open_store

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class Part(msgspec.Struct, frozen=True):
    """One job of an array: it reads the keys whose path hashes to its index.

    Attributes:
        index: 0 to count - 1.
        count: jobs of the array.
    """

    index: int = 0
    count: int = 1

    def has(self, key: Key) -> bool:
        """Whether the key is this job's. CRC-32 of the path: the same on every machine."""
        return zlib.crc32(key.path.encode("utf-8", "surrogateescape")) % self.count == self.index

    def of(self, keys: Iterator[Key]) -> Iterator[Key]:
        """Those of the keys that are this job's."""
        return keys if self.count == 1 else filter(self.has, keys)


_WHOLE = Part()


class Selection(msgspec.Struct, frozen=True):
    """The keys of a scan, before they are divided among the jobs of an array.

    Attributes:
        source: URL or directory of the reports.
        inventory: path of the manifest.json of an S3 Inventory in the source's bucket; "" to list the source.
        paths: the keys themselves, as lines of a file; None to list.
        since: only keys that were modified then or later; None for all.
        everything: whatever their names are. Otherwise those of a prefix must be names of reports, and not of
            archives: work is divided, limited and resumed by the key, and an archive can hold any number.
    """

    source: str
    inventory: str = ""
    paths: Iterable[bytes] | None = None
    since: datetime | None = None
    everything: bool = False

    def description(self) -> str:
        """What a resumed scan must have in common with the first run, in one line."""
        how = f"inventory {self.inventory}" if self.inventory else "list" if self.paths is None else "paths"
        limit = f", since {self.since.isoformat()}" if self.since else ""
        return f"{self.source} ({how}{limit}{', all names' if self.everything else ''})"

    def keys(self, after: str = "", planned: int = 0, *, part: Part = _WHOLE) -> Iterator[Key]:
        """The keys of one job that an earlier run did not plan.

        Args:
            after: the last one that is planned, "" for none.
            planned: how many are.
            part: the job.

        Raises:
            StoreError: the source or the inventory cannot be read, or a list is not that of the earlier run.
        """
        listed = self.paths is None and not self.inventory
        if self.paths is not None:
            found = _of_lines(self.paths)
        elif self.inventory:
            bucket, prefix = _split(self.source)
            found = inventory.keys(open_store(bucket), self.inventory, prefix=prefix)
        else:
            found = open_store(self.source).keys(after, times=self.since is not None)
            if not self.everything:
                reports = (*suffixes.REPORTS, "/")  # and directories that cannot be listed
                found = (
                    key for key in found if key.path.endswith(reports) or key.path.lower().endswith(reports)
                )
        if self.since is not None:
            earliest = self.since.timestamp()
            found = (key for key in found if not key.modified or key.modified >= earliest)
        found = part.of(found)
        return found if listed else _unplanned(found, after, planned)


def _unplanned(keys: Iterator[Key], after: str, planned: int) -> Iterator[Key]:
    """The rest of a list, by the number of its keys: it has no order, and may have a key several times."""
    last = ""
    for key in islice(keys, planned):
        last = key.path
    if last != after:
        raise StoreError(
            f"the list of paths is not that of the first run, which had {after!r} in place {planned:,}: "
            "give the same list, or choose another output"
        )
    yield from keys


def _split(url: str) -> tuple[str, str]:
    """`s3://bucket/some/prefix` -> `s3://bucket`, `some/prefix`."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return url, ""
    host, _, prefix = rest.partition("/")
    return f"{scheme}://{host}", prefix


def _of_lines(lines: Iterable[bytes]) -> Iterator[Key]:
    """One path a line, relative to the store; empty lines are passed over."""
    for line in lines:
        path = line.rstrip(b"\r\n").decode("utf-8", "backslashreplace")  # as the names of files
        if path:
            yield Key(path)

"""The plan of a scan: its keys in shards of fixed contents, written down before they are read.

A scan that was killed finds its plan in the output again: finished shards are not read again, the others
are, and since a shard writes files of fixed names, nothing is there twice. The layout below the output,
beside the results::

    _excguard/selection              what the scan is of, and in how many jobs
    _excguard/plan/JOB/00000.jsonl   the keys of shard 0, one JSON array a line
    _excguard/plan/JOB/complete      how many shards there are
    _excguard/done/JOB/00000.json    what shard 0 gave
    _excguard/manifest-JOB.json      all of it, when the job is done

Arrow and Spark pass over names that begin with an underscore; docs/fleet.md has a pattern for others. JOB is
"1-of-1", or the job's place in an array.
"""

from __future__ import annotations

import re
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, Final

import msgspec

from excguard.fleet.store import Key, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from excguard.fleet.listing import Part
    from excguard.fleet.store import Store

SHARD_KEYS: Final = 10_000
"""Keys of a shard: a second's work or so, so that little is lost with a worker and progress is seen, and the
files that it writes, one a day and system, are not too small."""

_WRITES: Final = 4
DIRECTORY: Final = "_excguard/"
"""What every file of a plan lies below."""
_SELECTION: Final = f"{DIRECTORY}selection"
_JOB = re.compile(rf"{DIRECTORY}(?:plan/|done/|manifest-)\d+-of-(\d+)[./]")


class Shard(msgspec.Struct, frozen=True):
    """What a worker gets: small, whatever the keys are; it reads them from the output.

    Attributes:
        job: "1-of-1".
        number: from 0.
    """

    job: str
    number: int

    @property
    def name(self) -> str:
        """What the names of its files begin with."""
        return f"{self.job}-{self.number:06}"


class File(msgspec.Struct, frozen=True):
    """A file of the output: its path and its bytes."""

    path: str
    size: int


class Done(msgspec.Struct, frozen=True):
    """What a shard gave.

    Attributes:
        number: of the shard.
        files: keys that were read or could not be.
        violations: rows of guard violations.
        errors: rows with an error.
        telemetry: rows of IPC policies' telemetry, which is not a violation.
        parts: the files of the output.
    """

    number: int
    files: int
    violations: int
    errors: int
    telemetry: int
    parts: list[File]


class Plan:
    """The shards of one job in one output."""

    def __init__(self, output: Store, part: Part) -> None:
        """Use the plan in ``output``, or begin one there."""
        self._output = output
        self._jobs = part.count
        self._selection = ""
        self.job = f"{part.index + 1}-of-{part.count}"

    def begin(self, selection: str) -> None:
        """Set what the scan is of. It is written down with the first shard, not before the source was read.

        Raises:
            StoreError: the output has the plan of another scan, or of another number of jobs, whose shards
                would be other ones.
        """
        self._selection = selection if self._jobs == 1 else f"{selection} in {self._jobs} jobs"
        there = self._output.get(_SELECTION)
        if there is not None and (found := there.decode("utf-8", "replace")) != self._selection:
            raise StoreError(
                f"{self._output.url}: has the results of another scan, {found}: "
                "choose another output, or repeat that command to resume it"
            )

    def shards(self, keys: Callable[[str, int], Iterable[Key]]) -> Iterator[Shard]:
        """Every shard that is not finished, writing down those that no earlier run has.

        Args:
            keys: gives the keys that are not planned yet, by the last one that is and their number
                (`Selection.keys`).
        """
        number, last, planned = 0, "", 0
        complete = self._output.get(self._path("complete"))
        total = self._number("complete", complete) if complete is not None else None
        while total is None or number < total:
            known = _keys(self._output, Shard(self.job, number))
            if known is None:
                break
            last = known[-1].path
            planned += len(known)
            yield from self._unfinished(number)
            number += 1
        if total is not None:
            if number < total:
                raise StoreError(
                    f"{self._output.url}: the plan of job {self.job} lost shard {number}: start anew"
                )
            return
        # Writing waits for the disk or the network, so that several are under way.
        writes: deque[Future[Shard]] = deque()
        found = iter(keys(last, planned))
        with ThreadPoolExecutor(_WRITES) as pool:
            while batch := list(islice(found, SHARD_KEYS)):
                if not number:
                    self._output.put(_SELECTION, self._selection.encode())
                writes.append(pool.submit(self._written, number, batch))
                number += 1
                while writes and (len(writes) == _WRITES or writes[0].done()):
                    yield writes.popleft().result()
            for write in writes:
                yield write.result()
        if not number:
            self._output.put(_SELECTION, self._selection.encode())
        self._output.put(self._path("complete"), str(number).encode())

    def finish(self, results: Iterable[Done]) -> None:
        """Write the manifest, the sign that the job is done."""
        done = sorted(results, key=lambda one: one.number)
        manifest = {
            "job": self.job,
            "shards": len(done),
            "files": sum(one.files for one in done),
            "violations": sum(one.violations for one in done),
            "errors": sum(one.errors for one in done),
            "telemetry": sum(one.telemetry for one in done),
            "parts": [part.path for one in done for part in one.parts],
        }
        self._output.put(_manifest_path(self.job), msgspec.json.encode(manifest) + b"\n")

    def results(self) -> Iterator[Done]:
        """What each shard of the finished plan gave."""
        total = self._number("complete", self._output.get(self._path("complete")) or b"0")
        for number in range(total):
            yield self.result(Shard(self.job, number))

    def result(self, shard: Shard) -> Done:
        """What a finished shard gave."""
        found = self._done(shard)
        if found is None:
            raise StoreError(
                f"{self._output.url}: shard {shard.number} of job {self.job} is not finished: run it again"
            )
        return found

    def _done(self, shard: Shard) -> Done | None:
        found = self._output.get(done_path(shard))
        if found is None:
            return None
        try:
            return msgspec.json.decode(found, type=Done)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            raise _damaged(self._output, done_path(shard)) from None

    def _number(self, name: str, text: bytes) -> int:
        try:
            return int(text)
        except ValueError:
            raise _damaged(self._output, self._path(name)) from None

    def _unfinished(self, number: int) -> Iterator[Shard]:
        shard = Shard(self.job, number)
        done = self._done(shard)
        # A file may be missing after a loss of power: each is written without waiting for the disk.
        if done is None or not all(self._output.has(part.path, part.size) for part in done.parts):
            yield shard

    def _written(self, number: int, keys: list[Key]) -> Shard:
        shard = Shard(self.job, number)
        self._output.put(_keys_path(shard), msgspec.json.Encoder().encode_lines(keys))
        return shard

    def _path(self, name: str) -> str:
        return f"{DIRECTORY}plan/{self.job}/{name}"


def keys_of(output: Store, shard: Shard) -> list[Key]:
    """The keys of a shard."""
    found = _keys(output, shard)
    if found is None:
        raise StoreError(f"{output.url}: the plan of shard {shard.name} is gone")
    return found


def unfinished_jobs(paths: Iterable[str]) -> list[str]:
    """The jobs without a manifest, by all paths of an output. Names of jobs say how many there are."""
    there = set(paths)
    counts = {int(found[1]) for path in there if (found := _JOB.match(path))}
    return [
        f"{number}-of-{count}"
        for count in sorted(counts)
        for number in range(1, count + 1)
        if _manifest_path(f"{number}-of-{count}") not in there
    ]


def _manifest_path(job: str) -> str:
    return f"{DIRECTORY}manifest-{job}.json"


def done_path(shard: Shard) -> str:
    """Where the sign that a shard is finished lies."""
    return f"{DIRECTORY}done/{shard.job}/{shard.number:06}.json"


def _keys_path(shard: Shard) -> str:
    return f"{DIRECTORY}plan/{shard.job}/{shard.number:06}.jsonl"


def _keys(output: Store, shard: Shard) -> list[Key] | None:
    """The keys of a shard, at least one; None when they are not written down."""
    lines = output.get(_keys_path(shard))
    if lines is None:
        return None
    try:
        if found := msgspec.json.Decoder(Key).decode_lines(lines):
            return found
    except (msgspec.MsgspecError, ValueError, RecursionError):
        pass
    raise _damaged(output, _keys_path(shard))


def _damaged(output: Store, path: str) -> StoreError:
    return StoreError(
        f"{output.url}: {path} is damaged: choose another output, or remove all of this one to begin anew"
    )

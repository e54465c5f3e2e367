"""A whole scan: list, plan, map, and write the manifest; resumed where an earlier one was killed."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from excguard.fleet.engine import Engine
from excguard.fleet.plan import Plan
from excguard.fleet.store import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from excguard.fleet.listing import Part, Selection


class Progress(NamedTuple):
    """How far a scan is; each number counts what this run and earlier ones of the same job did.

    Attributes:
        files: read, or tried.
        violations: found.
        errors: files that could not be read.
        telemetry: reports of IPC policies' telemetry, which is not a violation.
        shards: finished in this run.
    """

    files: int = 0
    violations: int = 0
    errors: int = 0
    telemetry: int = 0
    shards: int = 0


def scan(
    selection: Selection, output: str, part: Part, *, cluster: str | None = None, jobs: int | None = None
) -> Iterator[Progress]:
    """Scan a selection of keys into Parquet files below ``output``.

    Args:
        selection: the keys; those that are not of ``part`` are left to the other jobs of the array.
        output: URL or directory of the results; a plan of this job there is carried on.
        part: the job's place in its array.
        cluster: address of a Dask scheduler; None for processes on this machine.
        jobs: how many of these; None for one a processor.

    Yields:
        The progress after each shard; last, with the exact totals, when the manifest is written.

    Raises:
        StoreError: source or output cannot be used, or ``output`` has the plan of another selection.
        EngineError: the engine cannot.
    """
    plan = Plan(open_store(output), part)
    plan.begin(selection.description())

    shards = plan.shards(partial(selection.keys, part=part))
    progress = Progress()
    with Engine(cluster=cluster, jobs=jobs) as engine:
        for shard in engine.map(selection.source, output, shards):
            done = plan.result(shard)
            progress = Progress(
                progress.files + done.files,
                progress.violations + done.violations,
                progress.errors + done.errors,
                progress.telemetry + done.telemetry,
                progress.shards + 1,
            )
            yield progress
    results = list(plan.results())
    plan.finish(results)
    yield Progress(
        sum(done.files for done in results),
        sum(done.violations for done in results),
        sum(done.errors for done in results),
        sum(done.telemetry for done in results),
        progress.shards,
    )

"""What a finished scan found: by site, by version of the app and by system, with the trend."""

from __future__ import annotations

import io
from collections import Counter, defaultdict, deque
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import date, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import msgspec
import pyarrow as pa
from pyarrow import parquet

from excguard.fleet.plan import DIRECTORY, unfinished_jobs
from excguard.fleet.store import StoreError
from excguard.knowledge import guards

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from excguard.fleet.store import Store

TREND_DAYS: Final = 28
_READS: Final = 8  # files in flight
_COLUMNS = [
    "site_id",
    "guard_type_name",
    "flavor",
    "flavor_name",
    "severity",
    "image",
    "symbol",
    "process",
    "app_version",
    "os",
    "report_time",
    "error",
]
_BARS = "▁▂▃▄▅▆▇█"


class SiteRow(msgspec.Struct, kw_only=True):
    """One site over all reports.

    Attributes:
        site_id: `excguard.decoding.site.Site.id`.
        flavor, severity, process: of its violations.
        place: image and symbol; "" when not known.
        count: violations.
        versions: of the app, the most frequent first.
        first, last: days on which it was seen; None when no report has a time.
        trend: violations a day of the last TREND_DAYS of the whole scan.
    """

    site_id: str
    flavor: str
    severity: str
    process: str
    place: str
    count: int
    versions: list[str]
    first: date | None
    last: date | None
    trend: list[int]


class Summary(msgspec.Struct, kw_only=True):
    """All of a scan's results.

    Attributes:
        violations: how many.
        errors: files that could not be read.
        telemetry: reports of IPC policies' telemetry, which is not a violation.
        sites: the most frequent first.
        versions: violations by version of the app; likewise systems by system.
        last: the last day of the trend.
        unfinished: jobs of the scan that have not ended, such as "2-of-8"; the counts are without the rest.
    """

    violations: int
    errors: int
    telemetry: int
    sites: list[SiteRow]
    versions: list[tuple[str, int]]
    systems: list[tuple[str, int]]
    last: date | None
    unfinished: list[str]


def summarize(output: Store) -> Summary:
    """Read the Parquet files of a scan's output.

    Memory depends on the number of sites, versions and days, not of violations.

    Raises:
        StoreError: it is not the output of a scan, or a file of it cannot be read.
    """
    paths = [key.path for key in output.keys()]  # noqa: SIM118 - not a mapping
    parts = [path for path in paths if path.endswith(".parquet") and not path.startswith(DIRECTORY)]
    if not parts and not any(path.startswith(DIRECTORY) for path in paths):
        raise StoreError(f"{output.url}: not the output of a fleet scan")
    days: dict[str, Counter[date | None]] = defaultdict(Counter)
    about: dict[str, dict[str, Any]] = {}
    by_site: dict[str, Counter[str]] = defaultdict(Counter)
    versions: Counter[str] = Counter()
    systems: Counter[str] = Counter()
    errors = telemetry = 0
    for batch in _batches(output, parts):
        for row in batch.to_pylist():
            if row["error"] is not None:
                errors += 1
                continue
            if guards.is_policy_telemetry(row["guard_type_name"], row["flavor"]):
                telemetry += 1
                continue
            site = row["site_id"]
            version = row["app_version"] or "unknown"
            days[site][row["report_time"] and row["report_time"].date()] += 1
            about.setdefault(site, row)
            by_site[site][version] += 1
            versions[version] += 1
            systems[row["os"] or "unknown"] += 1
    known = [day for counter in days.values() for day in counter if day is not None]
    last = max(known, default=None)
    rows = [_site(site, about[site], by_site[site], days[site], last) for site in days]
    rows.sort(key=lambda row: (-row.count, row.site_id))
    return Summary(
        violations=sum(row.count for row in rows),
        errors=errors,
        telemetry=telemetry,
        sites=rows,
        versions=versions.most_common(),
        systems=systems.most_common(),
        last=last,
        unfinished=unfinished_jobs(paths),
    )


def _batches(output: Store, parts: list[str]) -> Iterator[pa.RecordBatch]:
    """The rows of all files, in order; the next files of a bucket are on their way meanwhile."""
    reads: deque[tuple[str, Future[bytes | None]]] = deque()
    waiting = iter(parts)
    with ThreadPoolExecutor(_READS) as pool:
        while True:
            reads += [(path, pool.submit(output.get, path)) for path in islice(waiting, _READS - len(reads))]
            if not reads:
                return
            path, read = reads.popleft()
            try:
                file = parquet.ParquetFile(io.BytesIO(read.result() or b""))
                if missing := set(_COLUMNS) - set(file.schema_arrow.names):
                    raise StoreError(
                        f"{output.url}/{path}: not of a scan: no column {', '.join(sorted(missing))}"
                    )
                yield from file.iter_batches(columns=_COLUMNS)
            except (OSError, pa.ArrowException) as error:
                reason = str(error).partition("\n")[0]
                raise StoreError(
                    f"{output.url}/{path}: damaged: {reason}: remove it, and run the scan again"
                ) from None


def _site(
    site: str, row: dict[str, Any], versions: Counter[str], days: Counter[date | None], last: date | None
) -> SiteRow:
    known = sorted(day for day in days if day is not None)
    trend = []
    if last is not None:
        trend = [days[last - timedelta(days=back)] for back in range(TREND_DAYS - 1, -1, -1)]
    return SiteRow(
        site_id=site,
        flavor=row["flavor_name"] or "unknown",
        severity=row["severity"] or "unknown",
        process=row["process"] or "unknown",
        place=" ".join(filter(None, (row["image"], row["symbol"]))),
        count=days.total(),
        versions=[version for version, _ in versions.most_common()],
        first=known[0] if known else None,
        last=known[-1] if known else None,
        trend=trend,
    )


def sparkline(values: Iterable[int]) -> str:
    """Numbers as a row of bars, the highest as high as a line."""
    values = list(values)
    top = max(values, default=0)
    return "".join(" " if not value else _BARS[(value * len(_BARS) - 1) // top] for value in values)


def unfinished(found: Summary) -> str:
    """What a reader of an unfinished scan's counts has to know."""
    jobs = ", ".join(found.unfinished[:5]) + (", ..." if len(found.unfinished) > 5 else "")
    which = "" if found.unfinished == ["1-of-1"] else f" Jobs without an end: {jobs}."
    return f"The scan is not finished, so these counts are not complete.{which} Run it again."

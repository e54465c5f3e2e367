"""The metrics as text, in the format a scrape asks for: Prometheus' plain format or OpenMetrics.

prometheus_client can write them too, in 30 milliseconds at 50 targets: it creates several objects for each of
their 4000 series. Here C writes them (native/samples.h) from columns of values; the text of labels is made
when a series is new. OpenMetrics additionally has the creation time of each counter, and for hits an
exemplar: the ``seq`` and the ``site_id`` of a hit that the log has in full.
"""

import itertools
from array import array
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from typing import Any, cast

from excguard.native import ffi, lib
from excguard.pipeline.counters import Counters, CountersSource, Exemplar, Labels, Replies
from excguard.web import metrics, process_metrics
from excguard.web.metrics import HITS, REPLIES, Family, Values

_SUFFIXES = {"counter": "_total", "info": "_info"}


class Exposition:
    """Writes all metrics in the requested format."""

    def __init__(self, source: CountersSource, *, kernel: str, release: str) -> None:
        """Read from ``source``; ``kernel`` and ``release`` are those of the running system."""
        self._source = source
        self._build = metrics.build_labels(kernel, release)
        self._columns: dict[str, _Column] = {}
        self._series: Sequence[Labels] = ()
        self._numbers: dict[Labels, int] = {}  # of the series

    def render(self, accept: str) -> tuple[memoryview, str]:
        """The metrics now, and their content type, in the best format that ``accept`` (the header) allows.

        Not thread-safe. Raises CountersClosedError.
        """
        content_type = _content_type(accept)
        open_metrics = content_type.startswith("application/openmetrics-text")
        counters = self._source.counters()
        page = _Page()
        self._add_hits(page, counters, open_metrics=open_metrics)
        self._add_replies(page, counters.replies, open_metrics=open_metrics)
        for found in (*metrics.values(counters, self._build), *process_metrics.values()):
            family = found.family
            page.add(_head(family, open_metrics=open_metrics))
            if found.values and isinstance(found.values[0], float):
                page.add(_float_lines(found))
                continue
            # The plain format has no creation times; there they would be series of their own.
            created = found.created if open_metrics else None
            name = family.name + _SUFFIXES.get(family.type, "")
            column = self._column(name, family.labels, found.labels)
            column.set(cast("Sequence[int]", found.values), decimals=found.decimals, created=created)
            page.add(column)
        if open_metrics:
            page.add(b"# EOF\n")
        return page.text(), content_type

    def _add_hits(self, page: "_Page", counters: Counters, *, open_metrics: bool) -> None:
        labels = counters.hits.labels
        if labels is not self._series:
            self._series = labels
            self._numbers = {each: number for number, each in enumerate(labels)}
        column = self._column("excguard_hits_total", HITS.labels, labels)
        if open_metrics:
            exemplars = _exemplars(counters.exemplars, self._numbers)
            column.set(counters.hits.hits, created=counters.counting_since, exemplars=exemplars)
        else:
            column.set(counters.hits.hits)
        page.add(_head(HITS, open_metrics=open_metrics))
        page.add(column)

    def _add_replies(self, page: "_Page", replies: Replies, *, open_metrics: bool) -> None:
        bounds = [(_number(bound / 1e9),) for bound in replies.bounds_ns] + [("+Inf",)]
        column = self._column(f"{REPLIES.name}_bucket", ("le",), bounds)
        counts = list(itertools.accumulate(replies.counts))
        column.set(counts)
        page.add(_head(REPLIES, open_metrics=open_metrics))
        page.add(column)
        total = f"{REPLIES.name}_sum {_number(replies.sum_ns / 1e9)}\n{REPLIES.name}_count {counts[-1]}\n"
        page.add(total.encode())

    def _column(self, name: str, names: tuple[str, ...], labels: Sequence[tuple[str, ...]]) -> "_Column":
        column = self._columns.get(name)
        if column is None or (column.labels is not labels and column.labels != labels):
            column = self._columns[name] = _Column(name, names, labels)
        return column


@lru_cache(maxsize=32)
def _content_type(accept: str) -> str:
    """The content type of the best format that a header Accept allows."""
    from prometheus_client.exposition import choose_encoder  # noqa: PLC0415 - 5 MB, for scrapes alone

    return choose_encoder(accept)[1]


class _Column:
    """The samples of one name: labels, which rarely change, and values, which do (native/samples.h)."""

    def __init__(self, name: str, names: tuple[str, ...], labels: Sequence[tuple[str, ...]]) -> None:
        self.labels = labels
        texts = [_label_text(names, values).encode("utf-8", "replace") for values in labels]
        created_name = f"{name.removesuffix('_total')}_created"
        # A struct in C does not keep alive what it points to.
        self._created_name = ffi.new("char[]", created_name.encode())
        self._texts = [ffi.new("char[]", name.encode()), ffi.new("char[]", b"".join(texts))]
        self._ends = ffi.new("uint32_t[]", list(itertools.accumulate(map(len, texts))))
        self._values: list[Any] = []
        self.samples = ffi.new("struct excguard_samples *")
        self.samples.name, self.samples.labels = self._texts
        self.samples.ends = self._ends
        self.samples.count = len(labels)

    def set(
        self,
        values: Sequence[int],
        *,
        decimals: int = 0,
        created: float | None = None,
        exemplars: Any = ffi.NULL,  # noqa: ANN401 - a cffi array, see `_exemplars`
    ) -> None:
        """Set the values; ``decimals`` and ``created`` as of `Values`."""
        numbers = (
            ffi.from_buffer("uint64_t[]", values)  # type: ignore[arg-type]  # it is a buffer
            if isinstance(values, array)
            else ffi.new("uint64_t[]", values)
        )
        when = ffi.NULL if created is None else ffi.new("char[]", f"{created:.3f}".encode())
        self._values = [numbers, when, exemplars]
        self.samples.values, self.samples.created, self.samples.exemplars = self._values
        self.samples.created_name = ffi.NULL if created is None else self._created_name
        self.samples.decimals = decimals


class _Page:
    """A text of parts, which are copied once: it may be a megabyte."""

    def __init__(self) -> None:
        self._parts: list[bytes | _Column] = []
        self._size = 0

    def add(self, part: "bytes | _Column") -> None:
        """Add a text, or samples, at the end."""
        self._parts.append(part)
        self._size += len(part) if isinstance(part, bytes) else lib.excguard_samples_size(part.samples)

    def text(self) -> memoryview:
        """The whole text."""
        out = _uncleared("char[]", self._size)
        end = 0
        for part in self._parts:
            place = ffi.addressof(out, end)
            if isinstance(part, bytes):
                ffi.memmove(place, part, len(part))
                end += len(part)
            else:
                end += lib.excguard_samples_write(part.samples, place)
        return memoryview(ffi.buffer(out, end))


_uncleared = ffi.new_allocator(should_clear_after_alloc=False)


def _exemplars(exemplars: Mapping[Labels, Exemplar], numbers: Mapping[Labels, int]) -> Any:  # noqa: ANN401
    """An array of ``struct excguard_exemplar`` for the series of ``numbers``."""
    found = ffi.new("struct excguard_exemplar[]", max(len(numbers), 1))
    fields = memoryview(ffi.buffer(found)).cast("B").cast("Q")
    for labels, exemplar in dict(exemplars).items():  # a copy: another thread adds some
        number = numbers.get(labels)
        if number is not None:  # None: of a target whose counters were reset
            at = 3 * number
            fields[at], fields[at + 1] = exemplar.seq, exemplar.time_ns // 1000
            fields[at + 2] = int(exemplar.site_id or "0", 16)
    return found


@cache
def _head(family: Family, *, open_metrics: bool) -> bytes:
    name = family.name if open_metrics else family.name + _SUFFIXES.get(family.type, "")
    kind = "gauge" if family.type == "info" and not open_metrics else family.type
    return f"# HELP {name} {family.help}\n# TYPE {name} {kind}\n".encode()


def _float_lines(found: Values) -> bytes:
    name = found.family.name + _SUFFIXES.get(found.family.type, "")
    pairs = zip(found.labels, found.values, strict=True)
    return "".join(
        f"{name}{_label_text(found.family.labels, labels)} {_number(value)}\n" for labels, value in pairs
    ).encode("utf-8", "replace")


def _label_text(names: tuple[str, ...], values: tuple[str, ...]) -> str:
    """The labels in the syntax of both formats."""
    if not names:
        return ""
    return (
        "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in zip(names, values, strict=True)) + "}"
    )


def _number(value: float) -> str:
    return "+Inf" if value == float("inf") else repr(value)


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")

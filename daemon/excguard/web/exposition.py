"""The metrics as text, in the format a scrape asks for: Prometheus' plain format or OpenMetrics.

prometheus_client can write them too, in 30 milliseconds at 50 targets: it creates several objects for each of
their 4000 series. Here C writes them (native/samples.h) from columns of values; the text of labels is made
when a series is new. OpenMetrics additionally has the creation time of each counter, and for hits an
exemplar: the ``seq`` and the ``site_id`` of a hit that the log has in full.
"""

import itertools
import re
from array import array
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, lru_cache
from typing import Any, cast

from excguard.native import ffi, lib
from excguard.pipeline.counters import Counters, CountersSource, Exemplar, Labels, Replies
from excguard.web import process_metrics
from excguard.web.metrics import HITS, NO_LABELS, REPLIES, Family, LabelValues, Metrics, Values

_SUFFIXES = {"counter": "_total", "info": "_info"}
_OPEN_METRICS = "application/openmetrics-text"
_OPEN_METRICS_VERSION = "1.0.0"
_QUALITY = re.compile(r"[01](\.\d{0,3})?")


class Exposition:
    """Writes all metrics in the requested format."""

    def __init__(self, source: CountersSource, *, kernel: str, release: str) -> None:
        """Read from ``source``; ``kernel`` and ``release`` are those of the running system."""
        self._source = source
        self._metrics = Metrics(kernel, release)
        self._pages = {open_metrics: _Page(open_metrics=open_metrics) for open_metrics in (False, True)}

    def render(self, accept: str) -> tuple[memoryview, str]:
        """The metrics now, and their content type, in the best format that ``accept`` (the header) allows.

        Not thread-safe. Raises CountersClosedError.
        """
        content_type = _content_type(accept)
        page = self._pages[content_type.startswith(_OPEN_METRICS)]
        return page.text(self._source.counters(), self._metrics), content_type


@lru_cache(maxsize=32)
def _content_type(accept: str) -> str:
    """The content type of the best format that a header Accept allows."""
    from prometheus_client.exposition import choose_encoder  # noqa: PLC0415 - 5 MB, for scrapes alone

    return choose_encoder(_acceptable(accept))[1]


def _acceptable(accept: str) -> str:
    """The media ranges of a header Accept (RFC 9110, 12.5.1) without OpenMetrics where it is not the best.

    prometheus_client chooses OpenMetrics wherever it is named: also with the quality 0 or a lower one than
    plain text has, as in a scrape whose scrape_protocols prefer that, and in versions that it does not write.
    """
    ranges = [_media_range(part) for part in accept.lower().split(",")]
    plain = max((quality for name, quality, _, _ in ranges if name == "text/plain"), default=0.0)
    return ",".join(
        text
        for name, quality, version, text in ranges
        if name != _OPEN_METRICS or (0 < quality >= plain and version in {"", _OPEN_METRICS_VERSION})
    )


def _media_range(text: str) -> tuple[str, float, str, str]:
    """The media type, quality, version and text of one part of a header Accept."""
    name, *parameters = (part.strip() for part in text.split(";"))
    values = {key.strip(): value.strip() for key, _, value in (part.partition("=") for part in parameters)}
    quality = values.get("q", "1")
    return name, float(quality) if _QUALITY.fullmatch(quality) else 1.0, values.get("version", ""), text


class _Page:
    """The text in one of the formats."""

    def __init__(self, *, open_metrics: bool) -> None:
        self._open_metrics = open_metrics
        self._columns: dict[str, _Column] = {}
        self._series: Sequence[Labels] = ()
        self._numbers: dict[Labels, int] = {}  # of the series

    def text(self, counters: Counters, metrics: Metrics) -> memoryview:
        """The text of ``counters``."""
        columns = [
            self._hits(counters),
            *self._replies(counters.replies),
            *(self._family(found) for found in metrics.values(counters)),
            *(self._family(found) for found in process_metrics.values()),
        ]
        if self._open_metrics:
            columns.append(_END)
        samples = ffi.new("struct excguard_samples *[]", [column.samples for column in columns])
        out = _uncleared("char[]", lib.excguard_samples_size(samples, len(samples)))
        size = lib.excguard_samples_write(samples, len(samples), out)
        return memoryview(ffi.buffer(out, size))

    def _hits(self, counters: Counters) -> "_Column":
        labels = counters.hits.labels
        column = self._family(Values(HITS, labels, counters.hits.hits, counters.counting_since))
        if self._open_metrics:
            if labels is not self._series:
                self._series = labels
                self._numbers = {each: number for number, each in enumerate(labels)}
            column.show_exemplars(_exemplars(counters.exemplars, self._numbers))
        return column

    def _replies(self, replies: Replies) -> Iterator["_Column"]:
        counts = list(itertools.accumulate(replies.counts))
        buckets = Values(REPLIES, _bounds(replies.bounds_ns), counts)
        yield self._column(f"{REPLIES.name}_bucket", buckets, ("le",))
        total = Values(REPLIES, NO_LABELS, [replies.sum_ns], decimals=9)
        yield self._column(f"{REPLIES.name}_sum", total, (), headed=False)
        count = Values(REPLIES, NO_LABELS, counts[-1:])
        yield self._column(f"{REPLIES.name}_count", count, (), headed=False)

    def _family(self, found: Values) -> "_Column":
        family = found.family
        name = family.name + _SUFFIXES.get(family.type, "")
        if found.values and isinstance(found.values[0], float):
            return _Column(name, (), (), self._head(family) + _float_lines(name, found))
        return self._column(name, found, family.labels)

    def _column(
        self, name: str, found: Values, label_names: tuple[str, ...], *, headed: bool = True
    ) -> "_Column":
        column = self._columns.get(name)
        if column is None or (column.labels is not found.labels and column.labels != found.labels):
            head = self._head(found.family) if headed else b""
            column = self._columns[name] = _Column(name, label_names, found.labels, head)
        # The plain format has no creation times; there they would be series of their own.
        created = found.created if self._open_metrics else None
        column.set(cast("Sequence[int]", found.values), decimals=found.decimals, created=created)
        return column

    def _head(self, family: Family) -> bytes:
        name = family.name if self._open_metrics else family.name + _SUFFIXES.get(family.type, "")
        kind = "gauge" if family.type == "info" and not self._open_metrics else family.type
        return f"# HELP {name} {family.help}\n# TYPE {name} {kind}\n".encode()


class _Column:
    """The samples of one name: labels, which rarely change, and values, which do (native/samples.h).

    Attributes:
        labels: the label values of each sample.
        samples: the ``struct excguard_samples``.
    """

    def __init__(self, name: str, names: tuple[str, ...], labels: LabelValues, head: bytes) -> None:
        """Begin at 0; ``head`` precedes the samples."""
        self.labels = labels
        starts = [f"{name}{_label_text(names, values)} ".encode("utf-8", "replace") for values in labels]
        created_name = f"{name.removesuffix('_total')}_created"
        # A struct in C does not keep alive what it points to.
        self._head, self._starts = ffi.new("char[]", head), ffi.new("char[]", b"".join(starts))
        self._ends = ffi.new("uint32_t[]", list(itertools.accumulate(map(len, starts))))
        self._values = ffi.new("uint64_t[]", len(labels))
        self._created_name = ffi.new("char[]", created_name.encode())
        self._created: float | None = None
        self._created_text: Any = None
        self._exemplars: Any = None
        self.samples = ffi.new("struct excguard_samples *")
        self.samples.head, self.samples.head_size = self._head, len(head)
        self.samples.starts, self.samples.name_size = self._starts, len(name.encode())
        self.samples.ends, self.samples.count = self._ends, len(labels)
        self.samples.values = self._values

    def set(self, values: Sequence[int], *, decimals: int = 0, created: float | None = None) -> None:
        """Set the values, which are integers; ``decimals`` and ``created`` as of `Values`."""
        if isinstance(values, array):
            ffi.memmove(self._values, values, 8 * len(values))
        else:
            self._values[0 : len(values)] = values
        self.samples.decimals = decimals
        if created is not None and created != self._created:
            self._created = created
            self._created_text = ffi.new("char[]", f"{created:.3f}".encode())
            self.samples.created, self.samples.created_name = self._created_text, self._created_name

    def show_exemplars(self, exemplars: Any) -> None:  # noqa: ANN401 - a cffi array, see `_exemplars`
        """Show ``exemplars``, one a sample."""
        self.samples.exemplars = self._exemplars = exemplars


_END = _Column("", (), (), b"# EOF\n")
_uncleared = ffi.new_allocator(should_clear_after_alloc=False)


@cache
def _bounds(bounds_ns: tuple[int, ...]) -> Sequence[str]:
    return [_number(bound / 1e9) for bound in bounds_ns] + ["+Inf"]


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


def _float_lines(name: str, found: Values) -> bytes:
    pairs = zip(found.labels, found.values, strict=True)
    return "".join(
        f"{name}{_label_text(found.family.labels, labels)} {_number(value)}\n" for labels, value in pairs
    ).encode("utf-8", "replace")


def _label_text(names: tuple[str, ...], values: Sequence[str]) -> str:
    """The labels in the syntax of both formats."""
    if not names:
        return ""
    if isinstance(values, str):
        values = (values,)
    return (
        "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in zip(names, values, strict=True)) + "}"
    )


def _number(value: float) -> str:
    return "+Inf" if value == float("inf") else repr(value)


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")

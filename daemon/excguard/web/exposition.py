"""The metrics as text, in the format a scrape asks for: Prometheus' plain format or OpenMetrics.

prometheus_client can write them too, in 30 milliseconds at 50 targets: it creates several objects for each of
their 4000 series. Here the text of labels is made once, and the lines of unchanged series are reused.
OpenMetrics additionally has the creation time of each counter, and for hits an exemplar: the ``seq`` of a hit
that the log has in full.
"""

import operator
from collections.abc import Mapping, Sequence
from functools import lru_cache

from prometheus_client.exposition import choose_encoder

from excguard.pipeline.counters import Counters, CountersSource, Exemplar, Labels, Replies
from excguard.web import metrics, process_metrics
from excguard.web.metrics import HITS, REPLIES, Family, Values

_END = b"\n"


class Exposition:
    """Writes all metrics in the requested format."""

    def __init__(self, source: CountersSource, *, kernel: str, release: str) -> None:
        """Read from ``source``; ``kernel`` and ``release`` are those of the running system."""
        self._source = source
        self._build = metrics.build_labels(kernel, release)
        self._plain = _HitLines(open_metrics=False)
        self._open = _HitLines(open_metrics=True)

    def render(self, accept: str) -> tuple[bytes, str]:
        """The metrics now, and their content type, in the best format that ``accept`` (the header) allows.

        Not thread-safe. Raises CountersClosedError.
        """
        _, content_type = choose_encoder(accept)
        open_metrics = content_type.startswith("application/openmetrics-text")
        counters = self._source.counters()
        hits = (self._open if open_metrics else self._plain).write(counters)
        parts = [_replies(counters.replies)]
        parts += [
            _family(each, open_metrics=open_metrics)
            for each in (*metrics.values(counters, self._build), *process_metrics.values())
        ]
        if open_metrics:
            parts.append("# EOF\n")
        # One copy of what may be a megabyte: each further copy costs as much as making it.
        return b"".join([*hits, "".join(parts).encode()]), content_type


class _HitLines:
    """The lines of all hit series in one format. Lines of unchanged series are reused."""

    def __init__(self, *, open_metrics: bool) -> None:
        self._open_metrics = open_metrics
        self._head = _head(HITS, open_metrics=open_metrics).encode()
        self._labels: Sequence[Labels] = ()
        self._begins: list[bytes] = []
        self._ends: list[bytes] = []
        self._index: dict[Labels, int] = {}
        self._hits: list[int] = []
        self._exemplars: dict[Labels, Exemplar] = {}
        self._lines: list[bytes] = []

    def write(self, counters: Counters) -> list[bytes]:
        """All lines, in pieces that are valid until the next call."""
        labels, hits = counters.hits.labels, counters.hits.hits
        if labels is not self._labels:
            self._relabel(labels, counters.counting_since)
        changed = [number for number, differs in enumerate(map(operator.ne, hits, self._hits)) if differs]
        if len(changed) * 2 > len(hits):
            parts = zip(self._begins, hits, self._ends, strict=True)
            self._lines = [b"%b%d%b" % (begin, count, end if count else _END) for begin, count, end in parts]
            self._exemplars = {}
        else:
            for number in changed:
                self._lines[number] = b"%b%d%b" % (self._begins[number], hits[number], self._ends[number])
        if self._open_metrics:
            self._exemplify(counters.exemplars, hits)
        self._hits = list(hits)
        return [self._head, *self._lines]

    def _relabel(self, labels: Sequence[Labels], counting_since: float) -> None:
        texts = [_label_text.__wrapped__(HITS.labels, each) for each in labels]
        self._labels = labels
        self._begins = [f"excguard_hits_total{text} ".encode() for text in texts]
        if self._open_metrics:
            # Only of series that are not 0: a creation time adds nothing to a 0.
            self._ends = [f"\nexcguard_hits_created{text} {counting_since:.3f}\n".encode() for text in texts]
        else:
            self._ends = [_END] * len(texts)
        self._index = {each: number for number, each in enumerate(labels)}
        self._hits = [-1] * len(labels)
        self._exemplars = {}
        self._lines = [b""] * len(labels)

    def _exemplify(self, exemplars: Mapping[Labels, Exemplar], hits: Sequence[int]) -> None:
        """Append the exemplars to the lines where they or the counts have changed."""
        current = dict(exemplars)
        for labels, exemplar in current.items():
            number = self._index.get(labels)
            if number is None:  # of a target whose counters were reset
                continue
            if exemplar != self._exemplars.get(labels) or hits[number] != self._hits[number]:
                example = f' # {{seq="{exemplar.seq}"}} 1 {exemplar.time_ns / 1e9:.6f}'.encode()
                begin, end = self._begins[number], self._ends[number]
                self._lines[number] = b"%b%d%b%b" % (begin, hits[number], example, end)
        self._exemplars = current


def _head(family: Family, *, open_metrics: bool) -> str:
    suffixes = {"counter": "_total", "info": "_info"}
    name = family.name if open_metrics else family.name + suffixes.get(family.type, "")
    kind = "gauge" if family.type == "info" and not open_metrics else family.type
    return f"# HELP {name} {family.help}\n# TYPE {name} {kind}\n"


def _family(found: Values, *, open_metrics: bool) -> str:
    family, values, created = found
    lines = [_head(family, open_metrics=open_metrics)]
    name = family.name + {"counter": "_total", "info": "_info"}.get(family.type, "")
    for labels, value in values.items():
        text = _label_text(family.labels, labels)
        lines.append(f"{name}{text} {_number(value)}\n")
        # The plain format has no created timestamps; there they would be series of their own.
        if created is not None and open_metrics:
            lines.append(f"{family.name}_created{text} {created:.3f}\n")
    return "".join(lines)


def _replies(replies: Replies) -> str:
    lines = [_head(REPLIES, open_metrics=True)]
    total = 0
    bounds = [*(bound / 1e9 for bound in replies.bounds_ns), float("inf")]
    for bound, count in zip(bounds, replies.counts, strict=True):
        total += count
        lines.append(f'{REPLIES.name}_bucket{{le="{_number(bound)}"}} {total}\n')
    lines.append(f"{REPLIES.name}_sum {_number(replies.sum_ns / 1e9)}\n")
    lines.append(f"{REPLIES.name}_count {total}\n")
    return "".join(lines)


@lru_cache(maxsize=4096)
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

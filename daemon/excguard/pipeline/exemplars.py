"""Of each hit series, the newest hit that the log shows in full: the exemplars of the metrics."""

from collections.abc import Iterable

from excguard.pipeline.counters import Exemplar, Labels, labels_of
from excguard.pipeline.hit import Hit


class Exemplars:
    """Remembers one hit a series."""

    def __init__(self) -> None:
        """Begin without any."""
        self.newest: dict[Labels, Exemplar] = {}
        """Changed on the main loop's thread; others copy it."""

    def hits(self, hits: Iterable[Hit]) -> None:
        """Take hits, the newest last."""
        last = {(hit.target, hit.code >> 32, hit.severity): hit for hit in hits}
        for hit in last.values():
            site = hit.site
            self.newest[labels_of(hit.target, hit.violation)] = Exemplar(
                hit.seq, hit.time_ns, site.id if site else ""
            )

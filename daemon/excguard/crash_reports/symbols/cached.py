"""A symbolizer that several threads may ask, and that is asked for the same place again and again."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from excguard.crash_reports.symbols.symbol import Image, Symbol, Symbolizer

MAX_PLACES = 10_000
"""That are remembered; beyond that the oldest is forgotten."""


class CachedSymbolizer:
    """Asks another symbolizer for each place one time."""

    def __init__(self, symbolizer: Symbolizer) -> None:
        """Ask ``symbolizer``, by one thread at a time."""
        self._symbolizer = symbolizer
        self._lock = threading.Lock()
        self._found: dict[tuple[Image, int], Symbol | None] = {}

    def symbol(self, image: Image, offset: int) -> Symbol | None:
        """See `Symbolizer.symbol`."""
        place = image, offset
        with self._lock:
            if place not in self._found:
                if len(self._found) >= MAX_PLACES:
                    del self._found[next(iter(self._found))]
                self._found[place] = self._symbolizer.symbol(image, offset)
            return self._found[place]

"""How much of a text is read, and which limits were reached.

Reading must not take memory without bound, whatever is in a text: its documents and violations are counted,
and those beyond a limit are not read. What was left out is reported (`Report.error` of a last report).
"""

from __future__ import annotations

MAX_VIOLATIONS = 10_000
"""Violations, and documents without one, of one file that are read."""
LEAST_VIOLATIONS = 2_000
"""So many are read of a text of any size."""
BYTES_OF_VIOLATION = 216
"""Bytes of text, on average, for each further one.

A violation takes about 1.3 KiB of memory, so that reading needs less than 8 bytes for each byte of the text,
and 4 MiB. Lines of the unified log have 150 bytes and more.
"""
MAX_STEPS = 4_000_000
"""Brackets of JSON in others that are followed, some seconds of work; values without others need none."""


class LimitReachedError(Exception):
    """There is more in a text than is read of it."""


class Limits:
    """Counts what is read of one file.

    Attributes:
        reached: What was not read, and why, one text a limit.
        exhausted: Whether no more documents are read.
        steps: How many more brackets of JSON are followed.
    """

    def __init__(self) -> None:
        """Begin with a file of no texts."""
        self.reached: list[str] = []
        self.exhausted = False
        self.steps = MAX_STEPS
        self._taken = 0
        self._allowed = LEAST_VIOLATIONS

    def add_text(self, size: int) -> None:
        """Allow for one more text of so many bytes: an archive has one a member."""
        self._allowed = min(MAX_VIOLATIONS, self._allowed + size // BYTES_OF_VIOLATION)

    def take(self) -> None:
        """Count a document or a violation before it is made.

        Raises:
            LimitReachedError: There were as many as are read; this one must not be made.
        """
        if self._taken >= self._allowed:
            self.exhausted = True
            self.reach(f"only the first {self._allowed} violations and reports in it are read")
            raise LimitReachedError
        self._taken += 1

    def reach(self, what: str) -> None:
        """Note that something is not read."""
        if what not in self.reached:
            self.reached.append(what)

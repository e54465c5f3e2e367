"""What is counted as it comes, and logged as counts from time to time."""

from collections import Counter
from collections.abc import Iterator
from typing import Generic, TypeVar

Key = tuple[str, str]
_Example = TypeVar("_Example")


class Tally(Generic[_Example]):
    """Counts by key, each with the latest example.

    Attributes:
        totals: the counts since the start.
    """

    def __init__(self) -> None:
        """Begin with nothing counted."""
        self.totals: Counter[Key] = Counter()
        self._given: Counter[Key] = Counter()
        self._examples: dict[Key, _Example] = {}

    def add(self, key: Key, example: _Example) -> None:
        """Count one more."""
        self.totals[key] += 1
        self._examples[key] = example

    def news(self) -> Iterator[tuple[Key, int, int, _Example]]:
        """What came since the last call: each key, how often, how often in all, and the latest example."""
        for key, total in self.totals.items():
            if count := total - self._given[key]:
                yield key, count, total, self._examples[key]
        self._given = self.totals.copy()

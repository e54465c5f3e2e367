"""Regular expressions that are compiled when they are first used.

Compiling all that the readers of reports have would take longer than reading a report does.
"""

from __future__ import annotations

import re


class LazyPattern:
    """A regular expression of text."""

    __slots__ = ("_compiled", "_expression")

    def __init__(self, expression: str) -> None:
        """Remember the expression."""
        self._expression = expression
        self._compiled: re.Pattern[str] | None = None

    def search(self, text: str, at: int = 0) -> re.Match[str] | None:
        """The first match in `text` from `at` on."""
        if self._compiled is None:
            self._compiled = re.compile(self._expression)
        return self._compiled.search(text, at)

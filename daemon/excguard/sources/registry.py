"""The sources that there are: to add one, add an instance of its class here."""

from typing import TYPE_CHECKING, Final

from excguard.pipeline.source import Source
from excguard.sources.crash_reports import CrashReportSource
from excguard.sources.unified_log import UnifiedLogSource

if TYPE_CHECKING:
    from excguard.crash_reports.symbols.symbol import Symbolizer

SOURCES: Final[tuple[Source, ...]] = (CrashReportSource(), UnifiedLogSource())
"""All of them; those that can name frames do without."""


def sources(symbolizer: "Symbolizer | None") -> tuple[Source, ...]:
    """All of them; frames of reports get the names that ``symbolizer`` finds."""
    reports = CrashReportSource(symbolizer)
    return tuple(reports if source.name == reports.name else source for source in SOURCES)

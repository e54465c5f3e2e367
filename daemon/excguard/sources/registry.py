"""The sources that there are: to add one, name its class here."""

from typing import Final

from excguard.pipeline.source import Source
from excguard.sources.crash_reports import CrashReportSource
from excguard.sources.unified_log import UnifiedLogSource

SOURCES: Final[tuple[Source, ...]] = (CrashReportSource(), UnifiedLogSource())

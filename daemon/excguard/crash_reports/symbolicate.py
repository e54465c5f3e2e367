"""The frames of a report with the names that a symbolizer finds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from excguard.crash_reports.symbols.symbol import Image

if TYPE_CHECKING:
    from excguard.crash_reports.report import Frame, Report
    from excguard.crash_reports.symbols.symbol import Symbolizer


def symbolicate(report: Report, symbolizer: Symbolizer) -> int:
    """Name the frames of ``report`` that have an image and an offset; how many were named.

    A symbol that the report has is replaced: a stripped program's is the nearest exported one.
    """
    before = report.frames
    report.frames = [_named(frame, symbolizer) for frame in before]
    return sum(new is not old for new, old in zip(report.frames, before, strict=True))


def _named(frame: Frame, symbolizer: Symbolizer) -> Frame:
    if frame.offset is None or not frame.uuid:
        return frame
    found = symbolizer.symbol(Image(frame.image, frame.uuid, frame.arch), frame.offset)
    if found is None:
        return frame
    source = f"{found.file}:{found.line}" if found.file else ""
    return msgspec.structs.replace(frame, symbol=found.name, symbol_offset=found.offset, source=source)

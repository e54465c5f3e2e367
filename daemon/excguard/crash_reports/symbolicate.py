"""The frames of a report with the names that a symbolizer finds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from excguard.crash_reports.symbols.symbol import Image

if TYPE_CHECKING:
    from excguard.crash_reports.report import Frame, Report
    from excguard.crash_reports.symbols.symbol import Symbolizer
    from excguard.decoding.site import Place


def symbolicate(report: Report, symbolizer: Symbolizer) -> int:
    """Name the frames of ``report`` that have an image and an offset; how many were named.

    A symbol that the report has is replaced: a stripped program's is the nearest exported one.
    """
    before = report.frames
    report.frames = [_named(frame, symbolizer) for frame in before]
    return sum(new is not old for new, old in zip(report.frames, before, strict=True))


def named(place: Place, symbolizer: Symbolizer) -> Place:
    """``place`` with the symbol that lies there, if it is found."""
    if place.offset is None or not place.uuid:
        return place
    path = place.image if place.image.startswith("/") else ""
    found = symbolizer.symbol(Image(place.image_name, place.uuid, path=path), place.offset)
    return place if found is None else place._replace(symbol=found.name, symbol_offset=found.offset)


def _named(frame: Frame, symbolizer: Symbolizer) -> Frame:
    if frame.offset is None or not frame.uuid:
        return frame
    found = symbolizer.symbol(Image(frame.image, frame.uuid, frame.arch, frame.path), frame.offset)
    if found is None:
        return frame
    source = f"{found.file}:{found.line}" if found.file else ""
    return msgspec.structs.replace(frame, symbol=found.name, symbol_offset=found.offset, source=source)

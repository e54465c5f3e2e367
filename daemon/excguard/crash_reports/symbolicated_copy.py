"""A copy of an .ips report in which the frames of all threads have the names that a symbolizer finds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from excguard.crash_reports.symbols.symbol import Image

if TYPE_CHECKING:
    from collections.abc import Iterator

    from excguard.crash_reports.symbols.symbol import Symbolizer

MAX_BYTES = 16 << 20
"""Of a report; one of ReportCrash has some megabytes at most."""


def symbolicated_copy(data: bytes, symbolizer: Symbolizer) -> bytes | None:
    """The report in ``data`` with names, in the keys that ReportCrash and Xcode use.

    Returns:
        The copy; None when no frame gets a name, or when ``data`` is not a whole .ips report of at most
        `MAX_BYTES`.
    """
    head, _, rest = data.partition(b"\n")
    if len(data) > MAX_BYTES:
        return None
    try:
        body = msgspec.json.decode(rest)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if not isinstance(body, dict):
        return None
    images = [_image(one) for one in _objects(body.get("usedImages"))]
    named = sum(_name(frame, images, symbolizer) for frame in _frames(body))
    return head + b"\n" + msgspec.json.format(msgspec.json.encode(body)) + b"\n" if named else None


def _frames(body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for thread in _objects(body.get("threads")):
        yield from _objects(thread.get("frames"))
    yield from _objects(body.get("lastExceptionBacktrace"))


def _name(frame: dict[str, Any], images: list[Image], symbolizer: Symbolizer) -> bool:
    index, offset = frame.get("imageIndex"), frame.get("imageOffset")
    if type(index) is not int or type(offset) is not int or not 0 <= index < len(images):
        return False
    found = symbolizer.symbol(images[index], offset) if images[index].uuid else None
    if found is None:
        return False
    frame["symbol"] = found.name
    for key, value in (
        ("symbolLocation", found.offset),
        ("sourceFile", found.file),
        ("sourceLine", found.line),
    ):
        if value or (key == "symbolLocation" and value is not None):
            frame[key] = value
        else:
            frame.pop(key, None)  # of the name that is replaced
    return True


def _image(found: dict[str, Any]) -> Image:
    texts = (found.get(key) for key in ("name", "uuid", "arch", "path"))
    return Image(*(text if isinstance(text, str) else "" for text in texts))


def _objects(found: object) -> list[dict[str, Any]]:
    """The objects of a list; each at its place, so that indices fit."""
    return [one if isinstance(one, dict) else {} for one in found] if isinstance(found, list) else []

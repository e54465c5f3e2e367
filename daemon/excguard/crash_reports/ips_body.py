"""The body of an .ips report: the keys that are used, and the top frames of the thread with the violation.

Most of a body are threads and images that do not matter. A small body is decoded as it is, a large one
without its lists at first. Who reads many reports has the lists passed over by their brackets. All give the
same.
"""

from __future__ import annotations

import re
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from excguard.crash_reports import json_lists
from excguard.crash_reports.draft import TOP_FRAMES
from excguard.crash_reports.report import Frame

if TYPE_CHECKING:
    from collections.abc import Sequence

    from excguard.crash_reports.json_lists import Objects

MAX_OBJECT = 65536
"""Bytes of an exception or termination object; those of ReportCrash have some hundreds."""
SMALL = 1 << 17
"""Bytes of a report whose lists are decoded as they are: even a list of empty objects is then small."""
_LEAST_BYTES = 32
"""Bytes of an object in the lists of a larger report, at least and on average: decoding a list of smaller
ones would need far more memory than the report has bytes."""
_OUTLINED = 1 << 20
"""Bytes of a body of which threads and images are passed over. Real ones are below."""
_FRONT = 1 << 16
"""Bytes before the threads; those of real reports have some thousands."""
_CUT = 0
"""What stands for a list that is passed over."""
_THREADS = re.compile(rb'"threads"\s*+:\s*+(?=\[)')
_IMAGES = re.compile(rb'\s*+,\s*+"usedImages"\s*+:\s*+(?=\[)')  # they follow the threads
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError)
"""What decoding JSON of others raises."""

NULL = msgspec.Raw(b"null")


class _Thread(msgspec.Struct):
    triggered: bool = False
    frames: msgspec.Raw = msgspec.Raw(b"[]")


class Keys(msgspec.Struct):
    """The keys of a body that are used; the others are skipped without being decoded."""

    exception: msgspec.Raw = NULL
    termination: msgspec.Raw = NULL
    os_version: msgspec.Raw = msgspec.field(default=NULL, name="osVersion")
    process: msgspec.Raw = msgspec.field(default=NULL, name="procName")
    pid: msgspec.Raw = NULL
    cpu: msgspec.Raw = msgspec.field(default=NULL, name="cpuType")
    translated: msgspec.Raw = NULL
    simulated: msgspec.Raw = msgspec.field(default=NULL, name="isSimulated")
    faulting: msgspec.Raw = msgspec.field(default=NULL, name="faultingThread")
    bug_type: msgspec.Raw = NULL
    fault: msgspec.Raw = msgspec.field(default=NULL, name="os_fault")
    panic: msgspec.Raw = msgspec.field(default=NULL, name="panicString")


class _Body(Keys):
    threads: list[_Thread] = []
    images: list[msgspec.Raw] = msgspec.field(default_factory=list, name="usedImages")


class _Outline(Keys):
    """A body whose threads and images are not decoded; `_CUT` stands for both."""

    threads: int = -1
    images: int = msgspec.field(default=-1, name="usedImages")


class _LargeBody(Keys):
    threads: msgspec.Raw = NULL
    images: msgspec.Raw = msgspec.field(default=NULL, name="usedImages")


class _Frame(msgspec.Struct):
    offset: int | None = msgspec.field(default=None, name="imageOffset")
    image: int = msgspec.field(default=-1, name="imageIndex")
    symbol: str = ""
    symbol_offset: int | None = msgspec.field(default=None, name="symbolLocation")


class _Image(msgspec.Struct):
    name: str = ""
    base: int | None = None
    path: str = ""
    uuid: str = ""
    arch: str = ""


_decode_body = msgspec.json.Decoder(_Body).decode
_decode_any = msgspec.json.Decoder().decode
_decode_frames = msgspec.json.Decoder(list[_Frame]).decode
_decode_image = msgspec.json.Decoder(_Image).decode


@cache
def _decoder(kind: object) -> msgspec.json.Decoder[Any]:
    """A decoder that few need: making one takes as long as reading a small report."""
    return msgspec.json.Decoder(kind)


class _Elements:
    """The objects of a list in a text, none of them decoded."""

    def __init__(self, text: memoryview, positions: Sequence[int]) -> None:
        self._text, self._positions = text, positions

    def __len__(self) -> int:
        return len(self._positions) // 2

    def __getitem__(self, index: int) -> memoryview:
        return self._text[self._positions[2 * index] : self._positions[2 * index + 1]]


class _Stack(NamedTuple):
    """What the frames of a report are made of.

    Attributes:
        frames: Of the thread that broke the rule.
        images: Those of the report.
    """

    frames: msgspec.Raw
    images: _Elements | list[msgspec.Raw]


class Body(NamedTuple):
    """A body of valid JSON.

    Attributes:
        keys: Its keys.
        outlined: What its frames are made of, where that was found with the keys.
    """

    keys: Keys
    outlined: _Stack | None = None

    def frames(self) -> list[Frame]:
        """The top frames of the thread that broke the rule; [] where the report does not show it."""
        return _frames(self.outlined or _stack(self.keys))


def read(data: bytes | memoryview, objects: Objects | None) -> Body | None:
    """The body that valid JSON is; None for other text.

    Args:
        data: The JSON.
        objects: As for `crash_reports.documents_of_bytes`.
    """
    if objects is not None and (found := _outline(data, objects)):
        return found
    with suppress(*UNREADABLE):
        return Body(_decode_body(data) if len(data) <= SMALL else _decoder(_LargeBody).decode(data))
    # Damage in threads and images that do not matter does not matter either.
    return _outline(data, json_lists.objects)


def decoded(raw: msgspec.Raw) -> Any:  # noqa: ANN401 - whatever JSON holds
    """A small value; None for one that is too large to be ReportCrash's."""
    if raw is NULL:  # the report does not have it
        return None
    text = bytes(raw)
    if len(text) > MAX_OBJECT:
        return None
    try:
        return _decode_any(text)
    except UNREADABLE:
        return None


def decoded_object(raw: msgspec.Raw) -> dict[str, Any]:
    """A small object; {} for what is none."""
    found = decoded(raw)
    return found if isinstance(found, dict) else {}


def _outline(data: bytes | memoryview, objects: Objects) -> Body | None:
    """A body without what is in its threads and images; None where it is not as ReportCrash writes it."""
    if len(data) > _OUTLINED:
        return None
    before = _THREADS.search(data, 0, _FRONT)
    threads = objects(data, before.end()) if before else None
    if before is None or threads is None:
        return None
    behind_threads = before.end() + threads[-1]
    between = _IMAGES.match(data, behind_threads)  # the threads are followed by the images
    images = objects(data, between.end()) if between else None
    if between is None or images is None:
        return None
    text = memoryview(data)
    cut = b"%d" % _CUT
    rest = (text[: before.end()], cut, between[0], cut, text[between.end() + images[-1] :])
    try:
        body = _decoder(_Outline).decode(b"".join(rest))
        if body.threads != _CUT or body.images != _CUT:  # the lists are not those of the body itself
            return None
        thread = _faulting(body, _Elements(text[before.end() :], threads))
    except UNREADABLE:
        return None
    return Body(body, _Stack(thread.frames, _Elements(text[between.end() :], images)))


def _faulting(body: _Outline, threads: _Elements) -> _Thread:
    """The thread that broke the rule; one without frames where the report does not show it."""
    for text in map(threads.__getitem__, range(len(threads))):
        if b"true" in bytes(text) and (thread := _decode_thread(text)).triggered:
            return thread
    index = _index(body, len(threads))
    return _Thread() if index is None else _decode_thread(threads[index])


def _decode_thread(text: memoryview) -> _Thread:
    thread: _Thread = _decoder(_Thread).decode(text)
    return thread


def _index(body: Keys, threads: int) -> int | None:
    """The number of the thread that broke the rule, where the report has it and has such a thread."""
    faulting = decoded(body.faulting)
    return faulting if isinstance(faulting, int) and 0 <= faulting < threads else None


def _stack(body: Keys) -> _Stack:
    threads, images = _lists(body)
    thread = next((thread for thread in threads if thread.triggered), None)
    if thread is None:
        index = _index(body, len(threads))
        thread = _Thread() if index is None else threads[index]
    return _Stack(thread.frames, images)


def _frames(stack: _Stack) -> list[Frame]:
    images = stack.images
    try:
        frames = _decode_frames(stack.frames)[:TOP_FRAMES]
    except UNREADABLE:
        return []
    found = []
    for index, frame in enumerate(frames):
        image = _Image()
        if 0 <= frame.image < len(images):
            with suppress(*UNREADABLE):
                image = _decode_image(images[frame.image])
        address = image.base + frame.offset if image.base is not None and frame.offset is not None else None
        found.append(
            Frame(
                index,
                image.name,
                frame.offset,
                address,
                frame.symbol,
                frame.symbol_offset,
                image.path,
                image.uuid,
                image.arch,
            )
        )
    return found


def _lists(body: Keys) -> tuple[list[_Thread], list[msgspec.Raw]]:
    """The threads and the images; none where they are not as ReportCrash writes them."""
    if isinstance(body, _Body):
        return body.threads, body.images
    threads: list[_Thread] = []
    images: list[msgspec.Raw] = []
    if isinstance(body, _LargeBody):
        with suppress(*UNREADABLE):
            threads = _decoder(list[_Thread]).decode(_list(body.threads))
            images = _decoder(list[msgspec.Raw]).decode(_list(body.images))
    return threads, images


def _list(raw: msgspec.Raw) -> bytes:
    text = bytes(raw)
    sparse = text.count(b"{") * _LEAST_BYTES <= len(text) and text.count(b",") * 4 <= len(text)
    return text if sparse else b"[]"

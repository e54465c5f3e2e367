"""The line of a hit as JSON, from a template of all hits that differ in numbers only.

Most of a line is the same for every hit of a rule in one process: names, words, the release. So the first of
them is encoded whole, and what differs from hit to hit is left open and filled in for the others.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

import msgspec

from excguard.decoding.code import TARGET_MASK
from excguard.pipeline.hit import Hit, second

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_MAX_TEMPLATES: Final = 1024

_OPEN: Final[Mapping[str, str]] = {
    "timestamp": '"%s"',
    "pid": "%s",
    "thread_id": "%s",
    "guard_target": "%d",
    "payload": "%s",
    "code": '"%#x"',
    "subcode": "%s",
    "summary": "%s",
    "seq": "%d",
    "pc": '"%#x"',
    "lr": '"%#x"',
    "sp": '"%#x"',
}
"""The keys whose values differ from hit to hit, in the order of a line; and their forms."""

_DIFFERENT: Final = {"code", "subcode", "time_ns", "pid", "thread_id", "seq", "pc", "lr", "sp"}
_WHOLE: Final = {"report", "frames", "decoded"}  # with these a line is encoded whole
_FIELDS: Final = tuple(name for name in Hit.__struct_fields__ if name not in _DIFFERENT | _WHOLE)
_encode: Final = msgspec.json.Encoder().encode
_same = attrgetter(*_FIELDS)


class HitLines:
    """Makes lines of hits."""

    def __init__(self, event: Callable[[Hit], Mapping[str, Any]]) -> None:
        """``event`` gives the whole event of a hit, with the keys of `_OPEN` in their order."""
        self._event = event
        self._templates: dict[tuple[object, ...], str] = {}
        self._seconds = -1  # the second of the last line, and its text
        self._second = ""

    def line(self, hit: Hit) -> str:
        """The line of a hit, without its newline: the JSON of its event."""
        if hit.report or hit.decoded is not None:  # its place and frames are its own
            return _encode(self._event(hit)).decode()
        code, subcode, pc = hit.code, hit.subcode, hit.pc
        _, severity, summary = hit.outline
        same = (code >> 32, severity, pc is None, *_same(hit))
        template = self._templates.get(same)
        if template is None:
            template = self._template(same, hit)
        payload = "null" if subcode is None else f'"{subcode:#x}"'
        seconds, rest = divmod(hit.time_ns, 1_000_000_000)
        if seconds != self._seconds:
            self._seconds, self._second = seconds, second(seconds)
        values: tuple[object, ...] = (
            f"{self._second}.{rest // 1000:06d}Z",
            "null" if hit.pid is None else hit.pid,
            "null" if hit.thread_id is None else hit.thread_id,
            code & TARGET_MASK,
            payload,
            code,
            payload,
            _encode(summary).decode(),
            hit.seq,
        )
        if pc is not None:
            values += (pc, hit.lr or 0, hit.sp or 0)
        return template % values

    def _template(self, same: tuple[object, ...], hit: Hit) -> str:
        event = self._event(hit)
        parts = []
        for key, value in event.items():
            open_form = _OPEN.get(key)
            form = open_form or _encode(value).decode().replace("%", "%%")
            parts.append(f"{_encode(key).decode()}:{form}")
        template = "{" + ",".join(parts) + "}"
        if len(self._templates) >= _MAX_TEMPLATES:
            self._templates.clear()
        self._templates[same] = template
        return template

"""The line of a hit as JSON, from a template of all hits that differ in numbers only.

Most of a line is the same for every hit of a rule in one process: names, words, the release. So the first of
them is encoded whole, and split where hits differ; the others are put together of the pieces.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

import msgspec

from excguard.decoding.code import TARGET_MASK
from excguard.decoding.decode import outline
from excguard.pipeline.hit import Hit, second

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_MAX_TEMPLATES: Final = 1024

_GAP: Final = "\0"  # never in JSON
_OPEN: Final[Mapping[str, str]] = {
    "timestamp": f'"{_GAP}"',
    "pid": _GAP,
    "thread_id": _GAP,
    "guard_target": _GAP,
    "payload": _GAP,
    "code": f'"{_GAP}"',
    "subcode": _GAP,
    "summary": _GAP,
    "seq": _GAP,
    "pc": f'"{_GAP}"',
    "lr": f'"{_GAP}"',
    "sp": f'"{_GAP}"',
}
"""The keys whose values differ from hit to hit, in the order of a line; and the gaps in their place."""

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
        self._templates: dict[tuple[object, ...], list[str]] = {}
        self._seconds = -1  # the second of the last line, and its text
        self._second = ""

    def line(self, hit: Hit) -> str:
        """The line of a hit, without its newline: the JSON of its event."""
        if hit.report or hit.decoded is not None:  # its place and frames are its own
            return _encode(self._event(hit)).decode()
        code, subcode, pc = hit.code, hit.subcode, hit.pc
        severity, summary = outline(code, subcode, hit.release)
        same = (code >> 32, severity, pc is None, _same(hit))
        template = self._templates.get(same)
        if template is None:
            template = self._template(same, hit)
        if pc is None:
            a, b, c, d, e, f, g, h, i, j = template
        else:
            a, b, c, d, e, f, g, h, i, j, k, m, n = template
            j = f"{j}{pc:#x}{k}{hit.lr or 0:#x}{m}{hit.sp or 0:#x}{n}"
        seconds, fraction = divmod(hit.time_ns, 1_000_000_000)
        if seconds != self._seconds:
            self._seconds, self._second = seconds, second(seconds)
        pid = "null" if hit.pid is None else hit.pid
        thread = "null" if hit.thread_id is None else hit.thread_id
        payload = "null" if subcode is None else f'"{subcode:#x}"'
        return (
            f"{a}{self._second}.{fraction // 1000:06d}Z{b}{pid}{c}{thread}{d}{code & TARGET_MASK}{e}{payload}"
            f"{f}{code:#x}{g}{payload}{h}{_encode(summary).decode()}{i}{hit.seq}{j}"
        )

    def _template(self, same: tuple[object, ...], hit: Hit) -> list[str]:
        members = [
            f"{_encode(key).decode()}:{_OPEN.get(key) or _encode(value).decode()}"
            for key, value in self._event(hit).items()
        ]
        if len(self._templates) >= _MAX_TEMPLATES:
            self._templates.clear()
        template = self._templates[same] = ("{" + ",".join(members) + "}").split(_GAP)
        return template

"""The objects of a JSON list, found by the C core: the fast form of `crash_reports.json_lists.objects`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from excguard.crash_reports.json_lists import MAX_OBJECTS
from excguard.native import ffi, lib

if TYPE_CHECKING:
    from collections.abc import Sequence

_ffi: Any = ffi  # the stub has no allocators
_new = _ffi.new_allocator(should_clear_after_alloc=False)
_ROOM = 2 * MAX_OBJECTS + 1  # positions


def objects(text: bytes | memoryview, start: int) -> Sequence[int] | None:
    """As `crash_reports.json_lists.objects`."""
    positions = _new("uint32_t[]", _ROOM)
    view = _ffi.from_buffer("uint8_t[]", text)
    count = lib.excguard_json_objects(view + start, len(view) - start, positions, _ROOM)
    return memoryview(_ffi.buffer(positions, count * 4)).cast("I") if count else None

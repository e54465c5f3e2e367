"""What MIG's server stub makes of a message, written from its list of checks and nothing of ours.

`mach_exc_layouts.json` has the checks in their order ("mach_exc_server"); sizes, offsets and descriptor
counts are read from it.
"""

from __future__ import annotations

import struct
from typing import Any

from tests.support import corpus

MIG_TYPE_ERROR = -300
MIG_BAD_ID = -303
MIG_BAD_ARGUMENTS = -304

_ROUTINES: dict[int, dict[str, Any]] = {
    routine["msgh_id"]: routine for routine in corpus.layouts()["routines"].values()
}


def result(message: bytes) -> int:  # noqa: PLR0911 - one a check
    """0 when the stub would call the handler, else the error it would answer with.

    The message must be at least as long as its msgh_size, which the stub believes.
    """
    bits, size = struct.unpack_from("<2I", message)
    msgh_id: int = struct.unpack_from("<i", message, 20)[0]
    if msgh_id not in _ROUTINES:
        return MIG_BAD_ID
    routine = _ROUTINES[msgh_id]
    wants: dict[str, Any] = routine["request"]
    descriptors: list[dict[str, Any]] = routine["descriptors"]
    if bool(bits & 0x80000000) != bool(descriptors) or not wants["min_size"] <= size <= wants["max_size"]:
        return MIG_BAD_ARGUMENTS
    if descriptors and struct.unpack_from("<I", message, 24)[0] != len(descriptors):
        return MIG_BAD_ARGUMENTS
    for descriptor in descriptors:
        if (
            message[descriptor["bytes"]["type"][0]] != 0
            or message[descriptor["bytes"]["disposition"][0]] != 17
        ):
            return MIG_TYPE_ERROR
    at = {field["name"]: field["offset"] for field in wants["fields_at_codeCnt_2"]}
    codes = struct.unpack_from("<I", message, at["codeCnt"])[0]
    if codes > 2:
        return MIG_BAD_ARGUMENTS
    expected = wants["min_size"] + 8 * codes
    if "old_state" in at:
        if size < expected:
            return MIG_BAD_ARGUMENTS
        words = struct.unpack_from("<I", message, at["old_stateCnt"] - 8 * (2 - codes))[0]
        if words > 1296:
            return MIG_BAD_ARGUMENTS
        expected += 4 * words
    return 0 if size == expected else MIG_BAD_ARGUMENTS

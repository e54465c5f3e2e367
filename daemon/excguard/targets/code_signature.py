"""The code signature of a Mach-O slice: who signed it, with which flags and entitlements.

Only what decides who may watch the program is read. The signature is not verified: a program whose signature
is broken does not run at all.

Layouts and numbers: osfmk/kern/cs_blobs.h and bsd/sys/codesign.h (xnu-11417.121.6). All fields are
big-endian.
"""

import enum
import struct
from collections.abc import Mapping
from typing import BinaryIO, Final, Self

from excguard.knowledge.record import Record

_SUPER_BLOB: Final = 0xFADE0CC0  # CSMAGIC_EMBEDDED_SIGNATURE
_CODE_DIRECTORY: Final = 0xFADE0C02  # CSMAGIC_CODEDIRECTORY
_SLOT_CODE_DIRECTORY: Final = 0
_SLOT_ENTITLEMENTS: Final = 5
_SLOT_DER_ENTITLEMENTS: Final = 7
_HAS_TEAM: Final = 0x20200  # CS_SUPPORTSTEAMID, the first version of a code directory with a team
_MAX_BLOBS: Final = 64
_MAX_ENTITLEMENTS: Final = 1 << 20
_MAX_TEXT: Final = 256


class CodeFlags(enum.IntFlag):
    """Flags of a code directory that restrict who may change or load into the process."""

    FORCED_LIBRARY_VALIDATION = 0x10
    RESTRICT = 0x800
    REQUIRE_LIBRARY_VALIDATION = 0x2000
    RUNTIME = 0x10000


class SignatureError(ValueError):
    """A signature that cannot be read."""


class Signature(Record):
    """A signature, as far as it is read here.

    Attributes:
        flags: of its code directory.
        platform: whether it is signed as part of the system.
        team: the signer's team; None for ad-hoc signatures.
        entitlements: by name; None when they are there in a form that is not read.
    """

    flags: CodeFlags
    platform: bool = False
    team: str | None = None
    entitlements: Mapping[str, object] | None = {}

    @classmethod
    def read(cls, file: BinaryIO, offset: int) -> Self:
        """Read the signature that begins at ``offset`` (LC_CODE_SIGNATURE) of a file.

        Raises:
            SignatureError: there is none, or it is damaged.
            OSError: the file cannot be read.
        """
        blobs = _index(file, offset)
        if _SLOT_CODE_DIRECTORY not in blobs:
            raise SignatureError("no code directory")
        start = offset + blobs[_SLOT_CODE_DIRECTORY]
        # CS_CodeDirectory: magic, length, version, flags, five offsets and counts, hash size and type,
        # platform, page size, three fields more, and from version 0x20200 on the offset of the team.
        head = _exactly(file, start, 52)
        magic, length, version, flags = struct.unpack_from(">4I", head)
        if magic != _CODE_DIRECTORY:
            raise SignatureError(f"magic number {magic:#x} of a code directory")
        team_offset = struct.unpack_from(">I", head, 48)[0] if version >= _HAS_TEAM and length >= 52 else 0
        team = _text(file, start + team_offset) if 0 < team_offset < length else ""
        return cls(CodeFlags(flags), bool(head[38]), team or None, _entitlements(file, offset, blobs))

    def has(self, entitlement: str) -> bool:
        """Whether an entitlement of ``com.apple.security.`` is there and not false."""
        return bool((self.entitlements or {}).get(f"com.apple.security.{entitlement}"))

    @property
    def runtime(self) -> bool:
        """Whether it is signed with the hardened runtime."""
        return CodeFlags.RUNTIME in self.flags

    @property
    def restricted(self) -> bool:
        """Whether dyld ignores its variables, unless an entitlement allows them."""
        return self.runtime or CodeFlags.RESTRICT in self.flags or self.platform_restrictions

    @property
    def library_validation(self) -> bool:
        """Whether the process loads only libraries of the same team, or of the system."""
        flags = CodeFlags.RUNTIME | CodeFlags.REQUIRE_LIBRARY_VALIDATION | CodeFlags.FORCED_LIBRARY_VALIDATION
        return bool(self.flags & flags) and not self.has("cs.disable-library-validation")

    @property
    def platform_restrictions(self) -> bool:
        """Whether Enhanced Security's platform restrictions are on, in either spelling."""
        name = "hardened-process.platform-restrictions"
        return self.has(name) or self.has(f"{name}-string")

    @property
    def text(self) -> str:
        """The signer, the hardened runtime, and the entitlements that matter to excguard."""
        if self.platform:
            words = ["signed by Apple as part of the system"]
        else:
            words = [f"team {self.team}" if self.team else "signed ad hoc"]
        words += ["hardened runtime"] if self.runtime else []
        words += [name for name in _NAMED if self.has(name)]
        words += ["platform restrictions"] if self.platform_restrictions else []
        return ", ".join(words)


_NAMED: Final = (
    "get-task-allow",
    "only-one-exception-port",
    "cs.debugger",
    "cs.allow-dyld-environment-variables",
    "cs.disable-library-validation",
    "app-sandbox",
)


def _index(file: BinaryIO, offset: int) -> dict[int, int]:
    """The offset of each blob within the signature, by slot (CS_SuperBlob)."""
    magic, _length, count = struct.unpack(">3I", _exactly(file, offset, 12))
    if magic != _SUPER_BLOB:
        raise SignatureError(f"magic number {magic:#x} of a signature")
    if count > _MAX_BLOBS:
        raise SignatureError(f"{count} parts")
    entries = struct.iter_unpack(">2I", _exactly(file, offset + 12, count * 8))
    return dict(entries)


def _entitlements(file: BinaryIO, offset: int, blobs: dict[int, int]) -> dict[str, object] | None:
    if _SLOT_ENTITLEMENTS not in blobs:
        return None if _SLOT_DER_ENTITLEMENTS in blobs else {}
    start = offset + blobs[_SLOT_ENTITLEMENTS]
    _magic, length = struct.unpack(">2I", _exactly(file, start, 8))
    if not 8 <= length <= _MAX_ENTITLEMENTS:
        raise SignatureError(f"entitlements of {length} bytes")
    try:
        import plistlib  # noqa: PLC0415 - with an XML parser; programs without a signature need none

        found = plistlib.loads(_exactly(file, start + 8, length - 8))
    except Exception:  # noqa: BLE001 - plistlib lets the errors of expat and of each value type through
        return None
    return found if isinstance(found, dict) else None


def _exactly(file: BinaryIO, offset: int, size: int) -> bytes:
    file.seek(offset)
    found = file.read(size)
    if len(found) != size:
        raise SignatureError("the file ends in it")
    return found


def _text(file: BinaryIO, offset: int) -> str:
    file.seek(offset)
    return file.read(_MAX_TEXT).partition(b"\0")[0].decode("utf-8", "backslashreplace")

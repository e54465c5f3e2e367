"""The site of a guard hit: which rule was broken, and where in the code; the same in every run.

A site never depends on port names, process ids, addresses or program counters. Its place is the innermost
frame outside of the system's libraries, and its id hashes, in this order of preference:

1. image and symbol, with the offset in the symbol in steps of `SYMBOL_STEP` bytes: equal for one build, and
   for two builds of one source;
2. image (its UUID where it has one) and offset: equal for one build;
3. the executable's name, when the place is not known: one site for all places of a program.

`Site.precision` says which of the three an id stands on.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

if TYPE_CHECKING:
    from collections.abc import Iterable

    from excguard.decoding.violation import PartialViolation

Precision = Literal["symbol", "offset", "executable"]

SYMBOL_STEP = 64
"""Bytes. Calls this far apart in one function are different sites; a smaller shift keeps the site."""

_ID_DIGITS = 12
_FIELD_SEPARATOR = "\0"  # stands in no name of a file or symbol

_SYSTEM_PATHS = ("/usr/lib/", "/System/", "/Library/Apple/")
"""Where macOS keeps its own libraries (hier(7)); the dyld shared cache holds the paths of the first two."""

_SYSTEM_NAMES = re.compile(
    r"dyld|dyld_sim|libsystem_\w+\.dylib|libSystem\.B\.dylib"
    r"|lib(?:dispatch|xpc|objc\.A|c\+\+\.1|c\+\+abi|dyld|corecrypto|macho|launch|unwind)\.dylib"
    r"|(?:Core)?Foundation|CFNetwork|AppKit|HIToolbox|IOKit|Security|SkyLight|QuartzCore|CoreGraphics|CoreServices"
    r"|\w*\.dyld-shared-cache|libexcsim\S*"
)
"""Libraries of the system by file name, for texts that show no path."""


class Place(NamedTuple):
    """A place in the code, as far as it is known.

    Attributes:
        image: path or file name of the library or program; "" when not known.
        uuid: of the image (LC_UUID, or the build id on Linux); "" when not known.
        offset: bytes from the image's start; None when not known.
        symbol: the function; "" when not known.
        symbol_offset: bytes from the function's start; None when not known.
    """

    image: str
    uuid: str = ""
    offset: int | None = None
    symbol: str = ""
    symbol_offset: int | None = None

    @property
    def image_name(self) -> str:
        """The file name of the image."""
        return self.image.rpartition("/")[2]

    @property
    def in_system(self) -> bool:
        """Whether the image belongs to the system: by its path where there is one, else by its name."""
        if self.image.startswith("/"):
            return (
                self.image.startswith(_SYSTEM_PATHS) or _SYSTEM_NAMES.fullmatch(self.image_name) is not None
            )
        return _SYSTEM_NAMES.fullmatch(self.image) is not None

    def __str__(self) -> str:
        """The place on one line: "libfoo.dylib foo_close + 24", "app+0x1f20", "app"."""
        if self.symbol:
            shown = self.symbol if self.symbol_offset is None else f"{self.symbol} + {self.symbol_offset}"
            return f"{self.image_name} {shown}".strip()
        return self.image_name if self.offset is None else f"{self.image_name}+{self.offset:#x}"

    def fields(self) -> dict[str, Any]:
        """For JSON and for the log; what is not known is left out, apart from the UUID."""
        found: dict[str, Any] = {"image": self.image, "image_uuid": self.uuid}
        if self.offset is not None:
            found["image_offset"] = f"{self.offset:#x}"
        if self.symbol:
            found |= {"symbol": self.symbol, "symbol_offset": self.symbol_offset}
        return found


class Site(NamedTuple):
    """What identifies a hit across runs.

    Attributes:
        guard_type: its number, bits 63 to 61 of the code.
        flavor: its name, which survives renumbering; the name of the guard type where that has no flavors;
            its number in hex where no table has it; "" when not known.
        place: None when not known.
        executable: the file name of the program.
    """

    guard_type: int
    flavor: str
    place: Place | None
    executable: str

    @classmethod
    def of(cls, violation: PartialViolation, place: Place | None, executable: str) -> Self:
        """The site of a violation."""
        flavor = violation.flavor_name
        if flavor is None and violation.known:
            flavor = violation.guard_type
        if flavor is None:
            flavor = "" if violation.flavor is None else f"{violation.flavor:#x}"
        return cls(violation.guard_type_number or 0, flavor, place, executable)

    @property
    def precision(self) -> Precision:
        """What the id stands on."""
        place = self.place
        # A function of the system is called by all programs.
        if place is None or not place.image or place.in_system:
            return "executable"
        if place.symbol:
            return "symbol"
        return "offset" if place.offset is not None else "executable"

    @property
    def id(self) -> str:
        """Twelve hexadecimal digits: the first 48 bits of the SHA-256 of what the site consists of."""
        parts = [self.precision, str(self.guard_type), self.flavor]
        place = self.place
        if place is None or self.precision == "executable":
            parts.append(self.executable)
        elif self.precision == "symbol":
            step = "" if place.symbol_offset is None else str(place.symbol_offset // SYMBOL_STEP)
            parts += [place.image_name, place.symbol, step]
        else:
            parts += [place.uuid.replace("-", "").lower() or place.image_name, f"{place.offset:x}"]
        return _id(_FIELD_SEPARATOR.join(parts))

    def __str__(self) -> str:
        """The place on one line; the executable when it is not known."""
        return str(self.place) if self.precision != "executable" else self.executable


@lru_cache(maxsize=1024)
def _id(text: str) -> str:
    import hashlib  # noqa: PLC0415 - loads OpenSSL, which most users of this module do not need

    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:_ID_DIGITS]


def innermost(places: Iterable[Place]) -> Place | None:
    """The first of ``places``, innermost first, that is outside of the system; None when there is none."""
    return next((place for place in places if place.image and not place.in_system), None)

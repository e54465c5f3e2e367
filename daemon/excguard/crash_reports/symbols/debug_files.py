"""Symbols from dSYMs, Breakpad files and binaries, read by the package ``symbolic``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from excguard.crash_reports.symbols.symbol import Symbol

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from excguard.crash_reports.symbols.symbol import Image

MAX_FILES = 100_000
"""Files of a directory tree that are looked at; a larger tree is not one of debug files."""

_MAGICS = (
    b"\xcf\xfa\xed\xfe",  # Mach-O, 64 bits (mach-o/loader.h)
    b"\xca\xfe\xba\xbe",  # universal (mach-o/fat.h)
    b"\xca\xfe\xba\xbf",
    b"\x7fELF",
    b"MODU",  # Breakpad: MODULE os arch id name
)


class SymbolicMissingError(ImportError):
    """The package ``symbolic`` is not installed."""


class DebugFiles:
    """The debug files below some directories, found by their UUID."""

    def __init__(self, directories: Sequence[Path]) -> None:
        """Look at nothing yet: the directories are read at the first question.

        Raises:
            SymbolicMissingError: the package symbolic is not installed.
        """
        try:
            import symbolic  # noqa: PLC0415 - an extra
        except ImportError as error:
            raise SymbolicMissingError(str(error)) from error
        self._symbolic: Any = symbolic  # has no types
        self._directories = directories
        self._objects: dict[str, Any] | None = None
        self._caches: dict[str, Any] = {}

    def symbol(self, image: Image, offset: int) -> Symbol | None:
        """See `Symbolizer.symbol`."""
        cache = self._cache(image)
        found = cache.lookup(offset) if cache is not None and 0 <= offset < 1 << 32 else []
        if not found:
            return None
        # Inlined functions come first and have no start; the last is the function that the code lies in.
        outer = found[-1]
        return Symbol(outer.symbol, offset - outer.sym_addr, outer.full_path or "", outer.line)

    def _cache(self, image: Image) -> Any:  # noqa: ANN401 - symbolic has no types
        key = _key(image.uuid)
        if not key:
            return None
        if self._objects is None:
            self._objects = dict(self._every())
        if key not in self._caches:
            self._caches[key] = self._readable(self._objects.get(key) or self._own(key, image.path))
        return self._caches[key]

    def _own(self, key: str, path: str) -> Any:  # noqa: ANN401 - likewise
        """The image itself, if the file at ``path`` still is of the same build."""
        if not path or not _looks_right(path):
            return None
        return next((one for one in self._objects_of(path) if key in _keys(one)), None)

    def _readable(self, found: Any) -> Any:  # noqa: ANN401 - likewise
        if found is None:
            return None
        try:
            return found.make_symcache()
        except self._symbolic.SymbolicError:  # debug information that it cannot read
            return None

    def _every(self) -> Iterator[tuple[str, Any]]:
        """Each object of the files with its UUID; those with debug information win over those without."""
        weak = []
        for path in _files(self._directories):
            for one in self._objects_of(path):
                entries = [(key, one) for key in _keys(one)]
                if "debug" in one.features:
                    yield from entries
                else:
                    weak += entries
        known: set[str] = set()
        for key, one in weak:
            if key not in known:
                known.add(key)
                yield key, one

    def _objects_of(self, path: str) -> list[Any]:
        try:
            return list(self._symbolic.Archive.open(path).iter_objects())
        except (self._symbolic.SymbolicError, OSError, UnicodeError):
            return []  # looks like one and is not: there may be any file below a directory


def _keys(one: Any) -> set[str]:  # noqa: ANN401 - likewise
    """The spellings of an object's UUID: symbolic turns the bytes of an ELF build id around."""
    return {_key(one.debug_id), _key(one.code_id or "")} - {""}


def _key(uuid: str) -> str:
    """A UUID in one spelling. Breakpad and symbolic append an age, which Mach-O does not have."""
    digits = uuid.replace("-", "").lower()
    return digits[:32] if len(digits) >= 32 else ""


def _files(directories: Sequence[Path]) -> Iterator[str]:
    left = MAX_FILES
    for directory in directories:
        for parent, _, names in os.walk(directory):
            for name in names[:left]:
                path = os.path.join(parent, name)  # noqa: PTH118 - as os.walk gives them
                if _looks_right(path):
                    yield path
            left -= len(names)
            if left <= 0:
                return


def _looks_right(path: str) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return os.read(descriptor, 4) in _MAGICS
    except OSError:
        return False
    finally:
        os.close(descriptor)

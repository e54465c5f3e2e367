"""Symbols by Apple's atos(1), from dSYMs in directories and from those that Spotlight has indexed."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING, NamedTuple

from excguard.crash_reports.symbols.symbol import Symbol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from excguard.crash_reports.symbols.symbol import Image

_TIMEOUT = 30.0  # seconds for one call of a tool
_LOAD_ADDRESS = 0x1_0000_0000  # where atos is asked to place the image; any page will do

# "foo_close (in libfoo) (foo.c:12)", "foo_close (in libfoo) + 24", or an address alone when not found.
_ANSWER = re.compile(
    r"(?P<name>.+?) \(in [^)]*\)(?: \+ (?P<offset>\d+)| \((?P<file>[^():]+):(?P<line>\d+)\))?"
)

_UUID_LINE = re.compile(r"UUID: (?P<uuid>[0-9A-Fa-f-]{32,36}) \((?P<arch>[^)]+)\) (?P<path>.+)")


class _DebugFile(NamedTuple):
    """A file with symbols: in a bundle, or the program itself."""

    path: str
    arch: str


class Atos:
    """Apple's symbolizer."""

    def __init__(self, program: str, directories: Sequence[Path]) -> None:
        """Use the atos at ``program``; dSYMs in ``directories`` come before Spotlight's."""
        self._program = program
        self._directories = directories
        self._local: dict[str, _DebugFile] | None = None
        self._found: dict[str, _DebugFile | None] = {}

    def symbol(self, image: Image, offset: int) -> Symbol | None:
        """See `Symbolizer.symbol`."""
        uuid = image.uuid.replace("-", "").upper()
        if uuid not in self._found:
            self._found[uuid] = self._debug_file(uuid, image.path) if len(uuid) == 32 else None
        file = self._found[uuid]
        if file is None:
            return None
        arch = ["-arch", image.arch or file.arch]
        address = f"{_LOAD_ADDRESS + offset:#x}"
        lines = _output([self._program, "-o", file.path, *arch, "-l", f"{_LOAD_ADDRESS:#x}", address])
        answer = _ANSWER.fullmatch(lines[0]) if lines else None
        if answer is None:
            return None
        return Symbol(
            answer["name"],
            None if answer["offset"] is None else int(answer["offset"]),
            answer["file"] or "",
            int(answer["line"] or 0),
        )

    def _debug_file(self, uuid: str, path: str) -> _DebugFile | None:
        """The file with the symbols of a build: in the directories, in Spotlight's index, or the image."""
        if self._local is None:
            self._local = {}
            for directory in self._directories:
                for bundle in sorted(directory.rglob("*.dSYM")):
                    self._local = _debug_files(str(bundle)) | self._local
        if uuid in self._local:
            return self._local[uuid]
        dashed = "-".join((uuid[:8], uuid[8:12], uuid[12:16], uuid[16:20], uuid[20:]))
        for candidate in (*_output(["mdfind", f"com_apple_xcode_dsym_uuids == {dashed}"]), path):
            if candidate and (file := _debug_files(candidate).get(uuid)):
                return file
        return None


def _debug_files(path: str) -> dict[str, _DebugFile]:
    """What dwarfdump(1) finds in a bundle or file: the file of each UUID."""
    found = {}
    for line in _output(["dwarfdump", "--uuid", path]):
        if answer := _UUID_LINE.fullmatch(line):
            found[answer["uuid"].replace("-", "").upper()] = _DebugFile(answer["path"], answer["arch"])
    return found


def _output(command: Sequence[str]) -> list[str]:
    """The lines that a tool prints; none when it is missing, fails or takes too long."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return []
    return done.stdout.splitlines() if done.returncode == 0 else []

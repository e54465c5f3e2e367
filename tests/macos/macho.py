"""Mach-O files, as a loader needs them: segments, pointers to adjust, imports to bind, exports.

Read by `lief`, whichever way the linker wrote the fix-ups down: as dyld's opcodes (LC_DYLD_INFO) or as
chains through the pages (LC_DYLD_CHAINED_FIXUPS).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import lief

if TYPE_CHECKING:
    from pathlib import Path

lief.logging.disable()  # it reports sections without content as read errors

POINTER = 8


@dataclass(frozen=True)
class Segment:
    """One LC_SEGMENT_64."""

    name: str
    address: int
    size: int
    """In memory; what the file does not fill is zero."""
    file_offset: int
    """From the beginning of the file, universal or not."""
    file_size: int
    protection: int
    """PROT_ bits, which are VM_PROT_ bits."""


@dataclass(frozen=True)
class Import:
    """A place that gets the address of a symbol of another library."""

    name: str
    """With its leading underscore."""
    address: int
    addend: int
    library: str
    """Install name; empty for a symbol that is looked up in every library of the process (dynamic_lookup)."""


@dataclass(frozen=True)
class Image:
    """One architecture of a Mach-O dylib or bundle."""

    path: str
    arch: str
    segments: list[Segment]
    rebases: dict[int, int]
    """Address of a pointer into the image -> what it points to, both as the file was linked."""
    imports: list[Import]
    exports: dict[str, int]
    functions: dict[str, int]
    """What the cffi module offers as `lib.name` -> its address (without an underscore)."""
    initializers: list[int]

    @property
    def size(self) -> int:
        """How much address space it takes, from the first segment's address (0)."""
        return max(segment.address + segment.size for segment in self.segments)

    def save(self, path: Path) -> None:
        """Writes it down for linux/macho_loader.py."""
        path.write_text(json.dumps(asdict(self)))


ARCHITECTURES = {"X86_64": "x86_64", "ARM64": "arm64"}


def _imports(binary: lief.MachO.Binary) -> list[Import]:
    return [
        Import(
            bind.symbol.name,
            bind.address,
            bind.addend,
            bind.library.name if bind.has_library else "",
        )
        for bind in binary.bindings
    ]


def _rebases(binary: lief.MachO.Binary) -> dict[int, int]:
    """Chained pointers hold more than the target; lief has taken it out of them (RelocationFixup.target)."""
    targets = {}
    for relocation in binary.relocations:
        if isinstance(relocation, lief.MachO.RelocationFixup):
            targets[relocation.address] = relocation.target
        else:
            content = binary.get_content_from_virtual_address(relocation.address, POINTER)
            targets[relocation.address] = int.from_bytes(bytes(content), "little")
    return targets


def _cffi_functions(binary: lief.MachO.Binary, rebases: dict[int, int]) -> dict[str, int]:
    """The functions of a cffi module, by cffi's own table: the linker leaves no names of hidden functions.

    A row is `struct _cffi_global_s` (cffi's parse_c_type.h): name, function for Python, type, function for C.
    """
    (code,) = (section for section in binary.sections if section.name == "__text")
    (strings,) = (section for section in binary.sections if section.name == "__cstring")
    text, start = bytes(strings.content), strings.virtual_address
    functions = {}
    for address, target in rebases.items():
        for_python, for_c = rebases.get(address + POINTER, 0), rebases.get(address + 3 * POINTER, 0)
        if (
            start <= target < start + len(text)
            and 0 <= for_python - code.virtual_address < code.size
            and 0 <= for_c - code.virtual_address < code.size
        ):
            end = text.index(b"\0", target - start)
            functions[text[target - start : end].decode()] = for_c
    return functions


def _parse(path: Path, arch: str) -> tuple[lief.MachO.Binary, lief.MachO.FatBinary]:
    """One architecture of a file, and what owns it and must live as long."""
    universal = lief.MachO.parse(str(path))
    if universal is None:
        raise AssertionError(f"{path} is not a Mach-O file")
    (binary,) = (b for b in universal if ARCHITECTURES[b.header.cpu_type.name] == arch)
    return binary, universal


def undefined(path: Path, arch: str) -> set[str]:
    """The undefined symbols of a file, from its symbol table and its fix-ups, with their underscores."""
    binary, _owner = _parse(path, arch)
    return {symbol.name for symbol in binary.imported_symbols} | {b.symbol.name for b in binary.bindings}


def imported_from_elsewhere(path: Path, arch: str, library: str) -> set[str]:
    """The symbols that are not bound to `library`, an install name."""
    binary, _owner = _parse(path, arch)
    return {place.name for place in _imports(binary) if place.library != library}


def read(path: Path, arch: str) -> Image:
    """The image of one architecture. Raises AssertionError for what linux/macho_loader.py could not load."""
    binary, _owner = _parse(path, arch)
    if binary.imagebase != 0:
        raise AssertionError(f"{path} is linked to run at {binary.imagebase:#x} only")
    rebases = _rebases(binary)
    initializers: list[int] = []
    for section in binary.sections:
        if section.type.name.startswith("THREAD_LOCAL"):
            raise AssertionError(f"{path} has thread-local variables, which this loader does not know")
        if section.type == lief.MachO.Section.TYPE.MOD_INIT_FUNC_POINTERS:
            raw = bytes(section.content)
            initializers += [int.from_bytes(raw[i : i + 8], "little") for i in range(0, len(raw), POINTER)]
    return Image(
        str(path),
        arch,
        [
            Segment(
                segment.name,
                segment.virtual_address,
                segment.virtual_size,
                binary.fat_offset + segment.file_offset,
                segment.file_size,
                segment.init_protection,
            )
            for segment in binary.segments
        ],
        rebases,
        _imports(binary),
        {symbol.name: symbol.value for symbol in binary.exported_symbols},
        _cffi_functions(binary, rebases),
        initializers,
    )

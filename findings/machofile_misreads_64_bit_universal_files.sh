#!/usr/bin/env bash
# machofile 2026.2.10 takes the size of the first slice for the processor of the second, in universal files of 64 bits.
#
# A universal file, such as a dSYM of several processors, begins with a list of its slices. In files beyond 4 GiB, or on
# request (lipo -fat64), that is a list of struct fat_arch_64, 32 bytes each, after the magic number 0xcafebabf. This
# library accepts the number and reads entries of 20 bytes, as 0xcafebabe has, without an error. symbolic 13.9.0 refuses
# such a file, LIEF 1.0.0 returns None for it, and macholib 1.16.4 reads it.
#
# Output seen:
#                 0xcafebabe         0xcafebabf
#   macholib      x86_64, arm64      x86_64, arm64
#   machofile     x86_64, arm64      x86_64, cpu_56
#   symbolic      x86_64, arm64      ObjectErrorUnknown: unsupported object file format
#   LIEF          x86_64, arm64      None
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
python3 -m venv "$directory/venv"
"$directory/venv/bin/pip" -q install machofile==2026.2.10 macholib==1.16.4 symbolic==13.9.0 lief==1.0.0
cd "$directory"
venv/bin/python - <<'PYTHON'
import struct
from pathlib import Path

import lief
import machofile
import symbolic
from macholib.MachO import MachO

NAMES = {0x01000007: "x86_64", 0x0100000C: "arm64"}  # CPU_TYPE_X86_64, CPU_TYPE_ARM64
SUBTYPES = {0x01000007: 3, 0x0100000C: 0}
UUID = struct.pack("<2I16s", 0x1B, 24, bytes(range(16)))  # LC_UUID
MH_DSYM = 10


def universal(magic, entry):
    """A dSYM of two processors, with entries of the layout given; each slice is a header and LC_UUID."""
    start, head, slices = 4096, struct.pack(">2I", magic, len(NAMES)), b""
    for processor, subtype in SUBTYPES.items():
        found = struct.pack("<8I", 0xFEEDFACF, processor, subtype, MH_DSYM, 1, len(UUID), 0, 0) + UUID
        values = processor, subtype, start + len(slices), len(found), 12
        head += struct.pack(entry, *values, *([0] if magic == 0xCAFEBABF else []))
        slices += found.ljust(4096, b"\0")
    return head.ljust(start, b"\0") + slices


def by_macholib(name):
    return ", ".join(NAMES[slice.header.cputype] for slice in MachO(name).headers)


def by_machofile(name):
    found = machofile.UniversalMachO(name)
    found.parse()
    return ", ".join(found.get_architectures())


def by_symbolic(name):
    try:
        return ", ".join(one.arch for one in symbolic.Archive.open(name).iter_objects())
    except symbolic.SymbolicError as error:
        return f"{type(error).__name__}: {error}"


def by_lief(name):
    found = lief.MachO.parse(name)
    return None if found is None else ", ".join(one.header.cpu_type.name.lower() for one in found)


lief.logging.disable()
Path("32").write_bytes(universal(0xCAFEBABE, ">5I"))  # struct fat_arch
Path("64").write_bytes(universal(0xCAFEBABF, ">2I2Q2I"))
BOTH = "x86_64, arm64"
EXPECTED = {
    "macholib": (by_macholib, BOTH),
    "machofile": (by_machofile, "x86_64, cpu_56"),
    "symbolic": (by_symbolic, "ObjectErrorUnknown: unsupported object file format"),
    "LIEF": (by_lief, None),
}
print(f"{'':13} {'0xcafebabe':18} 0xcafebabf")
for library, (read, expected) in EXPECTED.items():
    found = read("32"), read("64")
    print(f"{library:13} {found[0]:18} {found[1]}")
    assert found == (BOTH, expected)
PYTHON

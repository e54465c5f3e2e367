#!/usr/bin/env bash
# symbolic 12.17.3 gives every inlined frame the start address 0xffffffff.
#
# A lookup in a symbol cache returns the functions at an address, innermost first, each with sym_addr, described as the
# start of the function. For a function that was not inlined it is that. For each inlined one it is 0xffffffff, the mark
# for "not known" in the cache's own format, though the Breakpad record INLINE states where the inlined code starts. So
# "address - sym_addr", the offset of NAME + OFFSET in a crash report, is negative. The same with DWARF of ELF files.
#
# Output seen:
#   0x1004  main 0x1000
#   0x1014  release_twice 0xffffffff, main 0x1000
#   0x1028  main 0x1000
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
python3 -m venv environment
environment/bin/pip -q install symbolic==12.17.3
cat >app.sym <<'BREAKPAD'
MODULE mac arm64 0123456789ABCDEF0123456789ABCDEF0 app
FILE 0 app.c
INLINE_ORIGIN 0 release_twice
FUNC 1000 40 0 main
INLINE 0 12 0 0 1010 10
1000 10 10 0
1010 10 3 0
1020 20 13 0
BREAKPAD
environment/bin/python - <<'PYTHON'
import symbolic

(module,) = symbolic.Archive.open("app.sym").iter_objects()
cache = module.make_symcache()
EXPECTED = {
    0x1004: [("main", 0x1000)],
    0x1014: [("release_twice", 0xFFFFFFFF), ("main", 0x1000)],
    0x1028: [("main", 0x1000)],
}
for address, expected in EXPECTED.items():
    found = [(frame.symbol, frame.sym_addr) for frame in cache.lookup(address)]
    print(f"{address:#x}  " + ", ".join(f"{name} {start:#x}" for name, start in found))
    assert found == expected
PYTHON

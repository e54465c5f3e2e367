#!/usr/bin/env bash
# @plist/binary.parse 1.1.0 reads integers of 1, 2 and 4 bytes in binary property lists as signed.
#
# In a binary property list an integer of 8 bytes is signed and a shorter one is not: -1 takes 8 bytes, 200 takes one.
# This npm package, which @plist/parse and @plist/plist use for binary files, returns the upper half of each shorter
# length as negative numbers, without an error. The ExitTimeOut of 180 seconds of a launchd job becomes -76. plistutil
# of libplist 2.2.0 and Python's plistlib read 180, and so does @plist/xml.parse from the same job as XML.
#
# Output seen:
#                    written       XML           binary
#   ExitTimeOut      180           180           -76
#   ThrottleInterval 40000         40000         -25536
#   FileSize         4294967295    4294967295    -1
#   Nice             -5            -5            -5
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
npm install --silent --no-audit --no-fund @plist/binary.parse@1.1.0 @plist/xml.parse@1.1.0
python3 - <<'PYTHON'
import json
import plistlib
import subprocess
from pathlib import Path

WRITTEN = {"ExitTimeOut": 180, "ThrottleInterval": 40000, "FileSize": 2**32 - 1, "Nice": -5}
SIGNED = {"ExitTimeOut": -76, "ThrottleInterval": -25536, "FileSize": -1, "Nice": -5}
SCRIPT = """
const { readFileSync } = require("node:fs");
const binary = require("@plist/binary.parse").parse;
const xml = require("@plist/xml.parse").parse;
const plain = (_, value) => (typeof value === "bigint" ? Number(value) : value);
console.log(JSON.stringify(xml(readFileSync("job.xml", "utf8")), plain));
console.log(JSON.stringify(binary(Uint8Array.from(readFileSync("job.bin")).buffer), plain));
"""

Path("job.xml").write_bytes(plistlib.dumps(WRITTEN, fmt=plistlib.FMT_XML))
Path("job.bin").write_bytes(plistlib.dumps(WRITTEN, fmt=plistlib.FMT_BINARY))
assert plistlib.loads(Path("job.bin").read_bytes()) == WRITTEN

done = subprocess.run(["node", "-e", SCRIPT], stdout=subprocess.PIPE, text=True, check=True)
xml, binary = map(json.loads, done.stdout.splitlines())
print(f"{'':16} {'written':13} {'XML':13} binary")
for key, value in WRITTEN.items():
    print(f"{key:16} {value:<13} {xml[key]:<13} {binary[key]}")
assert xml == WRITTEN
assert binary == SIGNED
PYTHON

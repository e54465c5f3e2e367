#!/usr/bin/env bash
# libplist 2.2.0 reads <integer>077</integer> as octal, Python's plistlib as decimal.
#
# Apple's PropertyList-1.0.dtd says of an integer: "a (possibly signed) integer number in base 10". plistlib reads 077
# as 77; plistutil (in Debian's libplist-utils; the library is libimobiledevice's) reads it as 63, and 08 as 0. The key
# Umask of launchd.plist(5) is where such a number is written by hand. Both read a number without leading zeros alike.
#
# Output seen:
#   <integer>077</integer>    plistlib 77    libplist 63
#   <integer>08</integer>     plistlib 8     libplist 0
#   <integer>63</integer>     plistlib 63    libplist 63
set -euo pipefail
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"
apt-get -qq download libplist-utils=2.2.0-6+b2 libplist3=2.2.0-6+b2
for package in *.deb; do dpkg-deb -x "$package" .; done
LD_LIBRARY_PATH=$(dirname "$(find "$PWD/usr/lib" -name 'libplist-2.0.so.3')")
export LD_LIBRARY_PATH
PLISTUTIL=$PWD/usr/bin/plistutil python3 - <<'PYTHON'
import os
import plistlib
import subprocess

TEXT = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0"><dict><key>Umask</key><integer>%s</integer></dict></plist>
"""


def libplist(text):
    """What is in the binary property list that plistutil makes of the text."""
    command = [os.environ["PLISTUTIL"], "-i", "-", "-o", "-"]
    binary = subprocess.run(command, input=text, stdout=subprocess.PIPE, check=True).stdout
    assert binary.startswith(b"bplist00")
    return plistlib.loads(binary)["Umask"]


for number, by_plistlib, by_libplist in (("077", 77, 63), ("08", 8, 0), ("63", 63, 63)):
    text = (TEXT % number).encode()
    found = plistlib.loads(text)["Umask"], libplist(text)
    print(f"<integer>{number}</integer>    plistlib {found[0]}    libplist {found[1]}")
    assert found == (by_plistlib, by_libplist)
PYTHON

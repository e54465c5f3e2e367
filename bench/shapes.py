"""How time and memory grow with the size of hostile texts: `python -m bench.shapes [MIB...]`.

Each shape is read in a process of its own. Printed are seconds and the peak of memory in bytes for each byte
of the text, at each size; a reader that is linear has a constant ratio of seconds to size. Sizes of 64 MiB
take minutes.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from excguard import crash_reports

if TYPE_CHECKING:
    from collections.abc import Callable

REPORT = b"Exception Type: EXC_GUARD\nException Codes: 0x4000000200000001, 0x1\n"
HEAD = b'{"bug_type":"309"}\n{"exception":{"type":"EXC_GUARD","rawCodes":[1,2]},'
KERNEL = b"[App:%d] EXC_GUARD AST: type=0x1 flavor=0x200 target=0x%x code=0x%x subcode=0x0\n"
LOG = b"2026-01-01 12:00:00.123 E  kernel[0:23] some message about things: value=0x1234567 ok done\n"


def _filled(unit: bytes, before: bytes = b"", after: bytes = b"") -> Callable[[int], bytes]:
    return lambda size: before + unit * (size // len(unit)) + after


SHAPES: dict[str, Callable[[int], bytes]] = {
    "log without a guard": _filled(LOG),
    "digits": _filled(b"9"),
    "hex digits": _filled(b"0x20000200000027030 "),
    "codes": _filled(b"2305845208236959491\n"),
    "threads of text": _filled(b"Thread x\n", REPORT),
    "crashed threads": _filled(b"Thread 0 Crashed:\n", REPORT),
    "frames": _filled(b"0  a  0x1 b + 1\n", REPORT + b"Thread 0 Crashed:\n"),
    "image lists": _filled(b"Binary Images:\n", REPORT),
    "images": _filled(b"0x1 - 0x2 a\n", REPORT + b"Binary Images:\n"),
    "spaces": _filled(b" ", b"GUARD code", b"x"),
    "lines of spaces": _filled(b"EXC_GUARD code" + b" " * 4000 + b"\n"),
    "exceptions": _filled(b"Exception Type: EXC_GUARD\n"),
    "exceptions in one line": _filled(b"Exception Type: EXC_GUARD "),
    "kernel lines": lambda size: b"".join(KERNEL % (n % 999, n, 2 << 60 | n) for n in range(size // 100)),
    "names": _filled(b"EXC_GUARD / SEND_INVALID_REPLY\n"),
    "exception objects": _filled(b'"exception":{"a":"}",'),
    "nested objects": _filled(b'{"exception":'),
    "unterminated string": _filled(b"x", HEAD + b'"procName":"'),
    "unterminated escapes": _filled(b"\\n", HEAD + b'"procName":"'),
    "empty images": _filled(
        b"{},", HEAD + b'"threads":[{"triggered":true,"frames":[]}],"usedImages":[', b"{}]}"
    ),
    "empty threads": _filled(b"{},", HEAD + b'"threads":[', b"{}]}"),
    "empty lists": _filled(b"[],", b'{"EXC_GUARD":[', b"[]]}"),
    "brackets": _filled(b"[", b'{"EXC_GUARD":'),
    "braces": _filled(b'{"', REPORT),
    "quotes": _filled(b'\\"', REPORT + b'"'),
    "Mach exceptions": _filled(b'{"exception":12,"code":2305845208236959491},', b"[", b"{}]"),
    "log records": _filled(b'{"message":"EXC_GUARD"}\n'),
    "empty lines": _filled(b"\n", REPORT),
    "short lines": _filled(b"a\n", REPORT),
    "quoted lines": _filled(b"> a\n", REPORT),
    "rows": _filled(b"| a | b |\n", REPORT),
    "prefixes": _filled(b"10:31 bob: Exception Type: EXC_GUARD\n"),
    "tags": _filled(b"<a ", b"<br>" + REPORT),
    "quoted-printable": _filled(b"=3D", b"EXC_GUARD "),
    "one line": _filled(b"0 a 0x123456 b + 1 ", b"Exception Type: EXC_GUARD Thread 0 Crashed: "),
    "grouped numbers": _filled(b"GUARD 2,305,845,208,236,959,491 "),
    "stops": _filled(b"(lldb) bt\n* stop reason = EXC_GUARD (code=2305845208236959491, subcode=0)\n"),
    "rows of CSV": _filled(b"1,EXC_GUARD\n", b"pid,exception_type\n"),
    "headers": _filled(b'{"bug_type":"202"}\nEvent: hang\n'),
    "characters of four bytes": _filled("\U0001f600".encode(), REPORT),
}


def measure(name: str, mebibytes: float) -> tuple[float, float, int]:
    """Seconds, bytes of memory for each byte, and violations of one shape; run in a process of its own."""
    text = SHAPES[name](int(mebibytes * 2**20))
    before = int(Path("/proc/self/statm").read_text().split()[1]) * 4
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    began = time.process_time()
    reports = crash_reports.read_documents(io.BytesIO(text), "a.ips")
    took = time.process_time() - began
    status = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    return took, (peak - before) * 1024 / len(text), sum(len(report.violations) for report in reports)


def main(sizes: list[str]) -> None:
    """Print a line a shape."""
    print(f"{'':26}" + "".join(f"{size + ' MiB':>24}" for size in sizes))
    for name in SHAPES:
        cells = []
        for size in sizes:
            command = [sys.executable, "-m", "bench.shapes", "--one", name, size]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            took, memory, found = json.loads(done.stdout)
            cells.append(f"{took:8.2f} s {memory:4.1f} x {found:6}")
        print(f"{name:26}" + "".join(f"{cell:>24}" for cell in cells), flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(measure(sys.argv[2], float(sys.argv[3]))))
    else:
        main(sys.argv[1:] or ["1", "4", "16"])

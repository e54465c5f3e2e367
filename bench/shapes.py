"""How time and memory grow with the size of hostile texts: `python -m bench.shapes [MIB...]`.

Each shape is read in a process of its own, after a short text that loads the modules. Printed are, at each
size: seconds; how many times longer a byte takes than at the size before, 1 for a reader that is linear;
the peak of memory beyond FLOOR in bytes for each byte of the text, which must stay below 8; the violations.
Sizes just below limits of the readers matter most: 0.12 and 0.99 MiB. 63 MiB of all shapes take an hour.
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
FLOOR = 4 << 20
"""Bytes of memory that a text of any size may take: 2,000 violations, and a small tree of JSON."""
LIMIT = 8

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
    "reports": _filled(b"Process: App [1]\nOS Version: macOS 14.4 (23E214)\n" + REPORT + b"\n"),
    "reports in JSON": _filled(
        b'{"bug_type":"309","os_version":"macOS 26.4 (25E246)"}\n'
        b'{"procName":"A","exception":{"type":"EXC_GUARD","rawCodes":[4611686027017322497,1]}}\n'
    ),
    "headers of JSON": _filled(b'{"bug_type":"309"}\n'),
    "numbered threads": lambda size: (
        REPORT + b"".join(b"Thread %d Crashed:\n" % number for number in range(size // 20))
    ),
    "processes": lambda size: (
        b"".join(b"Process: a%d [5]\n" % number for number in range(size // 18)) + REPORT
    ),
    "nested arrays": _filled(b"[[1]],", b'{"EXC_GUARD":[', b"[]]}"),
    "nested objects of plain values": _filled(b'{"a":{"b":1}},', b'{"EXC_GUARD":[', b"{}]}"),
    "short strings": _filled(b'"a",', b'{"EXC_GUARD":[', b'"a"]}'),
    "strings in JSON": _filled(b'"EXC_GUARD / CLOSE",', b"[", b'""]'),
    "numbers": _filled(b"1,", b'{"EXC_GUARD":[', b"1]}"),
    "one number": _filled(b"9", b'{"exception":12,"code":', b"}"),
    "one number in a line": _filled(b"9", b"EXC_GUARD code=", b"\n"),
    "keys": lambda size: (
        b'{"EXC_GUARD":0' + b"".join(b',"k%d":0' % number for number in range(size // 12)) + b"}"
    ),
    "strings in strings": _filled(rb"\"Exception Type: EXC_GUARD\n", b'"', b'"\n'),
    "escaped reports": _filled(
        rb"Exception Type: EXC_GUARD\nException Codes: 0x4000000200000001\n", b'{"a":"', b'"}'
    ),
    "open strings": _filled(b'"exception":{"type":"EXC_GUARD\n'),
    "open objects": _filled(b'{"a\n', b"", REPORT),
    "backslashes": _filled(b"\\", REPORT + b'"'),
    "xcresult": _filled(b'{"_type":{"_name":"String"},"_value":"EXC_GUARD"},', b'{"_values":[', b"{}]}"),
    "Sentry": _filled(
        b'{"type":"EXC_GUARD","mechanism":{"meta":{"mach_exception":{"exception":12,"code":2305845208236959491}}}},',
        b'{"exception":{"values":[',
        b"{}]}}",
    ),
    "MetricKit": _filled(
        b'{"callStackTree":{"callStacks":[{"threadAttributed":true,"callStackRootFrames":[{"address":1}]}]},'
        b'"diagnosticMetaData":{"exceptionType":12,"exceptionCode":2305845208236959491}},',
        b"[",
        b"{}]",
    ),
    "call stacks": _filled(b'{"subFrames":[', b'{"EXC_GUARD":'),
    "unified log": lambda size: b"".join(
        b'{"eventMessage":"[App:%d] EXC_GUARD AST: type=0x1 flavor=0x200 target=0x1 code=0x%x subcode=0x0"}\n'
        % (number % 999, 2 << 60 | 0x200 << 32 | number)
        for number in range(size // 112)
    ),
    "debuggers": lambda size: b"".join(
        b"* thread #1, stop reason = EXC_GUARD (code=%d, subcode=0x0)\n  * frame #0: 0x1 a`b + 1\n"
        % (2 << 60 | number)
        for number in range(size // 97)
    ),
    "terminal colors": _filled(b"\x1b[0m", REPORT),
    "open colors": _filled(b"\x1b[0", REPORT),
    "entities": _filled(b"&quot;", b"<pre>" + REPORT),
    "line ends of Windows": _filled(b"a\r\n", REPORT),
    "UTF-16": lambda size: ("Exception Type: EXC_GUARD\n" * (size // 52)).encode("utf-16"),
    "zero bytes": _filled(b"\0", REPORT * 99),
    "different prefixes": lambda size: (
        b"".join(
            b"%d a%s 1 1 1 1: Exception Type: EXC_BAD\n" % (number, b"b" * (number % 97))
            for number in range(size // 90)
        )
        + REPORT
    ),
    "open tables": _filled(b"|", REPORT + b"| exception_type |\n"),
    "Markdown": _filled(b"\\_", REPORT),
    "Python": _filled(b"'a': True, ", b"{'exception': ", b"}"),
    "codes in a line": _filled(b"code ", b"EXC_GUARD "),
    "panics": _filled(b"panic(cpu 1 caller 0x1): initproc exited, namespace 23 subcode 0x2000020000002703\n"),
}


def measure(name: str, mebibytes: float) -> tuple[float, float, int]:
    """Seconds, bytes of memory beyond FLOOR for each byte, and violations of a shape; in a new process."""
    crash_reports.read_documents(io.BytesIO(REPORT + KERNEL % (1, 1, 2 << 60)), "a.ips")  # loads the modules
    text = SHAPES[name](int(mebibytes * 2**20))
    before = int(Path("/proc/self/statm").read_text().split()[1]) * 4
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    began = time.process_time()
    reports = crash_reports.read_documents(io.BytesIO(text), "a.ips")
    took = time.process_time() - began
    status = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    return (
        took,
        max(0, (peak - before) * 1024 - FLOOR) / len(text),
        sum(len(report.violations) for report in reports),
    )


def main(sizes: list[str]) -> None:
    """Print a line a shape; exits with 1 when one of them takes more memory than LIMIT."""
    print(f"{'':32}" + "".join(f"{size + ' MiB':>34}" for size in sizes))
    over = []
    for name in SHAPES:
        cells = []
        last: tuple[float, float] | None = None
        for size in sizes:
            command = [sys.executable, "-m", "bench.shapes", "--one", name, size]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            took, memory, found = json.loads(done.stdout)
            growth = took / last[0] / (float(size) / last[1]) if last else 1.0
            last = took, float(size)
            cells.append(f"{took:8.2f} s {growth:4.1f} x {memory:5.1f} B {found:6}")
            over += [name] * (memory >= LIMIT)
        print(f"{name:32}" + "".join(f"{cell:>34}" for cell in cells), flush=True)
    if over:
        sys.exit(f"{LIMIT} bytes of memory for each byte and more: {', '.join(dict.fromkeys(over))}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(measure(sys.argv[2], float(sys.argv[3]))))
    else:
        main(sys.argv[1:] or ["0.12", "0.99", "4", "16"])

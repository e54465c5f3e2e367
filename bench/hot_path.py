"""What the receiver does between a message and its reply, in nanoseconds: `python -m bench.hot_path`.

Three things are timed in one run over the same thousand messages:

* ours: `excguard_handle_message`, the function that the receiver's thread calls: check the message and its
  sender, find its target and process, decode, write the record, count, build the reply;
* copy: the bare copy of each message, 80 bytes, into a slot of 128 in a ring as large as the journal's, in
  a mapped file as the journal's is;
* python: a decoder of the same messages with `struct`, which neither asks who sent them nor keeps anything.

The measure is the ratio to the copy. For comparison: the server stub that Apple's MIG generates, which looks
at none of trailer, sender, process and code, and keeps nothing, takes 1.7 times a copy (4.4 with the thread
state of x86_64, 6.2 with that of arm64, which it copies).

How large the rings are matters. Around rings of the journal's default size both go to memory. In rings that
the caches hold the copy takes a third of that, ours little less: there its time is that of its instructions.
"""

from __future__ import annotations

import argparse
import json
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import receiver_turn
from bench.receiver_turn import MIG
from bench.row import Measure, Options, Row, each, has_valgrind, instructions_in, pin, run
from tests.support import ROOT, compiler, toolchain

if TYPE_CHECKING:
    from collections.abc import Iterator

BATCH = ROOT / "bench/data/mach_exc_bench_batch.bin"
OPTIMIZATION = ["-O3", "-DNDEBUG"]  # CMake's Release, with which the extension is built

_HEADER = struct.Struct("<5Ii")
_BODY = struct.Struct("<4I8xQiIQQ")
_REPLY = struct.Struct("<5Ii8si")
_NDR = bytes([0, 0, 0, 0, 1, 0, 0, 0])


def decode(message: bytes) -> tuple[int, int, int, int, int, bytes]:
    """Guard type, flavor, target, payload, thread id and the reply, in plain Python."""
    bits, size, remote, _local, _voucher, msgh_id = _HEADER.unpack_from(message)
    count, _token, _pad, kind, thread, exception, codes, code, subcode = _BODY.unpack_from(message, 24)
    if msgh_id != 2408 or not bits >> 31 or size != 80 or count != 1 or kind >> 16 != 17 or codes != 2:
        raise ValueError(msgh_id)
    if exception != 12:
        raise ValueError(exception)
    reply = _REPLY.pack(bits & 31, 36, remote, 0, 0, msgh_id + 100, _NDR, 5)
    return code >> 61, code >> 32 & 0x1FFFFFFF, code & 0xFFFFFFFF, subcode, thread, reply


def time_python(rounds: int) -> float:
    """Median nanoseconds a message."""
    batch = BATCH.read_bytes()
    messages = [batch[at : at + 80] for at in range(0, len(batch), 80)]
    times = []
    for _ in range(rounds):
        started = time.perf_counter_ns()
        for message in messages:
            decode(message)
        times.append((time.perf_counter_ns() - started) / len(messages))
    return statistics.median(times)


def time_native(cc: str, capacity: int, rounds: int) -> list[dict[str, Any]]:
    """One row a kind of message: medians and quartiles of the copy and of ours."""
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary)
        program = toolchain.build(cc, directory, ROOT / "bench/hot_path.c", "hot_path", *OPTIMIZATION)
        command = [str(program), str(BATCH), str(capacity), str(rounds), temporary]
        lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    rows = []
    for line in lines:
        kind, *numbers = line.split(",")
        copy, copy_low, copy_high, ours, ours_low, ours_high = map(float, numbers)
        rows.append(
            {
                "kind": kind,
                "slots": capacity,
                "copy_ns": copy,
                "copy_quartiles_ns": [copy_low, copy_high],
                "ours_ns": ours,
                "ours_quartiles_ns": [ours_low, ours_high],
                "ratio": round(ours / copy, 2),
            }
        )
    return rows


KINDS = {"without thread state": (0, 1.35), "with thread state, x86_64": (1, 1.0)}
"""What -> the kind in hot_path.c, and the ratio to MIG that is not to be exceeded."""

LARGE = 65_536  # slots: the journal's default


def rows(options: Options) -> Iterator[Row]:
    """The receiver's handling of a message: in instructions; and in rings that the caches do not hold."""
    with tempfile.TemporaryDirectory() as temporary:
        cc = compiler.require()
        program = toolchain.build(cc, Path(temporary), ROOT / "bench/hot_path.c", "hot_path", *OPTIMIZATION)
        for what, (kind, target) in KINDS.items() if has_valgrind() else ():
            command = [program, BATCH, "1024"]

            def count(rounds: int, kind: int = kind, command: list[str | Path] = command) -> int:
                whole = [*command, str(rounds), temporary, str(kind)]
                return instructions_in("excguard_handle_message", whole)

            taken = each(count, 10, 30) / 1000  # messages of a round
            name = f"parse, decode, record, count, reply {what}"
            mig = MIG[what][1]
            yield Row(name, "MIG's stub, which only dispatches", Measure.INSTRUCTIONS, taken, mig, target)
        if options.check:
            return
        pin()
        turn = receiver_turn.build(Path(temporary))
        times = receiver_turn.nanoseconds({"server": (turn, "server"), "bare": (turn, "bare")})
        (row, *_) = time_native(cc, LARGE, 500)
        peer = times["server"] - times["bare"] + row["copy_ns"]
        name = f"the same without thread state, {LARGE} slots"
        yield Row(name, "MIG's loop and an 80-byte copy", Measure.TIME, row["ours_ns"], peer, 1, "ns")


def main() -> None:
    """Prints a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=2000, help="passes over the batch (default: 2000)")
    parser.add_argument(
        "--slots",
        type=int,
        nargs="+",
        default=[65_536, 1024],
        help="sizes of the rings (default: 65536 1024)",
    )
    parser.add_argument("--cc", default=compiler.find() or "cc", help="the compiler (default: cc)")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()

    rows = [row for slots in options.slots for row in time_native(options.cc, slots, options.rounds)]
    python = time_python(max(3, options.rounds // 100))
    if options.json:
        print(json.dumps({"native": rows, "python_ns": round(python, 1)}))
        return
    print(f"{'message':34}{'slots':>8}{'copy ns':>9}{'ours ns':>9}  {'(quartiles)':15}{'ours/copy':>9}")
    for row in rows:
        quartiles = "({:.2f} .. {:.2f})".format(*row["ours_quartiles_ns"])
        print(
            f"{row['kind']:34}{row['slots']:8}{row['copy_ns']:9.2f}{row['ours_ns']:9.2f}  {quartiles:15}"
            f"{row['ratio']:9.2f}"
        )
    print(f"{'identity_protected, plain Python':34}{'':8}{'':9}{python:9.1f}")


if __name__ == "__main__":
    sys.exit(run(rows, main))

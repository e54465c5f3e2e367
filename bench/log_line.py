"""What a hit costs from its record to the log, in instructions: `python -m bench.log_line`.

* a whole line: read the record, decide that it comes in full, decode a code and subcode that were not decoded
  before, write its line of JSON. The peer is what a program does without any of that: structlog with its JSON
  renderer, for an event with the same fields, and `inc()` of a prometheus_client counter with four labels.
* a hit of a storm, of which only a sum is logged. The peer is excguard 0.1.0, where it took 10,700.
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.row import Measure, Options, Row, counted, has_valgrind, run

if TYPE_CHECKING:
    from collections.abc import Iterator

FLAVORS = (0x200, 0x100, 0x20, 1, 0xA)
SUMMED_IN_0_1 = 10_700


def fill(journal: Any, hits: int, *, alike: bool) -> None:  # noqa: ANN401 - a Journal
    """Record hits of the target 1: all of them alike, or of five flavors and each with another port."""
    from excguard.native import ffi, lib  # noqa: PLC0415 - the peer needs none of this

    rng = random.Random(1)  # noqa: S311 - the same hits in every run
    hit = ffi.new("struct excguard_hit *", {"target_id": 1, "pid": 4242, "thread_id": 77, "reply": 5})
    hit.behavior = lib.EXCEPTION_IDENTITY_PROTECTED
    hit.time_ns, hit.code = time.time_ns(), 0x2000020000002703
    for _ in range(hits):
        if not alike:
            hit.code = 1 << 61 | rng.choice(FLAVORS) << 32 | rng.randrange(1 << 32)
            hit.subcode = rng.randrange(1 << 40)
        lib.excguard_journal_append(journal.handle, hit)


def lines(hits: int, *, read: bool) -> None:
    """Record hits, and have their lines written if they are to be ``read``."""
    from excguard.config import Config, Log  # noqa: PLC0415 - likewise
    from excguard.pipeline import journal as journals  # noqa: PLC0415
    from excguard.pipeline.own_processes import OwnProcesses  # noqa: PLC0415
    from excguard.pipeline.rate_limit import SiteLimiter  # noqa: PLC0415
    from excguard.pipeline.record import RecordDecoder, site_of  # noqa: PLC0415
    from excguard.pipeline.target_names import TargetNames  # noqa: PLC0415
    from excguard.sinks import log  # noqa: PLC0415
    from tests.support.streams import HOST  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as name:
        config = Config(log=Log(path=os.devnull))
        journal = journals.Journal(Path(name, "journal"), capacity=1 << 15, release=260400)
        names = TargetNames(journal.path, set())
        names.number(["mail"])
        decoder = RecordDecoder("live", names, HOST, OwnProcesses())
        limiter = SiteLimiter(first=hits, window=60)
        sink = log.open_file(config, HOST, print)
        fill(journal, hits, alike=False)
        records, count = journal.read(0, hits if read else 0)
        for index in range(count):
            record = records[index]
            if limiter.admit(site_of(record), record):
                sink.hit(decoder.hit(record, recovered=False))
        sink.close()
        journal.close()


def sums(hits: int, *, read: bool) -> None:
    """Record hits of a storm, and read them as the daemon does if they are to be ``read``."""
    from excguard.config import Log  # noqa: PLC0415 - likewise
    from excguard.pipeline import journal as journals  # noqa: PLC0415
    from excguard.pipeline.exemplars import Exemplars  # noqa: PLC0415
    from excguard.pipeline.sink_worker import SinkWorker  # noqa: PLC0415
    from excguard.pipeline.stream import Stream  # noqa: PLC0415
    from excguard.pipeline.target_names import TargetNames  # noqa: PLC0415
    from excguard.testing import FakeSink  # noqa: PLC0415
    from tests.support.streams import HOST  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as name:
        journal = journals.Journal(Path(name, "journal"), capacity=1 << 16, release=260400)
        names = TargetNames(journal.path, set())
        names.number(["mail"])
        stream = Stream("live", journal, Log(first=1), names=names, host=HOST, exemplars=Exemplars())
        stream.add(SinkWorker(FakeSink(), lambda: None))
        fill(journal, 1, alike=True)
        stream.read()
        fill(journal, hits, alike=True)
        while read and stream.read():
            pass
        stream.close()


def peer(hits: int) -> None:
    """Log events with structlog and count them with prometheus_client."""
    import structlog  # noqa: PLC0415 - ours needs none of this
    from prometheus_client import CollectorRegistry, Counter  # noqa: PLC0415

    labels = ["target", "guard_type", "flavor", "severity"]
    counter = Counter("hits", "Hits.", labels, registry=CollectorRegistry())
    with Path(os.devnull).open("w") as output:
        logger = structlog.wrap_logger(
            structlog.WriteLogger(output),
            processors=[
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                structlog.processors.JSONRenderer(),
            ],
            wrapper_class=structlog.BoundLogger,
            cache_logger_on_first_use=True,
        )
        for number in range(hits):
            logger.error(
                "guard_hit",
                target="mail",
                pid=4242,
                thread_id=77,
                guard_type="MACH_PORT",
                flavor=512,
                flavor_name="INVALID_NAME",
                kernel_name="kGUARD_EXC_INVALID_NAME",
                guard_target=number,
                payload="0x0",
                code="0x2000020000002703",
                subcode="0x0",
                severity="optional",
                summary=(
                    "INVALID_NAME on port 0x2703: a port name was used for which the process holds no right."
                ),
                behavior="identity_protected",
                reply="forward",
                kernel="simulated",
                release="macOS 26.4",
                source="live",
                seq=number,
                recovered=False,
                inherited=True,
                site_id="0123456789ab",
                site_precision="executable",
            )
            counter.labels("mail", "MACH_PORT", "INVALID_NAME", "optional").inc()


def work(what: str, count: int) -> None:
    """See `bench.row.run`."""
    kind, _, how = what.partition(" ")
    if kind == "peer":
        peer(count)
    else:
        {"lines": lines, "sums": sums}[kind](count, read=how == "read")


def rows(_options: Options) -> Iterator[Row]:
    """A whole line, and a hit of a storm; what it takes to record them is not in it."""
    if not has_valgrind():
        return

    def cost(kind: str, few: int, many: int) -> float:
        return counted("bench.log_line", f"{kind} read", few, many) - counted(
            "bench.log_line", f"{kind} only", few, many
        )

    ours, theirs = cost("lines", 500, 1500), counted("bench.log_line", "peer", 500, 1500)
    name = "log line: read, limit, decode, write JSON"
    yield Row(name, "structlog JSON and labels().inc()", Measure.INSTRUCTIONS, ours, theirs, 0.5)
    ours = cost("sums", 10_000, 30_000)
    name = "hit of a storm, of which a sum is logged"
    yield Row(name, "excguard 0.1.0", Measure.INSTRUCTIONS, ours, SUMMED_IN_0_1, 0.25)


if __name__ == "__main__":
    sys.exit(run(rows, work=work))

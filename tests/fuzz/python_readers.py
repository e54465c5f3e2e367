"""The readers in Python: each function reads what a fuzzer made up, and fails when a promise is broken.

An exception that gets out is a bug, unless it is the one that the reader's documentation names; its text is
one line.
"""

from __future__ import annotations

import asyncio
import functools
import gzip
import io
import json
import socket
import tempfile
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import rich.console

from excguard import crash_reports, decode
from excguard.cli import follow, top
from excguard.config import ConfigError, Delivery
from excguard.config import file as config_file
from excguard.crash_reports import (
    archive,
    documents,
    log_lines,
    metadata,
    minidump,
    splitter,
    symbolicate,
    symbolicated_copy,
)
from excguard.crash_reports.symbols.symbol import Image, Symbol
from excguard.decoding import pages
from excguard.decoding.code import DecodeError, parse_numbers
from excguard.decoding.site import Site
from excguard.fleet import inventory as s3_inventory
from excguard.fleet import listing, plan
from excguard.fleet.store import LocalStore, StoreError
from excguard.gate import baseline
from excguard.knowledge.guard_behavior import GuardBehavior
from excguard.knowledge.releases import ReleaseError
from excguard.mach.rendezvous import insertion, wire
from excguard.pipeline import target_names
from excguard.sinks import webhook
from excguard.sources import report_file, unified_log
from excguard.sources.report_state import IncompleteReportError
from excguard.targets import executable
from excguard.targets.delivery import Plan
from excguard.targets.executable import Executable
from excguard.targets.program import Program
from excguard.testing import simulated_hit
from excguard.web import http_connection, page, web_config
from excguard.web.endpoint import Endpoint
from excguard.web.errors import WebConfigError
from excguard.web.exposition import Exposition
from excguard.web.feed_client import Feed, FeedError
from tests.support.endpoint import World

if TYPE_CHECKING:
    from collections.abc import Callable

VIOLATION = decode(0x2000020000002703)
DAY = date(2026, 3, 1)
SCHEMA = "Bucket, Key, Size, LastModifiedDate, ETag"


def _one_line(error: BaseException) -> None:
    assert "\n" not in str(error), error
    assert str(error), type(error)


@functools.cache
def _directory() -> Path:
    """In memory where that is possible; removed at the end."""
    shared = Path("/dev/shm")  # noqa: S108 - a directory of a random name in it
    temporary = tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None)
    _kept.append(temporary)
    return Path(temporary.name)


_kept: list[tempfile.TemporaryDirectory[str]] = []


def _file(name: str, data: bytes) -> Path:
    path = _directory() / name
    path.write_bytes(data)
    return path


# ---- reports ----


def text(data: bytes) -> None:
    """Texts with reports in them."""
    for report in crash_reports.read_all(data.decode("utf-8", "surrogateescape") + "\n"):
        _judge(report)


def ips(data: bytes) -> None:
    """.ips files: JSON, or what is left of it, and the JSON of other tools."""
    for start in (b"{", b'{"bug_type":"309"}\n{"exception":'):
        for report in crash_reports.documents_of_bytes(start + data, "a.ips"):
            _judge(report)
    metadata.metadata(b"{" + data)


def binary(data: bytes) -> None:
    """Minidumps, archives, and texts in other encodings."""
    for start in (b"", b"MDMP"):
        for report in crash_reports.read_documents(io.BytesIO(start + data), "a"):
            _judge(report)


def _judge(report: crash_reports.Report) -> None:
    assert report.violations or report.error or report.notes
    assert "\n" not in (report.error or "")
    msgspec.json.encode(report.to_dict())
    for violation in report.violations:
        Site.of(violation, None, report.process or "")


def watched_report(data: bytes) -> None:
    """A file in a directory of crash reports, as the daemon reads it; and a report whose frames get names."""
    _symbolicated(data)
    report_file.identify(data)
    try:
        hit = report_file.read(_file("a.ips", data), _Names())
    except (IncompleteReportError, ValueError) as error:
        _one_line(error)
        return
    assert hit is None or 0 <= hit.pid < 1 << 31


class _Names:
    """A symbolizer that has a name for half of the places."""

    def symbol(self, image: Image, offset: int) -> Symbol | None:
        return Symbol(f"{image.name}+{offset}", offset=3, file="", line=0) if offset % 2 else None


def _symbolicated(data: bytes) -> None:
    head = b'{"bug_type":"309"}\n{"usedImages":[{"uuid":"1","name":"a"}],"threads":'
    for content in (data, head + data):
        copy = symbolicated_copy.symbolicated_copy(content, _Names())
        if copy is not None:
            json.loads(copy.partition(b"\n")[2])
    symbolicate.symbolicate(crash_reports.read_bytes(head + data), _Names())


# ---- lines and numbers ----


def log_line(data: bytes) -> None:
    """Lines of the unified log: as ndjson, as text, and as `decode --follow` reads them."""
    try:
        unified_log.parse_line(data)
    except unified_log.LineError as error:
        _one_line(error)
    message = data.decode("utf-8", "replace")
    wrapped = {"eventMessage": message, "timestamp": "2026-03-01 10:00:00.000001+0000"}
    try:
        unified_log.parse_line(msgspec.json.encode(wrapped))
    except unified_log.LineError as error:
        _one_line(error)
    log_lines.read_line(message.partition("\n")[0])
    follow.follow(io.BytesIO(data), io.BytesIO(), None, pass_unknown=True)


def decode_input(data: bytes) -> None:
    """What stands behind `excguard decode` and `excguard explain`."""
    words, _, release = data.decode("utf-8", "surrogateescape").partition("\0")
    try:
        for number in parse_numbers(words):
            decode(number, number, release or None).to_dict()
        pages.find(words)
        pages.suggest(words)
        _judge(crash_reports.read_text(words, release or None))
    except (DecodeError, ReleaseError) as error:
        _one_line(error)


# ---- files of ours that others can change ----


def configuration(data: bytes) -> None:
    """config.toml and web.yml."""
    _web_configuration(data)
    try:
        config_file.parse(data.decode("utf-8", "replace"), file="c", directory=Path("/"))
    except ConfigError as error:
        _one_line(error)


def _web_configuration(data: bytes) -> None:
    path = _file("web.yml", data)
    try:
        found = web_config.WebConfigFile(path).current()
    except WebConfigError as error:
        _one_line(error)
        return
    assert found.interval >= 0


def kept_file(data: bytes) -> None:
    """A baseline; what `serve` keeps of targets and webhooks; the plan of a fleet scan."""
    _baseline(data)
    _state(data)
    _fleet_plan(data)


def _baseline(data: bytes) -> None:
    """One that can be read can be updated, and is one still."""
    path = _file("baseline.toml", data)
    try:
        baseline.load(path)
    except baseline.BaselineError as error:
        _one_line(error)
        return
    baseline.update(path, [], today=DAY, remove_stale=True)
    assert baseline.load(path).entries == []


def _state(data: bytes) -> None:
    """The names of targets, and the sites that a webhook has announced."""
    try:
        found = target_names.read_table(_file("targets.json", data))
    except target_names.DamagedTableError as error:
        _one_line(error)
    else:
        assert all(0 < number < 1 << 32 for number in found.values())
    webhook._read(_file("announced", data), _fail)


def _fail(text: str) -> None:
    raise AssertionError(text)


def _fleet_plan(data: bytes) -> None:
    """The plan of a scan and the results of its shards, in the output."""
    store = LocalStore(_directory() / "output")
    first, _, second = data.partition(b"\0\0")
    store.put("_excguard/plan/1-of-1/000000.jsonl", first)
    store.put("_excguard/plan/1-of-1/complete", second[:8])
    store.put("_excguard/done/1-of-1/000000.json", second)
    part = listing.Part(0, 1)
    for read in (
        lambda: plan.keys_of(store, plan.Shard("1-of-1", 0)),
        lambda: list(plan.Plan(store, part).shards(lambda _after, _planned: [])),
        lambda: list(plan.Plan(store, part).results()),
    ):
        try:
            read()
        except StoreError as error:
            _one_line(error)


def inventory(data: bytes) -> None:
    """An S3 Inventory: its manifest and a list of rows, both as they are and compressed here.

    Lists in the form of Parquet are pyarrow's to read.
    """
    manifest, _, rows = data.partition(b"\0\0")
    store = LocalStore(_directory() / "bucket")
    usual = {"fileFormat": "CSV", "fileSchema": SCHEMA, "files": [{"key": "list"}]}
    for content in (manifest, msgspec.json.encode(usual)):
        store.put("manifest.json", content)
        for written in (rows, gzip.compress(rows, 1)):
            store.put("list", written)
            try:
                list(s3_inventory.keys(store, "manifest.json"))
            except StoreError as error:
                _one_line(error)


# ---- programs ----


def program_file(data: bytes) -> None:
    """A program: Mach-O with its signature, ELF, or a script."""
    path = _file("program", data)
    found = Executable.of(path)
    for machine in ("arm64", "x86_64"):
        for one in found.running_slices(machine):
            assert one.signature is None or one.signature.text


def _program() -> Program:
    return Program(Plan(Delivery.INSERT, Executable(Path("/bin/app")), GuardBehavior(0), library=Path("/l")))


PROGRAM = _program()


def rendezvous_request(data: bytes) -> None:
    """A message to the rendezvous port: the first byte chooses the protocol.

    What a report of the inserted library says is taken, and its places are asked for.
    """
    if not data:
        return
    protocol = wire.Protocol.CHROMIUM if data[0] & 1 else wire.Protocol.EXCGUARD
    try:
        message = wire.parse(data[1:], protocol)
    except wire.MalformedError:
        return
    if isinstance(message, wire.DeadName | wire.Cancelled | wire.Settle):
        return
    if isinstance(message, insertion.InsertionReport) and message.sender.pid < 1 << 31:  # as the kernel's are
        PROGRAM.take(message)
        addresses = [image.address + image.size // 2 for image in message.images[:4]]
        site = Site.of(VIOLATION, PROGRAM.place(message.sender.pid, addresses), PROGRAM.name_of(1))
        msgspec.json.encode([site.id, str(site), site.place and site.place.fields()])
    assert not message.sender.is_kernel  # it asks for nothing
    if isinstance(message, wire.Request):
        assert message.protocol is protocol


# ---- the endpoint and its client ----


class _LocalListener:
    is_unix, is_local = False, True


@functools.cache
def _endpoint() -> tuple[Endpoint, asyncio.AbstractEventLoop]:
    world = World(simulated_hit_with)
    world.hit()
    endpoint = Endpoint.__new__(Endpoint)  # without its thread and socket
    endpoint._metrics = Exposition(world, kernel="simulated", release="macOS 26.4")
    endpoint._feed = world.feed
    endpoint._ready = lambda: True
    endpoint._web_config = None
    endpoint._listener = _LocalListener()
    page.response()
    return endpoint, asyncio.new_event_loop()


def simulated_hit_with(code: int, subcode: int, **changes: object) -> object:
    return simulated_hit(code, subcode, **{"target": "mail", "time_ns": 1, "seq": 5, **changes})


def http(data: bytes) -> None:
    """A connection to the endpoint: everything that the client sends, then its end."""
    endpoint, loop = _endpoint()
    answer = loop.run_until_complete(_answer(endpoint, data))
    assert not answer or answer.startswith(b"HTTP/1.1 "), answer[:100]
    assert b" 500 " not in answer.partition(b"\n")[0]


async def _answer(endpoint: Endpoint, data: bytes) -> bytes:
    def failed(error: Exception) -> None:
        raise AssertionError from error

    client, server = socket.socketpair()
    with client, server:
        for one in (client, server):
            one.setblocking(False)  # noqa: FBT003 - its only argument
        connection = http_connection.Connection(endpoint._respond, failed)
        serving = asyncio.create_task(connection.serve(server, lambda: None))
        loop = asyncio.get_running_loop()
        answer = b""
        try:
            await loop.sock_sendall(client, data)
            client.shutdown(socket.SHUT_WR)
            while part := await loop.sock_recv(client, 1 << 16):
                answer += part
        except ConnectionError:
            pass
        await serving
    return answer


def feed(data: bytes) -> None:
    """Messages of another excguard's feed, drawn by `excguard top`."""
    found = Feed()
    for line in data.splitlines():
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            continue
        for kind in ("state", "update"):
            try:
                found.apply(kind, message)
            except FeedError as error:
                _one_line(error)
                return
            console = rich.console.Console(file=io.StringIO(), width=80)
            console.print(top.picture(found, width=80, height=24, link="live"))
            msgspec.json.encode(found.to_dict())


READERS: dict[str, Callable[[bytes], None]] = {
    "text": text,
    "ips": ips,
    "binary": binary,
    "watched-report": watched_report,
    "log-line": log_line,
    "decode": decode_input,
    "config": configuration,
    "kept-file": kept_file,
    "inventory": inventory,
    "program": program_file,
    "rendezvous-request": rendezvous_request,
    "http": http,
    "feed": feed,
}

# What they use and import late, so that a fuzzer instruments it.
LOADED = (archive, documents, minidump, splitter, executable)

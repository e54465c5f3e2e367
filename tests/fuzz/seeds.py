"""What the fuzzers start from: well-formed input of each reader.

Beside it, `corpora/NAME.jsonl` keeps small inputs that earlier runs found interesting, one a line in base64.
"""

from __future__ import annotations

import base64
import gzip
import io
import itertools
import json
import struct
import tarfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tests.fuzz import rendezvous_messages
from tests.support import DATA, ROOT, corpus, mach_o_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CORPORA = Path(__file__).parent / "corpora"

KERNEL_LINE = (
    "ERROR: [Mail:4711] EXC_GUARD AST: type=0x1 flavor=0x200 target=0x8f53 code=0x2000020000008f53 "
    "subcode=0x0"
)
USED = [{"uuid": "0f5b1ac0-0000-0000-0000-000000000001", "name": "App", "arch": "arm64", "path": "/a/App"}]
BODY = {
    "pid": 7,
    "procName": "App",
    "parentPid": 1,
    "procLaunch": "2026-03-01 10:00:00.0000 +0000",
    "captureTime": "2026-03-01 10:00:01.0000 +0000",
    "exception": {"type": "EXC_GUARD", "rawCodes": [2305845208236959491, 0]},
    "threads": [{"triggered": True, "frames": [{"imageIndex": 0, "imageOffset": 21}]}],
    "usedImages": USED,
}
REPORT = b'{"bug_type":"309","os_version":"macOS 26.4 (25E5)"}\n' + json.dumps(BODY).encode()


def _rows() -> Iterator[dict[str, object]]:
    yield from map(json.loads, (DATA / "reports.jsonl").read_text().splitlines())


def _texts() -> Iterator[bytes]:
    for entry in _rows():
        yield "\n".join(f"{key}: {value}" for key, value in entry.items() if isinstance(value, str)).encode()
    for line in (DATA / "pasted.jsonl").read_text().splitlines():
        yield json.loads(line)["text"].encode()
    for path in (DATA / "reports").iterdir():
        yield path.read_bytes()


def _ips() -> Iterator[bytes]:
    for entry in _rows():
        yield json.dumps({"exception": entry["ips_exception"], **entry})[1:].encode()
    yield json.dumps(BODY)[1:].encode()


def _binary() -> Iterator[bytes]:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.ips", REPORT)
    yield packed.getvalue()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        entry = tarfile.TarInfo("a.ips")
        entry.size = len(REPORT)
        tar.addfile(entry, io.BytesIO(REPORT))
    yield packed.getvalue()[:2048]
    yield gzip.compress(packed.getvalue()[:2048], mtime=0)
    yield REPORT.decode().encode("utf-16")
    yield REPORT.decode().encode("utf-16-be")
    # A minidump (of the format's own documents): header, one stream of an exception.
    exception = struct.pack("<2I2I2QI4x15Q2I", 1, 0, 12, 0, 0, 0, 2, 2305845208236959491, *[0] * 14, 0, 0)
    yield struct.pack("<2I2IIQ", 0xA793, 1, 28, 0, 0, 0) + struct.pack("<3I", 6, 168, 44) + exception


def _lines() -> Iterator[bytes]:
    event = {"eventMessage": KERNEL_LINE, "timestamp": "2026-03-01 10:00:00.000001+0000"}
    yield json.dumps(event).encode()
    yield json.dumps({**event, "eventType": "lossEvent"}).encode()
    yield KERNEL_LINE.encode()
    yield b"stop reason = EXC_GUARD (code=2305845208236959491, subcode=0x0)"


def _decode() -> Iterator[bytes]:
    yield b"0x2000020000002703 0x0\x0014.4"
    yield b"-6917529027641081853\x0023E214"
    yield b"GUARD 2305845208236959491\x00Darwin 25.6.0"
    yield b"INVALID_NAME\0xnu-10063.101.15"
    yield from (line.encode() for line in ("0x9", "kGUARD_EXC_CLOSE", "GUARD_TYPE_FD DUP", "mach_port 0x20"))


def _config() -> Iterator[bytes]:
    yield (ROOT / "config.toml").read_bytes()
    yield b'[[target]]\nname = "a"\ncommand = ["/bin/a"]\nrestart = "always"\n[metrics]\nlisten = "[::1]:0"\n'
    yield b'[crash_reports]\nfolders = ["~/a"]\n[webhook]\nurl = "https://a.example/"\n'


def _web_config() -> Iterator[bytes]:
    yield b"basic_auth_users:\n  qa: $2b$10$" + b"a" * 53 + b"\nrate_limit:\n  interval: 1m30s\n  burst: 5\n"
    yield b"tls_server_config:\n  cert_file: a.pem\n  key_file: b.pem\n  min_version: TLS12\n"
    yield b"http_server_config:\n  http2: false\n  headers:\n    X-Frame-Options: deny\n"


def _baseline() -> Iterator[bytes]:
    yield (
        b'# why\n[[site]]\nid = "3f9c2a71b04e"\nflavor = "INVALID_NAME"\nsince = 2026-01-01\n'
        b'reason = "a"\nexpires = 2027-01-01\n'
    )
    yield b'site = [{id = "3f9c2a71b04e"}]\n'


def _state() -> Iterator[bytes]:
    yield b'{"targets":{"mail":1,"safari":2},"version":1}'
    yield b"3f9c2a71b04e\n3f9c2a71b04f\n"


def _plan() -> Iterator[bytes]:
    key = b'["a.ips",-1,0.0,""]\n'
    yield key * 2 + b"\0\0" + b"1"
    done = {"number": 0, "files": 2, "violations": 1, "errors": 0, "parts": ["a"]}
    yield key + b"\0\0" + json.dumps(done).encode()


def _inventory() -> Iterator[bytes]:
    manifest = {"fileFormat": "CSV", "fileSchema": "Bucket, Key, Size", "files": [{"key": "list"}]}
    rows = gzip.compress(b'"b","a.ips","17","2026-03-01T10:00:00.000Z","e"\n', mtime=0)
    yield json.dumps(manifest).encode() + b"\0\0" + rows
    yield b"{}\0\0" + rows


def _programs() -> Iterator[bytes]:
    signed = mach_o_files.signature(team="T", flags=mach_o_files.RUNTIME, entitlements={"app-sandbox": True})
    yield mach_o_files.thin(signed=signed)
    yield mach_o_files.universal(mach_o_files.thin(), mach_o_files.thin("x86_64", segments=("__RESTRICT",)))
    yield b"#!/bin/sh -e\n"
    header = b"\x7fELF\2\1\1" + bytes(9) + struct.pack("<2HI3QI6H", 2, 62, 1, 0, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    load = struct.pack("<2I6Q", 1, 5, 0, 0, 0, 300, 300, 0)
    dynamic = struct.pack("<2I6Q", 2, 5, 176, 176, 176, 32, 32, 0)
    yield header + load + dynamic + struct.pack("<4Q", 5, 208, 1, 0) + b"libasan.so.6\0"


def _http() -> Iterator[bytes]:
    for target in ("/", "/metrics", "/events", "/-/healthy", "/-/ready", "http://localhost/metrics", "*"):
        yield f"GET {target} HTTP/1.1\r\nHost: localhost:1\r\nAccept-Encoding: gzip\r\n\r\n".encode()
    yield b"GET /metrics HTTP/1.1\r\nHost: [::1]\r\nAccept: application/openmetrics-text\r\n\r\n" * 2
    yield b"HEAD / HTTP/1.0\r\n\r\n"
    yield b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"
    yield b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def _feed() -> Iterator[bytes]:
    state = {
        "about": {"version": "1", "kernel": "simulated", "release": "26.4"},
        "health": {"lost": 1, "rejected": {"a": 2}},
        "targets": [{"id": 1, "name": "a", "configured": True, "up": True, "starts": 1, "exits": {}}],
        "counts": [[1, "MACH_PORT", "INVALID_NAME", "optional", 3, 9]],
        "hits": [
            {
                "id": 1,
                "target": 1,
                "guard_type": "MACH_PORT",
                "flavor": "INVALID_NAME",
                "severity": "optional",
                "timestamp": "2026-03-01T10:00:00.000000Z",
                "last_timestamp": "2026-03-01T10:00:00.000000Z",
                "repeats": 1,
                "pid": 7,
                "summary": "a",
            }
        ],
        "history": [[1, {"MACH_PORT INVALID_NAME": 3}]],
    }
    yield msgspec.json.encode(state)


def _journal() -> Iterator[bytes]:
    yield b""
    yield struct.pack("<BIQ", 0, 32, 1) + b"\x81\x82\x83"
    yield bytes(range(128, 144))


def _columns() -> Iterator[bytes]:
    codes = [0x2000020000002703, 0x4000000100000005, 7 << 61 | 5, 2**64 - 1, 0x2000020000000007]
    yield struct.pack("<IB5Q", 260400, 3, *codes)
    yield struct.pack("<IB5Q", 0, 200, *codes) + b'<>&\\"\n'


def _replies() -> Iterator[bytes]:
    for protocol, message in rendezvous_messages.replies():
        yield bytes([protocol, 1]) + message


def _requests() -> Iterator[bytes]:
    for protocol, message in rendezvous_messages.requests():
        yield bytes([protocol]) + message


SEEDS: dict[str, Callable[[], Iterator[bytes]]] = {
    "text": _texts,
    "ips": _ips,
    "binary": _binary,
    "watched-report": lambda: iter([REPORT, json.dumps(BODY["threads"]).encode() + b"}", *_texts()]),
    "log-line": _lines,
    "decode": _decode,
    "config": lambda: itertools.chain(_config(), _web_config()),
    "kept-file": lambda: itertools.chain(_baseline(), _state(), _plan()),
    "inventory": _inventory,
    "program": _programs,
    "rendezvous-request": _requests,
    "http": _http,
    "feed": _feed,
    "messages": lambda: iter(corpus.seeds()),
    "journal": _journal,
    "columns": _columns,
    "rendezvous-reply": _replies,
}


def of(name: str) -> list[bytes]:
    """All seeds of a reader."""
    kept = CORPORA / f"{name}.jsonl"
    lines = kept.read_text().splitlines() if kept.exists() else []
    return [*SEEDS[name](), *(base64.b64decode(json.loads(line)) for line in lines)]


def write(name: str, directory: Path) -> None:
    """A file for each seed of a reader."""
    for number, seed in enumerate(of(name)):
        (directory / f"seed-{number:04}").write_bytes(seed)

"""What the head of a report says of the app and the incident, for tables of many reports."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

import msgspec

_HEAD = 16 * 1024
"""Bytes that are looked at: the header line of an .ips file, or the first paragraph of a text report."""

_HEADER = re.compile(rb"\s*+(\{[^\n]*+)")
_TEXT = {
    "incident_id": re.compile(rb"^Incident Identifier: +(\S[^\r\n]*)", re.MULTILINE),
    "bundle_id": re.compile(rb"^Identifier: +(\S[^\r\n]*)", re.MULTILINE),
    "version": re.compile(rb"^Version: +(\S[^\r\n]*)", re.MULTILINE),
    "time": re.compile(rb"^Date/Time: +(\S[^\r\n]*)", re.MULTILINE),
}
_VERSION = re.compile(r"(.*?)(?: \(([^()]*)\))?")  # "1.2 (345)"
_TIME = re.compile(r"(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d)(?:\.(\d{1,9}))? ?([+-]\d{4})")

MAX_LENGTH = 256
"""Characters of a value; a longer one is cut off."""


class Metadata(msgspec.Struct, frozen=True, kw_only=True):
    """What the head says; None for what it leaves out.

    Attributes:
        incident_id: "1C5C9C0B-...", ReportCrash's number of the report.
        bundle_id: "org.example.App".
        app_version: "1.2".
        app_build: "345".
        time: of the crash, seconds since the epoch.
    """

    incident_id: str | None = None
    bundle_id: str | None = None
    app_version: str | None = None
    app_build: str | None = None
    time: float | None = None


def metadata(content: bytes | bytearray | memoryview) -> Metadata:
    """Read the head of a report, .ips or text; an empty `Metadata` for what is neither."""
    if header := _HEADER.match(content, 0, _HEAD):
        return _of_ips(header[1])
    found = {
        name: match[1].decode("utf-8", "replace").strip()
        for name, pattern in _TEXT.items()
        if (match := pattern.search(content, 0, _HEAD))
    }
    version = _VERSION.fullmatch(found.get("version", ""))
    return Metadata(
        incident_id=_text(found.get("incident_id")),
        bundle_id=_text(found.get("bundle_id")),
        app_version=_text(version[1]) if version else None,
        app_build=_text(version[2]) if version else None,
        time=_time(found.get("time")),
    )


def _of_ips(line: bytes) -> Metadata:
    try:
        header = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Metadata()
    if not isinstance(header, dict):
        return Metadata()
    return Metadata(
        incident_id=_text(header.get("incident_id")),
        bundle_id=_text(header.get("bundleID")),
        app_version=_text(header.get("app_version")),
        app_build=_text(header.get("build_version")),
        time=_time(header.get("timestamp")),
    )


def _text(value: Any) -> str | None:  # noqa: ANN401 - whatever JSON has there
    if isinstance(value, int | float):
        value = str(value)
    return value[:MAX_LENGTH] if isinstance(value, str) and value else None


def _time(value: Any) -> float | None:  # noqa: ANN401 - likewise
    match = _TIME.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return None
    fraction = (match[3] or "0")[:6].ljust(6, "0")
    try:
        return datetime.fromisoformat(f"{match[1]}T{match[2]}.{fraction}{match[4]}").timestamp()
    except (ValueError, OverflowError):  # the 31st of February; year 0
        return None

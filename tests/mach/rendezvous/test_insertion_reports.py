"""Reports of the inserted library: read when they are whole, refused when they are not."""

import struct
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from excguard.mach.rendezvous import wire
from excguard.mach.rendezvous.insertion import SETTLE, Image, InsertionReport
from excguard.mach.rendezvous.message import MalformedError
from excguard.mach.rendezvous.wire import Protocol
from excguard.native import lib

BUILD = uuid.UUID("0123456789abcdef0123456789abcdef")
TRAILER = struct.pack("=II4x8x8I", 0, 52, 0, 0, 0, 0, 0, 4711, 0, 0)


def image(path: bytes = b"/bin/app", **changed: int) -> bytes:
    size = 40 + (len(path) + 3 & ~3)
    fields = {"entry_size": size, "length": len(path), "address": 1 << 32, "size": 4096, **changed}
    return struct.pack("=IIQQ16s", *fields.values(), BUILD.bytes) + path.ljust(size - 40, b"\0")


def report(*images: bytes, start: bool = True, **changed: Any) -> bytes:
    body = b"".join(images)
    size = 24 + 36 + len(body)
    fields = {
        "version": lib.EXCGUARD_INSERTION_VERSION,
        "length": size,
        "token": 0xFEDCBA9876543210,
        "before": 0,
        "after": 0x11,
        "result": 0,
        "dropped": 3,
        "count": len(images),
        **{name: value for name, value in changed.items() if name not in {"bits", "remote", "size"}},
    }
    kind = lib.EXCGUARD_INSERTION_START if start else lib.EXCGUARD_INSERTION_IMAGES
    header = struct.pack(
        "=IIIIIi", changed.get("bits", 0x13), changed.get("size", size), changed.get("remote", 0), 7, 0, kind
    )
    message = header + struct.pack("=IIQIIiII", *fields.values()) + body
    return message[: changed.get("size", size)] + TRAILER


def parsed(message: bytes) -> InsertionReport:
    found = wire.parse(message, Protocol.EXCGUARD)
    assert isinstance(found, InsertionReport)
    return found


def test_a_first_report_has_flags_and_images() -> None:
    found = parsed(report(image(), image(b"/lib/odd\xff.dylib")))

    assert (found.sender.pid, found.token, found.start) == (4711, 0xFEDCBA9876543210, True)
    assert (found.flags_before, found.flags_after, found.result, found.dropped) == (0, 0x11, 0, 3)
    build = "01234567-89AB-CDEF-0123-456789ABCDEF"
    assert found.images == (
        Image("/bin/app", 1 << 32, 4096, build),
        Image("/lib/odd\\xff.dylib", 1 << 32, 4096, build),
    )


def test_more_images_come_without_the_program() -> None:
    assert parsed(report(start=False)).images == ()


@pytest.mark.parametrize(
    ("message", "part"),
    [
        (report(), "without the program"),
        (report(image(), version=2), "version 2"),
        (report(image(), length=1), "total length 1"),
        (report(image(), count=2), "2 images in"),
        (report(image(), count=1 << 31), "images in"),
        (report(image(), image(), count=1), "bytes behind the images"),
        (report(image(entry_size=8)), "an image of 8 bytes"),
        (report(image(entry_size=4096)), "images that end too early"),
        (report(image(length=2048)), "a path of 2048"),
        (report(image(length=20)), "a path of 20"),
        (report(image(b"/bin/app\0/x")), "a NUL in it"),
        (report(image(), remote=9), "reply right"),
        (report(image(), bits=0x80000013), "complex"),
        (report(image(), size=40), "a report of 40 bytes"),
    ],
)
def test_what_is_not_as_the_header_says_is_refused(message: bytes, part: str) -> None:
    with pytest.raises(MalformedError, match=part):
        wire.parse(message, Protocol.EXCGUARD)


def settle(**changed: int) -> bytes:
    fields = {"bits": 0x12, "size": 24, "remote": 0, **changed}
    return struct.pack("=IIIIIi", *fields.values(), 7, 0, SETTLE) + TRAILER


def test_the_server_s_message_to_itself_has_no_rights() -> None:
    assert wire.parse(settle(), Protocol.EXCGUARD).sender.pid == 4711
    with pytest.raises(MalformedError, match="reply right"):
        wire.parse(settle(remote=9), Protocol.EXCGUARD)
    with pytest.raises(MalformedError, match="unknown msgh_id"):
        wire.parse(settle(), Protocol.CHROMIUM)


def test_the_chromium_port_takes_no_reports() -> None:
    with pytest.raises(MalformedError, match="unknown msgh_id"):
        wire.parse(report(image()), Protocol.CHROMIUM)


@given(st.binary(max_size=120), st.integers(24, 200))
def test_any_bytes_are_a_report_or_one_error(junk: bytes, at: int) -> None:
    whole = report(image(), image(b"/lib/a"))
    damaged = whole[:at] + junk + whole[at + len(junk) :]
    try:
        wire.parse(damaged, Protocol.EXCGUARD)
    except MalformedError as error:
        assert str(error)  # noqa: PT017 - refusing is one of two right outcomes

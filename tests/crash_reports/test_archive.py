"""Reports in archives."""

import gzip
import io
import lzma
import struct
import tarfile
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from excguard import crash_reports
from excguard.crash_reports import archive

GUIDE = b"Exception Type: EXC_GUARD\nTermination Reason: GUARD 2305845208236959491\n"
MEMBERS = {
    "Reports/App.ips": GUIDE,
    "Reports/._App.ips": b"\0\5\x16\7" + GUIDE,
    "__MACOSX/Reports/App.ips": GUIDE,
    "Reports/picture.png": GUIDE,
    "Reports/Other.crash": GUIDE.replace(b"9491", b"9492"),
}


def _archive(kind: str) -> bytes:
    file = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as zipped:
            for name, data in MEMBERS.items():
                zipped.writestr(name, data)
    else:
        with tarfile.open(fileobj=file, mode=f"w:{kind}") as tarred:
            for name, data in MEMBERS.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tarred.addfile(info, io.BytesIO(data))
    return file.getvalue()


@pytest.mark.parametrize("kind", ["zip", "", "gz", "xz"])
def test_each_report_of_an_archive_is_read(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "reports.zip"
    path.write_bytes(_archive(kind))
    for reports in (
        crash_reports.read_all(path),
        crash_reports.documents_of_bytes(_archive(kind), str(path)),
    ):
        found = [(report.file, [violation.code for violation in report.violations]) for report in reports]

        assert found == [
            (f"{path}:Reports/App.ips", [0x2000020000002703]),
            (f"{path}:Reports/Other.crash", [0x2000020000002704]),
        ]


@pytest.mark.parametrize("kind", ["zip", "", "gz"])
def test_an_archive_cut_off_anywhere_is_one_clear_error_at_most(kind: str) -> None:
    whole = _archive(kind)
    for keep in range(300, len(whole), 97):
        for report in crash_reports.documents_of_bytes(whole[:keep], "a.zip"):
            assert report.violations or report.error
            assert "\n" not in (report.error or "")


def _header(name: str, kind: bytes, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


def _with_long_name(size: int) -> bytes:
    return _header("a", tarfile.GNUTYPE_LONGNAME, size) + b"a" * size + _header("a", tarfile.REGTYPE, 0)


def _with_attributes(count: int) -> bytes:
    records = b"".join(
        b"%d %d=b\n" % (len(b"12 %d=b\n" % number), number) for number in range(10**6, 10**6 + count)
    )
    records += b"\0" * (-len(records) % 512)
    return _header("a", tarfile.XHDTYPE, len(records)) + records + _header("a", tarfile.REGTYPE, 0)


def _sparse(count: int) -> bytes:
    info = tarfile.TarInfo("a.ips")
    info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "1"}
    info.size = 1 << 30
    return info.tobuf(tarfile.PAX_FORMAT) + b"%d\n" % count + b"1\n" * count


def _directory_of(entries: int) -> bytes:
    """A zip archive without members whose directory lists them."""
    listed = struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, 20, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"a"
    end = struct.pack(
        "<4s4H2LH", b"PK\5\6", 0, 0, entries & 0xFFFF, entries & 0xFFFF, len(listed) * entries, 4, 0
    )
    return b"PK\3\4" + listed * entries + end


def _zip_of_zeros(method: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as zipped:
        zipped.writestr("a.txt", bytes(40 << 20))
    return file.getvalue()


BOMBS = {
    "long name": (
        lambda: gzip.compress(_with_long_name(40 << 20)),
        "more in one place than is read of an archive",
    ),
    "attributes": (lambda: gzip.compress(_with_attributes(200_000)), "more in one place than is read"),
    "sparse member": (lambda: gzip.compress(_sparse(5_000_000)), "more in one place than is read"),
    "entries": (
        lambda: gzip.compress(_header("a", tarfile.REGTYPE, 0) * 1_010),
        "more than is read of an archive",
    ),
    "directory": (lambda: _directory_of(300_000), "more in one place than is read of an archive"),
    "bzip2 in zip": (lambda: _zip_of_zeros(zipfile.ZIP_BZIP2), "compressed by another method than deflate"),
    "xz dictionary": (
        lambda: lzma.compress(bytes(9000), filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 30}]),
        "Memory usage limit exceeded",
    ),
}


@pytest.mark.parametrize("name", BOMBS)
def test_what_unpacks_to_much_is_an_error_and_takes_little_memory(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "MAX_ENTRIES", 1_000)
    make, expected = BOMBS[name]
    data = make()
    tracemalloc.start()
    try:
        reports = crash_reports.documents_of_bytes(data, "a.zip")
        taken = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert taken < 8 * len(data) + (8 << 20)
    assert [expected in (report.error or "") for report in reports] == [True], reports


def test_members_without_a_name_are_left_out() -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(zipfile.ZipInfo("a"), b"")
        archive.writestr("b.ips", b"EXC_GUARD / INVALID_NAME")
        archive.filelist[0].filename = ""

    assert [report.file for report in crash_reports.documents_of_bytes(packed.getvalue(), "z")] == ["z:b.ips"]

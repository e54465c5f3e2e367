"""Reports in archives."""

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from excguard import crash_reports

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
        with tarfile.open(fileobj=file, mode=f"w:{kind}") as archive:
            for name, data in MEMBERS.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
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

"""The version of the app that a program belongs to."""

import os
import plistlib
from pathlib import Path

import pytest

from excguard.targets.bundle import BundleVersion, bundle_version

KEYS = {"CFBundleShortVersionString": "16.0", "CFBundleVersion": "3826.200.121"}


@pytest.fixture
def program(tmp_path: Path) -> Path:
    directory = tmp_path / "Mail.app" / "Contents" / "MacOS"
    directory.mkdir(parents=True)
    return directory / "Mail"


@pytest.mark.parametrize("form", list(plistlib.PlistFormat))
def test_version_and_build(program: Path, form: plistlib.PlistFormat) -> None:
    (program.parents[1] / "Info.plist").write_bytes(plistlib.dumps(KEYS, fmt=form))

    assert bundle_version(program) == BundleVersion("16.0", "3826.200.121")


@pytest.mark.parametrize(
    "content",
    [
        None,
        b"",
        b"nonsense",
        b"bplist00" + b"\xff" * 100,
        b"<plist><dict><key>CFBundleVersion</key>",
        plistlib.dumps(["a"]),
        plistlib.dumps({"CFBundleVersion": 5}),
        b"x" * (1 << 21),
    ],
)
def test_a_program_without_a_usable_plist_has_no_version(program: Path, content: bytes | None) -> None:
    if content is not None:
        (program.parents[1] / "Info.plist").write_bytes(content)

    assert bundle_version(program) == BundleVersion()


def test_a_fifo_in_place_of_the_plist_is_not_waited_for(program: Path) -> None:
    os.mkfifo(program.parents[1] / "Info.plist")

    assert bundle_version(program) == BundleVersion()


def test_a_program_outside_of_a_bundle_has_no_version(tmp_path: Path) -> None:
    (tmp_path / "Info.plist").write_bytes(plistlib.dumps(KEYS))

    assert bundle_version(tmp_path / "bin" / "tool") == BundleVersion()
    assert bundle_version(Path("tool")) == BundleVersion()


def test_a_long_version_is_cut(program: Path) -> None:
    text = plistlib.dumps({"CFBundleVersion": "1" * 1000})
    (program.parents[1] / "Info.plist").write_bytes(text)

    assert bundle_version(program).build == "1" * 64

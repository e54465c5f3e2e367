"""Assembles the macOS wheel on another system: `python -m tests.macos.macos_wheel --out dist`.

Its Python files are those of the wheel that pip builds here; extension and program are built for both of
Apple's architectures (cross.py) and joined into universal files. The simulator's programs for this system
stay behind. What such a wheel is worth, and what only a Mac can say of it, is in docs/proof.md.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import sys
import tempfile
import zipfile
from pathlib import Path

from tests.macos import cross, universal

PLATFORM = f"macosx_{cross.MINIMUM_MACOS[0]}_{cross.MINIMUM_MACOS[1]}_universal2"
LEFT_BEHIND = ("excsim/",)
"""What the wheel of this system holds for systems without Mach."""
OTHER_NAMES = {cross.INSERTION.replace(".dylib", ".so"): cross.INSERTION}
"""Files that have another name on macOS."""


def linux_wheel(directory: Path) -> Path:
    """Builds the source distribution, and from that the wheel for this system. Raises cross.BuildError."""
    cross.run([sys.executable, "-m", "build", "--outdir", directory, cross.ROOT])
    (wheel,) = directory.glob("excguard-*.whl")
    return wheel


def retag(metadata: str) -> str:
    """The text of a WHEEL file, for macOS."""
    lines = []
    for line in metadata.splitlines():
        if line.startswith("Tag: "):
            python, abi, _ = line.removeprefix("Tag: ").split("-", 2)
            lines.append(f"Tag: {python}-{abi}-{PLATFORM}")
        else:
            lines.append(line)
    return "\n".join(lines) + "\n"


def record_line(name: str, content: bytes) -> str:
    """A line of RECORD: path, sha256 (base64 for URLs, unpadded), size."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    return f"{name},sha256={digest},{len(content)}\n"


def build(directory: Path, zig: Path) -> dict[str, Path]:
    """Builds cross.BINARIES as universal files under `directory`; their names -> paths."""
    thin = {arch: cross.build(arch, zig, directory / arch) for arch in cross.ARCHITECTURES}
    return join(thin, directory / "universal")


def join(builds: dict[str, Path], directory: Path) -> dict[str, Path]:
    """Joins the BINARIES of several builds (architecture -> where they are installed)."""
    joined = {name: directory / name for name in cross.BINARIES}
    for name, path in joined.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        universal.merge({arch: installed / name for arch, installed in builds.items()}, path)
    return joined


def assemble(wheel: Path, binaries: dict[str, Path], destination: Path) -> Path:
    """Writes the macOS wheel into the directory `destination`; returns its path.

    `wheel` is the one for this system, `binaries` what takes the place of files in it.
    """
    name, version, python, abi, _ = wheel.stem.split("-")
    result = destination / f"{name}-{version}-{python}-{abi}-{PLATFORM}.whl"
    record_name = f"{name}-{version}.dist-info/RECORD"
    wheel_name = f"{name}-{version}.dist-info/WHEEL"
    record = ""
    with zipfile.ZipFile(wheel) as source, zipfile.ZipFile(result, "w", zipfile.ZIP_DEFLATED) as target:
        for old in source.infolist():
            path = OTHER_NAMES.get(old.filename, old.filename)
            if path.startswith(LEFT_BEHIND) or path == record_name:
                continue
            content = binaries[path].read_bytes() if path in binaries else source.read(old)
            if path == wheel_name:
                content = retag(content.decode()).encode()
            entry = zipfile.ZipInfo(path, old.date_time)
            entry.external_attr = old.external_attr  # the program stays executable
            entry.compress_type = zipfile.ZIP_DEFLATED
            target.writestr(entry, content)
            record += record_line(path, content)
        missing = binaries.keys() - set(target.namelist())
        if missing:
            raise cross.BuildError(f"{wheel} has no {', '.join(sorted(missing))} to put others in place of")
        target.writestr(record_name, f"{record}{record_name},,\n")
    return result


def main() -> None:
    """Builds the wheel."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--out", type=Path, default=Path("dist"), help="directory for the wheel (default: dist)"
    )
    parser.add_argument("--wheel", type=Path, help="the wheel for this system, if it is built already")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    try:
        zig = cross.zig_executable()
        with tempfile.TemporaryDirectory() as scratch:
            work = Path(scratch)
            wheel = options.wheel or linux_wheel(work)
            print(assemble(wheel, build(work, zig), options.out))  # noqa: T201 - a program
    except cross.BuildError as error:
        sys.exit(f"macos_wheel.py: {error}")


if __name__ == "__main__":
    main()

"""Assembles the macOS wheel on another system: `python packaging/macos/macos_wheel.py --out dist`.

Its Python files are those of the wheel that pip builds here; the extension is built for both of Apple's
architectures (cross.py) and joined into one universal file. The simulator's programs for this system stay
behind. What such a wheel is worth, and what only a Mac can say of it, is in docs/proof.md.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import sys
import tempfile
import zipfile
from pathlib import Path

import cross
import universal

PLATFORM = f"macosx_{cross.MINIMUM_MACOS[0]}_{cross.MINIMUM_MACOS[1]}_universal2"
LEFT_BEHIND = ("excguard/sim/bin/", "excguard/sim/lib/", "excguard/native/_core.")
"""What the wheel of this system holds for this system's kernel and processor."""
EXTENSION = "excguard/native/_core.abi3.so"


def linux_wheel(directory: Path) -> Path:
    """Builds the wheel for this system into `directory`, with pip. Raises cross.BuildError."""
    cross.run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--wheel-dir", directory, cross.ROOT])
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


def assemble(wheel: Path, extension: Path, destination: Path) -> Path:
    """Writes the macOS wheel into the directory `destination`; returns its path.

    `wheel` is the one for this system, `extension` the universal Mach-O file.
    """
    name, version, python, abi, _ = wheel.stem.split("-")
    result = destination / f"{name}-{version}-{python}-{abi}-{PLATFORM}.whl"
    record_name = f"{name}-{version}.dist-info/RECORD"
    record = ""
    with zipfile.ZipFile(wheel) as source, zipfile.ZipFile(result, "w", zipfile.ZIP_DEFLATED) as target:
        like = next(entry for entry in source.infolist() if entry.filename.startswith(LEFT_BEHIND[2]))
        entries = [entry for entry in source.infolist() if not entry.filename.startswith(LEFT_BEHIND)]
        contents = {entry.filename: source.read(entry) for entry in entries if entry.filename != record_name}
        wheel_file = record_name.replace("RECORD", "WHEEL")
        contents[wheel_file] = retag(contents[wheel_file].decode()).encode()
        attributes = {entry.filename: entry for entry in entries} | {EXTENSION: like}
        contents[EXTENSION] = extension.read_bytes()
        for path in sorted(contents, key=lambda path: (".dist-info/" in path, path)):
            record += record_line(path, contents[path])
            entry = zipfile.ZipInfo(path, attributes[path].date_time)
            entry.external_attr = attributes[path].external_attr
            entry.compress_type = zipfile.ZIP_DEFLATED
            target.writestr(entry, contents[path])
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
            thin = {arch: cross.build(arch, zig, work / arch) for arch in cross.ARCHITECTURES}
            universal.merge(thin, work / "_core.abi3.so")
            print(assemble(wheel, work / "_core.abi3.so", options.out))
    except cross.BuildError as error:
        sys.exit(f"macos_wheel.py: {error}")


if __name__ == "__main__":
    main()

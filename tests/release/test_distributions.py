"""The source distribution and the Linux wheel of a release, built as the workflow does, and installed."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.message import Message
from email.parser import HeaderParser
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist, and the wheel that is built from it."""
    pytest.importorskip("build")
    directory = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "-m", "build", "--outdir", directory, ROOT], check=True)
    return directory


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    (path,) = dist.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return HeaderParser().parsestr(archive.read(name).decode())


def test_the_sdist_has_what_a_build_and_its_tests_need(dist: Path) -> None:
    (path,) = dist.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {
        *("README.md", "CHANGELOG.md", "LICENSE", "pyproject.toml", "config.toml", "PKG-INFO"),
        *("daemon/CMakeLists.txt", "docs/man/excguard.1", "docs/man/excguard-config.5"),
        *("dashboards/alerts.yml", "launchd/org.excguard.agent.plist", "examples/c/double_release.c"),
        *("packaging/homebrew.py", "tests/conftest.py", ".github/actions/excguard/action.yml"),
    }

    assert wanted - held == set()
    assert [name for name in held if re.search(r"\.(so|o|a|pyc)$|^build/|^\.venv", name)] == []


def test_the_metadata_names_the_project(metadata: Message) -> None:
    urls = dict(text.split(", ", 1) for text in metadata.get_all("Project-URL", []))

    assert urls == PROJECT["urls"]
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert "# excguard" in str(metadata.get_payload())
    required = {text for text in metadata.get_all("Requires-Dist", []) if "extra ==" not in text}
    assert {re.split(r"[^\w-]", text)[0] for text in required} == {
        re.split(r"[^\w-]", text)[0] for text in PROJECT["dependencies"]
    }


def test_the_wheel_is_one_for_every_python(wheel: Path) -> None:
    assert re.fullmatch(r"excguard-[\w.]+-cp311-abi3-\w+\.whl", wheel.name)
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    roots = {name.partition("/")[0] for name in names}
    assert {root for root in roots if "-" not in root} == {"excguard", "excsim"}
    assert [name for name in names if "/tests/" in name or name.endswith((".c", ".cdef"))] == [
        "excguard/client/excguard_client.c"
    ]
    assert any(name.endswith("share/man/man5/excguard-config.5") for name in names)


def test_the_programs_of_the_wheel_need_the_system_library_only(wheel: Path, tmp_path: Path) -> None:
    """So that auditwheel, which makes a manylinux wheel of it, has nothing to add."""
    lief = pytest.importorskip("lief")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)  # noqa: S202 - an archive of our own
    binaries = [
        path for path in tmp_path.rglob("*") if path.is_file() and path.read_bytes()[:4] == b"\x7fELF"
    ]
    assert len(binaries) >= 3
    for path in binaries:
        needed = set(lief.parse(str(path)).libraries)
        assert {re.sub(r"\.so.*", "", name) for name in needed} <= {
            "libc",
            "libpthread",
            "ld-linux-x86-64",
        }, path


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13", "3.14"])
def test_the_wheel_works(wheel: Path, tmp_path: Path, version: str) -> None:
    python = shutil.which(f"python{version}")
    if python is None or subprocess.run([python, "-c", "import ensurepip"], check=False).returncode:
        pytest.skip(f"no Python {version}")
    subprocess.run([python, "-m", "venv", tmp_path / "venv"], check=True)
    subprocess.run([tmp_path / "venv/bin/pip", "-q", "install", wheel], check=True)
    environ = {"PATH": f"{tmp_path / 'venv/bin'}:{os.defpath}", "HOME": str(tmp_path)}
    command = shlex.split(PYPROJECT["tool"]["cibuildwheel"]["test-command"])
    shown = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    assert "INVALID_NAME" in shown.stdout
    misuse = ["excguard", "run", "--fail-on", "optional", "--", "python", "-m", "excguard.misuse"]
    done = subprocess.run([*misuse, "double_deallocate"], cwd=tmp_path, env=environ, check=False)
    assert done.returncode == 3


COMPILER = """\
#!{python}
import os, sys
arguments = [one for one in sys.argv[1:] if one != "-Wl,--exclude-libs,ALL"]  # which zig's linker lacks
command = [sys.executable, "-m", "ziglang", "cc", "-target", "aarch64-linux-gnu.2.28", *arguments]
os.execv(sys.executable, command)
"""

TOOLCHAIN = """\
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER {compiler})
set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)
"""


def test_everything_in_c_is_built_for_linux_on_aarch64(tmp_path: Path) -> None:
    """The wheel of that architecture is made on a machine of it; its C compiles and links here."""
    for module in ("ziglang", "cmake", "ninja"):
        pytest.importorskip(module)
    lief = pytest.importorskip("lief")
    compiler, toolchain, build = tmp_path / "cc", tmp_path / "toolchain.cmake", tmp_path / "build"
    compiler.write_text(COMPILER.format(python=sys.executable))
    compiler.chmod(0o755)
    toolchain.write_text(TOOLCHAIN.format(compiler=compiler))
    programs = Path(sys.executable).parent
    configure = [programs / "cmake", "-S", ROOT / "daemon", "-B", build, "-G", "Ninja"]
    options = {
        "CMAKE_MAKE_PROGRAM": programs / "ninja",
        "CMAKE_TOOLCHAIN_FILE": toolchain,
        "CMAKE_BUILD_TYPE": "Release",
        "EXCGUARD_WERROR": "ON",
        "Python_EXECUTABLE": sys.executable,
    }
    subprocess.run([*configure, *(f"-D{name}={value}" for name, value in options.items())], check=True)
    subprocess.run([programs / "ninja", "-C", build], check=True)

    made = {
        path.name: lief.parse(str(path))
        for path in build.rglob("*")
        if path.is_file() and path.suffix != ".o" and path.read_bytes()[:4] == b"\x7fELF"
    }
    assert {"_core.abi3.so", "excguard-guardian", "excsim-kernel", "libexcguard_insertion.so"} <= made.keys()
    for name, binary in made.items():
        assert binary.header.machine_type == lief.ELF.ARCH.AARCH64, name
        wanted = {re.sub(r"\.so.*", "", library) for library in binary.libraries}
        assert wanted <= {"libc", "libpthread", "libdl", "ld-linux-aarch64"}, name

"""The Homebrew formula of a release, from a source distribution and a lock file."""

import hashlib
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NAMES = sorted(re.split(r"[^\w-]", dependency)[0] for dependency in PROJECT["dependencies"])


@pytest.fixture
def sdist(tmp_path: Path) -> Path:
    path = tmp_path / "excguard-1.2.3.tar.gz"
    path.write_bytes(b"an archive")
    return path


def lock(directory: Path, names: list[str], *, sdist: bool = True) -> Path:
    path = directory / "pylock.toml"
    text = 'lock-version = "1.0"\n'
    for name in reversed(names):
        url = f"https://index.example/{name}-1.0.tar.gz"
        text += f'[[packages]]\nname = "{name}"\nversion = "1.0"\n'
        if sdist:
            text += f'sdist = {{ url = "{url}", hashes = {{ sha256 = "{"ab" * 32}" }} }}\n'
    path.write_text(text)
    return path


def run(*arguments: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ROOT / "packaging" / "homebrew.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_formula_has_the_release_and_every_dependency(sdist: Path, tmp_path: Path) -> None:
    done = run(sdist, lock(tmp_path, NAMES))

    assert done.returncode == 0, done.stderr
    text = done.stdout
    homepage = PROJECT["urls"]["Homepage"]
    assert f'url "{homepage}/releases/download/v1.2.3/excguard-1.2.3.tar.gz"' in text
    assert f'sha256 "{hashlib.sha256(b"an archive").hexdigest()}"' in text
    assert re.findall(r'resource "(.+)" do', text) == NAMES
    assert len(re.findall(r'"https://index\.example/', text)) == len(NAMES)
    description = re.search(r'desc "(.+)"', text)
    assert description is not None
    assert len(description[1]) <= 80  # brew audit
    assert "pip install" not in text


@pytest.mark.skipif(shutil.which("ruby") is None, reason="ruby is not installed")
def test_the_formula_is_ruby(sdist: Path, tmp_path: Path) -> None:
    formula = tmp_path / "excguard.rb"
    formula.write_text(run(sdist, lock(tmp_path, NAMES)).stdout)
    done = subprocess.run(["ruby", "-wc", formula], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout, done.stderr) == (0, "Syntax OK\n", "")


def test_a_dependency_without_a_source_distribution_is_named(sdist: Path, tmp_path: Path) -> None:
    done = run(sdist, lock(tmp_path, ["rich"], sdist=False))

    assert done.returncode == 1
    assert done.stderr.endswith("ValueError: rich 1.0: has no source distribution\n")

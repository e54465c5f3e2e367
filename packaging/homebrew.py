"""Writes the Homebrew formula of a release, from its source distribution and a lock file (PEP 751).

    uv pip compile --python-version 3.14 --python-platform macos pyproject.toml -o pylock.toml
    python packaging/homebrew.py dist/excguard-1.2.3.tar.gz pylock.toml > excguard.rb

Homebrew builds each dependency from its source distribution; a lock file names it, with its digest.
"""

import argparse
import hashlib
import re
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]

FORMULA = """\
class Excguard < Formula
  include Language::Python::Virtualenv

  desc "Catches and explains EXC_GUARD exceptions of macOS apps"
  homepage "{homepage}"
  url "{homepage}/releases/download/v{version}/{name}"
  sha256 "{digest}"
  license "Apache-2.0"

  depends_on "cmake" => :build
  depends_on "ninja" => :build
  depends_on "rust" => :build # for bcrypt and watchfiles
  depends_on "libyaml"
  depends_on macos: :monterey
  depends_on "python@{python}"

{resources}
  def install
    virtualenv_install_with_resources
  end

  test do
    assert_match "INVALID_NAME", shell_output("#{{bin}}/excguard decode 0x200002000000ab03 0")
  end
end
"""

RESOURCE = """\
  resource "{name}" do
    url "{url}"
    sha256 "{digest}"
  end
"""


def formula(sdist: Path, packages: list[dict[str, Any]], python: str) -> str:
    """The formula.

    Args:
        sdist: the source distribution that is released.
        packages: its dependencies, as a lock file has them.
        python: the version of Homebrew's Python, "3.14".

    Raises:
        ValueError: ``sdist`` is not one of excguard, or a dependency has no source distribution.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    version = re.fullmatch(r"excguard-(.+)\.tar\.gz", sdist.name)
    if version is None:
        raise ValueError(f"{sdist}: not a source distribution of excguard")
    resources = []
    for package in sorted(packages, key=lambda package: package["name"]):
        if "sdist" not in package:
            raise ValueError(f"{package['name']} {package['version']}: has no source distribution")
        found = package["sdist"]
        resource = RESOURCE.format(name=package["name"], url=found["url"], digest=found["hashes"]["sha256"])
        resources.append(resource)
    return FORMULA.format(
        homepage=project["urls"]["Homepage"],
        version=version[1],
        name=sdist.name,
        digest=hashlib.sha256(sdist.read_bytes()).hexdigest(),
        python=python,
        resources="\n".join(resources),
    )


def main() -> None:
    """Print the formula."""
    parser = argparse.ArgumentParser(description="Write the Homebrew formula of a release.")
    parser.add_argument("sdist", type=Path)
    parser.add_argument("lock", type=Path)
    parser.add_argument("--python", default="3.14", help="version of Homebrew's Python")
    arguments = parser.parse_args()
    packages = tomllib.loads(arguments.lock.read_text())["packages"]
    print(formula(arguments.sdist, packages, arguments.python), end="")


if __name__ == "__main__":
    main()

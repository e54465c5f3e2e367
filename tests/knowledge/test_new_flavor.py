"""The recipe of CONTRIBUTING.md for a new release: followed in a copy of the package, step by step."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest

import excguard

ROOT = Path(__file__).parents[2]
PACKAGE = Path(excguard.__file__).parent

RELEASES = "knowledge/releases.csv"
FLAVORS = "knowledge/flavors.csv"
PAGES = "knowledge/guards/mach_port.py"
LAYOUTS = "knowledge/guards/mach_port_layouts.py"

_PAGE = """
PAGES["TEAPOT"] = Page(
    "a message was sent to a teapot",
    ("a program that takes every port for a kettle",),
    "Send it to the kettle.",
    sources=("osfmk/mach/port.h (99.0 SDK)",),
    reported=("SHORT_AND_STOUT",),
)

GUARD_TYPE = """
_LAYOUT = """    "TEAPOT": (
        Payload(
            (
                Part(63, 56, "reason", "why", {1: "the lid is closed"}),
                Part(31, 0, "cups", "how many cups", words=names.counted("cups")),
            ),
            first=pack(99),
        ),
    ),
    "DESTROY": (Payload(_guard()),),
"""


def _neither_python_nor_table(directory: str, names: list[str]) -> list[str]:
    return [
        name
        for name in names
        if name == "__pycache__" or (Path(directory, name).is_file() and not name.endswith((".py", ".csv")))
    ]


class Copy:
    """A copy of the package."""

    def __init__(self, root: Path) -> None:
        """Copy what is Python or a table, and what writes docs/flavors.md."""
        self.package = root / "daemon" / "excguard"
        shutil.copytree(PACKAGE, self.package, ignore=_neither_python_nor_table)
        (root / "docs").mkdir()
        self.generator = Path(shutil.copy(ROOT / "docs" / "generate_flavors.py", root / "docs"))

    def edit(self, path: str, old: str, new: str) -> None:
        """Replace text that stands in a file once."""
        file = self.package / path
        text = file.read_text(encoding="utf-8")
        assert text.count(old) == 1, (path, old)
        file.write_text(text.replace(old, new), encoding="utf-8")

    def append(self, path: str, line: str) -> None:
        """Add a row at the end of a table."""
        with (self.package / path).open("a", encoding="ascii") as file:
            file.write(f"{line}\n")

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run Python on the copy: without site, which would import the installed package."""
        libraries = {str(Path(module.__file__ or "").parents[1]) for module in (click, msgspec)}
        path = os.pathsep.join([str(self.package.parent), *sorted(libraries)])
        return subprocess.run(
            [sys.executable, "-S", *arguments],
            env={**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            check=False,
        )

    def decode(self, code: int, subcode: int, release: str) -> Any:
        """What the copy's decode says, as JSON."""
        script = (
            "import sys, msgspec, excguard; code, subcode, release = sys.argv[1:]; "
            "print(msgspec.json.encode(excguard.decode(int(code), int(subcode), release).to_dict()).decode())"
        )
        done = self.run("-c", script, str(code), str(subcode), release)
        assert not done.stderr
        return json.loads(done.stdout)


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    """A fresh copy with the new release and a row for its flavor: steps 1 and 2."""
    copied = Copy(tmp_path)
    copied.append(RELEASES, "99.0,20000.1.1,MACH_PORT,headers of the 99.0 SDK")
    copied.append(FLAVORS, "MACH_PORT,0x13,kGUARD_EXC_TEAPOT,99.0,,sdk-99.0,,osfmk/mach/port.h,flavor,")
    return copied


def test_the_recipe_names_the_files_that_are_edited_here() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    recipe = text.partition("## Adding a release or a flavor")[2].partition("\n## ")[0]
    first_words = re.findall(r"^\d\. `(knowledge/[^`]+)`", recipe, re.MULTILINE)

    assert first_words == [RELEASES, FLAVORS, PAGES, LAYOUTS]
    assert "`python docs/generate_flavors.py`" in recipe


def test_a_flavor_added_by_the_recipe(copy: Copy) -> None:
    copy.edit(PAGES, "\nGUARD_TYPE = ", _PAGE)
    copy.edit(LAYOUTS, '    "DESTROY": (Payload(_guard()),),\n', _LAYOUT)

    code = 1 << 61 | 0x13 << 32 | 0x203
    found = copy.decode(code, 1 << 56 | 2, "99.0")
    assert (found["flavor_name"], found["severity"], found["known"]) == ("TEAPOT", "fatal", True)
    assert found["summary"] == ("TEAPOT on port 0x203: a message was sent to a teapot (the lid is closed).")
    assert [(f["name"], f["value"], f["text"]) for f in found["payload_fields"]] == [
        ("reason", "0x1", "the lid is closed"),
        ("cups", "0x2", "2 cups"),
    ]
    assert (found["advice"], found["notes"]) == ("Send it to the kettle.", [])
    assert copy.decode(code, 0, "27.0")["flavor_name"] is None
    assert copy.decode(1 << 61 | 0x200 << 32, 0, "99.0")["flavor_name"] == "INVALID_NAME"

    explained = copy.run("-m", "excguard", "explain", "short and stout", "--os", "99.0")
    assert "99.0 ├─ 0x13 fatal ─▶" in explained.stdout, explained.stderr
    assert re.search(r"│ reason │ +0 +│ +cups +│", explained.stdout)

    assert copy.run(copy.generator).returncode == 0
    assert "### TEAPOT" in copy.generator.with_name("flavors.md").read_text(encoding="utf-8")

    header = copy.generator.with_name("guard_table.h")
    assert copy.run(copy.package / "knowledge" / "generate_c.py", header).returncode == 0
    assert "EXCGUARD_GUARD_ROW(1, 0x13, " in header.read_text()
    assert '"kGUARD_EXC_TEAPOT"' in header.read_text()


def test_a_flavor_without_its_page_stops_the_build_and_is_not_decoded(copy: Copy) -> None:
    said = (
        "flavors.csv has the MACH_PORT flavor TEAPOT, but knowledge/guards/mach_port.py has no page for it: "
        "add one to its PAGES"
    )

    built = copy.run(copy.package / "knowledge" / "generate_c.py", copy.package / "out.h")
    assert (built.returncode, built.stderr) == (1, f"excguard: {said}\n")
    assert not (copy.package / "out.h").exists()

    asked = "import excguard; excguard.decode(1 << 61 | 0x13 << 32, 0, '99.0')"
    assert said in copy.run("-c", asked).stderr

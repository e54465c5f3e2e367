"""docs/design.md names the rooms and floors that import-linter checks, and files that exist."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "daemon" / "excguard"
MAX_ROOMS = 24
ENTRY_POINTS = {"__main__", "sim"}
"""Modules of a few lines, for `python -m`."""


def floors() -> list[set[str]]:
    """The rooms of each floor, from the top, as the contract in pyproject.toml has them."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    return [set(re.findall(r"\w+", layer)) for layer in layers]


def test_the_table_has_the_floors_of_the_contract() -> None:
    rows = re.findall(r"(?m)^\| (\d+) \| `(\w+)` \|", (ROOT / "docs/design.md").read_text())
    by_floor: dict[int, set[str]] = {}
    for floor, room in rows:
        by_floor.setdefault(int(floor), set()).add(room)

    assert [by_floor[floor] for floor in sorted(by_floor, reverse=True)] == floors()


def test_every_room_is_on_a_floor() -> None:
    rooms = {
        path.stem
        for path in PACKAGE.iterdir()
        if path.suffix == ".py" or (path.is_dir() and any(path.glob("*.py")))
    } - {"__init__"}

    assert rooms <= set().union(*floors())
    assert len(rooms - ENTRY_POINTS) <= MAX_ROOMS


@pytest.mark.parametrize("page", sorted(ROOT.glob("docs/*.md")), ids=lambda page: page.stem)
def test_files_that_a_page_names_exist(page: Path) -> None:
    for name in re.findall(
        r"`((?:daemon|tests|docs|bench|launchd|dashboards|\.ci)/[\w./-]+)`", page.read_text()
    ):
        assert (ROOT / name).exists(), name

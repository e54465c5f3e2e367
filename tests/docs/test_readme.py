"""The first example of the README shows what excguard prints."""

import os
import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"


def neutral(text: str) -> list[str]:
    """The lines of a hit, without what differs: time, program, process id, place, column widths."""
    text = re.sub(r"^\d\d:\d\d:\d\d\.\d{3} ", "", text)
    text = re.sub(r"  \S+ \(pid \d+\)  ", "  PROGRAM  ", text)
    text = re.sub(r", in \S+\+0x[0-9a-f]+$", ", in PLACE", text, flags=re.MULTILINE)
    return text.splitlines()


def test_the_example_is_what_excguard_prints() -> None:
    block = re.search(r"```console\n\$ excguard run -- ./app\n(.*?)```", README.read_text(), re.DOTALL)
    assert block is not None
    misuse = [sys.executable, "-m", "excguard.misuse", "double_deallocate"]
    done = subprocess.run(
        [sys.executable, "-m", "excguard", "run", "--", *misuse],
        env={name: value for name, value in os.environ.items() if name != "COLUMNS"},
        capture_output=True,
        text=True,
        check=True,
    )
    start = re.search(r"(?m)^\d\d:\d\d:\d\d\.\d{3} ", done.stderr)
    assert start is not None
    printed = neutral(done.stderr[start.start() :])

    expected = neutral(block[1])

    assert printed[: len(expected)] == expected

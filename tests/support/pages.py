"""The commands that a page shows."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def commands(page: Path) -> list[str]:
    """The command lines of the shell blocks of a page, in order, without their comments."""
    found = []
    for language, block in re.findall(r"(?m)^ *```(\w+)\n((?:.*\n)*?) *```$", page.read_text()):
        if language == "console":
            lines = [line[2:] for line in block.splitlines() if line.startswith("$ ")]
        elif language == "sh":
            lines = re.sub(r"\\\n\s*", "", block).splitlines()
        else:
            continue
        found += [stripped for line in lines if (stripped := re.sub(r"(?:^|\s{2,})#.*", "", line).strip())]
    return found


def section(page: Path, title: str) -> str:
    """The text of a page below a heading, to the next one of its level."""
    level, text = re.findall(rf"(?ms)^(#+) {re.escape(title)}$(.*?)(?=^#|\Z)", page.read_text())[0]
    assert level
    return text

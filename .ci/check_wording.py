"""Checks the English of what people read: `python .ci/check_wording.py [--lines] [--strict] [PATH...]`.

Prints for each file how many of its lines use a word that the project does not use. With --lines, prints the
lines too. With --strict, exits with 1 when there is one. WORDS has the replacement of each word. An exception
is an entry of ALLOWED, with its reason.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]


class Word(NamedTuple):
    """A word that is not used here."""

    pattern: str
    """A regular expression; letters before and after it do not belong to it."""
    instead: str
    """What to write."""

    def is_in(self, line: str) -> bool:
        """Whether a line has it, be it as a part of an identifier."""
        flags = re.IGNORECASE if self.pattern.islower() else 0
        return re.search(rf"(?<![A-Za-z])(?:{self.pattern})(?![a-z])", line, flags) is not None


WORDS = [
    Word("tell|tells|telling|told", "report, log, deliver, state"),
    Word("nobody|anybody|somebody|everybody", "the process, user or program that is meant"),
    Word("mend|mends|mended|mending", "fix"),
    Word(
        "(?<!there )(?<!there's )(is|are|was|were) no (?!longer|more|less|later|earlier|[\"']?$)", "is not a"
    ),
    Word("knows|knew", "has, reads, recognizes"),
    Word("bells?", "wakeup pipe"),
    Word("intake", "collector"),
    Word("sightings?", "external hit"),
    Word("answerers?", "message handler"),
    Word("folders?", "directory"),
    Word("MOST_", "MAX_"),
    Word("at leisure", "asynchronously"),
    Word("in good time", "before ..."),
    Word("as ever", "as usual"),
    Word("(hang|hangs|hung) (on|upon)", "depends on"),
    Word("who may come in", "access control"),
    Word("come what may", "in every case"),
    Word("for ever", "forever"),
    Word("eyes for|an eye on", "reads"),
    Word("colou?r(?<=our)s?|behaviours?|licences?|neighbours?", "the American spelling, as in the code"),
    Word("(initial|recogn|serial|normal|organ)is(e|es|ed|er|ers|ing|ation)", "likewise, with z"),
]

SUFFIXES = {
    *(".1", ".c", ".cdef", ".cmake", ".conf", ".css", ".csv", ".h", ".html", ".js", ".json", ".md"),
    *(".plist", ".py", ".pyi", ".sh", ".toml", ".txt", ".yaml", ".yml"),
}
NAMES = {"run"}
SKIPPED = [
    "tests/data/",  # recorded elsewhere
    "tests/sources/kernel_lines.jsonl",  # likewise
    "bench/data/",  # likewise
    "daemon/simulator/include/",  # names of Apple's
    "dashboards/grafana.json",  # Grafana's schema has folders
    ".ci/check_wording.py",
]

ALLOWED: dict[tuple[str, str], str] = {
    (
        "daemon/excguard/config/file.py",
        '("crash_reports", "folders", "directories"),',
    ): "the old name of a key, which is still accepted",
    ("daemon/excguard/crash_reports/unpacking.py", "def tell(self) -> int:"): "the name of Python's files",
    (
        "tests/config/test_config.py",
        '"f.toml: [crash_reports]: folders is deprecated; it is now named directories",',
    ): "likewise",
    (
        "tests/cli/test_config_command.py",
        'f"{file}: [crash_reports]: folders is deprecated; it is now named directories"',
    ): "likewise",
}
"""(path, text of the line that has the word) -> reason."""


def files(paths: list[str]) -> list[Path]:
    """The files under version control that are looked at."""
    listed = subprocess.run(  # noqa: S603
        ["git", "ls-files", "--", *paths],  # noqa: S607 - found on PATH
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    wanted = [ROOT / name for name in listed if not name.startswith(tuple(SKIPPED))]
    return [path for path in wanted if path.is_file() and (path.suffix in SUFFIXES or path.name in NAMES)]


def found(text: str) -> list[tuple[int, str, Word]]:
    """Number and text of each line that has a word, and the first such word."""
    lines = []
    for number, line in enumerate(text.splitlines(), 1):
        word = next((word for word in WORDS if word.is_in(line)), None)
        if word:
            lines.append((number, line.strip(), word))
    return lines


def main() -> int:
    """Looks at all files; 1 when --strict is given and a word was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("paths", nargs="*", metavar="PATH")
    parser.add_argument("--lines", action="store_true", help="print the lines")
    parser.add_argument("--strict", action="store_true", help="exit with 1 when a line is found")
    options = parser.parse_args()
    total = 0
    unused = set(ALLOWED) if not options.paths else set()
    for path in files(options.paths):
        name = str(path.relative_to(ROOT))
        lines = found(path.read_text())
        unused -= {(name, line) for _, line, _ in lines}
        lines = [one for one in lines if (name, one[1]) not in ALLOWED]
        if not lines:
            continue
        total += len(lines)
        print(f"{len(lines):5}  {name}")
        if options.lines or options.strict:
            for number, line, word in lines:
                print(f"       {name}:{number}: {line[:160]}\n           write: {word.instead}")
    for name, line in sorted(unused):
        total += 1
        print(f"       .ci/check_wording.py: no longer needed: the exception for {name}: {line}")
    print(f"{total:5}  lines with words that are not used here")
    return int(options.strict and total > 0)


if __name__ == "__main__":
    sys.exit(main())

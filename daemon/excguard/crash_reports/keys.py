"""Keys of text reports with their values: "Exception Type:  EXC_GUARD (SIGKILL)".

A line can hold several, as rows of tables and pastes without line ends do. The separator can be a colon, the
bar of a table, an equals sign or a tab.
"""

from __future__ import annotations

import csv
import re

_ANYWHERE = (
    r"(?i:exception[ _](?:type|codes?|subtype|message|notes?|reason)|termination[ _]reason)"
    r"|Process|Parent Process|Responsible Process|Responsible|OS Version|Code Type|Incident Identifier"
    r"|Crash ?Reporter Key|Hardware Model|Report Version|Date/Time|Launch Time|Crashed Thread"
    r"|Triggered by Thread|Operating system|Crash reason|Terminating Process"
)
_AT_START = (
    r"Crash(?=\|EXC_)|process|os version|OS|Command"
    r"|Path|Event|Duration|PID|Platform|CPU|Identifier|Bundle|pid|path"
)
_DECORATION = r"\s>|*#+\-\u2022"
DECORATION = " \t>|*#+-\u2022"
"""What can stand before the words of a line in a quotation, a table or a list."""

_END = r"[*_`]{0,3}\s{0,40}[:|=\t][*_`]{0,3}"
_KEY = re.compile(rf"(?<!\w)({_ANYWHERE}){_END}")
_FIRST = re.compile(rf"[{_DECORATION}]{{0,40}}({_AT_START}){_END}")
_NUMBERED = re.compile(r"\[\d{1,10}\]$")
_ALONE = frozenset(
    {
        *("Exception Type", "Exception Codes", "Exception Subtype", "Exception Message"),
        *("Termination Reason", "Process", "OS Version"),
    }
)
_SEPARATORS = re.compile(r"[:|=\t]")
HINTS = (
    *("xception", "rocess", "ermination", "Report", "OS V", "Code T", "Crash", "Trigg"),
    *("Date/", "Hardware", "Incident", "Launch T", "Operating", "Responsible"),
)
"""One of them is in every line with a key that can stand anywhere: far faster to look for than the keys."""
_NAMES = {
    "Exception Code": "Exception Codes",
    "Exception Notes": "Exception Note",
    "Crash Reporter Key": "CrashReporter Key",
    "Crash": "Crash reason",  # minidump-stackwalk -m
    "process": "Process",
    "os version": "OS Version",
    "pid": "PID",
    "path": "Path",
}


def pairs(line: str) -> list[tuple[str, str]]:
    """The keys of a line, in one spelling, with their values; [] when it has none."""
    if not _SEPARATORS.search(line):
        alone = line.strip(DECORATION + "`")
        return [(alone, "")] if alone in _ALONE else []  # its value is on the next line
    matches = [first] if (first := _FIRST.match(line)) else []
    if any(hint in line for hint in HINTS):
        matches += _KEY.finditer(line, first.end() if first else 0)
    if not matches:
        return []
    ends = [match.start() for match in matches[1:]] + [len(line)]
    found = [(match[1], _value(line[match.end() : end])) for match, end in zip(matches, ends, strict=True)]
    # Lines of logs begin with "process:" too: there its name has no number behind it.
    return [(_canonical(key), value) for key, value in found if key != "process" or _NUMBERED.search(value)]


def _canonical(key: str) -> str:
    if key[:1] in "eEtT" and key.lower().startswith(("exception", "termination")):
        key = key.replace("_", " ").title()
    return _NAMES.get(key, key)


def _value(text: str) -> str:
    text = text.rstrip("\\").strip().strip("|").strip()
    if "*" in text or "`" in text:  # Markdown's
        text = text.replace("**", "").strip("`").replace("` ", " ").replace(" `", " ")
    return text.strip()


def cells(line: str) -> list[str]:
    """The cells of a row of a table, of Markdown, osqueryi or CSV."""
    if "|" not in line and "," in line:
        return next(csv.reader([line]), [])
    return [cell.strip() for cell in line.strip().strip("|").split("|")]

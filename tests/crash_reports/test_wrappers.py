"""Two documents in one text, in whatever people and tools wrap text in, give the sum of both."""

import html
import json
import random
from collections.abc import Callable

import pytest

from excguard import crash_reports
from tests.crash_reports import test_corpus

DOCUMENTS = [
    *map(test_corpus._printed, test_corpus.PRINTED),
    *(test_corpus._json(entry, pretty=pretty) for entry in test_corpus.IN_JSON for pretty in (True, False)),
    *(path.read_text() for path in sorted((test_corpus.DATA / "reports").iterdir())),
]


def _lines(wrap: Callable[[int, str], str]) -> Callable[[str], str]:
    return lambda text: "\n".join(wrap(number, line) for number, line in enumerate(text.split("\n"), 1))


WRAPPERS: dict[str, Callable[[str], str]] = {
    "none": lambda text: text,
    "quote": _lines(lambda _, line: f"> {line}"),
    "quote in a quote": _lines(lambda _, line: f">> {line}"),
    "indentation": _lines(lambda _, line: f"    {line}"),
    "tab": _lines(lambda _, line: f"\t{line}"),
    "fence": lambda text: f"```\n{text}\n```",
    "fence in a list": lambda text: (
        "- it crashed:\n  ```\n" + _lines(lambda _, line: f"  {line}")(text) + "\n  ```"
    ),
    "tildes": lambda text: f"~~~text\n{text}\n~~~",
    "details": lambda text: f"<details><summary>crash</summary>\n\n```\n{text}\n```\n</details>",
    "HTML pre": lambda text: f"<pre><code>{html.escape(text)}</code></pre>",
    "HTML lines": lambda text: "<p>" + html.escape(text).replace("\n", "<br>\n") + "</p>",
    "HTML without line ends": lambda text: "<div>" + html.escape(text).replace("\n", "<br/>") + "</div>",
    "JSON string": json.dumps,
    "JSON object": lambda text: json.dumps({"body": text, "user": "x"}),
    "indented JSON": lambda text: json.dumps({"issue": {"body": text}}, indent=2),
    "JSON in JSON": lambda text: json.dumps({"log": json.dumps({"message": text})}),
    "JSON with escaped slashes": lambda text: json.dumps({"text": text}).replace("/", "\\/"),
    "escapes without quotes": lambda text: json.dumps(text)[1:-1],
    "log records of JSON": _lines(lambda number, line: json.dumps({"time": number, "message": line})),
    "Markdown table": _lines(lambda _, line: "| " + line.replace("|", "\\|") + " |"),
    "Markdown escapes": lambda text: text.replace("_", "\\_"),
    "bold keys": lambda text: text.replace("Exception Type:", "**Exception Type:**").replace(
        "Termination Reason:", "**Termination Reason**:"
    ),
    "CRLF": lambda text: text.replace("\n", "\r\n"),
    "CR": lambda text: text.replace("\n", "\r"),
    "chat": lambda text: f"[10:31 AM] alice: look at this\n{text}",
    "chat, each line": _lines(lambda number, line: f"[10:31:{number % 60:02}] alice: {line}"),
    "log, each line": _lines(
        lambda number, line: f"2026-01-02T10:00:00.{number:03}Z INFO  collector: {line}"
    ),
    "grep": _lines(lambda number, line: f"crash.txt:{number}:{line}"),
    "line numbers": _lines(lambda number, line: f"{number:6}  {line}"),
    "diff": _lines(lambda _, line: f"+{line}"),
    "list": _lines(lambda _, line: f"* {line}"),
    "comments": _lines(lambda _, line: f"# {line}"),
    "comments of C": _lines(lambda _, line: f"// {line}"),
    "terminal colors": _lines(lambda _, line: f"\x1b[31m{line}\x1b[0m"),
    "no-break spaces": lambda text: text.replace("  ", " \u00a0"),
    "typographic quotes": lambda text: text.replace('"', "\u201d"),
    "CSV cell": lambda text: '1,"' + text.replace('"', '""') + '",x',
    "quoted-printable": lambda text: text.replace("=", "=3D").replace("guarded", "guar=\nded"),
    "byte order mark": lambda text: f"\ufeff{text}",
}


def _violations(text: str) -> list[tuple[object, ...]]:
    return [
        (
            found.code,
            found.subcode,
            found.guard_type,
            found.flavor_name,
            found.release,
            report.process,
            report.pid,
        )
        for report in crash_reports.read_all(text)
        for found in report.violations
    ]


@pytest.mark.parametrize("name", WRAPPERS)
def test_two_documents_in_one_text_give_the_sum_of_both(name: str) -> None:
    wrap = WRAPPERS[name]
    rng = random.Random(name)  # noqa: S311 - the same pairs in every run
    for _ in range(25):
        one, other = rng.choice(DOCUMENTS), rng.choice(DOCUMENTS)
        join = rng.choice(["\n", "\n\n", "\n\nand\n\n", "\n---\n"])
        text = wrap(one) + join + wrap(other) if rng.random() < 0.5 else wrap(one + join + other)

        assert _violations(text) == _violations(one) + _violations(other), text


def test_every_wrapper_leaves_one_document_as_it_is() -> None:
    for name, wrap in WRAPPERS.items():
        for text in random.Random(name).sample(DOCUMENTS, 10):  # noqa: S311 - likewise
            assert _violations(wrap(text)) == _violations(text), (name, text)

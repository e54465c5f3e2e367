"""Writes the documentation's page of all guards: `python -m excguard.knowledge.generate_docs OUT.md`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from excguard.knowledge import flavors, pages, payload

if TYPE_CHECKING:
    from collections.abc import Iterator

_HEAD = """\
# Every guard

<!-- Generated: python -m excguard.knowledge.generate_docs docs/flavors.md; a test holds it up to date. -->

An `EXC_GUARD` code has the guard type in bits 63 to 61, the flavor in bits 60 to 32 and the target in bits 31
to 0; the subcode is the payload. The same flavor number means different things on different releases:
`excguard decode CODE SUBCODE --os RELEASE` picks the right one, and `excguard explain NAME` shows one of the
entries below.

What a severity means for the process:
"""


def document() -> str:
    """The text of the page."""
    found = pages.every()
    lines = [_HEAD]
    lines += [f"- **{severity}**: {text}" for severity, text in pages.FATES.items()]
    lines += ["", "How sure a reading is, as `payload_fields` say:", ""]
    lines += [f"- **{confidence}**: {text}" for confidence, text in payload.CONFIDENCES.items()]
    for guard_type, number in flavors.TYPE_NUMBERS.items():
        mine = [page for page in found if page.guard_type == guard_type]
        lines += ["", f"## {guard_type} (type {number})", ""]
        if len(mine) > 1:
            lines += ["| Newest number | Name | Severity | Rule |", "|---|---|---|---|"]
            lines += [_row(page) for page in mine]
        for page in mine:
            lines += _section(page)
    return "\n".join(lines) + "\n"


def _row(page: pages.Page) -> str:
    era = page.timeline[-1]
    gone = f" (until {era.last})" if era.last else ""
    name = f"[{page.name}](#{_anchor(page)})"
    return f"| `{era.value:#x}`{gone} | {name} | {era.severity} | {_escaped(page.rule)} |"


def _anchor(page: pages.Page) -> str:
    return f"{page.guard_type}-{page.name}".lower()


def _section(page: pages.Page) -> Iterator[str]:
    yield ""
    yield f'<a id="{_anchor(page)}"></a>'
    yield ""
    yield f"### {page.name}"
    yield ""
    yield f"{_escaped(page.rule)}."
    yield ""
    if page.aliases:
        yield f"Also: {', '.join(f'`{alias}`' for alias in page.aliases)}."
        yield ""
    for era in page.timeline:
        value = f"`{era.value:#x}`, " if era.value is not None else ""
        until = f" to {era.last}" if era.last else " and later"
        yield f"- macOS {era.first}{until}: {value}{era.severity}"
    yield from (f"- {other}" for other in page.others)
    yield f"- Target: {_escaped(page.target)}."
    if not page.payload:
        yield f"- Payload: {page.payload_text}."
    for part in page.payload:
        yield f"- Payload bits {part.high} to {part.low}, `{part.name}`: {_escaped(part.text)}."
        yield from (f"    - `{value:#x}`: {_escaped(text)}" for value, text in part.values.items())
    yield from _paragraphs("Causes", page.causes)
    yield ""
    yield f"Mend: {_escaped(page.advice)}"
    yield from _paragraphs("Notes", page.notes)
    yield from _paragraphs("Sources", page.sources)


def _paragraphs(title: str, items: tuple[str, ...]) -> Iterator[str]:
    if items:
        yield ""
        yield f"{title}:"
        yield ""
        yield from (f"- {_escaped(item)}" for item in items)


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*").replace("<", "&lt;")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m excguard.knowledge.generate_docs OUT.md")
    Path(sys.argv[1]).write_text(document(), encoding="utf-8")

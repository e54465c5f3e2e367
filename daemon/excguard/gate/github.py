"""A run for GitHub Actions: annotations on standard output, and the job's summary page.

GitHub keeps at most ten error and ten warning annotations of a step and drops the rest without a word
(docs.github.com, "Workflow commands for GitHub Actions"), so the worst sites come first and the last
annotation of a kind counts what it stands for. The summary page takes 1 MiB a step.
"""

from collections.abc import Iterator, Sequence

from excguard.files.escaping import printable
from excguard.gate.baseline import Entry
from excguard.gate.site_result import SiteResult, Standing
from excguard.gate.verdict import Verdict

MAX_ANNOTATIONS = 10
"""Of each kind a step."""

MAX_SUMMARY = 1 << 20
"""Bytes of a step's summary that GitHub accepts."""

_MAX_ROWS = 500

_ESCAPES = {ord(character): f"&#{ord(character)};" for character in "\\`*_{}[]<>#|!@&~"}


def commands(verdict: Verdict) -> str:
    """Workflow commands, one a line: errors for sites that fail the run, warnings for the other ones.

    Sites in the baseline and ignored ones are not annotated: they stand in the summary.
    """
    failing = verdict.failing
    others = [site for site in verdict.sites if site.standing is Standing.TOLERATED and site not in failing]
    lines = [*_commands("error", failing), *_commands("warning", others)]
    if verdict.strict and verdict.stale:
        names = ", ".join(entry.id for entry in verdict.stale[:MAX_ANNOTATIONS])
        text = f"{len(verdict.stale)} baseline entries no longer occur: {names}. Remove them."
        lines.append(_command("notice", "excguard: stale baseline", text))
    return "".join(f"{line}\n" for line in lines)


def summary(name: str, verdict: Verdict, *, blind: Sequence[str] = ()) -> str:
    """The section of a run for ``$GITHUB_STEP_SUMMARY``, in GitHub's Markdown.

    Args:
        name: what the program is called.
        verdict: of its run.
        blind: one line a severity that the run could not see, with the reason.
    """
    result = "failed" if verdict.failed else "passed"
    lines = [f"### excguard: {_cell(name)} {result}", ""]
    if verdict.sites:
        lines += ["| | hits | severity | rule | place | what happened |", "|---|---:|---|---|---|---|"]
        lines += [_row(site) for site in verdict.sites[:_MAX_ROWS]]
        if len(verdict.sites) > _MAX_ROWS:
            lines.append(f"| | | | | | {len(verdict.sites) - _MAX_ROWS} more sites |")
    elif blind:
        lines.append("No guard hits were seen.")
    else:
        lines.append("No guard hits.")
    lines += ["", *(f"- Not visible: {_cell(line)}" for line in blind)]
    lines += [f"- No longer occurs: {_named(entry)}" for entry in verdict.stale[:_MAX_ROWS]]
    lines += [f"- Expired: {_named(entry)}, on {entry.expires}" for entry in verdict.expired[:_MAX_ROWS]]
    text = "\n".join(lines).rstrip() + "\n"
    return text if len(text.encode()) <= MAX_SUMMARY else "\n".join(lines[:2]) + "\nToo many sites to list.\n"


def _commands(kind: str, sites: Sequence[SiteResult]) -> Iterator[str]:
    shown = sites if len(sites) <= MAX_ANNOTATIONS else sites[: MAX_ANNOTATIONS - 1]
    for site in shown:
        advice = f"\nFix: {site.advice}" if site.advice else ""
        yield _command(
            kind,
            f"{site.flavor} in {site.place or site.executable}",
            f"{site.summary}{advice}\nsite {site.id}, hits: {site.hits}"
            + (f"\n{site.note}" if site.note else ""),
        )
    rest = sites[len(shown) :]
    if rest:
        hits = sum(site.hits for site in rest)
        yield _command(
            kind, "excguard", f"{len(rest)} more sites with {hits} hits: see the summary of this step."
        )


def _command(kind: str, title: str, text: str) -> str:
    return f"::{kind} title={_property(title)}::{_data(text)}"


def _data(text: str) -> str:
    return "%0A".join(printable(line).replace("%", "%25") for line in text.split("\n"))


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _row(site: SiteResult) -> str:
    cells = (
        site.standing.value,
        str(site.hits),
        site.severity or "unknown",
        f"`{site.flavor}`",
        _cell(site.place or site.executable),
        f"{_cell(site.summary)}<br>`{site.id}`" + (f" {_cell(site.note)}" if site.reason else ""),
    )
    return "| " + " | ".join(cells) + " |"


def _named(entry: Entry) -> str:
    return f"`{entry.id}` {_cell(entry.flavor)} {_cell(entry.place)}".rstrip()


def _cell(text: str) -> str:
    """Text from outside in a cell: no markup, no line break, nothing that is not shown as itself."""
    return printable(" ".join(text.split())).translate(_ESCAPES)

"""The gate of `excguard run`: its options, the verdict on a run's sites, and what build servers get of it."""

from __future__ import annotations

import os
from collections import defaultdict
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from excguard.cli import summary
from excguard.files import opening
from excguard.files.escaping import printable
from excguard.gate import baseline as baseline_file
from excguard.gate import code_quality, github
from excguard.gate.baseline import Baseline, BaselineError, Entry
from excguard.gate.site_result import SiteResult, Standing
from excguard.gate.verdict import Verdict, accept, judge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from excguard.gate.verdict import IgnoreRule
    from excguard.pipeline.journal import HitCounter
    from excguard.pipeline.tally import SiteTally

_OPTIONS = (
    click.option(
        "--baseline",
        type=click.Path(dir_okay=False, path_type=Path),
        help="Known sites (TOML): they do not fail the run. Without --fail-on, any other hit does.",
    ),
    click.option("--update-baseline", is_flag=True, help="Add this run's sites to the baseline."),
    click.option(
        "--baseline-strict",
        is_flag=True,
        help="Fail also for entries that have expired or no longer occur; --update-baseline removes these.",
    ),
    click.option(
        "--ci",
        type=click.Choice(["auto", "github", "none"]),
        default="auto",
        show_default=True,
        help="github: annotations and a job summary; auto: where GITHUB_ACTIONS is set.",
    ),
    click.option(
        "--code-quality",
        type=click.Path(dir_okay=False, path_type=Path),
        help="Write the sites as a GitLab Code Quality report.",
    ),
)

NAMES = ("baseline", "update_baseline", "baseline_strict", "ci", "code_quality")
"""The parameters of the options."""


def options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the gate's options to a command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


class Gate:
    """What a run is held against. Problems of its files are found before the run."""

    def __init__(  # noqa: PLR0913 - one an option
        self,
        rules: Sequence[IgnoreRule],
        *,
        fail_on: str | None,
        baseline: Path | None,
        update_baseline: bool,
        baseline_strict: bool,
        ci: str,
        code_quality: Path | None,
    ) -> None:
        """Read the baseline.

        Raises:
            click.UsageError: it cannot be read, or options contradict each other.
        """
        if baseline is None and (update_baseline or baseline_strict):
            option = "--update-baseline" if update_baseline else "--baseline-strict"
            raise click.UsageError(f"{option} needs --baseline FILE")
        self.fail_on = fail_on or ("never" if baseline is None else "soft")
        self._rules = rules
        self._path = baseline
        self._update = update_baseline
        self._strict = baseline_strict
        self._github = ci == "github" or (ci == "auto" and bool(os.environ.get("GITHUB_ACTIONS")))
        self._code_quality = code_quality
        self._baseline = Baseline()
        if baseline is not None and update_baseline and not baseline.absolute().parent.is_dir():
            raise click.UsageError(f"{baseline}: cannot write the baseline: its directory does not exist")
        if baseline is not None and (baseline.exists() or not update_baseline):
            try:
                self._baseline = baseline_file.load(baseline)
            except BaselineError as error:
                raise click.UsageError(str(error)) from None

    def judge(self, tallies: Iterable[SiteTally], counters: Iterable[HitCounter]) -> Outcome:
        """The verdict on a run.

        Args:
            tallies: the hits by flavor and program counter.
            counters: the hits by flavor, exactly, also those that no tally has.
        """
        sites = _sites(tallies, self.fail_on)
        verdict = judge(
            sites, self._baseline, self._rules, today=_today(), strict=self._strict and not self._update
        )
        if self._update:
            accept(verdict)
        # Hits that the journal had no room for belong to no site, so they cannot have been accepted.
        exact = sum(one.hits for one in counters if summary.meets([one.severity], self.fail_on))
        lost = exact - sum(site.hits for site in verdict.sites if site.meets_fail_on)
        return Outcome(verdict, lost)

    def publish(self, name: str, outcome: Outcome, blind: Sequence[str]) -> list[str]:
        """Write what the options ask for; the lines to show people.

        Args:
            name: what the program is called.
            outcome: the verdict on its run.
            blind: one line a severity that the run could not see, with the reason.

        Raises:
            BaselineError: the baseline cannot be written.
            OSError: another file cannot.
        """
        verdict = outcome.verdict
        lines = []
        if self._path is not None and self._update:
            accepted = [site for site in verdict.sites if site.standing is not Standing.IGNORED]
            added, removed = baseline_file.update(
                self._path, accepted, today=_today(), remove_stale=self._strict
            )
            lines.append(f"{self._path}: {added} sites added, {removed} removed")
            if unnamed := sum(site.precision == "offset" for site in accepted):
                lines.append(
                    f"sites without the name of a function: {unnamed}; their ids are others in the next "
                    "build (--dsym DIR names them)"
                )
        elif self._path is not None or self._rules:
            lines.append(_counts(verdict))
            lines += [
                f"{site.standing}: {site.flavor} in {printable(site.place or site.executable)} ({site.id})"
                for site in verdict.failing
            ]
            if self._strict:
                lines += [f"no longer occurs: {_named(entry)}" for entry in verdict.stale]
                lines += [f"expired: {_named(entry)}, on {entry.expires}" for entry in verdict.expired]
        if self._code_quality is not None:
            opening.write(self._code_quality, code_quality.render(verdict))
        if self._github:
            # The runner reads commands from both streams; standard output is the program's.
            lines += github.commands(verdict).splitlines()
            if path := os.environ.get("GITHUB_STEP_SUMMARY"):
                opening.append(Path(path), github.summary(name, verdict, blind=blind).encode())
        return lines

    @property
    def files(self) -> list[Path]:
        """The files that `publish` writes anew."""
        return [self._code_quality] if self._code_quality is not None else []

    @property
    def updates(self) -> bool:
        """Whether this run writes the baseline: then it accepts what it finds."""
        return self._update


class Outcome(msgspec.Struct, frozen=True):
    """The verdict on a run.

    Attributes:
        verdict: on its sites.
        lost: hits that reach ``--fail-on`` and belong to no site, since the journal was full.
    """

    verdict: Verdict
    lost: int

    @property
    def failed(self) -> bool:
        """Whether the run fails."""
        return self.verdict.failed or self.lost > 0

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        found: dict[str, Any] = msgspec.to_builtins(self.verdict)
        return {"failed": self.failed, **found}


def _named(entry: Entry) -> str:
    place = f", in {printable(entry.place)}" if entry.place else ""
    return f"{printable(entry.flavor)} ({entry.id}){place}"


def _today() -> date:
    return datetime.now(UTC).date()


def _counts(verdict: Verdict) -> str:
    counts: dict[str, int] = defaultdict(int)
    for site in verdict.sites:
        counts[site.standing.value] += 1
    shown = ", ".join(f"{counts[standing]} {standing}" for standing in map(str, Standing) if counts[standing])
    return f"sites: {shown or 'none'}"


def _sites(tallies: Iterable[SiteTally], fail_on: str) -> list[SiteResult]:
    """The tallies by site, the worst first."""
    found: dict[str, SiteResult] = {}
    for tally, violation in summary.explained(tallies):
        site = tally.site
        known = found.get(site.id)
        if known is not None:
            known.hits += tally.hits
            known.report = known.report or tally.report
            known.frames = known.frames or list(tally.frames)
            continue
        place = site.place if site.precision != "executable" else None
        found[site.id] = SiteResult(
            id=site.id,
            precision=site.precision,
            target=tally.target,
            executable=site.executable,
            flavor=site.flavor,
            severity=violation.severity,
            image=place.image_name if place else "",
            symbol=place.symbol if place else "",
            place=str(place) if place else "",
            hits=tally.hits,
            code=f"{tally.code:#x}",
            subcode=f"{tally.subcode:#x}",
            summary=violation.summary,
            advice=violation.advice,
            frames=list(tally.frames),
            report=tally.report,
            meets_fail_on=summary.meets([violation.severity], fail_on),
        )
    return list(found.values())

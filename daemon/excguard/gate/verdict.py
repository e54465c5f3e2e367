"""Sort the sites of a run into new, known, ignored and tolerated ones, and decide whether the run fails.

A site fails the run when its severity reaches ``--fail-on`` and neither the baseline nor an ignore rule
names it. Nothing is hidden: known and ignored sites stay in every output with their counts.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import msgspec

from excguard.gate.baseline import Baseline, Entry  # noqa: TC001 - msgspec reads the annotations
from excguard.gate.site_result import SiteResult, Standing

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import date


class IgnoreRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[[ignore]]`` of the configuration: sites that never fail a run.

    Each key is a shell pattern; what is left out matches everything.

    Attributes:
        flavor: the flavor's name: "INVALID_NAME", "MOD_REFS*".
        image: file name of the image: "libvendor*.dylib".
        symbol: the function.
        target: the name of the target.
        reason: why, for people; it stands in the outputs.
    """

    flavor: str = "*"
    image: str = "*"
    symbol: str = "*"
    target: str = "*"
    reason: str = ""

    def matches(self, site: SiteResult) -> bool:
        """Whether the rule names this site. A pattern on an unknown image or symbol does not match."""
        return (
            fnmatchcase(site.flavor, self.flavor)
            and fnmatchcase(site.image, self.image)
            and fnmatchcase(site.symbol, self.symbol)
            and fnmatchcase(site.target, self.target)
        )


class Verdict(msgspec.Struct, frozen=True):
    """What the gate found.

    Attributes:
        sites: every site of the run with its standing; failing ones first, then as they came.
        stale: baseline entries that did not occur.
        expired: baseline entries whose date has passed, whether they occurred or not.
        strict: whether `stale` and `expired` fail the run.
    """

    sites: list[SiteResult]
    stale: list[Entry]
    expired: list[Entry]
    strict: bool

    @property
    def failing(self) -> list[SiteResult]:
        """The sites that fail the run."""
        fails = {Standing.NEW, Standing.EXPIRED} if self.strict else {Standing.NEW}
        return [site for site in self.sites if site.standing in fails]

    @property
    def failed(self) -> bool:
        """Whether the run fails."""
        return bool(self.failing) or (self.strict and bool(self.stale or self.expired))


def accept(verdict: Verdict) -> None:
    """Turn the sites that a run adds to its baseline, or renews there, into known ones."""
    for site in verdict.sites:
        if site.standing in (Standing.NEW, Standing.EXPIRED):
            site.standing, site.reason = Standing.KNOWN, "added by this run"


def judge(
    sites: Iterable[SiteResult],
    baseline: Baseline,
    rules: Sequence[IgnoreRule],
    *,
    today: date,
    strict: bool,
) -> Verdict:
    """Give every site its standing.

    Args:
        sites: of the run, one an id; `SiteResult.meets_fail_on` is set.
        baseline: the known sites; an empty one when there is no file.
        rules: of the configuration.
        today: the date that ``expires`` is compared with; an entry is valid through that day.
        strict: whether entries that are stale or expired fail the run.
    """
    sites = list(sites)
    for site in sites:
        entry = baseline.find(site.id)
        rule = next((rule for rule in rules if rule.matches(site)), None)
        if rule is not None:
            site.standing, site.reason = Standing.IGNORED, rule.reason
        elif entry is not None:
            site.standing = Standing.EXPIRED if entry.expired(today) else Standing.KNOWN
            site.reason = entry.reason
        else:
            site.standing = Standing.NEW if site.meets_fail_on else Standing.TOLERATED
    seen = {site.id for site in sites}
    verdict = Verdict(
        sites,
        [entry for entry in baseline.entries if entry.id not in seen],
        [entry for entry in baseline.entries if entry.expired(today)],
        strict,
    )
    failing = {site.id for site in verdict.failing}
    sites.sort(key=lambda site: site.id not in failing)
    return verdict

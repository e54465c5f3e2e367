"""All hits of one site in a run, and how the site stands in the gate."""

from enum import StrEnum

import msgspec


class Standing(StrEnum):
    """How a site stands in the gate."""

    NEW = "new"  # fails the run
    TOLERATED = "tolerated"  # below --fail-on
    KNOWN = "known"  # in the baseline
    EXPIRED = (
        "expired"  # in the baseline, until a date that has passed; fails the run under --baseline-strict
    )
    IGNORED = "ignored"  # by a rule of the configuration


class SiteResult(msgspec.Struct, kw_only=True):
    """All hits of one site in a run.

    Attributes:
        id: `excguard.decoding.site.Site.id`.
        precision: what the id stands on: "symbol", "offset" or "executable".
        target: the name of the program in the configuration.
        executable: the file name of the process's program.
        flavor: the name of the flavor, or its number in hex.
        severity: "fatal", "optional", "soft", or None when no table has it.
        image: file name of the image; "" when not known.
        symbol: the function; "" when not known.
        place: the place in words; "" when not known.
        hits: how many.
        code, subcode: of the first hit, in hex; "" when not known.
        summary: what happened, one line.
        advice: how to fix it; "" when there is none.
        frames: the stack, innermost first; empty when not known.
        report: path of the crash report that showed it; "" when none did.
        meets_fail_on: whether its severity reaches ``--fail-on``.
        standing: set by `excguard.gate.verdict.judge`.
        reason: why it is known or ignored, of the baseline or the rule; "" when neither says.
    """

    id: str
    precision: str
    target: str
    executable: str
    flavor: str
    severity: str | None
    image: str = ""
    symbol: str = ""
    place: str = ""
    hits: int
    code: str = ""
    subcode: str = ""
    summary: str
    advice: str = ""
    frames: list[str] = []
    report: str = ""
    meets_fail_on: bool = True
    standing: Standing = Standing.NEW
    reason: str = ""

    @property
    def note(self) -> str:
        """Why it does not fail the run, in a few words; "" for one that does, or is below ``--fail-on``."""
        if self.standing in (Standing.NEW, Standing.TOLERATED):
            return ""
        words = self.standing.value.capitalize()
        return f"{words}: {self.reason}" if self.reason else f"{words}."

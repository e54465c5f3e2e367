"""A document while it is read: what it says of itself, and the evidence of violations in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from excguard.crash_reports.report import Report

if TYPE_CHECKING:
    from excguard.crash_reports.evidence import Evidence

TOP_FRAMES = 5
"""Frames of the thread that are kept."""


class Draft(msgspec.Struct, kw_only=True, gc=False):
    """One document of a text.

    Attributes:
        report: What it says of itself: process, system, frames.
        evidence: What it says of violations.
        weak: It is a name or a number in running text: it counts only where no other document of the text
            is of the same violation.
        line: It is a line or several of a log, not a report.
        translated: It is the readable form of a report, which its JSON form can follow.
    """

    report: Report = msgspec.field(default_factory=Report)
    evidence: list[Evidence] = []
    weak: bool = False
    line: bool = False
    translated: bool = False

    @property
    def says_something(self) -> bool:
        """Whether it is of use by itself: it has evidence, or it is a report of another kind."""
        return bool(self.evidence or self.report.exception_type or self.report.kind != "crash")

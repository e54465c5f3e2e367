"""A run as GitLab's Code Quality report: a JSON list with one object a site that fails the run or could.

The form: docs.gitlab.com, "Code Quality", section "Code Quality report format". GitLab matches findings
of two branches by fingerprint, so a known site shows as unchanged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from excguard.gate.site_result import Standing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from excguard.gate.verdict import Verdict

_SEVERITIES: Mapping[str | None, str] = {
    "fatal": "critical",
    "optional": "major",
    "soft": "minor",
    None: "info",
}


def render(verdict: Verdict) -> bytes:
    """The JSON document; ignored sites are left out, known ones are not."""
    findings = [
        {
            "description": f"{site.summary} In {site.place}." if site.place else site.summary,
            "check_name": f"excguard/{site.flavor}",
            "fingerprint": site.id,
            "severity": _SEVERITIES[site.severity],
            # A path is required; the image is the nearest thing to a file that is known of a run.
            "location": {"path": site.image or site.executable, "lines": {"begin": 1}},
        }
        for site in verdict.sites
        if site.standing is not Standing.IGNORED
    ]
    return msgspec.json.format(msgspec.json.encode(findings)) + b"\n"

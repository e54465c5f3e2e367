"""What a probe of `excguard doctor` has found."""

from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True)
class Finding:
    """What a probe found.

    Attributes:
        check: what was checked.
        status: whether it keeps hits from being seen.
        found: the fact.
        meaning: what follows from it for guard hits.
        advice: what to do; empty when there is nothing to do.
    """

    check: str
    status: Status
    found: str
    meaning: str
    advice: str = ""

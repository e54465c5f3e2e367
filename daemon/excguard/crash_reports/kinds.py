"""Kinds of reports, by the numbers and words that Apple's systems give them."""

from __future__ import annotations

BUG_TYPES = {
    "109": "crash",
    "309": "crash",
    "308": "simulated",
    "385": "simulated",
    "115": "reset counter",
    "120": "forced shutdown",
    "142": "CPU resource",
    "144": "wakeups resource",
    "145": "disk writes resource",
    "202": "CPU resource",
    "206": "wakeups resource",
    "210": "panic",
    "228": "hang",
    "288": "stackshot",
    "298": "JetsamEvent",
}
"""bug_type of a header. Others are shown by number: each system adds some."""

_EVENTS = {
    "hang": "hang",
    "spin": "spin",
    "cpu usage": "CPU resource",
    "wakeups": "wakeups resource",
    "disk writes": "disk writes resource",
    "microstackshots": "microstackshots",
    "fault": "fault",
}


def of_bug_type(number: str | None) -> str:
    """The kind of a report by the bug_type of its header; a crash without one."""
    return BUG_TYPES.get(number or "309") or f"bug_type {number}"


def of_event(value: str) -> str | None:
    """The kind of a report of spindump or of resource usage by its "Event:"; None when it is not known."""
    low = value.strip().lower()
    return next((kind for word, kind in _EVENTS.items() if low.startswith(word)), None)

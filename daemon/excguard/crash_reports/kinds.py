"""Kinds of reports, by the numbers and words that Apple's systems give them.

Numbers are the log types of OSAnalytics (submissionConfig.plist of macOS, as pycrashreport lists them with
their names). ReportCrash writes 309 for a crash, 308 for the corpse of a thread only (os_fault, which ends
nothing), 327 for EXC_RESOURCE of threads and 385 for any other (-[OSACrashReport problemType], macOS 26).
"""

from __future__ import annotations

SIMULATED = "simulated"
"""A report of something that the process survived."""

BUG_TYPES = {
    **dict.fromkeys(("9", "109", "309"), "crash"),
    "308": SIMULATED,  # OSFault
    **dict.fromkeys(("22", "185", "385"), "resource"),  # ExcResource
    **dict.fromkeys(("227", "327"), "threads resource"),  # ExcResourceThreads
    **dict.fromkeys(("202", "206"), "CPU resource"),  # SymptomsCPUUsage, SymptomsCPUUsageFatal
    **dict.fromkeys(("25", "142"), "wakeups resource"),  # WakeupsMonitorViolation, SymptomsCPUWakes
    "145": "disk writes resource",  # SymptomsIO
    "30": "memory resource",  # MemoryResource
    **dict.fromkeys(("10", "110", "210"), "panic"),
    **dict.fromkeys(("98", "198", "298"), "JetsamEvent"),
    **dict.fromkeys(("12", "222", "223", "228", "310", "328"), "hang"),  # Hang, *RunloopHang, ThirdPartyHang*
    **dict.fromkeys(("11", "45", "207", "302"), "spin"),  # Spin, HangSpin, glitchyspin
    **dict.fromkeys(("186", "188", "288", "509"), "stackshot"),
    **dict.fromkeys(("23", "44", "144", "157", "174", "220"), "microstackshots"),
    "17": "shutdown stall",
    **dict.fromkeys(("21", "184"), "GPU restart"),
    "24": "sleep wake failure",
    "115": "reset counter",  # ResetCount
    "120": "low battery",
    "151": "forced reset",  # ForceReset
    "284": "GPU event",
    "409": "system watchdog",  # SystemWatchdogCrash
}
"""bug_type of a header. Others are shown by number: each system adds some."""

_RESOURCES = {
    "CPU": "CPU resource",
    "WAKEUPS": "wakeups resource",
    "MEMORY": "memory resource",
    "IO": "disk writes resource",
    "THREADS": "threads resource",
    "PORTS": "ports resource",
}
"""Exception subtypes of EXC_RESOURCE, as ReportCrash prints them (CPU_FATAL too)."""

_EVENTS = {
    "hang": "hang",  # also "Timed Out Runloop Hang"
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
    return next((kind for word, kind in _EVENTS.items() if word in low), None)


def of_exception(kind: str, exception_type: str | None, subtype: object) -> str:
    """The kind of a report that has an exception.

    Args:
        kind: What its header says, or "crash".
        exception_type: "EXC_RESOURCE", ...
        subtype: "CPU", "GUARD_TYPE_USER", ...
    """
    if kind == SIMULATED:
        return kind
    if exception_type == "EXC_RESOURCE":
        known = _RESOURCES.get(subtype.partition("_")[0].strip()) if isinstance(subtype, str) else None
        return known or (kind if kind.endswith("resource") else "resource")
    if exception_type == "EXC_GUARD" and kind == "resource":
        return SIMULATED  # a fault of the program's own that older systems filed under ExcResource
    return "crash" if kind.startswith("bug_type") or kind.endswith("resource") else kind

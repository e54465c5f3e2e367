"""GUARD_TYPE_REJECTED_SC: system calls that a process masks."""

from __future__ import annotations

from excguard.knowledge import names
from excguard.knowledge.guards.guard_type import GuardType, Page
from excguard.knowledge.guards.layout import HEADER, Part, Payload, Target, bare

_KIND = "1 for a Mach trap, 0 for a Unix system call"
_KINDS = {0: "a Unix system call", 1: "a Mach trap"}

PAGES: dict[str | None, Page] = {
    None: Page(
        "a system call was made that the process has masked",
        ("debug_syscall_reject: tests and daemons of Apple's mask system calls that they must not make",),
        "Remove the call named in the payload, or take it out of the mask. Only Apple's internal systems "
        "raise it.",
        ("bsd/kern/kern_debug.c (xnu-11417.121.6)",),
    )
}

GUARD_TYPE = GuardType(
    number=6,
    name="REJECTED_SC",
    first="12.0",
    words=("REJECTED_SYSCALL", "SYSCALL"),
    home="rejected_syscall.py",
    pages=PAGES,
    target=(
        Target(
            _KIND,
            "%(value)d: the payload is the number of %(words)s",
            words=lambda value, _release: _KINDS[value],
            confidence=HEADER,
            when=bare(*_KINDS),
        ),
        Target(_KIND, "%(value)d: what the payload is the number of is not known", confidence=HEADER),
    ),
    optional=(
        "the kernel kills for it in crash mode or when the mask asks for it",
        (
            "The process is killed in crash mode (kern.debug_syscall_rejection_mode 2) or when the mask of "
            "the call asks for it; otherwise it goes on. The task's guard flags do not matter."
        ),
    ),
    payload=(
        Payload(
            (Part(63, 0, "mach_trap", "number of the Mach trap", words=names.mach_trap, confidence=HEADER),),
            target=1,
        ),
        Payload(
            (
                Part(
                    63,
                    0,
                    "system_call",
                    "number of the system call",
                    words=names.system_call,
                    confidence=HEADER,
                ),
            ),
        ),
    ),
)

"""GUARD_TYPE_USER: faults that libraries report of themselves."""

from __future__ import annotations

from excguard.knowledge import names
from excguard.knowledge.guards.guard_type import GuardType, Page
from excguard.knowledge.guards.layout import HEADER, Part, Payload, Target, bare

PAGES: dict[str | None, Page] = {
    None: Page(
        "the program, or a library in it, reported a fault of its own and went on",
        ("os_fault_with_payload: libSystem, WebKit and others report a broken assumption in this way",),
        "Read the namespace and the reason string of the report: they are the library's own. The process "
        "went on.",
        ("bsd/kern/kern_exit.c abort_with_payload_internal, bsd/sys/reason.h (xnu-11417.121.6)",),
        notes=(
            "A process reports at most five such faults.",
            (
                "Reports carry the namespace's own number in the termination reason, not the EXC_GUARD "
                "code; the code is the first of the exception codes."
            ),
        ),
    )
}

GUARD_TYPE = GuardType(
    number=3,
    name="USER",
    first="10.13",
    words=("USER_FAULT", "OS_FAULT"),
    home="user.py",
    pages=PAGES,
    target=(
        Target(
            "reason namespace, OS_REASON_*",
            "reason namespace %(value)d, %(words)s",
            "in namespace %(words)s",
            lambda value, _release: names.NAMESPACES[value],
            confidence=HEADER,
            when=bare(*names.NAMESPACES),
        ),
        Target(
            "reason namespace, OS_REASON_*",
            "reason namespace %(value)d, unknown",
            "in namespace %(value)d",
            confidence=HEADER,
        ),
    ),
    payload=(
        Payload(
            (
                Part(
                    63,
                    0,
                    "reason_code",
                    "a number of the namespace's own",
                    words=lambda _value, _release: "a number of the namespace's own",
                    confidence=HEADER,
                ),
            )
        ),
    ),
)

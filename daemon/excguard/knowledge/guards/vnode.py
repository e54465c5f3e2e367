"""GUARD_TYPE_VN: the rules for files that a process guards."""

from __future__ import annotations

from excguard.knowledge.guards.guard_type import GuardType, Page
from excguard.knowledge.guards.layout import HEADER, Part, Payload, Target

_SOURCES = ("bsd/kern/kern_guarded.c (xnu-11417.121.6)",)
_ADVICE = (
    "Do not touch files that another process guards while it runs: move or replace them through their "
    "owner, or while it is stopped. Kernels check this only when built with vnode guards."
)


def _page(rule: str, cause: str) -> Page:
    return Page(rule, (cause,), _ADVICE, _SOURCES)


PAGES: dict[str | None, Page] = {
    "RENAME_TO": _page(
        "a file was renamed onto a guarded one", "an atomic replacement of a file that a process guards"
    ),
    "RENAME_FROM": _page("a guarded file was renamed", "a backup or cleaning tool moved it away"),
    "UNLINK": _page("a guarded file was deleted", "a cleaning tool deleted a database that is in use"),
    "WRITE_OTHER": _page(
        "a guarded file was opened for writing by another process", "two programs on one database"
    ),
    "TRUNC_OTHER": _page("a guarded file was truncated by another process", "a log cleaner emptied it"),
    "LINK": _page("a hard link to a guarded file was made", "a backup tool links files"),
    "EXCHDATA": _page(
        "a guarded file's contents were exchanged with another's", "exchangedata or renamex_np(RENAME_SWAP)"
    ),
    "PERMISSIONS": Page(
        "permissions of a file were changed that the file system watches",
        ("chmod, chown or an ACL change on such a file",),
        "Keep its permissions as the system set them. APFS raises it, and it never kills.",
        _SOURCES,
        aliases=("VNG_PERMISSIONS",),
    ),
}

_ID = "the id that the file was guarded with"

GUARD_TYPE = GuardType(
    number=4,
    name="VN",
    first="10.13",
    words=("VNODE", "FILE"),
    home="vnode.py",
    pages=PAGES,
    target=(
        Target(
            "process id of the offender",
            "process %(signed)d, which broke the rule",
            "by pid %(signed)d",
            confidence=HEADER,
        ),
    ),
    payload=(Payload((Part(63, 0, "guard", _ID, words=lambda _value, _release: _ID, confidence=HEADER),)),),
)

"""GUARD_TYPE_FD: the rules for guarded file descriptors."""

from __future__ import annotations

from excguard.knowledge import names
from excguard.knowledge.guards.guard_type import GUARD_PAGE, GuardType, Page
from excguard.knowledge.guards.layout import HEADER, INFERRED, OBSERVED, Part, Payload, Target, When, bare

WELL_KNOWN_GUARDS = {
    0x08FD4DBFADE2DEAD: "the guard of SQLite's database files",  # read it as "(8) a fd for db, dead"
}
"""Guard ids of file descriptors that reports and their stacks agree on; no header declares them."""

_CAUSES = (
    (
        "a descriptor number that was closed is used again, and now belongs to a library (SQLite, "
        "libdispatch, the network stack)"
    ),
    "a loop over all descriptor numbers, as before an exec",
    "descriptor 0, 1 or 2 was closed at the start, and a guarded file took its place",
)
_ADVICE = (
    "Close each descriptor once, set the variable to -1, keep 0 to 2 open (on /dev/null), and close "
    "inherited descriptors with POSIX_SPAWN_CLOEXEC_DEFAULT in place of a loop. The guard id identifies "
    "the owner."
)
_SOURCES = ("bsd/kern/kern_guarded.c (xnu-11417.121.6)", GUARD_PAGE)


def _page(rule: str, cause: str, reported: str) -> Page:
    return Page(rule, (cause, *_CAUSES), _ADVICE, _SOURCES, reported=(reported,))


PAGES: dict[str | None, Page] = {
    "CLOSE": _page(
        "a guarded file descriptor was closed",
        "close, or dup2 onto the number, by code that is not its owner",
        "CLOSE",
    ),
    "DUP": _page(
        "a guarded file descriptor was duplicated", "dup, fcntl(F_DUPFD) or opening /dev/fd/N", "DUP"
    ),
    "NOCLOEXEC": _page(
        "the close-on-exec flag of a guarded file descriptor was cleared",
        "fcntl(F_SETFD, 0) on a number that now belongs to another library",
        "NOCLOEXEC",
    ),
    "SOCKET_IPC": _page(
        "a guarded file descriptor was sent over a socket", "sendmsg with SCM_RIGHTS", "SOCKET_IPC"
    ),
    "FILEPORT": _page("a guarded file descriptor was made into a fileport", "fileport_makeport", "FILEPORT"),
    "MISMATCH": _page(
        "a guarded file descriptor was used with another guard than its own",
        "guarded_close_np or change_fdguard_np with a wrong guard",
        "MISMATCH",
    ),
    "WRITE": _page(
        "a guarded file descriptor was written to",
        "write on a number that now belongs to a database",
        "WRITE",
    ),
}

_ID = "the id that the descriptor was guarded with"

GUARD_TYPE = GuardType(
    number=2,
    name="FD",
    first="10.9",
    words=("FILE_DESCRIPTOR", "DESCRIPTOR"),
    home="file_descriptor.py",
    pages=PAGES,
    target=(
        Target("the file descriptor", "file descriptor %(signed)d", "on fd %(signed)d", confidence=HEADER),
    ),
    payload=(
        Payload(
            (Part(63, 0, "guard", _ID, WELL_KNOWN_GUARDS, confidence=OBSERVED),),
            when=bare(*WELL_KNOWN_GUARDS),
        ),
        Payload(
            (
                Part(
                    63,
                    0,
                    "guard",
                    _ID,
                    words=lambda _value, _release: (
                        "looks like an address: libraries guard with the address of a variable of their "
                        "own, as libdispatch does for its kqueue and corecrypto for its random device"
                    ),
                    confidence=INFERRED,
                ),
            ),
            when=When("it may be an address", names.is_address),
        ),
        Payload(
            (
                Part(
                    63,
                    0,
                    "guard",
                    _ID,
                    words=lambda _value, _release: f"{_ID}; not a well-known one",
                    confidence=HEADER,
                ),
            ),
        ),
    ),
)

"""The guard types: one module each, gathered in one registry, and every name of a flavor.

What the numbers of a flavor are, and on which releases, is in flavors.csv. A module here has the rest: the
page of each flavor (the rule, causes, advice), and how its target and payload are laid out.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from excguard.knowledge import flavors
from excguard.knowledge.guards import (
    file_descriptor,
    mach_port,
    rejected_syscall,
    user,
    virtual_memory,
    vnode,
)
from excguard.knowledge.guards.guard_type import MissingPageError as MissingPageError

if TYPE_CHECKING:
    from excguard.knowledge.guards.guard_type import GuardType

TYPES: tuple[GuardType, ...] = (
    mach_port.GUARD_TYPE,
    file_descriptor.GUARD_TYPE,
    user.GUARD_TYPE,
    vnode.GUARD_TYPE,
    virtual_memory.GUARD_TYPE,
    rejected_syscall.GUARD_TYPE,
)
"""Every guard type, by number (osfmk/kern/exc_guard.h GUARD_TYPE_*)."""

BY_NAME: dict[str, GuardType] = {kind.name: kind for kind in TYPES}
BY_NUMBER: dict[int, GuardType] = {kind.number: kind for kind in TYPES}

NAMES: dict[int, str] = {kind.number: kind.name for kind in TYPES}
NUMBERS: dict[str, int] = {kind.name: kind.number for kind in TYPES}
WITHOUT_FLAVORS: frozenset[str] = frozenset(kind.name for kind in TYPES if not kind.has_flavors)

_BY_WORD = {word: kind.name for kind in TYPES for word in (kind.name, *kind.words)}


def is_policy_telemetry(guard_type: str | None, flavor: int | None) -> bool:
    """Whether this is telemetry of an IPC policy, which the kernel only logs: nothing is raised or killed.

    Policies of macOS 26 that only count call `mach_port_guard_exception` with flavor 0; the target is the
    policy's number, the payload its detail (osfmk/ipc/ipc_policy.c, xnu-12377).
    """
    return guard_type == mach_port.GUARD_TYPE.name and flavor == 0


def type_named(name: str) -> str | None:
    """The guard type of a name: "VN" for "VN", "GUARD_TYPE_VN" and "vnode"; None when it names none."""
    return _BY_WORD.get(flavors.canonical(name).removeprefix("TYPE_"))


def check() -> None:
    """Raise MissingPageError for a row of flavors.csv without a page."""
    for flavor in flavors.table():
        if flavor.role == "flavor":
            BY_NAME[flavor.guard_type].page(flavor.name)


@cache
def _index() -> dict[str, tuple[flavors.Flavor, ...]]:
    found: dict[str, list[flavors.Flavor]] = {}
    for flavor in sorted(flavors.table(), key=lambda flavor: (-flavor.last, -flavor.first)):
        # COW_DEFEATURED_FIRST and such mark the ends of a range: they stand for the flavor there.
        meant = flavor
        others: tuple[str, ...] = ()
        if flavor.role == "flavor":
            page = BY_NAME[flavor.guard_type].page(flavor.name)
            others = (*page.aliases, *page.reported)
        else:
            meant = flavors.at(flavor.guard_type, flavor.value, flavor.first)[0]
        for name in (flavor.name, flavor.kernel_name, *others):
            spelled = found.setdefault(flavors.canonical(name), [])
            if meant not in spelled:
                spelled.append(meant)
    return {name: tuple(meanings) for name, meanings in found.items()}


@cache
def names() -> dict[str, str]:
    """Every name of a flavor in its `flavors.canonical` form, with how to show it."""
    shown = {key: found[0].name for key, found in _index().items()}
    for flavor in flavors.table():
        if flavor.role == "flavor":
            page = BY_NAME[flavor.guard_type].page(flavor.name)
            shown |= {flavors.canonical(alias): alias for alias in (*page.aliases, *page.reported)}
    return shown | {flavors.canonical(f.kernel_name): f.name for f in flavors.table() if f.role == "flavor"}


def named(name: str, guard_type: str | None = None) -> tuple[flavors.Flavor, ...]:
    """Every flavor with a name, newest first: the kernel's, ReportCrash's or that of Apple's documentation.

    A flavor's own name comes before another's alias. Spellings are those of `flavors.canonical`.
    """
    wanted = flavors.canonical(name)
    mine = [f for f in _index().get(wanted, ()) if guard_type in {None, f.guard_type}]
    return tuple(sorted(mine, key=lambda f: wanted != flavors.canonical(f.kernel_name)))

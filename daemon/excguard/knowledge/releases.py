"""Releases: every way people name one, turned into a macOS version that the tables are keyed by.

A version is one integer, `major * 10000 + minor * 100 + patch` (macOS 14.4.1 is 140401, OS X 10.9 is 100900),
so that releases compare as numbers in Python and in the generated C alike.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache

from excguard.knowledge import tables
from excguard.knowledge.record import Record

NEWEST = 2**32 - 1
"""Compares above every release: look-ups with it give the newest meaning."""

# Compiled by `re` when first used: most commands that import this module never place a release.
_NUMBERS = r"(\d{1,3})(?:\.(\d{1,3}))?(?:\.(\d{1,3}))?"
_BUILD = r"(?i)(\d{2})([A-Z])(\d{1,5})[a-z]?"
_XNU = r"(?i)xnu-(\d{3,6})((?:\.\d{1,4})*)"
_DARWIN = r"(?i)darwin(?:\s+kernel)?(?:\s+version)?[\s/]*(\d{1,2})(?:\.(\d{1,2}))?"
_SYSTEM = (
    r"(?is)(mac\s?os(?:\s?x)?|os\s?x|iphone\s?os|ipados|ios|tvos|apple\s?tv\s?os|watchos|watch\s?os|visionos|xros"
    r"|bridgeos)[^\d]{0,24}(\d.*)"
)


class ReleaseError(ValueError):
    """The text names no release that we can place; the message says what is accepted."""


class Release(Record):
    """A release, placed on macOS's scale.

    Attributes:
        version: The macOS version as one integer (see the module's text).
        text: How to show it: "macOS 14.4", or with what it was derived from, "iOS 17.4 (as macOS 14.4)".
        note: How it was derived when that was not by name ("" otherwise).
    """

    version: int
    text: str
    note: str = ""


class KnownRelease(Record):
    """A row of releases.csv: a release, its kernel, and the guard types whose headers were read there."""

    version: int
    macos: str
    xnu: tuple[int, ...]
    read: frozenset[str]


def pack(major: int, minor: int = 0, patch: int = 0) -> int:
    """One integer for a version, each part below 100 (10.13.6 -> 101306)."""
    return major * 10000 + min(minor, 99) * 100 + min(patch, 99)


def show(version: int) -> str:
    """The version as people write it: 140400 -> "14.4", 101306 -> "10.13.6"."""
    major, minor, patch = version // 10000, version // 100 % 100, version % 100
    return f"{major}.{minor}.{patch}" if patch else f"{major}.{minor}"


def parse_version(text: str) -> int:
    """The packed version of dotted numbers ("14.4.1"); raises ReleaseError otherwise."""
    parts = text.split(".")
    if len(parts) > 3 or not all(part.isdecimal() and len(part) <= 3 for part in parts):
        raise ReleaseError(f"not a version: {text!r}")
    return pack(*map(int, parts))


def covers_until(release: int) -> int:
    """The last release that the header of `release` speaks for: itself for 10.x, its patches from 11 on."""
    return release if release < pack(11) else release // 100 * 100 + 99


@cache
def known() -> tuple[KnownRelease, ...]:
    """Every release of releases.csv, oldest first."""
    return tuple(
        KnownRelease(
            parse_version(row["macos"]),
            row["macos"],
            tuple(int(part) for part in row["xnu"].split(".")) if row["xnu"] else (),
            frozenset(row["read"].split()),
        )
        for row in tables.rows("releases.csv")
    )


def span(first: int, last: int) -> str:
    """Releases from first to last as text: "macOS 14.2 and later", "macOS 14.0 to 14.1", "macOS 26.4"."""
    shown = f"macOS {show(first)}"
    if last == NEWEST:
        return f"{shown} and later"
    return shown if first == last else f"{shown} to {show(last)}"


def preceding(version: int) -> int:
    """The last release of releases.csv before this one."""
    return max(release.version for release in known() if release.version < version)


@cache
def read_for(guard_type: str) -> tuple[int, ...]:
    """The releases whose headers were read for this guard type, oldest first."""
    return tuple(release.version for release in known() if guard_type in release.read)


@lru_cache(maxsize=512)
def parse(text: str) -> Release:
    """Place what people write: a version, an OS name and version, a build, a Darwin or an xnu version.

    A build inside the text ("macOS 14.0 (24A5298h)") wins over the version, since seeds are often labelled
    with the version before; iOS builds are not used, they count differently.

    Raises:
        ReleaseError: nothing in the text can be placed.
        TypeError: it is not text.
    """
    if not isinstance(text, str):
        raise TypeError(f"a release must be a str such as '14.4', not {type(text).__name__}")
    stripped = " ".join(text.split())[:200]
    if match := re.search(_XNU, stripped):
        return _from_xnu(match)
    if match := re.match(_DARWIN, stripped):
        return _from_darwin(int(match[1]), int(match[2] or 0), match[0])
    if match := re.search(_SYSTEM, stripped):
        return _from_system(match[1], match[2])
    if match := re.fullmatch(_BUILD, stripped):
        return _from_build(match)
    # "14.4 (23E214)", and "Version 14.4 (Build 23E214)" as NSProcessInfo says it
    if match := re.fullmatch(rf"(?:version\s+)?({_NUMBERS}(?:\s*\(.*\))?)", stripped, re.IGNORECASE):
        return _from_system("macOS", match[1])
    raise ReleaseError(
        f"cannot place the release {text[:60]!r}: "
        'write "14.4", "macOS 14.4.1", "iOS 17.4", a build ("23E214"), "Darwin 25.6.0" or "xnu-10063.101.15"'
    )


def _from_system(system: str, rest: str) -> Release:
    numbers = re.match(_NUMBERS, rest)
    if numbers is None:
        raise ReleaseError(f"no version in {system} {rest!r}")
    major, minor, patch = (int(part or 0) for part in numbers.groups())
    written = numbers[0]
    name = system.lower().replace(" ", "")
    if name.startswith(("macos", "osx")):
        if not (major == 10 or 11 <= major <= 15 or major >= 26):
            raise ReleaseError(f"there is no macOS {written}: after 10.15 come 11 to 15, then 26")
        build = re.compile(_BUILD).search(rest, numbers.end())
        if build:
            placed = _from_build(build)
            if placed.version // 10000 != major or (
                major == 10 and placed.version // 100 != pack(10, minor) // 100
            ):
                return placed.replace(
                    note=f"labelled macOS {written}, but build {build[0]} is of {placed.text}"
                )
        return Release(pack(major, minor, patch), f"macOS {written}")
    return _from_mobile(name, written, major, minor)


# Embedded systems share macOS's kernel of the same year; their minor versions run ahead of macOS's until
# iOS 16 (iOS 14.5 and macOS 11.3, iOS 15.4 and macOS 12.3 ship one xnu), and are equal since iOS 17.
_MINORS_AHEAD = {14: 2, 15: 1, 16: 1}


def _from_mobile(name: str, written: str, major: int, minor: int) -> Release:
    shown = {"iphoneos": "iOS", "ios": "iOS", "ipados": "iPadOS", "tvos": "tvOS", "appletvos": "tvOS"}.get(
        name
    )
    ios = major
    if name == "watchos":
        shown, ios = "watchOS", major + 7 if major < 26 else major
    elif name in ("visionos", "xros"):
        shown, ios = "visionOS", major + 16 if major < 26 else major
        if major == 1:  # visionOS 1.1 came with iOS 17.4 (SwiftStdlib 5.10 of Swift's availability macros)
            minor += 3
    elif name == "bridgeos":
        shown, ios = "bridgeOS", major + 9 if major < 11 else major + 8 if major < 26 else major
    if not (7 <= ios <= 18 or ios >= 26):
        raise ReleaseError(f"there is no {shown or name} {written} with guard exceptions")
    if ios <= 13:
        version = pack(10, ios + 2, minor)
    elif ios < 26:
        version = pack(ios - 3, max(0, minor - _MINORS_AHEAD.get(ios, 0)))
    else:
        version = pack(ios, minor)
    text = f"{shown} {written}"
    return Release(
        version, f"{text} (as macOS {show(version)})", f"{text} shares the kernel of macOS {show(version)}"
    )


def _from_build(match: re.Match[str]) -> Release:
    """A build number is a year, a letter for the minor version, and a count (23E214: 23, E, 214)."""
    year, letter = int(match[1]), ord(match[2].upper()) - ord("A")
    if year < 13:
        raise ReleaseError(f"build {match[0]} is older than OS X 10.9, the first with guard exceptions")
    if year < 20:  # 13A603 is 10.9, 18G103 is 10.14.6: one letter an update
        version = pack(10, year - 4, letter)
    elif year < 23:  # 20A and 20B are both 11.0, 21C is 12.1, 22G is 13.5: B was skipped
        version = pack(year - 9, max(0, letter - 1))
    elif year < 25:  # 23E is 14.4
        version = pack(year - 9, letter)
    else:  # 25E is 26.4
        version = _updated(pack(year + 1), letter)
    return Release(version, f"macOS {show(version)}", f"build {match[0]} is read as macOS {show(version)}")


def _updated(version: int, updates: int) -> int:
    """The release so many updates after this one; 27.2 is the first update of 27.0."""
    major, minor = version // 10000, version // 100 % 100
    if updates == 0:
        return version
    skipped = 1 if major >= 27 and minor == 0 else 0
    return pack(major, minor + updates + skipped)


# Darwin's minor version at the first release of each macOS update; uname prints it.
_OLD_DARWIN_UPDATES = {
    18: {0: 0, 2: 1, 5: 4, 6: 5, 7: 6},
    17: {0: 0, 2: 1, 3: 2, 4: 3, 5: 4, 6: 5, 7: 6},
}


def _from_darwin(major: int, minor: int, written: str) -> Release:
    if major < 13:
        raise ReleaseError(f"{written} is older than Darwin 13 (OS X 10.9), the first with guard exceptions")
    if major == 26:
        raise ReleaseError(f"there is no {written}: macOS 26 has Darwin 25, and macOS 27 Darwin 27")
    if major < 20:
        updates = _OLD_DARWIN_UPDATES.get(major, {})
        version = pack(10, major - 4, max((u for d, u in updates.items() if d <= minor), default=minor))
    elif major < 23:
        version = pack(major - 9, max(0, minor - 1))
    elif major < 25:
        version = pack(major - 9, minor)
    elif major == 25:
        version = pack(26, minor)
    else:  # since Darwin 27.0.0, which is macOS 27.0
        version = pack(major, minor)
    return Release(version, f"macOS {show(version)}", f"{written} is read as macOS {show(version)}")


# The second number of an xnu version counts updates in twenties: .41, .61, .81 ..., .40, .60, .80 for betas
# (every release from 11.0 to 27.0 in releases.csv).
_XNU_UPDATE_STEPS = (40, 60, 80, 100, 120, 140, 160)


def doubt(release: str, kernel: str) -> str | None:
    """What is doubtful about the release of a running system; None when nothing is.

    Args:
        release: What the system says of itself, kern.osproductversion: "26.4".
        kernel: What its kernel says, kern.version or a part of it: "xnu-12377.101.15~1". Text without an xnu
            version, as of a simulated kernel, says nothing.

    Raises:
        ReleaseError: the release cannot be placed.
    """
    here, newest = parse(release).version, known()[-1]
    match = re.search(_XNU, kernel)
    if match is not None:
        numbers = _xnu_numbers(match)
        listed = next((row for row in known() if row.xnu == numbers), None)
        if listed is not None and listed.version // 100 != here // 100:
            return (
                f"kern.osproductversion is {release}, but {match[0]} is the kernel of macOS {listed.macos}: "
                "names and severities are those of the former, and can be wrong"
            )
    if here > covers_until(newest.version):
        return (
            f"macOS {release} is newer than the tables of this version of excguard: those of macOS "
            f"{newest.macos} are used, and names can be wrong or missing"
        )
    return None


def _xnu_numbers(match: re.Match[str]) -> tuple[int, ...]:
    return (int(match[1]), *(int(part) for part in match[2].split(".") if part))


def _from_xnu(match: re.Match[str]) -> Release:
    numbers = _xnu_numbers(match)
    listed = [release for release in known() if release.xnu]
    for release in listed:
        if release.xnu == numbers:
            return Release(release.version, f"macOS {release.macos}", f"{match[0]} is macOS {release.macos}")
    oldest, newest = listed[0], listed[-1]
    if numbers < oldest.xnu:
        raise ReleaseError(
            f"{match[0]} is older than xnu-2422.1.72 (OS X 10.9), the first with guard exceptions"
        )
    if numbers[0] > newest.xnu[0]:
        note = f"{match[0]} is newer than the tables; read as macOS {newest.macos}, the newest one"
        return Release(newest.version, f"macOS {newest.macos}", note)
    before = max((release for release in listed if release.xnu <= numbers), key=lambda release: release.xnu)
    after = next((release for release in listed if release.xnu > numbers), None)
    if before.xnu[0] == numbers[0] or after is None:
        second = numbers[1] if len(numbers) > 1 and before.version >= pack(11) else 0
        steps = sum(before.xnu[1] < step <= second for step in _XNU_UPDATE_STEPS)
        version = _updated(before.version, steps)
    else:
        version = after.version  # a beta of the first release with a new first number
    note = f"{match[0]} is not in the table; read as macOS {show(version)}"
    return Release(version, f"macOS {show(version)}", note)

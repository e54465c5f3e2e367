"""The form of a guard type: everything that the other rooms know of it, in one object."""

from __future__ import annotations

from typing import TYPE_CHECKING

from excguard.knowledge.guards.layout import UNSTATED, Payload, Target
from excguard.knowledge.record import Record
from excguard.knowledge.severity import Severity

if TYPE_CHECKING:
    from collections.abc import Mapping

GUIDE = "doc/mach_ipc/guard_exceptions.md (Apple's guide, in xnu since 15.4)"
IPC_PAGE = "developer.apple.com/documentation/xcode/conforming-to-mach-ipc-security-restrictions"
GUARD_PAGE = "developer.apple.com/documentation/xcode/exc_guard"
NEWER = "newer public kernel sources"


class MissingPageError(LookupError):
    """A row of flavors.csv has no page; the message names the file that needs it."""


class Page(Record):
    """What is known of one rule beside its numbers and layouts.

    Attributes:
        rule: What went wrong, to follow the name and a colon.
        causes: Usual causes.
        advice: How to fix it.
        sources: Where this is from, beside the header that declares the number.
        aliases: Other names: ReportCrash's, those of Apple's documentation, older ones.
        reported: The words that ReportCrash prints for it; () for none known.
        notes: Where sources disagree, and what changed between releases.
    """

    rule: str
    causes: tuple[str, ...] = ()
    advice: str = "No source says more. Look at the top frames of the thread for the call that was refused."
    sources: tuple[str, ...] = (GUIDE,)
    aliases: tuple[str, ...] = ()
    reported: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class GuardType(Record):
    """One GUARD_TYPE_* of osfmk/kern/exc_guard.h.

    Attributes:
        number: Bits 63..61 of the code.
        name: "MACH_PORT".
        first: The first release that has it, as text.
        words: Everyday names of it, in the form of `flavors.canonical`.
        pages: By flavor name; under None for a guard type whose flavor bits are not used.
        targets: What the target is, by flavor name; a flavor that is not here has `target`.
        target: What the target of any other flavor is.
        payloads: Layouts of the payload, by flavor name; a flavor that is not here has `payload`.
        payload: The layouts of any other named flavor.
        unknown_target: What the target of a flavor in no table is; None for `target`.
        unknown_payload: Likewise its payload; None for `payload`.
        soft_mode_bits: Bits of the target that make a flavor soft, by flavor name.
        optional: What optional means for this type, short and in full; None where it is as `Severity` says.
        home: The file of this directory that holds the pages.
    """

    number: int
    name: str
    first: str
    words: tuple[str, ...]
    pages: Mapping[str | None, Page]
    target: tuple[Target, ...]
    home: str
    targets: Mapping[str, tuple[Target, ...]] = {}
    payload: tuple[Payload, ...] = UNSTATED
    payloads: Mapping[str, tuple[Payload, ...]] = {}
    unknown_target: tuple[Target, ...] | None = None
    unknown_payload: tuple[Payload, ...] | None = None
    soft_mode_bits: Mapping[str, int] = {}
    optional: tuple[str, str] | None = None

    @property
    def has_flavors(self) -> bool:
        """Whether the flavor bits of a code mean something."""
        return None not in self.pages

    def severity_text(self, severity: Severity) -> str:
        """What a severity means for guards of this type, in a few words."""
        return self.optional[0] if self.optional and severity is Severity.OPTIONAL else severity.text

    def severity_effect(self, severity: Severity) -> str:
        """What a severity of a guard of this type means for the process, in full."""
        return self.optional[1] if self.optional and severity is Severity.OPTIONAL else severity.effect

    def soft_mode(self, flavor: str | None, target: int) -> bool:
        """Whether the target says that the process goes on, whatever the flavor's severity is."""
        return bool(self.soft_mode_bits and target & self.soft_mode_bits.get(flavor or "", 0))

    def page(self, flavor: str | None) -> Page:
        """The page of a flavor by name. Raises MissingPageError."""
        found = self.pages.get(flavor if self.has_flavors else None)
        if found is None:
            raise MissingPageError(
                f"flavors.csv has the {self.name} flavor {flavor}, but knowledge/guards/{self.home} has no "
                "page for it: add one to its PAGES"
            )
        return found

    def target_rows(self, flavor: str | None) -> tuple[Target, ...]:
        """What the target of a flavor can be; None for a flavor in no table."""
        if flavor is None and self.unknown_target is not None:
            return self.unknown_target
        return self.targets.get(flavor or "", self.target)

    def payload_rows(self, flavor: str | None) -> tuple[Payload, ...]:
        """The layouts of a flavor's payload; None for a flavor in no table."""
        if flavor is None and self.unknown_payload is not None:
            return self.unknown_payload
        return self.payloads.get(flavor or "", self.payload)

"""(code, subcode, release) -> Violation: the reading of both by the tables.

`excguard.decode(code, subcode, "14.4")` is this module's function `decode`.
"""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

from excguard.decoding import payload as layouts
from excguard.decoding.code import FLAVOR_SHIFT, MTE_TAG_FAULT, TARGET_MASK, join, split, unsigned
from excguard.decoding.violation import TEXTS, PartialViolation, PayloadReading, Reading, Violation
from excguard.knowledge import flavors, guards, releases
from excguard.knowledge.guards.file_descriptor import WELL_KNOWN_GUARDS
from excguard.knowledge.guards.layout import INFERRED, OBSERVED
from excguard.knowledge.record import Record
from excguard.knowledge.severity import Severity

if TYPE_CHECKING:
    from excguard.knowledge.guards.guard_type import GuardType, Page
    from excguard.knowledge.guards.layout import Payload as PayloadRow


def decode(code: int, subcode: int | None = None, release: str | None = None) -> Violation:
    """Decode the two numbers of an EXC_GUARD exception.

    Args:
        code: The 64-bit code, signed or unsigned (-2**63 to 2**64 - 1).
        subcode: The 64-bit subcode likewise; None when it is not known.
        release: The release the numbers come from, in any form that `knowledge.releases.parse` takes; without
            it the newest meaning is given, and the others in `readings`.

    Raises:
        DecodeError: a number out of range.
        knowledge.releases.ReleaseError: a release that cannot be placed.
    """
    return _decode(unsigned(code, "code"), None if subcode is None else unsigned(subcode, "subcode"), release)


def decode_words(
    guard_type: str | None,
    flavor_name: str | None,
    target: int | None,
    subcode: int | None,
    release: str | None = None,
) -> PartialViolation:
    """Decode what a report has in words, where it does not print the code.

    Args:
        guard_type: "MACH_PORT", ...; None when the report leaves it out. Likewise the others.
        flavor_name: Any name of a flavor that `knowledge.guards.named` accepts.
        target: The port name, descriptor ...
        subcode: The payload.
        release: As for `decode`.

    Returns:
        A Violation, noted as rebuilt, when the words give all of the code; a PartialViolation otherwise.
    """
    named = guards.named(flavor_name, guard_type) if flavor_name else ()
    if named:
        guard_type = named[0].guard_type
    kind = guards.BY_NAME.get(guard_type or "")
    placed = releases.parse(release) if release is not None else None
    at = placed.version if placed else releases.NEWEST
    flavor = next((f.value for f in named if f.first <= at <= f.last), named[0].value if named else None)
    if kind and not kind.has_flavors:
        flavor = 0
    if kind is None or flavor is None:
        return _without_flavor(kind, target, subcode, placed)
    whole = decode(join(kind.number, flavor, target or 0), subcode, release)
    if target is not None:
        note = "the code was composed from the report's words, which leave it out"
        return whole.replace(notes=(*whole.notes, note))
    values = whole.as_dict() | {
        "target": None,
        "code": None,
        "summary": f"{whole.flavor_name or kind.name}: {whole.summary.partition(': ')[2]}",
        "target_meaning": "the report leaves the target out",
        "notes": (*whole.notes, _CODE_LEFT_OUT),
    }
    return PartialViolation(**values)


_CODE_LEFT_OUT = "the report leaves the code out"


def _without_flavor(
    kind: GuardType | None, target: int | None, subcode: int | None, placed: releases.Release | None
) -> PartialViolation:
    """What is left of a violation when the flavor is not known."""
    notes = [_CODE_LEFT_OUT]
    if kind is None and (known := WELL_KNOWN_GUARDS.get(subcode or 0)):
        notes.append(f"the subcode is {known}, which would make it a file descriptor guard")
    shown = f", payload {subcode:#x}" if subcode is not None else ""
    at = placed.version if placed else releases.NEWEST
    return PartialViolation(
        guard_type=kind.name if kind else None,
        guard_type_number=kind.number if kind else None,
        flavor=None,
        flavor_name=None,
        kernel_name=None,
        target=target,
        payload=subcode,
        code=None,
        subcode=subcode,
        severity=None,
        summary=f"{kind.name if kind else 'guard'} violation of a flavor that the report leaves out{shown}.",
        release=placed.text if placed else None,
        target_meaning=(
            "the report leaves the target out"
            if target is None
            else layouts.TargetReader(kind.target_rows(None), at).read(target).meaning
            if kind
            else f"{target:#x}; its meaning depends on the guard type, which the report leaves out"
        ),
        payload_fields=(
            layouts.PayloadReader(kind.payload_rows(None), at).read(subcode, target or 0)
            if kind and subcode is not None
            else ()
        ),
        notes=tuple(notes),
        known=False,
    )


def severity(code: int, release: str | None) -> Severity:
    """The severity of the violation that `decode` gives; UNKNOWN for an unknown guard type.

    Raises:
        knowledge.releases.ReleaseError: a release that cannot be placed.
    """
    meaning = _meaning(code >> FLAVOR_SHIFT, release)
    found = None if meaning is None else meaning.severity_of(code & TARGET_MASK)
    return Severity.UNKNOWN if found is None else found


def outline(code: int, subcode: int | None, release: str | None) -> tuple[Severity | None, str]:
    """Severity and summary of a violation, at a fraction of the cost of all that `decode` finds out.

    All else that a line says of a violation is the same for every code with the same upper half. The numbers
    must be unsigned.

    Raises:
        knowledge.releases.ReleaseError: a release that cannot be placed.
    """
    meaning = _meaning(code >> FLAVOR_SHIFT, release)
    if meaning is None or meaning.page is None:
        violation = decode(code, subcode, release)
        return violation.severity, violation.summary
    target = code & TARGET_MASK
    first = None if subcode is None else meaning.payloads.first(subcode, target, _IN_SUMMARY)
    summary = _summary(meaning.name, meaning.page, meaning.targets.short(target), first)
    return meaning.severity_of(target), summary


class _Names(Record):
    """What a flavor number is called: the meaning to show, every other one, and how it was found."""

    chosen: flavors.Flavor | None
    others: list[flavors.Flavor]
    notes: list[str]


class _Meaning(Record):
    """What a guard type and flavor mean on a release, whatever target and payload are.

    Attributes:
        values: Fields of the violation that do not depend on target and payload, by name.
        severity: Its severity, unless the target makes it soft.
        targets: Reads its targets.
        payloads: Reads its payloads.
        payload_rows: The layouts of its payloads on all releases.
        soft_mode: Bits of the target that make it soft.
        flavor: The row of the flavor; None for a flavor in no table.
        page: Its page; None likewise.
        name: Of the flavor, or of a guard type without flavors.
    """

    values: dict[str, Any]
    severity: Severity | None
    targets: layouts.TargetReader
    payloads: layouts.PayloadReader
    payload_rows: tuple[PayloadRow, ...]
    soft_mode: int
    flavor: flavors.Flavor | None
    page: Page | None
    name: str

    def severity_of(self, target: int) -> Severity | None:
        """The severity with this target."""
        return Severity.SOFT if target & self.soft_mode else self.severity

    def texts(self, violation: Violation) -> dict[str, Any]:
        """What a violation of this meaning has of `TEXTS`."""
        subcode, target_value = violation.subcode, violation.target
        target = self.targets.read(target_value)
        fields = () if subcode is None else self.payloads.read(subcode, target_value)
        if self.page is None:
            unknown = f"Unknown {self.name} flavor {violation.flavor:#x}"
            summary = f"{unknown}: target {target_value:#x}{_shown(subcode)}."
        else:
            summary = _summary(self.name, self.page, target.short, fields[0] if fields else None)
        return {
            "summary": summary,
            "target_meaning": target.meaning,
            "target_confidence": target.confidence,
            "payload_fields": fields,
            "payload_readings": () if violation.release else self.payload_readings(violation, fields),
        }

    @cached_property
    def _readers(self) -> list[tuple[int, layouts.PayloadReader]]:
        """A reader for each release that has the flavor and whose headers were read, oldest first."""
        flavor = self.flavor
        return [
            (version, layouts.PayloadReader(self.payload_rows, version))
            for version in (releases.read_for(flavor.guard_type) if flavor else ())
            if flavor and flavor.first <= version <= flavor.last
        ]

    def payload_readings(
        self, violation: Violation, shown: tuple[layouts.Field, ...]
    ) -> tuple[PayloadReading, ...]:
        """What the payload holds where that is not what is ``shown``, the newest release first."""
        if violation.subcode is None or self.flavor is None:
            return ()
        found: list[tuple[int, tuple[layouts.Field, ...]]] = []  # from which release on
        for version, reader in self._readers:
            fields = reader.explained(violation.subcode, violation.target)
            if not found or found[-1][1] != fields:
                found.append((version, fields))
        ends = [*(releases.preceding(first) for first, _ in found[1:]), self.flavor.last]
        return tuple(
            PayloadReading(releases.span(first, last), fields)
            for (first, fields), last in reversed(list(zip(found, ends, strict=True)))
            if fields and not _alike(fields, shown)
        )


@lru_cache(maxsize=4096)
def _decode(code: int, subcode: int | None, release: str | None) -> Violation:
    meaning = _meaning(code >> FLAVOR_SHIFT, release)
    if meaning is None:
        return _unknown_type(code, subcode, releases.parse(release) if release is not None else None)
    target = code & TARGET_MASK
    values = meaning.values.copy()
    values["target"] = target
    values["payload"] = values["subcode"] = subcode
    values["code"] = code
    values["severity"] = meaning.severity_of(target)
    return Violation.with_texts_later(values, meaning.texts)


@lru_cache(maxsize=1024)
def _meaning(head: int, release: str | None) -> _Meaning | None:
    """What the upper 32 bits of a code mean; None for an unknown guard type. Raises ReleaseError."""
    placed = releases.parse(release) if release is not None else None
    number, flavor, _ = split(head << FLAVOR_SHIFT)
    kind = guards.BY_NUMBER.get(number)
    if kind is None:
        return None
    named = _name(kind.name, flavor, placed)
    chosen = named.chosen
    at = placed.version if placed else chosen.last if chosen else releases.NEWEST
    known = chosen is not None or (not kind.has_flavors and flavor == 0)
    page = kind.page(chosen.name if chosen else None) if known else None
    severity = flavors.severity(kind.name, flavor, at)
    violation = Violation(
        guard_type=kind.name,
        guard_type_number=number,
        flavor=flavor,
        flavor_name=chosen.name if chosen else None,
        kernel_name=chosen.kernel_name if chosen else None,
        target=0,
        payload=None,
        code=0,
        subcode=None,
        severity=None if severity is Severity.UNKNOWN else severity,
        summary="",
        release=placed.text if placed else None,
        readings=tuple(_reading(other) for other in named.others),
        aliases=_aliases(chosen, page),
        causes=page.causes if page else (),
        advice=page.advice if page else "",
        sources=(*((declared(chosen),) if chosen else ()), *(page.sources if page else ())),
        notes=(*((placed.note,) if placed and placed.note else ()), *named.notes),
        known=known,
    )
    return _Meaning(
        {name: value for name, value in violation.as_dict().items() if name not in TEXTS},
        violation.severity,
        layouts.TargetReader(kind.target_rows(violation.flavor_name), at),
        layouts.PayloadReader(kind.payload_rows(violation.flavor_name), at),
        kind.payload_rows(violation.flavor_name),
        kind.soft_mode_bits.get(violation.flavor_name or "", 0),
        chosen,
        page,
        violation.flavor_name or kind.name,
    )


def _name(guard_type: str, value: int, placed: releases.Release | None) -> _Names:
    ever = flavors.with_value(guard_type, value)
    read = releases.read_for(guard_type)
    if placed is None or not read:
        return _Names(ever[0] if ever else None, ever[1:], [])
    at = placed.version
    here = list(flavors.at(guard_type, value, at))
    chosen = here[0] if here else None
    others = here[1:] if here else ever
    notes = []
    if at > releases.covers_until(read[-1]):
        notes.append(
            f"macOS {releases.show(at)} is newer than the newest {guard_type} table, "
            f"that of {releases.show(read[-1])}, which was used"
        )
    elif at < read[0]:
        notes.append(f"macOS {releases.show(at)} is older than the oldest table, of {releases.show(read[0])}")
    else:
        before = max(release for release in read if release <= at)
        after = min((release for release in read if release > at), default=None)
        if at > releases.covers_until(before) and after is not None:
            earlier, later = flavors.at(guard_type, value, before), flavors.at(guard_type, value, after)
            if earlier != later:
                notes.append(
                    f"the number's meaning changed somewhere between macOS {releases.show(before)} and "
                    f"{releases.show(after)}; the exact release is not known"
                )
                others = list(dict.fromkeys(o for o in (*others, *earlier, *later) if o is not chosen))
    if not ever:
        notes.append("the number is in no table of any release")
    elif chosen is None:
        notes.append(
            "the number is not in the table of this release; its meanings on others are among the readings"
        )
    return _Names(chosen, others, notes)


_IN_SUMMARY = frozenset({"reason", "operation", "system_call", "mach_trap", "reason_code", "exception_mask"})
"""Payload fields that are part of the sentence, where they come first."""


def _summary(name: str, page: Page, target: str, first: layouts.Field | None) -> str:
    """The sentence about a violation, by the short text of its target and the first field of its payload."""
    detail = ""
    if first is not None and (first.name in _IN_SUMMARY or first.confidence == OBSERVED):
        shown = first.text if first.name != "reason_code" else f"reason code {first.value:#x}"
        detail = f" ({shown})"
    return f"{name}{' ' if target else ''}{target}: {page.rule}{detail}."


def _alike(fields: tuple[layouts.Field, ...], others: tuple[layouts.Field, ...]) -> bool:
    """Whether they say the same, however sure that is."""
    return [(each.name, each.value, each.text) for each in fields] == [
        (each.name, each.value, each.text) for each in others
    ]


def _unknown_type(code: int, subcode: int | None, placed: releases.Release | None) -> Violation:
    number, flavor, target = split(code)
    notes = [placed.note] if placed and placed.note else []
    fields: tuple[layouts.Field, ...] = ()
    sources: tuple[str, ...] = ("osfmk/kern/exc_guard.h (xnu-11417.121.6)",)
    if number == 0 and flavor == 0:
        summary = (
            f"No known guard violation: the guard type bits are 0 (code {code:#x}{_shown(subcode)}); "
            "newer systems deliver some memory faults in this way."
        )
        if target == MTE_TAG_FAULT:
            summary = (
                f"No guard violation: the guard type bits are 0, and code {code:#x} is a memory tag "
                "check failure "
                "(EXC_ARM_MTE_TAGCHECK_FAIL) that was delivered as EXC_GUARD."
            )
        if subcode is not None:
            fields = (layouts.Field("address", subcode, f"fault address {subcode:#x}", INFERRED),)
        sources = ("llvm/llvm-project pull 172579",)
    elif number == 0:
        summary = f"No known guard violation: the guard type bits are 0 (code {code:#x}{_shown(subcode)})."
        notes.append(
            "reports of 32-bit processes lose the guard type bits: the flavor bits are "
            f"{flavor:#x} and the target {target:#x}, but of which guard type is not known"
        )
        if known := WELL_KNOWN_GUARDS.get(subcode or 0):
            notes.append(f"the subcode is {known}, which would make it a file descriptor guard")
        if len(str(code)) == 16 and (digits := int(str(code), 16)) >> 61 in guards.BY_NUMBER:
            notes.append(f"if these are hexadecimal digits, write {digits:#x}")
    else:
        summary = f"Unknown guard type {number}: flavor {flavor:#x}, target {target:#x}{_shown(subcode)}."
        notes.append(
            "no public header declares this guard type; newer kernel sources name a "
            "GUARD_TYPE_FROZEN_SWAPIN, "
            "whose number is not public"
        )
    return Violation(
        guard_type=None,
        guard_type_number=number,
        flavor=flavor,
        flavor_name=None,
        kernel_name=None,
        target=target,
        payload=subcode,
        code=code,
        subcode=subcode,
        severity=None,
        summary=summary,
        release=placed.text if placed else None,
        target_meaning=f"{target:#x}; its meaning depends on the guard type, which is not known",
        payload_fields=fields,
        sources=sources,
        notes=tuple(notes),
        known=False,
    )


def _shown(subcode: int | None) -> str:
    return "" if subcode is None else f", payload {subcode:#x}"


def _aliases(flavor: flavors.Flavor | None, page: Page | None) -> tuple[str, ...]:
    names = [flavor.kernel_name] if flavor else []
    if page:
        names += [alias for alias in (*page.aliases, *page.reported) if not flavor or alias != flavor.name]
    return tuple(dict.fromkeys(names))


def declared(flavor: flavors.Flavor) -> str:
    """Where a flavor's number is from: "osfmk/mach/port.h (xnu-4903.221.2 to xnu-4903.270.47)"."""
    until = f" to {flavor.last_source}" if flavor.last_source else " and later"
    return f"{flavor.header} ({flavor.first_source}{until})"


def _reading(flavor: flavors.Flavor) -> Reading:
    return Reading(
        flavor.name,
        flavor.kernel_name,
        releases.span(flavor.first, flavor.last),
        releases.show(flavor.first),
        None if flavor.last == releases.NEWEST else releases.show(flavor.last),
        flavors.severity(flavor.guard_type, flavor.value, flavor.last),
    )

"""The pages of guards, and what is generated from them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from excguard.decoding import pages, payload
from excguard.decoding.code import join
from excguard.decoding.decode import decode
from excguard.knowledge import flavors, guards, releases

if TYPE_CHECKING:
    from excguard.knowledge.guards.guard_type import GuardType


def test_every_guard_has_a_page_with_everything() -> None:
    found = pages.every()

    assert len(found) == len({(f.guard_type, f.name) for f in flavors.table() if f.role == "flavor"}) + 2
    for page in found:
        assert page.rule, page.name
        assert page.advice, page.name
        assert page.sources, page.name
        assert page.target, page.name
        assert page.payload or page.payload_text, page.name
        assert page.timeline, page.name


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("INVALID_NAME", ["INVALID_NAME"]),
        ("invalid_name", ["INVALID_NAME"]),
        ("kGUARD_EXC_IMMOVABLE", ["IMMOVABLE"]),
        ("ILLEGAL_MOVE", ["IMMOVABLE"]),
        ("OVER_DEALLOC", ["MOD_REFS"]),
        ("OVERDEALLOC_SOFT", ["MOD_REFS_NON_FATAL"]),
        ("ILLEGALMOVE_SOFT", ["IMMOVABLE_NON_FATAL"]),
        ("SET_EXCEPTION_BEHAVIOR", ["EXCEPTION_BEHAVIOR_ENFORCE"]),
        ("OOL_PORT_ARRAY", ["DESCRIPTOR_VIOLATION"]),
        ("ALREADY_GUARDED", ["INVALID_ARGUMENT"]),
        ("PROVISIONAL_REPLY_PORT", ["PROVISIONAL_REPLY_PORT"]),
        ("0x200", ["INVALID_NAME"]),
        ("512", ["INVALID_NAME"]),
        ("0x20000", ["SEND_INVALID_VOUCHER", "SEND_INVALID_RIGHT"]),
        ("1", ["DESTROY", "CLOSE", "RENAME_TO", "DEALLOC_GAP"]),
        ("FD:1", ["CLOSE"]),
        ("FD CLOSE", ["CLOSE"]),
        ("GUARD_TYPE_FD", ["CLOSE", "DUP", "NOCLOEXEC", "SOCKET_IPC", "FILEPORT", "MISMATCH", "WRITE"]),
        ("2305845208236959491", ["INVALID_NAME"]),
        ("0x6000000000000012", ["USER"]),
        ("USER", ["USER"]),
        ("COW_DEFEATURED_FIRST", ["COW_DEFEATURED_COPY_DENIED"]),  # the end of a range, no flavor of its own
        ("kGUARD_EXC_COW_DEFEATURED_LAST", ["COW_DEFEATURED_SHARE_MAP_AS_COPY_DENIED"]),
        ("vnode unlink", ["UNLINK"]),
        ("VNG_UNLINK", ["UNLINK"]),
        ("  Invalid   Name ", ["INVALID_NAME"]),
        ("guard_exc_mte-sync-fault", ["MTE_SYNC_FAULT"]),
        ("GUARD_OBJECT_ASYNC_USER_FAULT", ["GUARD_OBJECT_ASYNC_USER_FAULT"]),
        ("kGUARD_EXC_GUARD_OBJECT_ASYNC_USER_FAULT", ["GUARD_OBJECT_ASYNC_USER_FAULT"]),
        ("file descriptor close", ["CLOSE"]),
        ("2,305,845,208,236,959,491", ["INVALID_NAME"]),
        ("2305845208236959491,0", ["INVALID_NAME"]),
        ("200002000000ab03", ["INVALID_NAME"]),
        ("kGUARD_EXC_", []),
        ("NOTHING", []),
        ("", []),
        ("0x7777", []),
        ("99999999999999999999999", []),
    ],
)
def test_found_by_any_name_or_number(asked: str, expected: list[str]) -> None:
    assert sorted(expected) == sorted(page.name for page in pages.find(asked))


@pytest.mark.parametrize("name", ["VN", "vn", "GUARD_TYPE_VN", "vnode", "Vnode"])
def test_a_guard_type_lists_its_guards(name: str) -> None:
    assert [page.name for page in pages.every() if page.guard_type == "VN"] == [
        p.name for p in pages.find(name)
    ]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("INVALD_NAME", "INVALID_NAME"),
        ("overdealloc", "OVER_DEALLOC"),
        ("kGUARD_EXC_SEC", "SEC_COPY_DENIED"),
        ("reply_port", "WEAK_REPLY_PORT"),
        ("%", None),
    ],
)
def test_suggestions(asked: str, expected: str | None) -> None:
    found = pages.suggest(asked)

    assert expected in found if expected else found == []
    assert len(found) <= 5


def test_every_spelling_of_every_name_finds_its_guard() -> None:
    for flavor in flavors.table():
        if flavor.role == "flavor":
            for prefix in ("", "kGUARD_EXC_", "GUARD_EXC_", "GUARD_", "VNG_"):
                found = guards.named(prefix + flavor.name.lower(), flavor.guard_type)
                assert flavor.name in {each.name for each in found}, (prefix, flavor)


def test_a_number_by_release() -> None:
    assert [p.name for p in pages.find("0x20000", releases.parse("10.14.6"))] == ["SEND_INVALID_RIGHT"]
    assert [p.name for p in pages.find("0x20000", releases.parse("10.15"))] == ["SEND_INVALID_VOUCHER"]


def test_a_timeline_shows_each_renumbering_and_severity() -> None:
    eras = pages.of("MACH_PORT", "MACH_EXC_THREAD_SET_STATE").timeline

    assert [(e.first, e.last, e.value, e.severity) for e in eras] == [
        ("26.4", "26.4", 0x100007, "soft"),
        ("27.0", None, 0xC, "fatal"),
    ]
    eras = pages.of("MACH_PORT", "MSG_FILTERED").timeline
    assert [(e.first, e.last, e.severity) for e in eras] == [
        ("11.0.1", "11.2", "optional"),
        ("11.3", None, "fatal"),
    ]


def test_apples_guide_is_contradicted_where_it_is_wrong() -> None:
    for name in ("SEND_INVALID_RIGHT", "SEND_INVALID_VOUCHER"):
        page = guards.BY_NAME["MACH_PORT"].page(name)
        assert any("Apple's guide gives it" in note for note in page.notes)


def test_layouts_are_of_known_flavors_and_do_not_overlap() -> None:
    for page in pages.every():
        for bits in (page.payload, *(layout.bits for layout in page.layouts)):
            above = 64
            for part in bits:
                assert above > part.high >= part.low >= 0, page.name
                above = part.low
    assert pages.of("MACH_PORT", "INVALID_NAME").payload == ()


def test_rows_of_layouts_belong_to_flavors() -> None:
    for kind in guards.TYPES:
        assert {*kind.targets, *kind.payloads, *kind.soft_mode_bits} <= set(kind.pages), kind.name


@pytest.mark.parametrize("kind", guards.TYPES, ids=lambda kind: kind.name)
@given(st.integers(0, 2**32 - 1), st.sampled_from([r.version for r in releases.known()] + [releases.NEWEST]))
def test_every_target_of_every_flavor_has_a_meaning(kind: GuardType, value: int, release: int) -> None:
    for flavor in (*kind.pages, None):
        assert payload.TargetReader(kind.target_rows(flavor), release).read(value).meaning


def test_layouts_by_release() -> None:
    found = {layout.releases for layout in pages.of("MACH_PORT", "INVALID_RIGHT").layouts}

    assert found == {"macOS 26.0 and later", "up to macOS 15.6"}
    (page,) = pages.find("INVALID_RIGHT", releases.parse("15.5"))
    assert [(layout.releases, layout.bits) for layout in page.layouts] == [("up to macOS 15.6", ())]
    assert page.payload_text == "always 0"


def test_a_drawn_bit_is_a_decoded_one() -> None:
    """Explain draws the rows that decode reads: the names of the fields are those of the drawing."""
    code = join(1, 0x100, 0x103)
    for layout in pages.of("MACH_PORT", "INVALID_RIGHT").layouts:
        if layout.when.startswith("reason"):
            reason = int(layout.when.split()[1].rstrip(","), 16)
            value = reason << 56 | 0x11 << 32 | (20 if reason == 4 else 0xFFFFFFFF)
            fields = decode(code, value, "26.4").payload_fields
            if "guide" in layout.when:
                continue
            assert {bits.name for bits in layout.bits} == {field.name for field in fields} - {"unknown_bits"}

"""decode(): the numbers, by release, to the last field."""

import csv
import pickle
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import excguard
from excguard.decoding.code import DecodeError, join, parse_number, parse_numbers
from excguard.decoding.decode import decode
from excguard.knowledge import flavors, guards, names, releases
from excguard.knowledge.guards import layout as layouts

DATA = Path(__file__).parents[1] / "data"
U64 = st.integers(0, 2**64 - 1)


def test_the_example_of_apples_guide() -> None:
    found = excguard.decode(2305845208236959491, 0)

    assert (
        found.guard_type,
        found.guard_type_number,
        found.flavor_name,
        found.kernel_name,
    ) == ("MACH_PORT", 1, "INVALID_NAME", "kGUARD_EXC_INVALID_NAME")
    assert (
        found.flavor,
        found.target,
        found.payload,
        found.severity,
        found.readings,
    ) == (0x200, 9987, 0, "optional", ())
    assert found.summary == (
        "INVALID_NAME on port 0x2703: a port name was used for which the process holds no right."
    )


def test_json_keeps_every_bit_and_the_order_of_the_contract() -> None:
    found = decode(0x4000000100000000, 0x08FD4DBFADE2DEAD).to_dict()

    assert list(found)[:14] == [
        "guard_type",
        "guard_type_number",
        "flavor",
        "flavor_name",
        "kernel_name",
        "target",
        "payload",
        "code",
        "subcode",
        "severity",
        "summary",
        "release",
        "readings",
        "target_meaning",
    ]
    assert (
        found["code"],
        found["payload"],
        found["target"],
        found["flavor"],
    ) == ("0x4000000100000000", "0x8fd4dbfade2dead", 0, 1)
    assert found["payload_fields"] == (
        {
            "name": "guard",
            "value": "0x8fd4dbfade2dead",
            "text": "the guard of SQLite's database files",
            "confidence": "observed",
        },
    )


@pytest.mark.parametrize(
    ("given_value", "expected"),
    [(-1, 2**64 - 1), (-(2**63), 2**63), (2**64 - 1, 2**64 - 1), (0, 0), (-6917529027641081856, 0xA << 60)],
)
def test_signed_and_unsigned_are_the_same_bits(given_value: int, expected: int) -> None:
    assert (expected, expected) == (decode(given_value, 0).code, decode(0, given_value).subcode)


@pytest.mark.parametrize(
    "value", [2**64, -(2**63) - 1, 10**30, -(10**5000)], ids=lambda v: f"{v.bit_length()} bits"
)
def test_out_of_range_is_refused(value: int) -> None:
    with pytest.raises(DecodeError, match="64 bits"):
        decode(value, 0)
    with pytest.raises(DecodeError, match="subcode"):
        decode(0, value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2305845208236959491", 0x2000020000002703),
        (" 0x2000020000002703 ", 0x2000020000002703),
        ("0X2000020000002703", 0x2000020000002703),
        ("-0x1", 2**64 - 1),
        ("-6917529027641081856", 0xA000000000000000),
        ("007", 7),
        ("0x2000_0200_0000_2703", 0x2000020000002703),
        ("2,305,845,208,236,959,491", 0x2000020000002703),
        ("2.305.845.208.236.959.491", 0x2000020000002703),
        ("2 305 845 208 236 959 491", 0x2000020000002703),
        ("2\u202f305\u202f845\u202f208\u202f236\u202f959\u202f491", 0x2000020000002703),
        ("2'305'845'208'236'959'491", 0x2000020000002703),
        ("2_305_845_208_236_959_491", 0x2000020000002703),
        ("(2305845208236959491)", 0x2000020000002703),
        ("0x2000020000002703ULL", 0x2000020000002703),
        ("\u22121", 2**64 - 1),
        ("200002000000ab03", 0x200002000000AB03),
        ("a000000100000000", 0xA000000100000000),
        ("2000020000002703", 0x2000020000002703),  # no decimal number of 16 digits has a guard type
        ("1000020000002703", 1000020000002703),
        ("8fd4dbfade2dead", 0x08FD4DBFADE2DEAD),
        ("4,096", 4096),
        ("\uff11\uff12", 12),
    ],
)
def test_numbers_as_people_write_them(text: str, expected: int) -> None:
    assert expected == parse_number(text)


@pytest.mark.parametrize(
    "text",
    [
        *("", "x", "0x", "1.5", "nan", "0b1", "1e9", "12abc", "9" * 5000, "\0", "deadbeef", "decade"),
        *("1 2", "1,2", "1,,2", "2,305,84", "2.305845208236959e+18", "0x1g", "-", "2,305,845,208 x"),
    ],
)
def test_invalid_numbers_are_refused(text: str) -> None:
    with pytest.raises(DecodeError) as caught:
        parse_number(text)

    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2305845208236959491,0", [0x2000020000002703, 0]),
        ("2305845208236959491, 0x0", [0x2000020000002703, 0]),
        ("(0x2000020000002703, 0x0)", [0x2000020000002703, 0]),
        ("0x4000000100000000 0x08fd4dbfade2dead", [0x4000000100000000, 0x08FD4DBFADE2DEAD]),
        ("0x2000020000002703/8fd4dbfade2dead", [0x2000020000002703, 0x08FD4DBFADE2DEAD]),
        ("2,305,845,208,236,959,491, 4,096", [0x2000020000002703, 4096]),
        ("2 305 845 208 236 959 491 0", [0x2000020000002703, 0]),
        ("-6917529027641081856 -1", [0xA000000000000000, 2**64 - 1]),
        ("1 2", [1, 2]),
        ("", []),
        ("12 apps", []),
        ("INVALID_NAME", []),
        ("EXC_GUARD (code=2305845208236959491, subcode=0x0)", []),
    ],
)
def test_a_code_with_its_subcode(text: str, expected: list[int]) -> None:
    assert expected == parse_numbers(text)


@given(U64, st.sampled_from(["{:d}", "{:#x}", "{:,}", "{:_}", "{:#_x}", "0X{:X}"]), st.none() | U64)
def test_any_number_is_read_back(code: int, form: str, subcode: int | None) -> None:
    text = form.format(code) + ("" if subcode is None else f", {subcode:#x}")
    assume(form not in {"{:d}", "{:_}"} or len(str(code)) != 16)  # may be taken as hex

    assert [code] + ([] if subcode is None else [subcode]) == parse_numbers(text)


@given(U64, st.sampled_from(["{}", "{:#x}", "{:#X}", "0x{:016x}"]))
def test_the_short_way_of_reading_a_number_gives_what_the_pattern_gives(code: int, form: str) -> None:
    assert parse_numbers(form.format(code)) == parse_numbers(f"{form.format(code)}u")


def test_a_rounded_number_is_said_to_be_one() -> None:
    with pytest.raises(DecodeError, match="rounded by another program"):
        parse_numbers("2.305845208236959e+18")


RENUMBERED = {
    (f.guard_type, f.value)
    for f in flavors.table()
    if f.role == "flavor" and len(flavors.with_value(f.guard_type, f.value)) > 1
}


@pytest.mark.parametrize(("guard_type", "value"), sorted(RENUMBERED))
def test_a_renumbered_flavor_has_each_releases_name(guard_type: str, value: int) -> None:
    code = join(guards.NUMBERS[guard_type], value, 7)
    meanings = flavors.with_value(guard_type, value)

    alone = decode(code, 0)
    assert {m.name for m in meanings} == {alone.flavor_name, *(r.flavor_name for r in alone.readings)}
    assert alone.flavor_name == meanings[0].name
    for meaning in meanings:
        for at in (meaning.first, meaning.last if meaning.last != releases.NEWEST else meaning.first):
            found = decode(code, 0, releases.show(at))
            assert meaning.name in {found.flavor_name, *(r.flavor_name for r in found.readings)}
            if not any(other.first <= at <= other.last for other in meanings if other is not meaning):
                assert (meaning.name, ()) == (found.flavor_name, found.readings)


@pytest.mark.parametrize(
    ("flavor", "release", "expected", "severity"),
    [
        (0x20000, "10.14.6", "SEND_INVALID_RIGHT", "optional"),
        (0x20000, "10.15", "SEND_INVALID_VOUCHER", "optional"),
        (0x40000, "10.14.6", "RCV_INVALID_NAME", "optional"),
        (0x40000, "iOS 17.4", "SEND_INVALID_RIGHT", "optional"),
        (0x80000, "18G103", "RCV_INVALID_NOTIFY", "optional"),
        (0x80000, "xnu-6153.11.26", "RCV_INVALID_NAME", "optional"),
        (0x800000, "15.5", "REQUIRE_REPLY_PORT_SEMANTICS", "soft"),
        (0xA, "26.4", "REQUIRE_REPLY_PORT_SEMANTICS", "fatal"),
        (0x1000000, "14.1", "EXCEPTION_BEHAVIOR_ENFORCE", "soft"),
        (0x6, "14.2", "EXCEPTION_BEHAVIOR_ENFORCE", "fatal"),
        (0x100007, "26.4", "MACH_EXC_THREAD_SET_STATE", "soft"),
        (0xC, "27.0", "MACH_EXC_THREAD_SET_STATE", "fatal"),
        (0x80, "11.2", "MSG_FILTERED", "optional"),
        (0x80, "11.3", "MSG_FILTERED", "fatal"),
        (0xC, "15.5", None, "fatal"),
    ],
)
def test_name_and_severity_go_by_release(
    flavor: int, release: str, expected: str | None, severity: str
) -> None:
    found = decode(join(1, flavor, 0x103), 0, release)

    assert (expected, severity, expected is not None) == (found.flavor_name, found.severity, found.known)


def test_flavor_0_is_telemetry_and_no_guard() -> None:
    found = decode(join(1, 0, 15), 0, "26.4")

    assert (found.flavor_name, found.severity, found.known) == ("NONE", None, True)
    assert "not a guard" in found.summary
    assert "telemetry" in found.summary
    assert "15" in found.target_meaning


@pytest.mark.parametrize("flavor", [0xC8, 0xC9, 0xCA, 0xCB, 0xCC])
def test_soft_mode_is_soft_whatever_the_flavor(flavor: int) -> None:
    hard, soft = (decode(join(5, flavor, target), 0x1234, "26.4") for target in (0x106, 0x100106))

    assert hard.severity in {"fatal", "optional"}
    assert soft.severity == "soft"
    assert "in soft mode" in soft.target_meaning


def test_a_summary_names_the_offender_of_a_vnode_guard() -> None:
    assert "by pid 512" in decode(join(4, 4, 512), 0xDEADBEEF).summary


@pytest.mark.parametrize(
    ("release", "number", "words"),
    [
        ("26.0", 8, "IOT_REPLY_PORT"),
        ("26.1", 14, "IKOT_TASK_CONTROL"),
        ("26.4", 8, "IOT_EXCEPTION_PORT"),
        ("26.4", 14, "IKOT_THREAD_READ"),
        ("27.0", 17, "IKOT_TASK_CONTROL"),
        ("26.2", 8, "IOT_REPLY_PORT or IOT_EXCEPTION_PORT (8)"),
        ("26.3", 1, "IOT_PORT"),
        ("26.3", 48, "an unknown port type or IKOT_UX_HANDLER (48)"),
        ("15.7.3", 2, "IKOT_TASK_CONTROL"),
        ("10.9", 2, "IKOT_TASK_CONTROL"),
        ("26.0", 99, "unknown port type 99"),
    ],
)
def test_port_types_by_release(release: str, number: int, words: str) -> None:
    assert names.port_type(number, releases.parse(release).version) == words


@pytest.mark.parametrize(
    ("flavor", "target", "payload", "release", "words"),
    [
        (0x7, 7, 0x1103, "26.0", ["number of the policy, 7", "port=port name 0x1103"]),
        (0x9, 1, 0, "26.0", ["in the name space of its receiver (1 for a kernel object)"]),
        (0xA, 0x103, 0, "26.0", ["name of the destination", "destination=a service port"]),
        (0x20, 0x103, 0, "26.0", ["right=a receive right"]),
        (0x20, 0x103, 0, "15.5", ["port name 0x103"]),
        (0x43, 0x800003, 1 << 56 | 17, "26.0", ["sent by mach_msg2", "MACH_MSG_TYPE_MOVE_SEND"]),
        (0x80, 0x1234, 3402, "15.3", ["low half of the destination's kernel address"]),
        (0x80, 0x1234, 0, "14.4", ["port name 0x1234"]),
        (0x80, 0x1234, 0, "15.1", ["or the low half of its kernel address"]),
        (0x80, 0x1234, 0xFFFFFFFFFFFFFFFE, "26.0", ["message_id=-2"]),
        (0x100, 0x103, 1, "26.0", ["reason=a receive right was needed"]),
        (0x100, 0x103, 4 << 56 | 7 << 32 | 0x15, "26.0", ["copyin_reason=", "MACH_MSG_TYPE_MAKE_SEND_ONCE"]),
        (
            0x100,
            0x103,
            5 << 56 | 0x80A10001,
            "26.0",
            ["MACH_PORT_TYPE", "1 held", "receive right", "generation"],
        ),
        (0x400, 0x103, 2 << 56 | 0xFFFF << 16 | 3, "26.0", ["-1 references, by its low 16 bits"]),
        (0x4000, 0, 2, "26.0", ["must go to a notification port"]),
        (0x10000, 0x103, 0xFFFFFF << 32 | 21, "26.0", ["MAKE_SEND_ONCE", "the same name as the voucher"]),
        (0x10000, 0x103, 21, "26.0", ["MAKE_SEND_ONCE", "the name has no entry"]),
        (0x40000, 0x103, 0x1234 << 32 | 1 << 56 | 19, "26.0", ["unknown_bits=bits without a known meaning"]),
        (0x100, 0x103, 0x77, "15.5", ["payload=zero was expected for this flavor"]),
        (0x2, 0x103, 0x77, "15.5", ["payload=no source explains this value"]),
        (0x44, 0x103, 0x77, "26.4", ["payload=no source says what the payload of this flavor is"]),
    ],
)
def test_payloads_of_26(flavor: int, target: int, payload: int, release: str, words: list[str]) -> None:
    found = _fields(join(1, flavor, target), payload, release)

    at = 0
    for word in words:
        assert word in found[at:], found
        at = found.index(word, at) + len(word)


def test_without_a_release_a_value_only_an_older_layout_explains_is_inferred() -> None:
    (field,) = decode(join(1, 0x2, 0x103), 0x7FFF12345678).payload_fields

    assert (field.name, field.confidence) == ("guard", "inferred")


def test_without_a_release_a_payload_is_shown_for_each() -> None:
    found = decode(join(1, 0x20, 0x103), 8 << 32 | 17)

    shown = [(each.releases, [field.text for field in each.fields]) for each in found.payload_readings]
    assert [field.text for field in found.payload_fields] == ["IOT_EXCEPTION_PORT", "MACH_MSG_TYPE_MOVE_SEND"]
    assert shown == [
        ("macOS 26.0 to 26.3", ["IOT_REPLY_PORT", "MACH_MSG_TYPE_MOVE_SEND"]),
        ("macOS 10.15 to 15.6", ["the context value that guards the port, which looks like an address"]),
    ]
    assert [each["releases"] for each in found.to_dict()["payload_readings"]] == [each[0] for each in shown]
    assert decode(join(1, 0x20, 0x103), 8 << 32 | 17, "26.0").payload_readings == ()


@given(
    st.sampled_from([f for f in flavors.table() if f.role == "flavor" and f.last == releases.NEWEST]),
    st.integers(0, 2**32 - 1),
    U64 | st.sampled_from([0, 1 << 56, 8 << 32 | 17, 0x103]),
)
def test_readings_of_a_payload_are_those_of_their_releases(
    flavor: flavors.Flavor, target: int, payload: int
) -> None:
    code = join(guards.NUMBERS[flavor.guard_type], flavor.value, target)

    for reading in decode(code, payload).payload_readings:
        first = reading.releases.removeprefix("macOS ").split()[0]
        assert decode(code, payload, first).payload_fields == reading.fields


@given(
    st.sampled_from([f for f in flavors.table() if f.role == "flavor"]),
    st.integers(0, 2**32 - 1),
    U64,
    st.sampled_from([None, "10.9", "12.3", "14.2", "15.4", "26.0", "26.3", "26.4", "27.0"]),
)
def test_no_bit_of_a_payload_is_dropped(
    flavor: flavors.Flavor, target: int, payload: int, release: str | None
) -> None:
    found = decode(join(guards.NUMBERS[flavor.guard_type], flavor.value, target), payload, release)

    if payload and found.known:
        assert found.payload_fields


def test_between_two_tables_the_earlier_one_is_used_and_said() -> None:
    found = decode(join(1, 0x800000, 7), 0, "15.7")

    assert found.flavor_name == "REQUIRE_REPLY_PORT_SEMANTICS"
    assert any("between macOS 15.5 and 26.0" in note for note in found.notes)


def test_above_the_newest_table_it_is_used_and_said() -> None:
    found = decode(join(1, 0x200, 7), 0, "31.2")

    assert found.flavor_name == "INVALID_NAME"
    assert any("newer than the newest" in note for note in found.notes)


@given(U64, U64, st.none() | st.just("macOS 14.4"))
def test_texts_are_composed_when_they_are_read(code: int, subcode: int, release: str | None) -> None:
    found = decode(code, subcode, release)
    copied = pickle.loads(pickle.dumps(found))  # noqa: S301 - own data

    assert copied == found
    assert hash(copied) == hash(found)
    assert repr(copied) == repr(found)
    assert copied.to_dict() == found.to_dict()
    assert found.summary


@pytest.mark.parametrize("code", [join(1, 0x44, 5), join(2, 0x80, 5), join(4, 0x3, 5), join(5, 0x7777, 5)])
def test_unknown_flavors_stay_numbers(code: int) -> None:
    found = decode(code, 0x99)

    assert (found.flavor_name, found.kernel_name, found.known, found.advice) == (None, None, False, "")
    assert f"{found.flavor:#x}" in found.summary
    assert found.severity in {"fatal", "optional", "soft"}


def test_guard_type_7_is_not_guessed() -> None:
    found = decode(join(7, 5, 6), 1)

    assert (
        found.guard_type,
        found.guard_type_number,
        found.flavor,
        found.target,
        found.severity,
        found.known,
    ) == (None, 7, 5, 6, None, False)


@pytest.mark.parametrize(
    ("code", "said"), [(0x106, "memory tag"), (1, "memory faults"), (0x100000000, "guard type bits are 0")]
)
def test_type_0_is_no_guard(code: int, said: str) -> None:
    found = decode(code, 0x4141414141414151)

    assert (found.guard_type, found.guard_type_number, found.known) == (None, 0, False)
    assert said in found.summary


def test_hex_digits_without_their_mark_are_pointed_out() -> None:
    assert "if these are hexadecimal digits, write 0x2000020000002703" in decode(2000020000002703).notes
    assert not any("hexadecimal" in note for note in decode(1000020000002703).notes)


@given(
    U64,
    st.none() | U64,
    st.sampled_from([None, "10.9", "10.14.6", "14.4", "15.5", "15.6", "26.4", "27.0", "99"]),
)
def test_any_numbers_decode(code: int, subcode: int | None, release: str | None) -> None:
    found = decode(code, subcode, release)

    assert (code, subcode) == (found.code, found.subcode)
    assert code == join(found.guard_type_number, found.flavor, found.target)
    assert found.summary.endswith(".")
    assert found.target_meaning
    assert all(field.confidence in layouts.CONFIDENCES for field in found.payload_fields)
    assert not found.known or found.advice


# Targets and payloads: (flavor, release, target, payload) -> the words to be found, in order


def _fields(code: int, subcode: int, release: str | None) -> str:
    found = decode(code, subcode, release)
    return "; ".join([found.target_meaning, *(f"{f.name}={f.text}" for f in found.payload_fields)])


@pytest.mark.parametrize(
    ("flavor", "target", "payload", "release", "words"),
    [
        (0x1, 0x103, 0x7FFF12345678, "14.4", ["port name 0x103", "guard=the context value"]),
        (0x2, 0x103, 1 << 56, "13.0", ["operation=a deallocate call"]),
        (0x2, 0x103, 2 << 56, "15.5", ["operation=a destroy call"]),
        (0x2, 0x103, 4 << 56, "15.5", ["operation=sending the right"]),
        (0x2, 0x103, 3 << 56, "26.4", ["operation=sending the right"]),
        (0x2, 0x103, 3, "26.4", ["operation=sending the right"]),
        (0x2, 0x103, 4 << 56, None, ["operation=sending the right"]),  # of a report without its release
        (0x2, 0x103, 0x1234, "10.11", ["guard=the context value of a guarded receive right"]),
        (0x3, 0xD4A, 0, "14.2", ["message id 0xd4a (task_threads)"]),
        (0x3, 3205, 0, "14.2", ["routine 5 of MIG subsystem mach_port"]),
        (
            0x3,
            0,
            0x8001430200000003,
            "26.5.2",
            [
                "MACH64_SEND_MSG | MACH64_RCV_MSG | MACH64_SEND_KOBJECT_CALL | MACH64_MACH_MSG2",
                "MACH64_POLICY_DEFAULT | MACH64_POLICY_ENHANCED | MACH64_POLICY_TRANSLATED",
                "ENHANCED_V0",
            ],
        ),
        (
            0x3,
            0,
            0x8050000403000003,
            "15.4",
            [
                "MACH64_SEND_MQ_CALL",
                "MACH_RCV_TRAILER_AUDIT",
                "MACH64_POLICY_DEFAULT | MACH64_POLICY_TRANSLATED",
            ],
        ),
        (0x5, 6, 2 << 56, "26.4", ["ARM_THREAD_STATE64", "x86_EXCEPTION_STATE64", "reason=with a flavor"]),
        (0x5, 0, 0, "14.4", ["always zero before macOS 26"]),
        (
            0x6,
            0x80000001,
            0x6E,
            "26.4",
            [
                "EXCEPTION_DEFAULT | MACH_EXCEPTION_CODES",
                ("EXC_MASK_BAD_ACCESS | EXC_MASK_BAD_INSTRUCTION | EXC_MASK_ARITHMETIC | EXC_MASK_SOFTWARE"),
            ],
        ),
        (0x6, 0x2F546350, 0, "14.4", ["low half of a kernel address, not a port name"]),
        (0x6, 0x2F546350, 0, None, ["low half of a kernel address, not a port name"]),
        (0x6, 0x2F546350, 0, "26.4", ["is not an exception behavior, which macOS 26 has here"]),
        (0x6, 0, 0, "14.4", ["low half of a kernel address, not a port name"]),
        (0x6, 0, 0, "15.5", ["always zero on macOS 14.6 to 15.x"]),
        (0x6, 0, 0, None, ["always zero on macOS 14.6 to 15.x"]),
        (0x6, 0, 0, "26.4", ["is not an exception behavior, which macOS 26 has here"]),
        (0x6, 0, 0, "27.0", ["is not an exception behavior, which macOS 26 has here"]),
        (0x7, 0, 0x1103, "26.4", ["always zero", "port=port name 0x1103"]),
        (0xA, 0x103, 1, "26.4", ["destination=the bootstrap port"]),
        (0xC, 1, 77, "27.0", ["ARM_THREAD_STATE", "pid=process 77"]),
        (0x20, 0x103, 17 << 32 | 17, "26.4", ["IKOT_TASK_CONTROL", "disposition=MACH_MSG_TYPE_MOVE_SEND"]),
        (0x20, 0x103, 0xABC, "12.0", ["guard="]),
        (0x20, 0x103, 1 << 56, "14.4", ["reason=the port is pinned"]),
        (0x20, 0x103, 1 << 56, None, ["reason=the port is pinned"]),
        (0x40, 0x103, 1 << 56 | 17, "14.0", ["INVALID_REPLY_DISP", "MACH_MSG_TYPE_MOVE_SEND"]),
        (0x40, 0x103, 2 << 56 | 15, "14.0", ["INVALID_REPLY_PORT", "KERN_INVALID_NAME"]),
        (
            0x40,
            0x103,
            0x10 << 56 | 501 << 32 | 502,
            "26.4",
            ["MISMATCHED_PERSONA", "persona 502", "persona 501"],
        ),
        (0x41, 10, 69, "26.4", ["IOT_REPLY_PORT", "notification=MACH_NOTIFY_PORT_DESTROYED"]),
        (0xC, 1, 77, "26.4", ["0x1; most flavors have a port name here, but this one is in no table"]),
        (0x42, 0x4010, 0, "26.4", ["MPO_WEAK_REPLY_PORT | MPO_INSERT_SEND_RIGHT"]),
        (
            0x43,
            0x303,
            1 << 56 | 17,
            "26.4",
            ["IPC_SPACE_POLICY_DEFAULT", "ENHANCED_V2", "MACH_MSG_TYPE_MOVE_SEND"],
        ),
        (0x43, 0x303, 2 << 56 | 3, "26.4", ["more than one", "count=3 arrays"]),
        (0x43, 0x303, 3 << 56 | 1, "26.4", ["destination", "port_type=IOT_PORT"]),
        (0x80, 0x103, 3402, "15.4", ["message_id=3402, task_threads"]),
        (
            0x100,
            0x103,
            2 << 56 | 1 << 32 | 0x10002,
            "26.4",
            ["right=MACH_PORT_RIGHT_RECEIVE", "_SEND", "2 held"],
        ),
        (
            0x100,
            0x103,
            4 << 56 | 4 << 32 | 0x20000,
            "26.4",
            ["port descriptor", "rights=MACH_PORT_TYPE_RECEIVE"],
        ),
        (0x100, 0x103, 4 << 56 | 2 << 32 | 20, "26.4", ["reply port", "disposition=MACH_MSG_TYPE_MAKE_SEND"]),
        (
            0x100,
            0x103,
            0x0500000004020000,
            "26.1",
            ["mach_port_deallocate", "rights=MACH_PORT_TYPE_RECEIVE", "0 held"],
        ),
        (
            0x100,
            0x103,
            6 << 56 | 13 << 32 | 17,
            "26.4",
            ["expected_type=IKOT_THREAD_CONTROL", "IKOT_TASK_CONTROL"],
        ),
        (0x100, 0x103, 1, "26.4", ["reason=a receive right was needed"]),
        (0x100, 0x103, 0x99 << 56, "26.4", ["reason=unknown reason"]),
        (0x400, 0x103, 1 << 56 | 3 << 32 | 8, "26.4", ["trailer_type", "room for 8 bytes"]),
        (
            0x400,
            0x103,
            2 << 56 | 0 << 32 | 0xFFFE << 16 | 1,
            "26.4",
            ["MACH_PORT_RIGHT_SEND", "-2 references", "1 held"],
        ),
        (0x400, 0x103, 3 << 56 | 0xFFFFFF << 32 | 2, "26.4", ["-1 send rights", "2 held"]),
        (0x800, 0x103, 0x77, "15.4", ["guard=the context value that already guards"]),
        (0x4000, 0, 4 << 56, "26.4", ["already registered"]),
        (0x4000, 0, 2, "26.4", ["must go to a notification port"]),
        (
            0x10000,
            0x103,
            0x20000 << 32 | 17,
            "26.4",
            ["MACH_MSG_TYPE_MOVE_SEND", "rights=MACH_PORT_TYPE_RECEIVE"],
        ),
        (0x20000, 0x103, 18, "26.4", ["disposition=MACH_MSG_TYPE_MOVE_SEND_ONCE"]),
        (0x40000, 0x103, 2 << 56 | 19, "26.4", ["out-of-line port array", "MACH_MSG_TYPE_COPY_SEND"]),
        (0x100005, 0x103, 2, "26.4", ["copyin_reason=reply port of a message"]),
        (0x100006, 0x103, 8, "26.4", ["port_type=IOT_EXCEPTION_PORT"]),
        (0x100007, 1, 501, "26.4", ["pid=process 501"]),
    ],
)
def test_port_payloads(flavor: int, target: int, payload: int, release: str | None, words: list[str]) -> None:
    found = _fields(join(1, flavor, target), payload, release)

    at = 0
    for word in words:
        assert word in found[at:], found
        at = found.index(word, at) + len(word)


@pytest.mark.parametrize(
    ("code", "payload", "words"),
    [
        (join(2, 1, 0xFFFFFFFF), 0x4F84EFA691046CD, ["file descriptor -1", "not a well-known one"]),
        (join(2, 2, 0), 0x7FFF8D8FFC48, ["file descriptor 0", "looks like an address"]),
        (join(3, 0, 18), 2, ["LIBSYSTEM", "reason_code"]),
        (join(3, 0, 999), 2, ["999, unknown"]),
        (join(4, 4, 501), 7, ["process 501", "guard"]),
        (join(5, 1, 0), 0xFC0000000, ["offset=first address of the gap"]),
        (join(5, 2, 0), 14, ["errno=EFAULT"]),
        (join(5, 8, 0), 4, ["kern_return=KERN_INVALID_ARGUMENT"]),
        (join(5, 0xC8, 0x100106), 0x1000, ["0x106; in soft mode", "the process goes on", "address"]),
        (join(6, 0, 0), 3, ["Unix system call", "system_call=read"]),
        (join(6, 0, 1), 31, ["Mach trap", "mach_trap=mach_msg_trap"]),
        (join(6, 0, 0), 99999, ["not in the table"]),
    ],
)
def test_other_payloads(code: int, payload: int, words: list[str]) -> None:
    found = _fields(code, payload, "27.0")

    assert all(word in found for word in words), found


def test_every_flavor_has_a_page_and_no_page_is_left_over() -> None:
    named = {(f.guard_type, f.name) for f in flavors.table() if f.role == "flavor"}
    pages = {(kind.name, name) for kind in guards.TYPES if kind.has_flavors for name in kind.pages}

    assert named == pages


def test_names_are_those_of_the_sdk() -> None:
    """Every constant in names.py against the 27.0 SDK's headers, read by script."""
    with (DATA / "sdk27_constants.csv").open(newline="") as file:
        sdk = {row["name"]: row["value"] for row in csv.DictReader(file)}
    checked = 0
    for table in (
        names.RIGHTS,
        names.DISPOSITIONS,
        names.BEHAVIORS,
        names.BEHAVIOR_FLAGS,
        names.EXCEPTIONS,
        names.CONSTRUCT_FLAGS,
        names.THREAD_STATES_ARM,
        names.THREAD_STATES_X86,
        names.KERN_RETURNS,
        names.MESSAGE_OPTIONS,
    ):
        for value, name in table.items():
            if value > 0xFFFFFFFF or name in {"MACH64_MSG_STRICT_REPLY", "MACH_NOTIFY_PORT_DELETED"}:
                continue  # declared in the kernel's private part of the header
            text = sdk[name.replace("MACH64_", "MACH_")].rstrip("uUlL")
            if text.isdigit() or text.startswith("0x"):
                assert value == int(text, 0), name
                checked += 1
    assert checked > 100

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from excguard.native import ffi, lib
from tests.support import corpus, mig_model

GOLDEN = corpus.golden()
OFFLINE = lib.EXCGUARD_PARSE_OFFLINE

ERRORS = {
    "unknown_id": mig_model.MIG_BAD_ID,
    "complex_bit": mig_model.MIG_BAD_ARGUMENTS,
    "descriptor_count": mig_model.MIG_BAD_ARGUMENTS,
    "size_out_of_range": mig_model.MIG_BAD_ARGUMENTS,
    "code_count": mig_model.MIG_BAD_ARGUMENTS,
    "size_mismatch": mig_model.MIG_BAD_ARGUMENTS,
    "state_count": mig_model.MIG_BAD_ARGUMENTS,
    "descriptor_type": mig_model.MIG_TYPE_ERROR,
    "descriptor_disposition": mig_model.MIG_TYPE_ERROR,
}
"""Verdicts on a request that MIG refuses as well, and its error."""

WELL_FORMED = {
    2405: "insecure_behavior",
    2406: "insecure_behavior",
    2407: "insecure_behavior",
    2408: "accepted",
    2409: "unregistered_behavior",
    2410: "accepted",
}


def parse(message: bytes, flags: int = OFFLINE) -> Any:
    out = ffi.new("struct excguard_message *")
    lib.excguard_parse(message, len(message), flags, out)
    return out


def verdict(message: bytes, flags: int = OFFLINE) -> str:
    return str(ffi.string(lib.excguard_verdict_name(parse(message, flags).verdict)).decode())


def sender(message: bytes, flags: int = OFFLINE) -> str:
    return str(ffi.string(lib.excguard_sender_name(parse(message, flags).sender)).decode())


def named(n: int) -> dict[str, Any]:
    return next(message for message in GOLDEN if message["n"] == n)


STATELESS = corpus.request(named(0))
STATE = corpus.request(named(24))


def patched(message: bytes, offset: int, word: int) -> bytes:
    return message[:offset] + struct.pack("<I", word) + message[offset + 4 :]


@pytest.mark.parametrize("message", GOLDEN, ids=lambda m: f"{m['n']}-{m['routine']}")
class TestGolden:
    @pytest.mark.parametrize("trailer", ["none", "recorded", "audit"])
    def test_verdict_and_fields(self, message: dict[str, Any], trailer: str) -> None:
        behind = {"none": "", "recorded": message["trailer_hex"], "audit": corpus.AUDIT_TRAILER.hex()}[
            trailer
        ]

        found = parse(corpus.request(message) + bytes.fromhex(behind))

        args = message["catch_args"]
        codes = args["code"]
        name = ffi.string(lib.excguard_verdict_name(found.verdict)).decode()
        assert WELL_FORMED[message["msgh_id"]] == name
        assert found.msgh_id == message["msgh_id"]
        assert found.exception == args["exception"]
        assert found.local_port == args["exception_port"]
        assert found.reply_port == message["args"]["reply_port"]
        assert found.code == (codes[0] & (2**64 - 1) if codes else 0)
        assert found.subcode == (codes[1] & (2**64 - 1) if len(codes) > 1 else 0)
        assert found.thread_id == args.get("thread_id", 0)
        assert found.task_token == args.get("task_id_token", 0)
        assert found.state_flavor == args.get("flavor", 0)
        assert found.state_count == args.get("old_stateCnt", 0)
        if "old_state" in args:
            words = struct.unpack_from(f"<{found.state_count}I", corpus.request(message), found.state_offset)
            assert list(words) == [word & 0xFFFFFFFF for word in args["old_state"]]

    def test_sender_is_known_by_an_audit_trailer_only(self, message: dict[str, Any]) -> None:
        recorded = bytes.fromhex(message["trailer_hex"])

        assert sender(corpus.request(message) + recorded) == ("kernel" if len(recorded) >= 52 else "unknown")
        assert sender(corpus.request(message)) == "unknown"
        assert sender(corpus.request(message) + corpus.USER_TRAILER) == "user"

    def test_replies_are_those_of_the_stub(self, message: dict[str, Any]) -> None:
        found = parse(corpus.request(message))
        reply = ffi.new("uint8_t[]", lib.EXCGUARD_REPLY_SIZE)

        assert lib.excguard_build_reply(found, lib.KERN_FAILURE, reply) == lib.KERN_FAILURE
        assert bytes(ffi.buffer(reply)).hex() == message["reply_failure_hex"]

        consumed = lib.excguard_build_reply(found, lib.KERN_SUCCESS, reply)
        if message["msgh_id"] == 2408:
            assert consumed == lib.KERN_SUCCESS
            assert bytes(ffi.buffer(reply)).hex() == message["reply_hex"]
        else:
            assert consumed == lib.KERN_FAILURE
            assert bytes(ffi.buffer(reply)).hex() == message["reply_failure_hex"]

    def test_every_shorter_length_is_refused(self, message: dict[str, Any]) -> None:
        whole = corpus.request(message)

        for length in range(len(whole)):
            expected = "too_short" if length < 24 else "truncated"
            assert verdict(whole[:length]) == expected, length
            assert verdict(whole[:length], 0) == expected, length
        assert verdict(whole, 0) == "missing_trailer"


class TestRegisters:
    """pc, lr and sp, wherever the state keeps them."""

    @staticmethod
    def _with_state(flavor: int, words: list[int]) -> bytes:
        head = STATE[:80] + struct.pack("<2I", flavor, len(words))
        message = head + struct.pack(f"<{len(words)}I", *words)
        return patched(message, 4, len(message))

    @staticmethod
    def _words(count: int, at: dict[int, int], *, wide: bool = True) -> list[int]:
        words = [0x1000 + i for i in range(count)]
        for offset, value in at.items():
            words[offset // 4] = value & 0xFFFFFFFF
            if wide:
                words[offset // 4 + 1] = value >> 32
        return words

    PC, LR, SP = 0x00007FF8_12345678, 0x00000001_0ABCDEF0, 0x00007FF7_BFEFF3A8
    PC32, LR32, SP32 = 0x8FE01004, 0x00012340, 0xBFFFF0A0

    def _check(self, flavor: int, words: list[int], pc: int, lr: int, sp: int) -> None:
        message = self._with_state(flavor, words)
        assert verdict(message) == "accepted"
        found = parse(message)
        assert found.present & lib.EXCGUARD_HAS_REGISTERS
        assert (found.pc, found.lr, found.sp) == (pc, lr, sp)

    def test_intel(self) -> None:
        words = self._words(42, {128: self.PC, 56: self.SP})
        self._check(4, words, self.PC, 0, self.SP)
        self._check(7, [4, 42, *words], self.PC, 0, self.SP)
        self._check(23, [*words, *[0] * 8], self.PC, 0, self.SP)

    def test_intel_32(self) -> None:
        words = self._words(16, {40: self.PC32, 28: self.SP32}, wide=False)
        self._check(1, words, self.PC32, 0, self.SP32)
        self._check(7, [1, 16, *words, *[0] * 26], self.PC32, 0, self.SP32)

    def test_arm(self) -> None:
        words = self._words(68, {256: self.PC, 240: self.LR, 248: self.SP})
        self._check(6, words, self.PC, self.LR, self.SP)
        self._check(1, [6, 68, *words], self.PC, self.LR, self.SP)

    def test_arm_32(self) -> None:
        words = self._words(17, {60: self.PC32, 56: self.LR32, 52: self.SP32}, wide=False)
        self._check(9, words, self.PC32, self.LR32, self.SP32)
        self._check(1, words, self.PC32, self.LR32, self.SP32)
        self._check(1, [9, 17, *words, *[0] * 51], self.PC32, self.LR32, self.SP32)

    @pytest.mark.parametrize(
        ("flavor", "words"),
        [
            (7, [6, 68, *[1] * 42]),  # a unified state of Intel that claims to hold one of arm
            (1, [4, 42, *[1] * 68]),
            (6, [1] * 4),  # x86_EXCEPTION_STATE64, not ARM_THREAD_STATE64
            (4, [1] * 64),  # ARM_DEBUG_STATE, not x86_THREAD_STATE64
            (13, []),  # THREAD_STATE_NONE
        ],
    )
    def test_other_states_have_none(self, flavor: int, words: list[int]) -> None:
        message = self._with_state(flavor, words)
        assert verdict(message) == "accepted"
        found = parse(message)
        assert found.present & lib.EXCGUARD_HAS_STATE
        assert not found.present & lib.EXCGUARD_HAS_REGISTERS
        assert (found.pc, found.lr, found.sp) == (0, 0, 0)


class TestRefusals:
    @pytest.mark.parametrize(
        ("message", "reason"),
        [
            (b"", "too_short"),
            (STATELESS[:23], "too_short"),
            (patched(STATELESS, 4, 23), "too_short"),
            (patched(STATELESS, 4, 0), "too_short"),
            (patched(STATELESS, 4, 84), "truncated"),
            (patched(STATELESS, 4, 0xFFFFFFFF), "truncated"),
            (patched(STATELESS, 20, 2404), "unknown_id"),
            (patched(STATELESS, 20, 2411), "unknown_id"),
            (patched(STATELESS, 20, 0xFFFFFFFF), "unknown_id"),
            (patched(STATELESS, 20, 2508), "unknown_id"),
            (patched(STATELESS, 0, 0x1112), "complex_bit"),
            (patched(corpus.request(named(48)), 0, 0x80001112), "complex_bit"),
            (patched(STATELESS, 24, 0), "descriptor_count"),
            (patched(STATELESS, 24, 2), "descriptor_count"),
            (patched(STATELESS, 36, 0x01110000), "descriptor_type"),
            (patched(STATELESS, 36, 0x00120000), "descriptor_disposition"),
            (patched(corpus.request(named(45)), 48, 0x00130000), "descriptor_disposition"),
            (patched(STATELESS, 60, 3), "code_count"),
            (patched(STATELESS, 60, 0xFFFFFFFF), "code_count"),
            (patched(STATELESS, 60, 1), "size_mismatch"),
            (patched(STATE, 84, 41), "size_mismatch"),
            (patched(STATE, 84, 43), "size_mismatch"),
            (patched(STATE, 84, 1297), "state_count"),
            (patched(STATELESS[:60], 4, 60), "size_out_of_range"),
            (patched(STATELESS + bytes(4), 4, 84), "size_out_of_range"),
        ],
    )
    def test_names_the_reason(self, message: bytes, reason: str) -> None:
        assert verdict(message) == reason

    @pytest.mark.parametrize(
        ("trailer", "reason"),
        [
            (b"", "missing_trailer"),
            (corpus.AUDIT_TRAILER[:7], "missing_trailer"),
            (corpus.AUDIT_TRAILER[:51], "missing_trailer"),
            (patched(corpus.AUDIT_TRAILER, 0, 1), "foreign_trailer"),
            (patched(corpus.AUDIT_TRAILER, 4, 0), "foreign_trailer"),
            (patched(corpus.AUDIT_TRAILER, 4, 48), "foreign_trailer"),
            (patched(corpus.AUDIT_TRAILER, 4, 0xFFFFFFFF), "foreign_trailer"),
            (patched(corpus.AUDIT_TRAILER, 4, 60), "missing_trailer"),
        ],
    )
    def test_of_a_bad_trailer(self, trailer: bytes, reason: str) -> None:
        assert verdict(STATELESS + trailer, 0) == reason
        # Nothing can be known of a sender from a trailer that is none.
        assert sender(STATELESS + trailer, 0) == "unknown"

    def test_offline_nothing_may_follow(self) -> None:
        assert verdict(STATELESS + corpus.AUDIT_TRAILER + b"\0") == "trailing_bytes"
        assert verdict(STATELESS + corpus.AUDIT_TRAILER + b"\0", 0) == "accepted"
        assert verdict(STATELESS + b"\0") == "missing_trailer"

    @pytest.mark.parametrize("size", [8, 12, 20, 52, 60, 68])
    def test_not_of_any_trailer_that_can_be_asked_for(self, size: int) -> None:
        trailer = patched(corpus.AUDIT_TRAILER + bytes(16), 4, size)[:size]
        assert verdict(STATELESS + trailer) == "accepted"
        assert sender(STATELESS + trailer) == ("kernel" if size >= 52 else "unknown")

    @pytest.mark.parametrize("word", range(8))
    def test_one_word_of_the_audit_token_makes_a_user(self, word: int) -> None:
        trailer = patched(corpus.AUDIT_TRAILER, 20 + 4 * word, 1 << word)
        assert sender(STATELESS + trailer) == "user"
        assert verdict(STATELESS + trailer) == "accepted"

    def test_the_sender_is_known_for_refused_messages_as_well(self) -> None:
        assert sender(patched(STATELESS, 20, 1) + corpus.USER_TRAILER) == "user"
        assert parse(patched(STATELESS, 20, 1) + corpus.USER_TRAILER).sender_pid == 4321

    def test_names_are_distinct_and_complete(self) -> None:
        names = {
            ffi.string(lib.excguard_verdict_name(number)).decode()
            for number in range(lib.EXCGUARD_VERDICT_COUNT)
        }
        assert len(names) == lib.EXCGUARD_VERDICT_COUNT
        assert "invalid" not in names
        assert ffi.string(lib.excguard_verdict_name(lib.EXCGUARD_VERDICT_COUNT)) == b"invalid"


class TestNotifications:
    @pytest.mark.parametrize("name", corpus.NOTIFICATION_IDS)
    def test_is_known(self, name: str) -> None:
        message = corpus.notification(name, 0x1603)
        found = parse(message, 0)
        assert verdict(message, 0) == "notification"
        assert found.msgh_id == corpus.NOTIFICATION_IDS[name]
        assert found.notification_value == (0 if name == "send_once" else 0x1603)
        assert found.sender == lib.EXCGUARD_SENDER_KERNEL

    @pytest.mark.parametrize("name", corpus.NOTIFICATION_IDS)
    def test_of_another_size_is_refused(self, name: str) -> None:
        message = corpus.notification(name)
        size = len(message) - 52
        assert verdict(patched(message, 4, size + 4), 0) == "size_out_of_range"
        assert verdict(message[: size - 1]) in {"truncated", "too_short"}

    def test_port_destroyed_must_carry_a_receive_right(self) -> None:
        message = corpus.notification("port_destroyed")
        assert verdict(patched(message, 36, 0x00110000), 0) == "descriptor_disposition"
        assert verdict(patched(message, 36, 0x01100000), 0) == "descriptor_type"
        assert verdict(patched(message, 24, 2), 0) == "descriptor_count"
        assert verdict(patched(message, 0, 0x1112), 0) == "complex_bit"


def _check_against_model(message: bytes) -> str:
    """The verdict, after it was held against the model's."""
    found = parse(message)
    name = ffi.string(lib.excguard_verdict_name(found.verdict)).decode()
    again = parse(message)
    assert bytes(ffi.buffer(found)) == bytes(ffi.buffer(again)), "the same bytes, another answer"
    if len(message) < 24 or struct.unpack_from("<I", message, 4)[0] < 24:
        assert name == "too_short"
        return name
    size = struct.unpack_from("<I", message, 4)[0]
    if size > len(message):
        assert name == "truncated"
        return name
    msgh_id = struct.unpack_from("<i", message, 20)[0]
    if msgh_id in corpus.NOTIFICATION_IDS.values():
        return name
    error = mig_model.result(message)
    if error != 0:
        assert ERRORS[name] == error
    else:
        behind = len(message) - (size + 3 & ~3)
        allowed = {WELL_FORMED[msgh_id]} if behind in {0, 8, 12, 20, 52, 60, 68} else set()
        assert name in allowed | {"missing_trailer", "foreign_trailer", "trailing_bytes"}
        if behind == 0:
            assert name == WELL_FORMED[msgh_id]
    return name


def test_agrees_with_the_model_on_mutations() -> None:
    seen = {_check_against_model(message) for message in corpus.mutations(20_000, seed=1)}

    # All that the parser can say has been put to the test.
    said = set(ERRORS) | set(WELL_FORMED.values())
    assert said | {"notification", "too_short", "truncated", "missing_trailer", "trailing_bytes"} <= seen


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=600))
def test_agrees_with_the_model_on_anything(message: bytes) -> None:
    _check_against_model(message)


@settings(max_examples=300, deadline=None)
@given(
    id_=st.integers(2405, 2410),
    complex_=st.booleans(),
    words=st.lists(st.one_of(st.integers(0, 4), st.sampled_from([17, 1 << 16, 17 << 16])), max_size=40),
    lie=st.sampled_from([0, 0, 0, 0, -8, -4, 4, 8]),
)
def test_agrees_with_the_model_on_built_messages(
    *, id_: int, complex_: bool, words: list[int], lie: int
) -> None:
    body = struct.pack(f"<{len(words)}I", *words)
    size = max(0, 24 + len(body) + lie)
    bits = 0x1112 | (0x80000000 if complex_ else 0)
    _check_against_model(corpus.header(size, id_, bits=bits) + body)

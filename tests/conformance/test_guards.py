"""Each misuse raises its guard with the code and payload of the release, and gives its result."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.support.mach_machine import Kind

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.mach_machine import Machine

GUARD = 0x1234
RECEIVE, SEND = 0x20000, 0x10000
TOP = 1 << 56

DESTROY, MOD_REFS, SET_CONTEXT, UNGUARDED, INCORRECT_GUARD, IMMOVABLE = 0x1, 0x2, 0x4, 0x8, 0x10, 0x20
INVALID_NAME, INVALID_RIGHT, INVALID_VALUE, INVALID_ARGUMENT = 0x200, 0x100, 0x400, 0x800
FAILED, BAD_REPLY, BAD_VOUCHER, BAD_RIGHT, BAD_RECEIVE = 0x4000, 0x10000, 0x20000, 0x40000, 0x80000
NOTIFICATION_REQUEST, NOTIFICATION_PORT = 0x41, 0x100006

KERN_NAME, KERN_RIGHT, KERN_VALUE, KERN_ARGUMENT, KERN_FAILURE = 15, 17, 18, 4, 5
SEND_INVALID_RIGHT, SEND_INVALID_REPLY, SEND_INVALID_VOUCHER = 0x1000000A, 0x10000009, 0x10000005
RCV_INVALID_NAME = 0x10004002

PORT, RIGHT = "osfmk/ipc/mach_port.c, xnu-11417.121.6", "osfmk/ipc/ipc_right.c, xnu-11417.121.6"
KMSG, OBJECT = "osfmk/ipc/ipc_kmsg.c, xnu-11417.121.6", "osfmk/ipc/ipc_object.c, xnu-11417.121.6"
QUEUE = "osfmk/ipc/ipc_mqueue.c, xnu-11417.121.6"
REASON = "and the same of xnu-12377 of macOS 26.0 or 26.1"
"""The source of the payloads that carry more than a guard since 26."""
OLD_PORT, OLD_RIGHT = "osfmk/ipc/mach_port.c, xnu-8019.41.5", "osfmk/ipc/ipc_right.c, xnu-8019.41.5"
OLD_KMSG, OLD_OBJECT = "osfmk/ipc/ipc_kmsg.c, xnu-8019.41.5", "osfmk/ipc/ipc_object.c, xnu-8019.41.5"


GUARDED_SEND = "ipc_right_copyin_check_guard_locked"


class Case(NamedTuple):
    """A scenario of programs/misuse.c, what becomes of it, and who says so."""

    scenario: str
    flavor: int | None  # None: it is not a misuse
    result: int | None  # None: the task ends
    source: str
    payload: Callable[[int], int] | int = 0
    target: int | None = None  # None: the port
    release: str = "26.4"  # these three: see Kind
    since: str = "12.0"
    before: str = ""


def bits(port: int, kind: int, urefs: int = 0) -> int:
    """An entry's ie_bits: generation, type, user references; the low bits that names have are not in it."""
    return (port & 0xFC) << 24 | kind | urefs


ALWAYS = [
    Case("double_deallocate", INVALID_NAME, KERN_NAME, f"mach_port_deallocate_kernel, {PORT}"),
    Case("deallocate_no_name", INVALID_NAME, KERN_NAME, f"mach_port_deallocate_kernel, {PORT}"),
    Case("mod_refs_no_name", INVALID_NAME, KERN_NAME, f"mach_port_mod_refs, {PORT}"),
    Case("destroy_no_name", INVALID_NAME, KERN_NAME, f"mach_port_destroy, {PORT}"),
    Case("destruct_no_name", INVALID_NAME, KERN_NAME, f"mach_port_destruct, {PORT}"),
    Case("guard_no_name", INVALID_NAME, KERN_NAME, f"mach_port_guard, {PORT}"),
    Case("move_no_name", INVALID_NAME, KERN_NAME, f"ipc_right_lookup_two_write, {RIGHT}"),
    Case("destruct_wrong_guard", DESTROY, None, f"ipc_right_destruct, {RIGHT}", GUARD),
    Case("destroy_name_guarded", DESTROY, None, f"ipc_right_destroy, {RIGHT}", GUARD),
    Case("set_context_strict", SET_CONTEXT, None, f"mach_port_set_context, {PORT}", GUARD),
    Case("swap_guard_strict", SET_CONTEXT, None, f"mach_port_swap_guard, {PORT}", GUARD),
    Case("swap_guard_wrong", INCORRECT_GUARD, None, f"mach_port_swap_guard, {PORT}", GUARD),
    Case("unguard_unguarded", UNGUARDED, None, f"mach_port_unguard_locked, {PORT}"),
    Case("unguard_wrong", INCORRECT_GUARD, None, f"mach_port_unguard_locked, {PORT}", GUARD),
    Case("move_immovable_receive", IMMOVABLE, None, f"ipc_right_copyin, {RIGHT}"),
    Case(
        "move_special_reply_port",
        IMMOVABLE,
        None,
        f"ipc_right_copyin, {RIGHT}",
        release="15.5",
        before="26.0",
    ),
    Case("move_exception_port", IMMOVABLE, None, f"ipc_right_copyin, {RIGHT}", since="15.0"),
    Case("receive_on_send", BAD_RECEIVE, RCV_INVALID_NAME, f"ipc_mqueue_copyin, {QUEUE}"),
    # The port must be guarded with the descriptor's context, or not at all when the descriptor says so.
    Case("guarded_descriptor_of_another", INCORRECT_GUARD, None, f"{GUARDED_SEND}, {RIGHT}", GUARD),
    Case("guarded_descriptor_of_guarded", INCORRECT_GUARD, None, f"{GUARDED_SEND}, {RIGHT}", GUARD),
    # Name ports may go anywhere; read ports stay with the task that got them.
    Case("move_name_port", None, 0, "convert_task_name_to_port, osfmk/kern/ipc_tt.c, xnu-11417.121.6"),
]
"""The same since the identity-protected behaviors, by which they are watched, exist."""

DELIVERED = [
    Case(
        "deallocate_receive",
        INVALID_RIGHT,
        KERN_RIGHT,
        f"mach_port_deallocate_kernel, {PORT}, {REASON}",
        lambda port: 5 * TOP | bits(port, RECEIVE),
    ),
    Case(
        "mod_refs_wrong_right",
        INVALID_RIGHT,
        KERN_RIGHT,
        f"ipc_right_delta, {RIGHT}, {REASON}",
        lambda port: 2 * TOP | 1 << 32 | bits(port, SEND, 1),
    ),
    Case(
        "mod_refs_send_of_receive",
        INVALID_RIGHT,
        KERN_RIGHT,
        f"ipc_right_delta, {RIGHT}, {REASON}",
        lambda port: 2 * TOP | bits(port, RECEIVE),
    ),
    Case(
        "mod_refs_no_set",
        INVALID_RIGHT,
        KERN_RIGHT,
        f"ipc_right_delta, {RIGHT}, {REASON}",
        lambda port: 2 * TOP | 3 << 32 | bits(port, RECEIVE),
    ),
    Case(
        "destruct_send",
        INVALID_RIGHT,
        KERN_RIGHT,
        f"ipc_right_destruct, {RIGHT}, {REASON}",
        lambda port: 3 * TOP | bits(port, SEND, 1),
    ),
    Case(
        "destruct_without_send",
        INVALID_RIGHT,
        KERN_RIGHT,
        f"ipc_right_destruct, {RIGHT}, {REASON}",
        lambda port: 3 * TOP | bits(port, RECEIVE),
    ),
    Case("guard_send", INVALID_RIGHT, KERN_RIGHT, f"mach_port_guard, {PORT}, {REASON}", 1),
    Case(
        "move_send",
        INVALID_RIGHT,
        KERN_RIGHT,
        f"ipc_object_translate_port_pset, {OBJECT}, {REASON}",
        lambda port: 7 * TOP | bits(port, SEND, 1),
    ),
    Case(
        "move_to_no_set",
        INVALID_RIGHT,
        KERN_RIGHT,
        f"ipc_object_translate_port_pset, {OBJECT}, {REASON}",
        lambda port: 8 * TOP | bits(port, RECEIVE),
    ),
    Case(
        "mod_refs_underflow",
        INVALID_VALUE,
        KERN_VALUE,
        f"ipc_right_delta, {RIGHT}, {REASON}",
        2 * TOP | (-9 & 0xFFFF) << 16 | 1,
    ),
    Case(
        "mod_refs_receive_twice",
        INVALID_VALUE,
        KERN_VALUE,
        f"ipc_right_delta, {RIGHT}, {REASON}",
        2 * TOP | 1 << 32 | (-2 & 0xFFFF) << 16,
    ),
    Case(
        "destruct_underflow",
        INVALID_VALUE,
        KERN_VALUE,
        f"ipc_right_destruct, {RIGHT}, {REASON}",
        3 * TOP | (-3 & 0xFFFFFF) << 32 | 1,
    ),
    Case(
        "send_wrong_right",
        BAD_RIGHT,
        SEND_INVALID_RIGHT,
        f"ipc_kmsg_copyin_port_descriptor, {KMSG}, {REASON}",
        1 * TOP | 20,
    ),
    Case(
        "send_move_once_of_send",
        BAD_RIGHT,
        SEND_INVALID_RIGHT,
        f"ipc_kmsg_copyin_port_descriptor, {KMSG}, {REASON}",
        1 * TOP | 18,
    ),
    Case("send_bad_reply", BAD_REPLY, SEND_INVALID_REPLY, f"ipc_kmsg_copyin_header, {KMSG}, {REASON}", 21),
    Case(
        "send_bad_reply_right",
        BAD_REPLY,
        SEND_INVALID_REPLY,
        f"ipc_kmsg_copyin_header, {KMSG}, {REASON}",
        lambda port: (bits(port, SEND, 1) & 0xFFFFFF) << 32 | 21,
    ),
    Case(
        "send_bad_voucher", BAD_VOUCHER, SEND_INVALID_VOUCHER, f"ipc_kmsg_copyin_header, {KMSG}, {REASON}", 19
    ),
    Case(
        "port_destroyed_twice",
        FAILED,
        KERN_FAILURE,
        f"mach_port_request_notification, {PORT}, {REASON}",
        4,
        target=0,
    ),
]
"""Delivered with a reason since 26.0."""

SILENT_SOURCES = {
    "deallocate_receive": f"ipc_right_dealloc, {OLD_RIGHT}",
    "mod_refs_wrong_right": f"ipc_right_delta, {OLD_RIGHT}",
    "mod_refs_send_of_receive": f"ipc_right_delta, {OLD_RIGHT}",
    "mod_refs_no_set": f"ipc_right_delta, {OLD_RIGHT}",
    "destruct_send": f"ipc_right_destruct, {OLD_RIGHT}",
    "destruct_without_send": f"ipc_right_destruct, {OLD_RIGHT}",
    "guard_send": f"mach_port_guard, {OLD_PORT}",
    "move_send": f"ipc_object_translate_two, {OLD_OBJECT}",
    "move_to_no_set": f"ipc_object_translate_two, {OLD_OBJECT}",
    "mod_refs_underflow": f"ipc_right_delta, {OLD_RIGHT}",
    "mod_refs_receive_twice": f"ipc_right_delta, {OLD_RIGHT}",
    "destruct_underflow": f"ipc_right_destruct, {OLD_RIGHT}",
    "send_wrong_right": f"ipc_kmsg_copyin_port_descriptor, {OLD_KMSG}",
    "send_move_once_of_send": f"ipc_kmsg_copyin_port_descriptor, {OLD_KMSG}",
    "send_bad_reply": f"ipc_kmsg_copyin_header, {OLD_KMSG}",
    "send_bad_reply_right": f"ipc_kmsg_copyin_header, {OLD_KMSG}",
    "send_bad_voucher": f"ipc_kmsg_copyin_header, {OLD_KMSG}",
    "port_destroyed_twice": f"mach_port_request_notification, {OLD_PORT}",
}
_SINCE = {"move_to_no_set": "12.3"}
"""Those that were not blamed in 12.0 (mach_port_move_member, mach_port.c, xnu-8020.101.4)."""

SILENT = [
    case._replace(
        payload=0,
        target=None,
        release="15.5",
        since=_SINCE.get(case.scenario, case.since),
        before="26.0",
        source=SILENT_SOURCES[case.scenario],
    )
    for case in DELIVERED
]
"""The same misuses before: the payload is 0."""

CHANGED = [
    Case(
        "move_read_port",
        IMMOVABLE,
        None,
        "convert_task_to_port_with_flavor, osfmk/kern/ipc_tt.c, xnu-11417.121.6",
        release="15.5",
        before="26.0",
    ),
    Case(
        "move_read_port",
        IMMOVABLE,
        None,
        "kGUARD_EXC_IMMOVABLE, osfmk/mach/port.h, macOS 26.4 SDK",
        18 << 32 | 19,
        since="26.4",
    ),
    Case(
        "guarded_descriptor_of_send",
        BAD_RIGHT,
        SEND_INVALID_RIGHT,
        f"ipc_kmsg_copyin_guarded_port_descriptor, {KMSG}",
        release="15.5",
        before="26.0",
    ),
    Case(
        "guarded_descriptor_of_send",
        BAD_RIGHT,
        SEND_INVALID_RIGHT,
        f"ipc_kmsg_copyin_guarded_port_descriptor, {KMSG}, {REASON}",
        3 * TOP | 16,
        since="26.0",
    ),
    Case(
        "double_deallocate",
        None,
        KERN_NAME,
        "mach_port_deallocate, osfmk/ipc/mach_port.c, xnu-2422.1.72",
        release="10.9",
        since="10.9",
        before="10.14",
    ),
    Case(
        "double_deallocate",
        INVALID_NAME,
        KERN_NAME,
        "mach_port_deallocate, osfmk/ipc/mach_port.c, xnu-4903.221.2",
        release="10.14.1",
        since="10.14.1",
    ),
    Case(
        "send_wrong_right",
        0x20000,
        SEND_INVALID_RIGHT,
        "kGUARD_EXC_SEND_INVALID_RIGHT, osfmk/mach/port.h, xnu-4903.221.2",
        release="10.14.1",
        since="10.14.1",
        before="10.15",
    ),
    Case(
        "receive_on_send",
        0x40000,
        RCV_INVALID_NAME,
        "kGUARD_EXC_RCV_INVALID_NAME, osfmk/mach/port.h, xnu-4903.221.2",
        release="10.14.1",
        since="10.14.1",
        before="10.15",
    ),
    Case(
        "send_wrong_right",
        BAD_RIGHT,
        SEND_INVALID_RIGHT,
        "kGUARD_EXC_SEND_INVALID_RIGHT, osfmk/mach/port.h, xnu-6153.11.26",
        release="10.15",
        since="10.15",
        before="26.0",
    ),
    Case(
        "receive_on_send",
        BAD_RECEIVE,
        RCV_INVALID_NAME,
        "kGUARD_EXC_RCV_INVALID_NAME, osfmk/mach/port.h, xnu-6153.11.26",
        release="10.15",
        since="10.15",
    ),
    Case(
        "destroy_guarded",
        MOD_REFS,
        None,
        "ipc_right_delta, osfmk/ipc/ipc_right.c, xnu-11215.81.4",
        GUARD,
        release="15.3",
        since="10.9",
        before="15.4",
    ),
    Case("destroy_guarded", DESTROY, None, f"ipc_right_delta, {RIGHT}", GUARD, since="15.4"),
    Case(
        "guard_twice",
        INVALID_ARGUMENT,
        KERN_ARGUMENT,
        "mach_port_guard, osfmk/ipc/mach_port.c, xnu-11215.81.4",
        release="15.3",
        before="15.4",
    ),
    Case(
        "guard_twice", INVALID_ARGUMENT, KERN_ARGUMENT, f"mach_port_guard_locked, {PORT}", GUARD, since="15.4"
    ),
    Case(
        "port_destroyed_immovable",
        None,
        0,
        f"mach_port_request_notification, {PORT}",
        release="15.5",
        before="26.0",
    ),
    Case(
        "port_destroyed_immovable",
        NOTIFICATION_REQUEST,
        None,
        "kGUARD_EXC_INVALID_NOTIFICATION_REQ, osfmk/mach/port.h, macOS 26.4 SDK",
        0o105,
        target=1,
        since="26.4",
    ),
    Case(
        "no_senders_of_notification_port",
        NOTIFICATION_REQUEST,
        None,
        "kGUARD_EXC_INVALID_NOTIFICATION_REQ, osfmk/mach/port.h, macOS 26.4 SDK",
        0o106,
        target=7,
        since="26.4",
    ),
    Case(
        "notify_exception_port",
        None,
        0,
        f"mach_port_request_notification, {PORT}",
        release="15.5",
        since="15.0",
        before="26.0",
    ),
    Case(
        "notify_exception_port",
        NOTIFICATION_PORT,
        0,
        "kGUARD_EXC_INVALID_NOTIFICATION_PORT, osfmk/mach/port.h, macOS 26.4 SDK",
        8,
        since="26.4",
    ),
]
"""What came, went or got another number."""

CASES = [*ALWAYS, *(case._replace(since="26.0") for case in DELIVERED), *SILENT, *CHANGED]


def code(flavor: int, target: int) -> int:
    return 1 << 61 | flavor << 32 | target


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.scenario}-{case.release}")
def test_misuse_raises_its_guard(boot: Callable[[Kind], Machine], case: Case) -> None:
    # Fatal ones only under Developer Mode: task_exception_notify, osfmk/kern/exception.c, since 14.1.
    mode = None if case.flavor is None or case.result is not None else True
    machine = boot(Kind(case.release, since=case.since, before=case.before, developer_mode=mode))
    # EXCEPTION_IDENTITY_PROTECTED came with 12.0; EXCEPTION_DEFAULT was there before.
    behavior = "0x80000001" if case.release.startswith("10.") else "0x80000004"

    seen = machine.watch("misuse", case.scenario, options=("-b", behavior))

    target = seen.port if case.target is None else case.target
    payload = case.payload(seen.port) if callable(case.payload) else case.payload
    assert seen.hits == ([] if case.flavor is None else [(code(case.flavor, target), payload)])
    assert seen.results == ([] if case.result is None else [case.result])
    assert seen.exit["status"] == (-9 if case.result is None else 0)


def test_second_name_of_a_port_set_move_is_blamed(boot: Callable[[Kind], Machine]) -> None:
    """ipc_right_lookup_two_write, osfmk/ipc/ipc_right.c, xnu-11417.121.6; since xnu-8020.101.4."""
    (hit,) = boot(Kind(since="12.3")).watch("misuse", "move_to_no_name").hits

    assert hit[0] >> 32 == code(INVALID_NAME, 0) >> 32


@pytest.mark.parametrize("scenario", ["receive_on_no_name", "receive_on_former"])
def test_receiving_where_a_right_is_gone_is_a_result_and_no_guard(machine: Machine, scenario: str) -> None:
    """ipc_mqueue_copyin, osfmk/ipc/ipc_mqueue.c, xnu-11417.121.6."""
    seen = machine.watch("misuse", scenario)

    assert seen.hits == []
    assert seen.result == RCV_INVALID_NAME

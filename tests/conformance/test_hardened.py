"""What a hardened process may not do, from its start on, and what becomes of one that does it.

Where codesign's ad-hoc signature cannot harden a program, these are skipped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.support.mach_machine import Hardening, Kind

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.mach_machine import Machine

TOP = 1 << 56
ONE_PORT = Hardening(one_exception_port=True)

PORT_H = "osfmk/mach/port.h, macOS 26.4 SDK"
IPC_TT = "osfmk/kern/ipc_tt.c"


class Case(NamedTuple):
    """A scenario of programs/misuse.c in a hardened process, what becomes of it, and who says so."""

    scenario: str
    flavor: int | None  # None: it is not a misuse
    payload: int
    result: int | None  # None: the task ends
    source: str
    target: int | str | None = None  # None: the port; a word: what the program calls so
    hardening: Hardening = Hardening()
    release: str = "26.4"  # these three: see Kind
    since: str = ""
    before: str = ""


CASES = [
    Case("move_task_port", 0x20, 17 << 32 | 19, None, f"kGUARD_EXC_IMMOVABLE, {PORT_H}"),
    Case("reply_port_in_body", 0x20, 10 << 32 | 20, None, f"kGUARD_EXC_IMMOVABLE, {PORT_H}"),
    Case("deallocate_task_port", 0x2, 1, None, f"MPG_FLAGS_MOD_REFS_PINNED_DEALLOC, {PORT_H}"),
    Case("deallocate_main_thread", 0x2, 1, None, f"MPG_FLAGS_MOD_REFS_PINNED_DEALLOC, {PORT_H}"),
    Case("deallocate_thread", 0x2, 1, None, f"MPG_FLAGS_MOD_REFS_PINNED_DEALLOC, {PORT_H}"),
    Case("deallocate_own_reference", None, 0, 0, f"thread_self_trap, {IPC_TT}, xnu-11417.121.6"),
    Case("destroy_task_port", 0x2, 2, None, f"MPG_FLAGS_MOD_REFS_PINNED_DESTROY, {PORT_H}"),
    Case("move_send_pinned", 0x2, 3, None, f"MPG_FLAGS_MOD_REFS_PINNED_COPYIN, {PORT_H}"),
    # The flag alone does nothing any more: a port's type says what it asks for.
    Case("service_without_reply_port", None, 0, 0, "ipc_policy_array, osfmk/ipc/ipc_policy.c, xnu-12377"),
    Case(
        "construct_entitled", 0x42, 0, None, f"kGUARD_EXC_INVALID_MPO_ENTITLEMENT, {PORT_H}", target=0x10000
    ),
    # Only the identity-protected behaviors show no control port.
    Case(
        "insecure_behavior",
        0x6,
        2,
        None,
        f"kGUARD_EXC_EXCEPTION_BEHAVIOR_ENFORCE, {PORT_H}",
        target=0x80000001,
    ),
    # A port that stays with the task does not become one that others can ask for.
    Case("bootstrap_is_own_task", None, 0, 17, f"task_set_special_port, {IPC_TT}, xnu-11417.101.15"),
    Case("secure_behavior", None, 0, 0, f"behavior_is_identity_protected, {IPC_TT}, xnu-10063.101.15"),
    # One that has but one exception port gets it by task_register_hardened_exception_handler() alone.
    Case(
        "secure_behavior",
        0x6,
        2,
        None,
        f"set_exception_behavior_allowed, {IPC_TT}, xnu-11417.121.6",
        target=0x80000004,
        hardening=ONE_PORT,
    ),
    Case(
        "secure_behavior",
        0x6,
        0,
        None,
        f"set_exception_behavior_allowed, {IPC_TT}, xnu-11215.1.10",
        target=0,
        hardening=ONE_PORT,
        release="15.0",
        before="26.0",
    ),
    Case(
        "secure_behavior",
        None,
        0,
        0,
        f"set_exception_behavior_allowed, {IPC_TT}, xnu-10063.141.1",
        hardening=ONE_PORT,
        release="14.6",
        since="12.0",
        before="15.0",
    ),
    Case(
        "object_without_reply_port",
        0x10000,  # fatal here, and so in the place of REQUIRE_REPLY_PORT_SEMANTICS
        0,
        None,
        "ip_violates_rigid_reply_port_semantics, osfmk/ipc/ipc_port.c, xnu-11417.121.6",
        release="15.5",
        since="14.4",
        before="26.0",
    ),
    # Before, the payloads said less.
    Case(
        "insecure_behavior",
        0x6,
        0,
        None,
        f"set_exception_behavior_violation, {IPC_TT}, xnu-10063.141.1 and xnu-11417.121.6",
        target=0,
        release="15.5",
        since="14.6",
        before="26.0",
    ),
    # Not macOS's before 14.4: XNU_TARGET_OS_OSX.
    Case(
        "insecure_behavior",
        None,
        0,
        0,
        f"set_exception_behavior_allowed, {IPC_TT}, xnu-10002.81.5",
        release="14.3",
        since="12.0",
        before="14.4",
    ),
    Case(
        "deallocate_main_thread",
        0x2,
        1 * TOP,
        None,
        f"ipc_main_thread_set_immovable_pinned, {IPC_TT}, xnu-8019.41.5 and xnu-11417.121.6",
        release="15.5",
        since="12.0",
        before="26.0",
    ),
    Case(
        "deallocate_thread",
        0x2,
        1 * TOP,
        None,
        "ipc_port_copyout_send_pinned, osfmk/ipc/ipc_port.c, xnu-8019.41.5 and xnu-11417.121.6",
        release="15.5",
        since="12.0",
        before="26.0",
    ),
    Case(
        "move_send_pinned",
        0x2,
        4 * TOP,
        None,
        "ipc_right_copyin, osfmk/ipc/ipc_right.c, xnu-8019.41.5 and xnu-11417.121.6",
        release="15.5",
        since="12.0",
        before="26.0",
    ),
    Case(
        "move_send_pinned",
        0x2,
        4 * TOP,
        None,
        "ipc_right_copyin, osfmk/ipc/ipc_right.c, xnu-8019.41.5",
        release="12.0.1",
        before="13.0",
    ),
    Case(
        "move_task_port",
        0x20,
        0,
        None,
        "mach_port_guard_exception_immovable, osfmk/ipc/ipc_policy.c, xnu-11417.121.6",
        release="15.5",
        since="12.0",
        before="26.0",
    ),
    Case(
        # REQUIRE_REPLY_PORT_SEMANTICS, which is soft, and then this one in its place.
        "service_without_reply_port",
        0x10000,
        0,
        None,
        "ipc_right_copyin_check_reply, osfmk/ipc/ipc_right.c, xnu-11417.121.6",
        target="reply",
        release="15.5",
        since="13.0",
        before="26.0",
    ),
]


@pytest.mark.parametrize(
    "case",
    CASES,
    ids=lambda case: (
        f"{case.scenario}-{case.release}-{'one' if case.hardening.one_exception_port else 'any'}"
    ),
)
def test_misuse_of_a_hardened_process(boot: Callable[[Kind], Machine], case: Case) -> None:
    machine = boot(Kind(case.release, since=case.since, before=case.before, developer_mode=True))
    seen = machine.watch("misuse", "-g", "0", case.scenario, hardened=case.hardening)

    target = case.target if isinstance(case.target, int) else seen.word(case.target or "port")
    code = 1 << 61 | (case.flavor or 0) << 32 | target
    assert seen.hits == ([] if case.flavor is None else [(code, case.payload)])
    assert seen.results == ([] if case.result is None else [case.result])
    assert seen.exit["status"] == (-9 if case.result is None else 0)


def test_flags_that_a_hardened_process_starts_with(machine: Machine) -> None:
    """_TASK_EXC_GUARD_ALL_FATAL and task_exc_guard_default, osfmk/kern/task.c, xnu-11417.121.6."""
    assert machine.watch("misuse", "-g", "0", "guard_flags", hardened=Hardening()).results == [0x99]
    assert machine.watch("misuse", "-g", "0", "guard_flags").results == [0]

"""Where an exception is delivered, with what message, and what happens to the process, by real misuses."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.support.mach_machine import Kind

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.mach_machine import Machine, Watched

SUCCESS, FAILURE = 0, 5
KILLED = -9
KERN_INVALID_NAME, KERN_INVALID_ARGUMENT = 15, 4
RCV_INVALID_NAME = 0x10004002
EXC_CRASH, EXC_GUARD = 10, 12

# TASK_EXC_GUARD_ of osfmk/mach/task_info.h
DELIVER, ONCE, CORPSE, FATAL = 0x10, 0x20, 0x40, 0x80
VM_DELIVER, VM_ONCE, VM_CORPSE, VM_FATAL = 1, 2, 4, 8

AST = "mach_port_guard_ast, osfmk/ipc/ipc_policy.c, xnu-11417.121.6; osfmk/ipc/mach_port.c, xnu-8019.41.5"
VM_AST = "virt_memory_guard_ast, osfmk/vm/vm_map.c, xnu-11417.121.6 and xnu-8019.41.5"
NOTIFY = "task_exception_notify, osfmk/kern/exception.c, xnu-10002.41.9"
BEFORE_NOTIFY = "task_exception_notify, osfmk/kern/exception.c, xnu-10002.1.13"
VALIDATION = "set_exception_ports_validation, osfmk/kern/ipc_tt.c, xnu-11215.1.10"


class Rule(NamedTuple):
    """A scenario of programs/misuse.c, its task's flags, the reply, what comes of it, and who says so."""

    name: str
    source: str
    scenario: str
    flags: int
    reply: int
    delivered: int  # how often the handler is called
    ends: bool
    crash: bool = False  # whether EXC_CRASH, by which ReportCrash comes to know, follows
    result: int | None = None  # of the misuse, if the process lives
    release: str = "26.4"  # these four: see Kind
    since: str = "12.0"
    before: str = ""
    developer_mode: bool | None = None


FATAL_ONE, OPTIONAL_ONE, SOFT_ONE = "destroy_name_guarded", "double_deallocate", "notify_exception_port"
LAST_OPTIONAL_ONE, MEMORY = "receive_on_send", "deallocate_gap"
NAME = KERN_INVALID_NAME

RULES = [
    # A fatal guard ends the process whatever the reply; a reply of success spares it the crash.
    Rule("fatal", AST, FATAL_ONE, DELIVER, FAILURE, 1, ends=True, crash=True, developer_mode=True),
    Rule("fatal, handled", AST, FATAL_ONE, DELIVER, SUCCESS, 1, ends=True, developer_mode=True),
    Rule("fatal, any flags", AST, FATAL_ONE, CORPSE, FAILURE, 1, ends=True, crash=True, developer_mode=True),
    # An optional one depends on the flags, not on the reply.
    Rule("optional", AST, OPTIONAL_ONE, DELIVER, FAILURE, 1, ends=False, result=NAME),
    Rule("optional, handled", AST, OPTIONAL_ONE, DELIVER, SUCCESS, 1, ends=False, result=NAME),
    Rule("optional, not delivered", AST, OPTIONAL_ONE, CORPSE, FAILURE, 0, ends=False, result=NAME),
    Rule("optional, with a report", AST, OPTIONAL_ONE, DELIVER | CORPSE, FAILURE, 1, ends=False, result=NAME),
    Rule(
        "optional and fatal",
        AST,
        OPTIONAL_ONE,
        DELIVER | FATAL,
        FAILURE,
        1,
        ends=True,
        crash=True,
        developer_mode=True,
    ),
    Rule(
        "optional and fatal, handled",
        AST,
        OPTIONAL_ONE,
        DELIVER | FATAL,
        SUCCESS,
        1,
        ends=True,
        developer_mode=True,
    ),
    Rule("optional and fatal, not delivered", AST, OPTIONAL_ONE, FATAL, FAILURE, 0, ends=False, result=NAME),
    Rule(
        "optional, memory's flags",
        AST,
        OPTIONAL_ONE,
        VM_DELIVER | VM_FATAL,
        FAILURE,
        0,
        ends=False,
        result=NAME,
    ),
    # kGUARD_EXC_RCV_INVALID_NAME is the last that can be fatal, and in 12 it was the first that cannot.
    Rule(
        "last optional and fatal",
        "mach_port_guard_ast, osfmk/ipc/mach_port.c, xnu-8792.41.9",
        LAST_OPTIONAL_ONE,
        DELIVER | FATAL,
        FAILURE,
        1,
        ends=True,
        crash=True,
        release="13.0",
        since="13.0",
        developer_mode=True,
    ),
    Rule(
        "last optional and fatal in 12",
        "mach_port_guard_ast, osfmk/ipc/mach_port.c, xnu-8020.140.41",
        LAST_OPTIONAL_ONE,
        DELIVER | FATAL,
        FAILURE,
        1,
        ends=False,
        result=RCV_INVALID_NAME,
        release="12.6",
        before="13.0",
    ),
    # A soft one is never fatal.
    Rule("soft", AST, SOFT_ONE, DELIVER, FAILURE, 1, ends=False, result=0, since="26.4"),
    Rule("soft, handled", AST, SOFT_ONE, DELIVER, SUCCESS, 1, ends=False, result=0, since="26.4"),
    Rule("soft, never fatal", AST, SOFT_ONE, DELIVER | FATAL, FAILURE, 1, ends=False, result=0, since="26.4"),
    Rule("soft, not delivered", AST, SOFT_ONE, FATAL, FAILURE, 0, ends=False, result=0, since="26.4"),
    # Memory has flags of its own.
    Rule("memory", VM_AST, MEMORY, VM_DELIVER, FAILURE, 1, ends=False, result=0),
    Rule("memory, handled", VM_AST, MEMORY, VM_DELIVER, SUCCESS, 1, ends=False, result=0),
    Rule("memory, not delivered", VM_AST, MEMORY, VM_FATAL | VM_CORPSE, FAILURE, 0, ends=False, result=0),
    Rule("memory, ports' flags", VM_AST, MEMORY, DELIVER | FATAL, FAILURE, 0, ends=False, result=0),
    Rule("memory, with a report", VM_AST, MEMORY, VM_DELIVER | VM_CORPSE, FAILURE, 1, ends=False, result=0),
    Rule(
        "memory and fatal",
        VM_AST,
        MEMORY,
        VM_DELIVER | VM_FATAL,
        FAILURE,
        1,
        ends=True,
        crash=True,
        developer_mode=True,
    ),
    Rule(
        "memory and fatal, handled",
        VM_AST,
        MEMORY,
        VM_DELIVER | VM_FATAL,
        SUCCESS,
        1,
        ends=True,
        developer_mode=True,
    ),
    # Without Developer Mode fatal guards are not delivered: since 14.1.
    Rule(
        "fatal, Developer Mode off",
        NOTIFY,
        FATAL_ONE,
        DELIVER,
        SUCCESS,
        0,
        ends=True,
        crash=True,
        release="14.1",
        since="14.1",
        developer_mode=False,
    ),
    Rule(
        "fatal, Developer Mode off before 14.1",
        BEFORE_NOTIFY,
        FATAL_ONE,
        DELIVER,
        FAILURE,
        1,
        ends=True,
        crash=True,
        release="14.0",
        since="13.0",
        before="14.1",
        developer_mode=False,
    ),
    Rule(
        "optional and fatal, Developer Mode off",
        NOTIFY,
        OPTIONAL_ONE,
        DELIVER | FATAL,
        FAILURE,
        0,
        ends=True,
        crash=True,
        since="14.1",
        developer_mode=False,
    ),
    Rule(
        "optional, Developer Mode off",
        NOTIFY,
        OPTIONAL_ONE,
        DELIVER,
        FAILURE,
        1,
        ends=False,
        result=NAME,
        since="14.1",
        developer_mode=False,
    ),
    Rule(
        "memory and fatal, Developer Mode off",
        NOTIFY,
        MEMORY,
        VM_DELIVER | VM_FATAL,
        FAILURE,
        0,
        ends=True,
        crash=True,
        since="14.1",
        developer_mode=False,
    ),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_rule(boot: Callable[[Kind], Machine], rule: Rule) -> None:
    """And what EXC_CRASH says: proc_prepareexit, bsd/kern/kern_exit.c, xnu-11417.121.6."""
    machine = boot(
        Kind(rule.release, since=rule.since, before=rule.before, developer_mode=rule.developer_mode)
    )
    masks = ("-m", hex(1 << EXC_GUARD | 1 << EXC_CRASH), "-r", str(rule.reply))
    seen = machine.watch("misuse", "-g", hex(rule.flags), rule.scenario, options=masks)

    guards = [message for message in seen.messages if message["exception"] == EXC_GUARD]
    crashes = [message for message in seen.messages if message["exception"] == EXC_CRASH]
    assert len(guards) == rule.delivered
    assert seen.messages == guards + crashes
    assert seen.exit["status"] == (KILLED if rule.ends else 0)
    assert seen.results == ([] if rule.ends else [rule.result])
    assert len(crashes) == rule.crash
    for crash in crashes:
        # Signal, exception, and of the guard's code 20 bits: its type and flavor are gone.
        target = 0 if rule.scenario == MEMORY else seen.port
        assert crash["code"] == 9 << 24 | EXC_GUARD << 20 | target & 0xFFFFF
        assert all(guard["subcode"] == crash["subcode"] for guard in guards)


def test_memory_that_is_not_there_is_reported_by_its_address(machine: Machine) -> None:
    """vm_map_delete and vm_map_guard_exception, osfmk/vm/vm_map.c, xnu-11417.121.6."""
    seen = machine.watch("misuse", MEMORY)

    (address,) = (line["address"] for line in seen.said if "address" in line)
    assert seen.hits == [(5 << 61 | 1 << 32, address)]  # GUARD_TYPE_VIRT_MEMORY, kGUARD_EXC_DEALLOC_GAP


def test_once_is_once_for_a_task(boot: Callable[[Kind], Machine]) -> None:
    """mach_port_guard_ast, osfmk/ipc/ipc_policy.c, xnu-11417.121.6: DELIVER goes with the first."""
    machine = boot(Kind(since="12.0", guard_default=DELIVER | ONCE))
    seen = machine.watch("misuse", "-g", hex(DELIVER | ONCE), "-n", "3", OPTIONAL_ONE)

    assert len(seen.hits) == 1
    assert seen.results == [KERN_INVALID_NAME] * 3


def test_once_of_memory_is_its_own(boot: Callable[[Kind], Machine]) -> None:
    """virt_memory_guard_ast, osfmk/vm/vm_map.c, xnu-11417.121.6."""
    flags = DELIVER | VM_DELIVER | VM_ONCE
    machine = boot(Kind(since="12.0", guard_default=flags))

    assert len(machine.watch("misuse", "-g", hex(flags), "-n", "3", MEMORY).hits) == 1
    assert len(machine.watch("misuse", "-g", hex(flags), "-n", "3", OPTIONAL_ONE).hits) == 3


def test_each_is_delivered_without_once(machine: Machine) -> None:
    """mach_port_guard_ast, osfmk/ipc/ipc_policy.c, xnu-11417.121.6."""
    seen = machine.watch("misuse", "-n", "50", OPTIONAL_ONE)

    assert len(seen.hits) == 50
    assert seen.results == [KERN_INVALID_NAME] * 50


def test_fatal_one_is_the_last(boot: Callable[[Kind], Machine]) -> None:
    """mach_port_guard_ast, osfmk/ipc/ipc_policy.c, xnu-11417.121.6."""
    machine = boot(Kind(since="12.0", developer_mode=True))
    seen = machine.watch("misuse", "-g", hex(DELIVER | FATAL), "-n", "50", OPTIONAL_ONE)

    assert len(seen.hits) == 1
    assert seen.exit["status"] == KILLED


@pytest.mark.parametrize("reply", ["drop", "mismatch", "short", "complex"])
def test_reply_that_is_none_counts_as_failure(boot: Callable[[Kind], Machine], reply: str) -> None:
    """exception_deliver and what MIG makes of mach_exc.defs, osfmk/kern/exception.c, xnu-11417.121.6."""
    machine = boot(Kind(since="12.0", developer_mode=True))
    masks = ("-m", hex(1 << EXC_GUARD | 1 << EXC_CRASH), "-r", reply)
    seen = machine.watch("misuse", FATAL_ONE, options=masks)

    assert [message["exception"] for message in seen.messages] == [EXC_GUARD, EXC_CRASH]
    assert seen.exit["status"] == KILLED


def test_nothing_is_delivered(machine: Machine) -> None:
    """exception_triage_thread, osfmk/kern/exception.c, xnu-11417.121.6: as when all refuse."""
    optional, fatal = machine.run("misuse", OPTIONAL_ONE), machine.run("misuse", FATAL_ONE)

    assert optional.returncode == 0
    assert f'"result": {KERN_INVALID_NAME}' in optional.stdout
    assert fatal.returncode == KILLED


@pytest.mark.parametrize("scenario", [OPTIONAL_ONE, FATAL_ONE])
def test_handler_that_dies_with_the_exception(boot: Callable[[Kind], Machine], scenario: str) -> None:
    """exception_deliver, osfmk/kern/exception.c, xnu-11417.121.6: MIG_SERVER_DIED is not a success."""
    machine = boot(Kind(since="12.0", developer_mode=True))
    with machine.start("watch", "-r", "wait", "--", machine.program("misuse"), scenario) as watcher:
        assert watcher.stdout is not None
        while '"event": "message"' not in watcher.stdout.readline():
            pass
        watcher.kill()
        rest = watcher.stdout.read()

    assert (f'"result": {KERN_INVALID_NAME}' in rest) == (scenario == OPTIONAL_ONE)


def test_only_the_types_of_the_mask_are_delivered(machine: Machine) -> None:
    """task_set_exception_ports, osfmk/kern/ipc_tt.c, xnu-11417.121.6."""
    seen = machine.watch("misuse", OPTIONAL_ONE, options=("-m", hex(1 << 1)))

    assert seen.hits == []
    assert seen.results == [KERN_INVALID_NAME]


# ---- what the message is ----


class Message(NamedTuple):
    """A behavior, the message that it brings, and who says so."""

    behavior: int
    identity: int
    source: str
    since: str = "12.0"


WIDE = "osfmk/mach/mach_exc.defs, xnu-11417.121.6"
NARROW = "osfmk/mach/exc.defs, xnu-11417.121.6"
MESSAGES = [
    Message(0x80000001, 2405, f"mach_exception_raise, {WIDE}"),
    Message(0x80000002, 2406, f"mach_exception_raise_state, {WIDE}"),
    Message(0x80000003, 2407, f"mach_exception_raise_state_identity, {WIDE}"),
    Message(0x80000004, 2408, f"mach_exception_raise_identity_protected, {WIDE}"),
    Message(0x80000005, 2410, f"mach_exception_raise_state_identity_protected, {WIDE}", "15.0"),
    Message(1, 2401, f"exception_raise, {NARROW}"),
    Message(2, 2402, f"exception_raise_state, {NARROW}"),
    Message(3, 2403, f"exception_raise_state_identity, {NARROW}"),
]
STATES = {"x86_64": (4, 42), "arm64": (6, 68)}
"""Flavor and words of the 64-bit registers: thread_status.h of osfmk/mach/i386 and osfmk/mach/arm."""


def size_of(behavior: int, arch: str) -> int:
    """As MIG lays the requests of mach_exc.defs and exc.defs out."""
    wide, plain = bool(behavior >> 31), behavior & 7
    size = 24 + 8  # header, NDR
    size += {1: 4 + 2 * 12, 2: 0, 3: 4 + 2 * 12, 4: 4 + 12 + 8, 5: 4 + 12 + 8}[plain]
    size += 4 + 4 + 2 * (8 if wide else 4)  # exception, codes
    if plain in {2, 3, 5}:
        size += 4 + 4 + 4 * STATES[arch][1]
    return size


@pytest.mark.parametrize("arch", ["x86_64", "arm64"])
@pytest.mark.parametrize("case", MESSAGES, ids=lambda case: hex(case.behavior))
def test_message(boot: Callable[[Kind], Machine], case: Message, arch: str) -> None:
    """KERNEL_SECURITY_TOKEN_VALUE and KERNEL_AUDIT_TOKEN_VALUE: osfmk/mach/message.h, xnu-11417.121.6."""
    behavior, (flavor, count) = case.behavior, STATES[arch]
    machine = boot(Kind(since=case.since, arch=arch))
    seen = machine.watch("misuse", OPTIONAL_ONE, options=("-b", hex(behavior), "-f", str(flavor)))
    (message,) = seen.messages

    assert message["id"] == case.identity
    assert message["size"] == size_of(behavior, arch)
    assert message["exception"] == EXC_GUARD
    code = 1 << 61 | 0x200 << 32 | seen.port
    assert seen.hits == [(code if behavior >> 31 else seen.port, 0)]
    assert message["security"] == [0, 1]
    assert message["audit"] == [0] * 8
    assert message["trailer"] == 52
    complex_bit = 0 if behavior & 7 == 2 else 1 << 31
    # local: a send right was used; remote: a send-once right
    assert message["bits"] == complex_bit | 17 << 8 | 18
    if behavior & 7 != 2:
        assert message["pid"] == seen.exit["pid"]
    if behavior & 7 in {4, 5}:
        assert message["thread"] == seen.said[0]["thread"]
    if behavior & 7 in {2, 3, 5}:
        assert (message["flavor"], message["count"]) == (flavor, count)


def test_second_thread_has_its_own_identity(machine: Machine) -> None:
    """exception_deliver, osfmk/kern/exception.c, xnu-11417.121.6: thread_id of the thread that misused."""
    first, second = machine.watch("misuse", OPTIONAL_ONE), machine.watch("misuse", "-2", OPTIONAL_ONE)

    for seen in (first, second):
        assert seen.messages[0]["thread"] == seen.said[0]["thread"]
    assert first.said[0]["thread"] != second.said[0]["thread"]


class Ports(NamedTuple):
    """Which ports EXCEPTION_DEFAULT gives, and who says so."""

    source: str
    kind: Kind
    control: bool


PORTS = [
    Ports(
        "exception_deliver, osfmk/kern/exception.c, xnu-8020.140.41",
        Kind("12.6", since="12.0", before="13.0", developer_mode=False),
        control=True,
    ),
    Ports(
        "exception_deliver, osfmk/kern/exception.c, xnu-8792.41.9",
        Kind("13.0", developer_mode=False),
        control=False,
    ),
    Ports(
        "exception_deliver, osfmk/kern/exception.c, xnu-11417.121.6",
        Kind(since="13.0", developer_mode=True),
        control=True,
    ),
]


@pytest.mark.parametrize("case", PORTS, ids=lambda case: f"{case.kind.release}-{case.control}")
@pytest.mark.parametrize("behavior", ["0x80000001", "0x80000003"])
def test_control_ports_go_out_under_developer_mode(
    boot: Callable[[Kind], Machine], case: Ports, behavior: str
) -> None:
    machine = boot(case.kind)
    flavor = {"x86_64": "4", "arm64": "6"}[machine.arch]
    seen = machine.watch("misuse", OPTIONAL_ONE, options=("-b", behavior, "-f", flavor))

    assert [bool(message["control"]) for message in seen.messages] == [case.control]


# ---- replies that bring a state ----


class Changed(NamedTuple):
    """What comes of a reply that changes the thread's state, and who says so."""

    flavors: list[int]
    status: int
    source: str
    release: str
    since: str
    before: str


CHANGED = [
    Changed([0x200], 0, "exception_deliver, osfmk/kern/exception.c, xnu-11417.121.6", "15.5", "12.0", "26.0"),
    Changed(
        [0x200, 0x100007],
        0,
        "kGUARD_EXC_MACH_EXC_THREAD_SET_STATE, osfmk/mach/port.h, macOS 26.4 SDK",
        "26.4",
        "26.4",
        "27.0",
    ),
    Changed(
        [0x200, 0xC],
        KILLED,
        "kGUARD_EXC_MACH_EXC_THREAD_SET_STATE, osfmk/mach/port.h, macOS 27.0 SDK",
        "27.0",
        "27.0",
        "",
    ),
]


def reply_with_state(machine: Machine, behavior: str, reply: str) -> Watched:
    options = ("-b", behavior, "-f", str(STATES["x86_64"][0]), "-r", reply)
    return machine.watch("misuse", OPTIONAL_ONE, options=options)


@pytest.mark.parametrize("case", CHANGED, ids=lambda case: case.release)
@pytest.mark.parametrize("behavior", ["0x80000002", "0x80000003", "0x80000005"])
def test_reply_that_changes_the_state(boot: Callable[[Kind], Machine], case: Changed, behavior: str) -> None:
    since = max(case.since, "15.0") if behavior == "0x80000005" else case.since
    kind = Kind(case.release, since=since, before=case.before, arch="x86_64", developer_mode=True)
    seen = reply_with_state(boot(kind), behavior, "state")

    assert [hit[0] >> 32 & 0x1FFFFFFF for hit in seen.hits] == case.flavors
    assert seen.exit["status"] == case.status


def test_reply_that_keeps_the_state_is_no_misuse(boot: Callable[[Kind], Machine]) -> None:
    """exception_deliver, osfmk/kern/exception.c, xnu-11417.121.6."""
    seen = reply_with_state(boot(Kind(since="15.0", arch="x86_64")), "0x80000005", "same")

    assert len(seen.hits) == 1
    assert seen.results == [KERN_INVALID_NAME]


# ---- which behaviors there are ----


class Behavior(NamedTuple):
    """Whether a release takes a behavior, and who says so."""

    behavior: str
    source: str
    release: str = "26.4"
    since: str = "12.0"
    before: str = ""
    valid: bool = False


BEHAVIORS = [
    Behavior(
        "0x80000004",
        "task_set_exception_ports, osfmk/kern/ipc_tt.c, xnu-7195.141.2",
        "11.6",
        "10.15",
        "12.0",
    ),
    Behavior(
        "0x80000004",
        "task_set_exception_ports, osfmk/kern/ipc_tt.c, xnu-8019.41.5",
        "12.0",
        "12.0",
        valid=True,
    ),
    Behavior(
        "0x80000005",
        "task_set_exception_ports, osfmk/kern/ipc_tt.c, xnu-10063.141.1",
        "14.6",
        "12.0",
        "15.0",
    ),
    Behavior("0x80000005", VALIDATION, "15.0", "15.0", valid=True),
    Behavior(
        "0xa0000001",
        "MACH_EXCEPTION_MASK, osfmk/mach/exception_types.h, xnu-8019.41.5",
        "12.6",
        "12.0",
        "13.0",
    ),
    Behavior(
        "0xa0000001",
        "MACH_EXCEPTION_BACKTRACE_PREFERRED, osfmk/mach/exception_types.h, xnu-8792.41.9",
        "13.0",
        "13.0",
        valid=True,
    ),
    # Without MACH_EXCEPTION_CODES. Behavior 5 is not asked so: 15.0 takes it, and panics when it delivers.
    Behavior("0x4", "task_set_exception_ports, osfmk/kern/ipc_tt.c, xnu-8019.41.5"),
    Behavior("0x20000001", "task_set_exception_ports, osfmk/kern/ipc_tt.c, xnu-8792.41.9", since="13.0"),
    Behavior("0x80000006", VALIDATION),
    Behavior("0x80000000", VALIDATION),
]


@pytest.mark.parametrize("case", BEHAVIORS, ids=lambda case: f"{case.behavior}-{case.release}")
def test_behaviors_of_the_release(boot: Callable[[Kind], Machine], case: Behavior) -> None:
    """An invalid one is EINVAL: exec_handle_exception_port_actions, bsd/kern/kern_exec.c, xnu-11417.121.6."""
    machine = boot(Kind(case.release, since=case.since, before=case.before))
    state = {"x86_64": "4", "arm64": "6"}[machine.arch]
    done = machine.run(
        "watch", "-b", case.behavior, "-f", state, "--", machine.program("misuse"), OPTIONAL_ONE
    )

    assert (done.returncode == 0) == case.valid
    assert ('"errno": 22' in done.stdout) == (not case.valid)
    assert ('"event": "message"' in done.stdout) == case.valid

"""What tests/conformance cannot show of exceptions: guards that no misuse raises, registers, crash reports.

Guards are raised by number here, by `excsim_raise`, and what ReportCrash would have written is read out of
the kernel. The rest is in tests/conformance/test_exceptions.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.mach_machine import Machine, Watched

MACH_PORT, FD, USER, VIRT_MEMORY = 1, 2, 3, 5
SUCCESS, FAILURE, ABORTED = 0, 5, 14
KILLED, SEGV = -9, -11
DELIVER, CORPSE, MP_FATAL = 0x10, 0x40, 0x80
VM_DELIVER, VM_CORPSE, VM_FATAL = 1, 4, 8
EXC_CRASH, EXC_GUARD = 10, 12


def code(guard_type: int, flavor: int, target: int = 0x103) -> int:
    return guard_type << 61 | flavor << 32 | target


FATAL = code(MACH_PORT, 0x1)  # DESTROY
OPTIONAL = code(MACH_PORT, 0x200)  # INVALID_NAME
SOFT = code(MACH_PORT, 0x100005)  # REPLY_PORT_SINGLE_SO_RIGHT
VM_OPTIONAL = code(VIRT_MEMORY, 0x1)  # DEALLOC_GAP
VM_ALWAYS_FATAL = code(VIRT_MEMORY, 0x4)  # RECLAIM_INDEX_FAILURE
FD_CLOSE = code(FD, 0x1)
USER_REASON = code(USER, 0)
MSG_FILTERED = code(MACH_PORT, 0x80)
UNNAMED_FATAL = code(MACH_PORT, 0x33)
UNNAMED_OPTIONAL = code(MACH_PORT, 0x333)
UNNAMED_SOFT = code(MACH_PORT, 0x333333)


def raise_one(machine: Machine, raised: int, *options: str, watch: tuple[str, ...] = ()) -> Watched:
    seen = machine.watch("raise", *options, hex(raised), "0xfeed", options=watch)
    assert all(hit == (raised, 0xFEED) for hit in seen.hits)
    return seen


def reports(machine: Machine) -> list[tuple[int, bool]]:
    return [(report["code"], bool(report["fatal"])) for report in machine.inspect()["reports"]]


class Rule(NamedTuple):
    """An exception, the flags of its task and the reply; and what becomes of it all."""

    name: str
    raised: int
    flags: int
    reply: int
    delivered: int
    ends: bool
    result: int | None = None  # of excsim_raise
    report: bool | None = None  # None: none is written; else whether it is of a death
    release: str = "26.4"


RULES = [
    # Whether there is a report: mach_port_guard_ast, osfmk/ipc/ipc_policy.c, xnu-11417.121.6
    Rule("fatal", FATAL, DELIVER, FAILURE, 1, ends=True, report=True),
    Rule("fatal, handled", FATAL, DELIVER, SUCCESS, 1, ends=True),
    Rule("optional", OPTIONAL, DELIVER, FAILURE, 1, ends=False, result=FAILURE),
    Rule("optional, not delivered", OPTIONAL, CORPSE, FAILURE, 0, ends=False, result=ABORTED),
    Rule(
        "optional, with a report", OPTIONAL, DELIVER | CORPSE, FAILURE, 1, ends=False, result=5, report=False
    ),
    Rule("optional, handled, no report", OPTIONAL, DELIVER | CORPSE, SUCCESS, 1, ends=False, result=0),
    Rule("optional and fatal", OPTIONAL, DELIVER | MP_FATAL, FAILURE, 1, ends=True, report=True),
    Rule("optional and fatal, handled", OPTIONAL, DELIVER | MP_FATAL, SUCCESS, 1, ends=True),
    Rule("soft, never fatal", SOFT, DELIVER | MP_FATAL, FAILURE, 1, ends=False, result=5, report=False),
    Rule("memory, fatal", VM_OPTIONAL, VM_DELIVER | VM_FATAL, FAILURE, 1, ends=True, report=True),
    Rule(
        "memory, with a report", VM_OPTIONAL, VM_DELIVER | VM_CORPSE, 5, 1, ends=False, result=5, report=False
    ),
    # What no misuse of a port raises
    Rule("memory, always fatal", VM_ALWAYS_FATAL, 0, FAILURE, 1, ends=True, report=True),
    Rule("descriptor", FD_CLOSE, 0, FAILURE, 1, ends=True, report=True),
    Rule("user", USER_REASON, 0, FAILURE, 1, ends=False, result=FAILURE),
    # A flavor without a name is judged by its number. The last fatal one is MAX_FATAL_kGUARD_EXC_CODE of
    # osfmk/mach/port.h: 1 << 6 in xnu-7195.50.7 (11.0), 1 << 7 since xnu-7195.101.1 (11.3).
    Rule("fatal by its number", UNNAMED_FATAL, 0, FAILURE, 1, ends=True, report=True),
    Rule("optional by its number", UNNAMED_OPTIONAL, DELIVER | MP_FATAL, 5, 1, ends=True, report=True),
    Rule("soft by its number", UNNAMED_SOFT, DELIVER | MP_FATAL, 5, 1, ends=False, result=5, report=False),
    Rule("last fatal", MSG_FILTERED, DELIVER, FAILURE, 1, ends=True, report=True),
    Rule("last fatal of 11.3", MSG_FILTERED, DELIVER, FAILURE, 1, ends=True, report=True, release="11.3"),
    Rule("optional in 11.2", MSG_FILTERED, DELIVER, FAILURE, 1, ends=False, result=FAILURE, release="11.2"),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_rule(boot: Callable[..., Machine], rule: Rule) -> None:
    machine = boot(release=rule.release)
    behavior = "0x80000001" if rule.release.startswith("11.") else "0x80000004"
    options = ("-b", behavior, "-r", str(rule.reply))
    seen = raise_one(machine, rule.raised, "-g", hex(rule.flags), watch=options)

    assert len(seen.hits) == rule.delivered
    assert seen.exit["status"] == (KILLED if rule.ends else 0)
    assert seen.result == rule.result
    assert reports(machine) == ([] if rule.report is None else [(rule.raised, rule.report)])


def test_flags_that_were_given_to_all_may_be_taken_back(boot: Callable[..., Machine]) -> None:
    """A Mac starts programs without DELIVER, this kernel by default with it; what was asked for stays."""
    given, asked = boot(), boot(task_exc_guard=0)

    assert raise_one(given, OPTIONAL, "-g", "0").hits == []
    assert asked.run("tasks", "guard_behavior_only_grows").returncode == 0


def test_many(machine: Machine) -> None:
    seen = machine.watch("raise", hex(OPTIONAL), "1", "500")

    assert seen.hits == [(OPTIONAL, 1)] * 500
    assert machine.inspect()["exceptions"] == 500


def test_many_end_with_the_process(machine: Machine) -> None:
    seen = machine.watch("raise", "-g", hex(DELIVER | VM_DELIVER | MP_FATAL), hex(OPTIONAL), "1", "500")

    assert len(seen.hits) == 1
    assert seen.exit["status"] == KILLED


@pytest.mark.parametrize("reply", ["drop", "mismatch", "short", "complex"])
def test_reply_that_is_none_keeps_no_report_away(machine: Machine, reply: str) -> None:
    raise_one(machine, FATAL, watch=("-r", reply))

    assert reports(machine) == [(FATAL, True)]


def test_report_where_no_handler_gets_the_exception(machine: Machine) -> None:
    assert machine.run("raise", hex(OPTIONAL), "0").returncode == 0
    assert machine.run("raise", hex(FATAL), "0").returncode == KILLED
    assert reports(machine) == [(FATAL, True)]


def test_report_where_the_handler_died(machine: Machine) -> None:
    with machine.start("watch", "-r", "wait", "--", machine.program("raise"), hex(FATAL), "0") as watcher:
        assert watcher.stdout is not None
        while '"event": "message"' not in watcher.stdout.readline():
            pass
        watcher.kill()
        watcher.stdout.read()

    assert reports(machine) == [(FATAL, True)]


@pytest.mark.parametrize(("exception", "status"), [(1, SEGV), (2, -4), (3, -8), (6, -5), (5, -6)])
def test_other_exceptions_end_the_process_with_their_signal(
    machine: Machine, exception: int, status: int
) -> None:
    refused = machine.watch("raise", "-e", str(exception), "0x123456", "2")
    taken = machine.watch("raise", "-e", str(exception), "0x123456", "2", options=("-r", "0"))

    assert refused.messages[0]["exception"] == exception
    assert refused.hits == taken.hits == [(0x123456, 2)]
    assert refused.exit["status"] == status
    assert taken.exit["status"] == 0
    assert len(reports(machine)) == 1


@pytest.mark.parametrize(("exception", "signal"), [(EXC_GUARD, 9), (1, 11)])
def test_who_takes_the_crash_keeps_the_report_away(machine: Machine, exception: int, signal: int) -> None:
    """proc_prepareexit, bsd/kern/kern_exit.c, xnu-11417.121.6."""
    raised = FATAL if exception == EXC_GUARD else 0x123456
    for reply, expected in (("0", []), ("5", [(raised, True)])):
        options = ("-m", hex(1 << EXC_CRASH), "-r", reply)
        seen = machine.watch("raise", "-e", str(exception), hex(raised), "2", options=options)

        assert seen.hits == [(signal << 24 | exception << 20 | raised & 0xFFFFF, 2)]
        assert seen.exit["status"] == -signal
        assert reports(machine) == expected


def test_crash_cannot_be_raised_by_itself(machine: Machine) -> None:
    assert machine.watch("raise", "-e", str(EXC_CRASH), "1", "2").result == 4  # KERN_INVALID_ARGUMENT


STATES = {"x86_64": "4", "arm64": "6"}


@pytest.mark.parametrize("arch", STATES)
@pytest.mark.parametrize("behavior", ["0x80000002", "0x80000003", "0x80000005", "2", "3"])
@pytest.mark.parametrize("thread", [(), ("-2",)])
def test_registers_are_those_of_the_call(
    boot: Callable[..., Machine], behavior: str, arch: str, thread: tuple[str, ...]
) -> None:
    """Here the program counter is in the caller; on a Mac it is in libsystem_kernel's trap, one frame on."""
    options = ("-b", behavior, "-f", STATES[arch])
    seen = boot(arch=arch).watch("raise", *thread, hex(OPTIONAL), "0xfeed", options=options)
    (message,), printed = seen.messages, seen.said[0]

    assert 0 < message["pc"] - printed["function"] < 256
    assert 0 < printed["stack"] - message["sp"] < 4096


def test_protected_behavior_with_state_needs_codes(machine: Machine) -> None:
    """XNU takes it without (set_exception_ports_validation, xnu-11215.1.10), and panics when it delivers."""
    done = machine.run("watch", "-b", "5", "-f", "4", "--", machine.program("raise"), hex(OPTIONAL), "0")

    assert '"errno": 22' in done.stdout

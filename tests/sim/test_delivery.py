"""Who is told of an exception, what he is told, and what becomes of the process."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from mach_machine import Machine, Watched

MACH_PORT, FD, USER, VIRT_MEMORY = 1, 2, 3, 5
SUCCESS, FAILURE, ABORTED = 0, 5, 14
KILLED, SEGV = -9, -11
DELIVER, ONCE, CORPSE, MP_FATAL = 0x10, 0x20, 0x40, 0x80
VM_DELIVER, VM_ONCE, VM_CORPSE, VM_FATAL = 1, 2, 4, 8


def code(guard_type: int, flavor: int, target: int = 0x103) -> int:
    return guard_type << 61 | flavor << 32 | target


FATAL = code(MACH_PORT, 0x1)  # DESTROY
OPTIONAL = code(MACH_PORT, 0x200)  # INVALID_NAME
SOFT = code(MACH_PORT, 0x100005)  # REPLY_PORT_SINGLE_SO_RIGHT
VM_OPTIONAL = code(VIRT_MEMORY, 0x1)  # DEALLOC_GAP
VM_ALWAYS_FATAL = code(VIRT_MEMORY, 0x4)  # RECLAIM_INDEX_FAILURE
FD_CLOSE = code(FD, 0x1)
USER_REASON = code(USER, 0)
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
    result: int | None = None
    report: bool | None = None  # None: none is written; else whether it is of a death


RULES = [
    Rule("fatal, not handled", FATAL, DELIVER, FAILURE, 1, ends=True, report=True),
    Rule("fatal, handled", FATAL, DELIVER, SUCCESS, 1, ends=True),
    Rule("fatal, whatever the flags", FATAL, 0, FAILURE, 1, ends=True, report=True),
    Rule("optional", OPTIONAL, DELIVER, FAILURE, 1, ends=False, result=FAILURE),
    Rule("optional, handled", OPTIONAL, DELIVER, SUCCESS, 1, ends=False, result=SUCCESS),
    Rule("optional, not delivered", OPTIONAL, CORPSE, FAILURE, 0, ends=False, result=ABORTED),
    Rule(
        "optional, with a report", OPTIONAL, DELIVER | CORPSE, FAILURE, 1, ends=False, result=5, report=False
    ),
    Rule("optional, handled, no report", OPTIONAL, DELIVER | CORPSE, SUCCESS, 1, ends=False, result=0),
    Rule("optional and fatal", OPTIONAL, DELIVER | MP_FATAL, FAILURE, 1, ends=True, report=True),
    Rule("optional and fatal, handled", OPTIONAL, DELIVER | MP_FATAL, SUCCESS, 1, ends=True),
    Rule("optional and fatal, not delivered", OPTIONAL, MP_FATAL, FAILURE, 0, ends=False, result=ABORTED),
    Rule("soft", SOFT, DELIVER, FAILURE, 1, ends=False, result=FAILURE),
    Rule("soft, never fatal", SOFT, DELIVER | MP_FATAL, FAILURE, 1, ends=False, result=5, report=False),
    Rule("soft, not delivered", SOFT, 0, FAILURE, 0, ends=False, result=ABORTED),
    Rule("memory", VM_OPTIONAL, VM_DELIVER, FAILURE, 1, ends=False, result=FAILURE),
    Rule("memory, other flags", VM_OPTIONAL, DELIVER | MP_FATAL, FAILURE, 0, ends=False, result=ABORTED),
    Rule("memory, fatal", VM_OPTIONAL, VM_DELIVER | VM_FATAL, FAILURE, 1, ends=True, report=True),
    Rule(
        "memory, with a report", VM_OPTIONAL, VM_DELIVER | VM_CORPSE, 5, 1, ends=False, result=5, report=False
    ),
    Rule("memory, always fatal", VM_ALWAYS_FATAL, 0, FAILURE, 1, ends=True, report=True),
    Rule("descriptor", FD_CLOSE, 0, FAILURE, 1, ends=True, report=True),
    Rule("fatal by its number", UNNAMED_FATAL, 0, FAILURE, 1, ends=True, report=True),
    Rule("optional by its number", UNNAMED_OPTIONAL, DELIVER | MP_FATAL, 5, 1, ends=True, report=True),
    Rule("soft by its number", UNNAMED_SOFT, DELIVER | MP_FATAL, 5, 1, ends=False, result=5, report=False),
    Rule("user", USER_REASON, 0, FAILURE, 1, ends=False, result=FAILURE),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_rule(machine: Machine, rule: Rule) -> None:
    seen = raise_one(machine, rule.raised, "-g", hex(rule.flags), watch=("-r", str(rule.reply)))

    assert len(seen.hits) == rule.delivered
    assert seen.exit["status"] == (KILLED if rule.ends else 0)
    assert seen.result == rule.result
    assert reports(machine) == ([] if rule.report is None else [(rule.raised, rule.report)])


def test_once_is_once_for_a_task(machine: Machine) -> None:
    seen = raise_one(machine, OPTIONAL, "-g", hex(DELIVER | ONCE), "-n", "3")

    assert len(seen.hits) == 1
    assert [line["result"] for line in seen.said if "result" in line] == [FAILURE, ABORTED, ABORTED]


def test_once_of_memory_is_its_own(machine: Machine) -> None:
    options = "-g", hex(DELIVER | VM_DELIVER | VM_ONCE), "-n", "3"

    assert len(raise_one(machine, VM_OPTIONAL, *options).hits) == 1
    assert len(raise_one(machine, OPTIONAL, *options).hits) == 3


def test_many(machine: Machine) -> None:
    seen = machine.watch("raise", hex(OPTIONAL), "1", "500")

    assert seen.hits == [(OPTIONAL, 1)] * 500
    assert machine.inspect()["exceptions"] == 500


def test_many_end_with_the_process(machine: Machine) -> None:
    seen = machine.watch("raise", "-g", hex(DELIVER | MP_FATAL), hex(OPTIONAL), "1", "500")

    assert len(seen.hits) == 1
    assert seen.exit["status"] == KILLED


@pytest.mark.parametrize(
    ("release", "delivered"), [("13.6", 1), ("14.0", 1), ("14.1", 0), ("15.5", 0), ("26.4", 0)]
)
def test_developer_mode_off(boot: Callable[..., Machine], release: str, delivered: int) -> None:
    machine = boot(release=release, developer_mode=False)

    fatal, optional = (raise_one(machine, raised) for raised in (FATAL, OPTIONAL))

    assert len(fatal.hits) == delivered
    assert fatal.exit["status"] == KILLED
    assert len(optional.hits) == 1
    assert reports(machine) == [(FATAL, True)]


@pytest.mark.parametrize("reply", ["drop", "mismatch", "short", "complex"])
def test_reply_that_is_none_counts_as_failure(machine: Machine, reply: str) -> None:
    seen = raise_one(machine, FATAL, watch=("-r", reply))

    assert len(seen.hits) == 1
    assert seen.exit["status"] == KILLED
    assert reports(machine) == [(FATAL, True)]


def test_nobody_is_told(machine: Machine) -> None:
    done = machine.run("raise", hex(OPTIONAL), "0")

    assert done.returncode == 0
    assert f'"result": {FAILURE}' in done.stdout
    assert machine.run("raise", hex(FATAL), "0").returncode == KILLED
    assert reports(machine) == [(FATAL, True)]


@pytest.mark.parametrize("raised", [OPTIONAL, FATAL])
def test_handler_that_dies_with_the_exception(machine: Machine, raised: int) -> None:
    with machine.start("watch", "-r", "wait", "--", machine.program("raise"), hex(raised), "0") as watcher:
        assert watcher.stdout is not None
        while '"event": "message"' not in watcher.stdout.readline():
            pass
        watcher.kill()
        rest = watcher.stdout.read()

    assert (f'"result": {FAILURE}' in rest) == (raised == OPTIONAL)
    assert reports(machine) == ([(FATAL, True)] if raised == FATAL else [])


@pytest.mark.parametrize(("exception", "status"), [(1, SEGV), (2, -4), (3, -8), (6, -5), (5, -6)])
def test_other_exceptions_end_the_process_with_their_signal(
    machine: Machine, exception: int, status: int
) -> None:
    refused = machine.watch("raise", "-e", str(exception), "1", "2")
    taken = machine.watch("raise", "-e", str(exception), "1", "2", options=("-r", "0"))

    assert refused.messages[0]["exception"] == exception
    assert refused.hits == taken.hits == [(1, 2)]
    assert refused.exit["status"] == status
    assert taken.exit["status"] == 0
    assert len(reports(machine)) == 1


def test_only_the_types_of_the_mask_are_told(machine: Machine) -> None:
    bad_access_only = ("-m", hex(1 << 1))

    assert raise_one(machine, OPTIONAL, watch=bad_access_only).hits == []
    assert machine.watch("raise", "-e", "1", "1", "2", options=bad_access_only).hits == [(1, 2)]


BEHAVIORS = [
    (0x80000001, 2405),
    (0x80000002, 2406),
    (0x80000003, 2407),
    (0x80000004, 2408),
    (0x80000005, 2410),
    (1, 2401),
    (2, 2402),
    (3, 2403),
]
STATES = {"x86_64": (4, 42), "arm64": (6, 68)}


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
@pytest.mark.parametrize(("behavior", "identity"), BEHAVIORS)
def test_behavior(boot: Callable[..., Machine], behavior: int, identity: int, arch: str) -> None:
    flavor, count = STATES[arch]
    options = ("-b", hex(behavior), "-f", str(flavor))
    seen = boot(arch=arch).watch("raise", hex(OPTIONAL), "0xfeed", options=options)
    (message,) = seen.messages
    told = seen.said[0]

    assert message["id"] == identity
    assert message["size"] == size_of(behavior, arch)
    assert message["exception"] == 12
    wide = behavior >> 31
    expected = (OPTIONAL, 0xFEED) if wide else (OPTIONAL & 0xFFFFFFFF, 0xFEED)
    assert seen.hits == [expected]
    assert message["security"] == [0, 1]
    assert message["audit"] == [0] * 8
    assert message["trailer"] == 52
    complex_bit = 0 if behavior & 7 == 2 else 1 << 31
    assert (
        message["bits"] == complex_bit | 17 << 8 | 18
    )  # local: a send right was used; remote: a send-once right
    if behavior & 7 != 2:
        assert message["pid"] == seen.exit["pid"]
    if behavior & 7 in {4, 5}:
        assert message["thread"] == told["thread"]
    if behavior & 7 in {2, 3, 5}:
        assert (message["flavor"], message["count"]) == (flavor, count)
        assert 0 < message["pc"] - told["function"] < 256
        assert 0 < told["stack"] - message["sp"] < 4096


def test_second_thread_has_its_own_identity(boot: Callable[..., Machine]) -> None:
    machine = boot(arch="x86_64")
    state = ("-b", "0x80000005", "-f", "4")
    first = raise_one(machine, OPTIONAL, watch=state)
    second = raise_one(machine, OPTIONAL, "-2", watch=state)

    for seen in (first, second):
        assert seen.messages[0]["thread"] == seen.said[0]["thread"]
        assert 0 < seen.said[0]["stack"] - seen.messages[0]["sp"] < 4096
    assert first.said[0]["thread"] != second.said[0]["thread"]


class Changed(NamedTuple):
    """What comes of a reply that changes the thread's state."""

    release: str
    hits: list[int]  # flavors
    status: int


CHANGED = [
    Changed("15.5", [0x200], 0),
    Changed("26.4", [0x200, 0x100007], 0),
    Changed("27.0", [0x200, 0xC], KILLED),
]


@pytest.mark.parametrize("case", CHANGED, ids=lambda case: case.release)
@pytest.mark.parametrize("behavior", ["0x80000002", "0x80000003", "0x80000005"])
def test_reply_that_changes_the_state(boot: Callable[..., Machine], case: Changed, behavior: str) -> None:
    options = ("-b", behavior, "-f", "4", "-r", "state")
    seen = boot(release=case.release, arch="x86_64").watch("raise", hex(OPTIONAL), "0", options=options)

    flavors = [hit[0] >> 32 & 0x1FFFFFFF for hit in seen.hits]
    assert flavors == case.hits
    assert seen.exit["status"] == case.status


def test_reply_that_keeps_the_state_is_no_misuse(boot: Callable[..., Machine]) -> None:
    seen = raise_one(boot(arch="x86_64"), OPTIONAL, watch=("-b", "0x80000005", "-f", "4", "-r", "same"))

    assert len(seen.hits) == 1
    assert seen.result == SUCCESS


@pytest.mark.parametrize(
    ("release", "behavior", "valid"),
    [
        ("11.6", "0x80000004", False),
        ("12.0.1", "0x80000004", True),
        ("14.6", "0x80000005", False),
        ("15.0", "0x80000005", True),
        ("26.4", "4", False),
        ("26.4", "5", False),
        ("26.4", "0x80000006", False),
        ("26.4", "0x80000000", False),
        ("12.3", "0xa0000001", False),
        ("13.0", "0xa0000001", True),
    ],
)
def test_behaviors_of_the_release(
    boot: Callable[..., Machine], release: str, behavior: str, *, valid: bool
) -> None:
    machine = boot(release=release)

    done = machine.run("watch", "-b", behavior, "--", machine.program("raise"), hex(OPTIONAL), "0")

    assert (done.returncode == 0) == valid
    assert ('"errno": 22' in done.stdout) == (not valid)

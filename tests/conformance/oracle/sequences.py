"""Runs the rows of the oracle on a kernel and reports where its answers differ.

A row is a sequence of Mach port calls with what XNU's own ``osfmk/ipc`` returned, gave and raised for each,
on the releases it lists (README.md beside this file). ``programs/sequences.c`` makes the calls; this module
writes its input and reads its output.
"""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

ROWS: Final = Path(__file__).parent / "rows.jsonl.gz"
RELEASES: Final = ("11.2", "13.3", "14.4", "15.3", "15.4", "15.5", "26.0")
"""Those of the rows, oldest first."""

Row = dict[str, Any]
"""One sequence, as README.md describes it."""

_RUN_AS_32_BIT: Final = "11.2"
_MACH_PORT_QLIMIT_DEFAULT: Final = 5
_MP_DELIVER: Final = 0x10
_MP_FATAL: Final = 0x80
_NAMES: Final = {"MACH_PORT_NULL": 0, "MACH_PORT_DEAD": 0xFFFFFFFF, "never_allocated": 0x7703}
_OPTIONS: Final = {
    "MACH_SEND_MSG": 0x1,
    "MACH_RCV_MSG": 0x2,
    "MACH_RCV_LARGE": 0x4,
    "MACH_RCV_LARGE_IDENTITY": 0x8,
    "MACH_SEND_TIMEOUT": 0x10,
    "MACH_SEND_NOTIFY": 0x80,
    "MACH_RCV_TIMEOUT": 0x100,
    "MACH_MSG_STRICT_REPLY": 0x200,
    "MACH64_SEND_KOBJECT_CALL": 0x200000000,
}
_CONSTANTS: Final = {
    **{f"MACH_PORT_RIGHT_{name}": at for at, name in enumerate(
        ("SEND", "RECEIVE", "SEND_ONCE", "PORT_SET", "DEAD_NAME")
    )},
    **{f"MACH_MSG_TYPE_{name}": number for name, number in {
        "PORT_NAME": 15, "MOVE_RECEIVE": 16, "MOVE_SEND": 17, "MOVE_SEND_ONCE": 18, "COPY_SEND": 19,
        "MAKE_SEND": 20, "MAKE_SEND_ONCE": 21, "COPY_RECEIVE": 22, "DISPOSE_RECEIVE": 24, "DISPOSE_SEND": 25,
        "DISPOSE_SEND_ONCE": 26,
    }.items()},
    **{f"MACH_NOTIFY_{name}": number for name, number in {
        "PORT_DELETED": 65, "SEND_POSSIBLE": 66, "PORT_DESTROYED": 69, "NO_SENDERS": 70, "SEND_ONCE": 71,
        "DEAD_NAME": 72,
    }.items()},
    "MACH_MSG_PORT_DESCRIPTOR": 0,
    "MACH_MSG_OOL_PORTS_DESCRIPTOR": 2,
    "MACH_MSG_GUARDED_PORT_DESCRIPTOR": 4,
    "MACH_MSG_GUARD_FLAGS_IMMOVABLE_RECEIVE": 1,
    "MACH_MSG_GUARD_FLAGS_UNGUARDED_ON_SEND": 2,
    "MACH_PORT_GUARD_INFO": 8,
    # osfmk/ipc/ipc_types.h of macOS 26.0
    "IOT_PORT_SET": 0, "IOT_PORT": 1, "IOT_SERVICE_PORT": 2, "IOT_REPLY_PORT": 8, "IKOT_TASK_CONTROL": 14,
    "IOT_ANY": 0xFF,
}  # fmt: skip
_RETURNS: Final = {
    "KERN_SUCCESS": 0, "KERN_NO_SPACE": 3, "KERN_INVALID_ARGUMENT": 4, "KERN_FAILURE": 5,
    "KERN_NOT_IN_SET": 12, "KERN_NAME_EXISTS": 13, "KERN_INVALID_NAME": 15, "KERN_INVALID_TASK": 16,
    "KERN_INVALID_RIGHT": 17, "KERN_INVALID_VALUE": 18, "KERN_UREFS_OVERFLOW": 19,
    "KERN_INVALID_CAPABILITY": 20, "KERN_RIGHT_EXISTS": 21, "KERN_NOT_SUPPORTED": 46, "KERN_DENIED": 53,
    "MACH_SEND_INVALID_DEST": 0x10000003, "MACH_SEND_TIMED_OUT": 0x10000004,
    "MACH_SEND_INVALID_VOUCHER": 0x10000005, "MACH_SEND_MSG_TOO_SMALL": 0x10000008,
    "MACH_SEND_INVALID_REPLY": 0x10000009, "MACH_SEND_INVALID_RIGHT": 0x1000000A,
    "MACH_SEND_INVALID_TYPE": 0x1000000F, "MACH_SEND_INVALID_HEADER": 0x10000010,
    "MACH_SEND_INVALID_OPTIONS": 0x10000013, "MACH_RCV_INVALID_NAME": 0x10004002,
    "MACH_RCV_TIMED_OUT": 0x10004003, "MACH_RCV_TOO_LARGE": 0x10004004, "MACH_RCV_INVALID_DATA": 0x10004008,
}  # fmt: skip
_GIVES: Final = {
    "type": 0, "refs": 0, "port": 0, "got": 1, "previous": 0, "context": 0, "srights": 0, "count": 0,
    "id": 0, "bits": 1, "size": 2, "remote": 3, "local": 4,
}  # fmt: skip
"""Where in the program's answer each thing stands that a call gives."""
_SERVICE_PORT_VIOLATION: Final = 7
_TASK_SELF: Final = 0x203
_PORTS: Final = {"port", "previous", "remote", "local"}
"""Of what calls give, the port names."""

POLICIES: Final = {
    "hardened runtime": 0x1,
    "enhanced security 1 (browser engine)": 0x2,
    "enhanced security 2 (platform restrictions)": 0x4,
    "enhanced security 2, with every entitlement asked for": 0x4 | 0x80,
    "platform binary": 0x8,
    "platform restrictions 2, opted out of Mach hardening": 0x4 | 0x20,
    "of a simulator": 0x10,
    "third party": 0,
    "third party in launchd's coalition (may make service ports)": 0x40,
    "platform restrictions 2 in launchd's coalition": 0x4 | 0x40,
    "launchd (initproc, platform binary)": 0x8 | 0x40 | 0x100,
}
"""Of each kind of process, as ``enum excsim_policy`` of excsim.h."""


def policy(row: Row) -> int:
    """What kind of process made the calls, as ``enum excsim_policy``; 0: one of any third party."""
    task = row["task"]
    return POLICIES[task["kind"]] if "kind" in task else int(task["hardened_runtime"])


def load(release: str | None = None) -> list[Row]:
    """The rows as they are written, or those of one release as its kernel saw them (``as_seen``)."""
    with gzip.open(ROWS, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return rows if release is None else [as_seen(row, release) for row in rows if release in row["release"]]


def as_seen(row: Row, release: str) -> Row:
    """The row with the calls that reached the kernel, where the written ones are others.

    Two kinds of rows need it. Both follow from XNU's sources, and what they change is checked as the rest:

    * A loop that fills a queue is written as one send. A send to a queue with room does not time out
      (``imq_full``, osfmk/ipc/ipc_mqueue.h; ``MACH_PORT_QLIMIT_DEFAULT`` is 5, osfmk/mach/port.h), so before
      one that does, the last send that succeeded is repeated until the queue is full. Each must succeed.
    * In the run of 11.2 the kernel took the task for one with 32-bit addresses (``is_task_64bit`` in
      ``ipc_kmsg_copyin_body``, ipc_kmsg.c of xnu-7195.81.3, is false if the task's map was not given an end).
      It read each guarded descriptor as a ``mach_msg_guarded_port_descriptor32_t``: the name is the upper
      half of the context that was sent, the context its lower half, and the other fields are where they were.
    """
    ops = _with_every_send(row["ops"])
    if release == _RUN_AS_32_BIT:
        ops = [_as_32_bit(op) for op in ops]
    return {**row, "ops": ops}


def _with_every_send(ops: Sequence[Row]) -> list[Row]:
    """Follows how many messages each name's queue holds; see ``as_seen``."""
    queued: Counter[str] = Counter()
    limits: dict[str, int] = {}
    sent: dict[str, Row] = {}
    result: list[Row] = []
    for op in ops:
        match op:
            case {"call": "mach_port_set_attributes", "args": [name, 1, 1, limit]}:  # MACH_PORT_LIMITS_INFO
                limits[name] = limit
            case {"call": "mach_msg", "returns": "MACH_SEND_TIMED_OUT", "args": {"remote": {"name": name}}}:
                room = limits.get(name, _MACH_PORT_QLIMIT_DEFAULT) - queued[name]
                result += [sent[name]] * room if room > 0 else []
                queued[name] += max(room, 0)
            case {"call": "mach_msg", "returns": "KERN_SUCCESS", "args": {"remote": {"name": name}}}:
                queued[name] += 1
                if op["args"]["remote"]["disposition"] == "MACH_MSG_TYPE_COPY_SEND":
                    sent[name] = op
            case {"call": "mach_msg", "returns": "KERN_SUCCESS", "args": {"receive_name": name}}:
                queued[name] -= 1
        result.append(op)
    return result


def _as_32_bit(op: Row) -> Row:
    """A message with its guarded descriptors as a kernel reads them for a task with 32-bit addresses."""
    if op["call"] != "mach_msg" or "descriptors" not in op["args"]:
        return op
    descriptors = [dict(descriptor) for descriptor in op["args"]["descriptors"]]
    for descriptor in descriptors:
        if "context" in descriptor:
            context = int(descriptor["context"], 0)
            descriptor |= {"name": str(context >> 32), "context": hex(context & 0xFFFFFFFF)}
    return {**op, "args": {**op["args"], "descriptors": descriptors}}


@dataclass(frozen=True)
class Difference:
    """Where a kernel's answer to a row is another."""

    row: str
    """Its id."""
    at: int
    """The index of the call."""
    call: str
    kind: str
    """``returns``, ``gives``, ``guard``, ``fatal`` or ``end``."""
    expected: object
    found: object

    def __str__(self) -> str:
        """One line."""
        return f"{self.row} #{self.at} {self.call}: {self.kind}: expected {self.expected}, found {self.found}"


class Answer(NamedTuple):
    """What the program reports of one call."""

    result: int
    values: tuple[int, ...]


class Guard(NamedTuple):
    """A guard exception that was delivered for a call."""

    at: int
    code: int
    subcode: int


@dataclass
class Outcome:
    """What the program reports of one sequence."""

    calls: list[Answer]
    guards: list[Guard]
    status: int
    """As of ``wait``: 0, or what ended the process."""


class _Names:
    """The variables of a row: an index for the program each, and later the name that each took."""

    def __init__(self) -> None:
        self._index: dict[str, int] = {}
        self.value: dict[str, int] = {"NULL": 0, "DEAD": 0xFFFFFFFF}

    def index(self, name: str) -> int:
        """The program's number of a variable."""
        return self._index.setdefault(name, len(self._index))

    def argument(self, value: object) -> str:
        """One argument of a call in the program's input."""
        if isinstance(value, dict):
            return str(value["trailer_size"])
        text = str(value)
        known = {**_NAMES, **_CONSTANTS, "mach_task_self": _TASK_SELF}.get(text)
        if known is not None:
            return str(known)
        if text.removeprefix("-").isdigit() or text.startswith("0x"):
            return text
        name, _, other_generation = text.partition(".")
        return f"${self.index(name)}{'^' if other_generation else ''}"


def _descriptor(descriptor: Mapping[str, Any], names: _Names) -> str:
    disposition = names.argument(descriptor["disposition"])
    if "names" in descriptor:
        parts = ["array", disposition, *map(names.argument, descriptor["names"])]
    else:
        kind = "guarded" if "context" in descriptor else "port"
        parts = [kind, names.argument(descriptor["name"]), disposition, names.argument(descriptor["type"])]
        if kind == "guarded":
            parts.append(names.argument(descriptor["context"]))
            parts.append(str(sum(_CONSTANTS[flag] for flag in descriptor["flags"])))
    return "descriptor=" + ",".join(parts)


_PLAIN_FIELDS: Final = (
    "receive_name", "notify", "receive_size", "size", "descriptor_count", "body", "id", "more_bits",
)  # fmt: skip


def _message(fields: Mapping[str, Any], names: _Names) -> list[str]:
    words = [f"options={sum(_OPTIONS[option] for option in fields['options'])}"]
    for side in ("remote", "local", "voucher"):
        if side in fields:
            words.append(f"{side}={names.argument(fields[side]['name'])}")
            words.append(f"{side}_type={names.argument(fields[side]['disposition'])}")
    words += [f"{key}={names.argument(fields[key])}" for key in _PLAIN_FIELDS if key in fields]
    words += [_descriptor(descriptor, names) for descriptor in fields.get("descriptors", [])]
    if "mach_msg2" in fields:
        words.append(f"mach_msg2={_OPTIONS[fields['mach_msg2']]}")
    words += [f"{key}=1" for key in ("trap", "showback") if key in fields]
    words += [f"bind.{what}=${names.index(name)}" for what, name in fields.get("names", {}).items()]
    return words


def script(number: int, row: Row, names: _Names | None = None) -> str:
    """The program's input for a row."""
    names = names or _Names()
    flags = _MP_DELIVER | (_MP_FATAL if row["task"]["exc_guard_fatal"] else 0)
    lines = [f"row {number} {policy(row)} {flags}"]
    for op in row["ops"]:
        if isinstance(op["args"], dict):
            words = [op["call"], *_message(op["args"], names)]
        else:
            words = [op["call"], *(names.argument(argument) for argument in op["args"])]
        if "result" in op:
            words.append(f"=${names.index(op['result'])}")
        lines.append(" ".join(words))
    return "\n".join([*lines, "run", ""])


def run(
    program: Sequence[str], rows: Sequence[Row], environ: Mapping[str, str] | None = None
) -> list[Outcome]:
    """Makes the calls of all rows in one run of the program ``sequences``."""
    process = subprocess.Popen(
        program,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=dict(environ) if environ is not None else dict(os.environ),
    )
    assert process.stdin is not None
    assert process.stdout is not None
    stdin = process.stdin

    def feed() -> None:
        with stdin:
            for number, row in enumerate(rows):
                stdin.write(script(number, row))

    writer = threading.Thread(target=feed)
    writer.start()
    outcomes = [Outcome([], [], -1) for _ in rows]
    for line in process.stdout:
        what, number, *numbers = line.split()
        outcome = outcomes[int(number)]
        if what == "call":
            outcome.calls.append(Answer(int(numbers[1]), tuple(map(int, numbers[2:]))))
        elif what == "guard":
            outcome.guards.append(Guard(*map(int, numbers)))
        else:
            outcome.status = int(numbers[0])
    writer.join()
    process.stdout.close()
    broken = next((outcome.status for outcome in outcomes if outcome.status & 0xFF00), 0)
    if process.wait() != 0 or broken:
        raise RuntimeError(f"{program[0]}: exit status {broken >> 8 or process.returncode}")
    return outcomes


def compare(row: Row, outcome: Outcome) -> Difference | None:
    """The first difference of a kernel's outcome from the row; None: there is none."""
    names = _Names()
    for at, op in enumerate(row["ops"]):
        found = next(_differences(row["id"], at, op, outcome, names), None)
        if found is not None or op.get("process") == "ends":
            return found
    return None


def _differences(row: str, at: int, op: Row, outcome: Outcome, names: _Names) -> Iterator[Difference]:
    call = op["call"]
    guards = [guard for guard in outcome.guards if guard.at == at]
    ended = len(outcome.calls) <= at
    expected = _guard_of(op.get("guard"), names)
    found = [_guard_text(guard) for guard in guards]
    if ended and outcome.status == 14:
        yield Difference(row, at, call, "end", op.get("returns"), "no return")
    if found != ([expected] if expected else []):
        yield Difference(row, at, call, "guard", expected, found)
    if ended != (op.get("process") == "ends"):
        yield Difference(row, at, call, "fatal", op.get("process"), "ends" if ended else None)
    if ended:
        return
    answer = outcome.calls[at]
    wanted = op.get("returns", "KERN_SUCCESS")
    if answer.result != _RETURNS.get(wanted, _number(wanted)):
        yield Difference(row, at, call, "returns", wanted, _return_text(answer.result))
        return
    yield from _given(row, at, op, answer, names)


def _number(text: str) -> int:
    return int(text, 0) if text.startswith("0x") else -1


def _return_text(result: int) -> str:
    return next((name for name, number in _RETURNS.items() if number == result), hex(result & 0xFFFFFFFF))


def _guard_text(guard: Guard) -> tuple[int, int, int]:
    """Flavor, target, payload."""
    return guard.code >> 32 & 0x1FFFFFFF, guard.code & 0xFFFFFFFF, guard.subcode


def _guard_of(guard: Row | None, names: _Names) -> tuple[int, int, int] | None:
    if guard is None:
        return None
    payload = int(guard["subcode"], 0)
    if guard["value"] == _SERVICE_PORT_VIOLATION:
        payload += 0x100  # a name: the oracle's tasks had no bootstrap port, at index 3 of others
    return guard["value"], _name(guard["target"], names), payload


def _name(text: str, names: _Names) -> int:
    if text in names.value:
        return names.value[text]
    if text in _NAMES:
        return _NAMES[text]
    if text == "mach_task_self":
        return _TASK_SELF
    if text.endswith(".other_generation"):
        return names.value[text.partition(".")[0]] ^ 0x4
    return int(text, 0)


def _bind(op: Row, answer: Answer, names: _Names) -> None:
    """The names that a call gave take their variables."""
    if "result" in op and answer.values:
        names.value[op["result"]] = answer.values[0]
    if op["call"] == "mach_msg" and answer.values:
        first = (answer.values[5:] or (0,))[0]
        for what, name in op["args"].get("names", {}).items():
            names.value[name] = answer.values[3] if what == "remote" else first


def _given(row: str, at: int, op: Row, answer: Answer, names: _Names) -> Iterator[Difference]:
    before = dict(names.value)
    _bind(op, answer, names)
    for key, wanted in op.get("gives", {}).items():
        found, same = _found(key, wanted, answer, names, before)
        if not same:
            yield Difference(row, at, op["call"], f"gives {key}", wanted, found)


def _found(
    key: str, wanted: Any, answer: Answer, names: _Names, before: Mapping[str, int]
) -> tuple[object, bool]:
    """One value that a call gave, and whether it is the wanted one."""
    rest = answer.values[5:]  # of a message: the descriptors, or a word of the body
    if key.startswith("desc"):
        index = int(key.removeprefix("desc"))
        descriptor = rest[index * 3 : index * 3 + 3]
        text, kind, disposition = wanted.split(":")
        same = bool(descriptor) and descriptor[1:] == (int(kind), int(disposition))
        return descriptor, same and _is(text, descriptor[0], names, before)
    if key == "body":
        return rest[:1], bool(rest) and _is(wanted, rest[0], names, before)
    if key == "info":  # the rows keep the first words
        words = list(answer.values[1:])[: len(wanted)]
        return words, words == wanted
    place = _GIVES[key]
    value = answer.values[place] if place < len(answer.values) else None
    if key in _PORTS:
        return value, value is not None and _is(wanted, value, names, before)
    return value, value == (int(wanted, 0) if isinstance(wanted, str) else wanted)


def _is(text: str, found: int, names: _Names, before: Mapping[str, int]) -> bool:
    """Whether a name is what the row calls it."""
    if text == "new":
        return found not in before.values()
    if text.endswith("^gen"):
        return found != names.value[text[:-4]] and found >> 8 == names.value[text[:-4]] >> 8
    if text not in names.value:
        return False
    if found in {0, 0xFFFFFFFF}:
        return (text in {"NULL", "DEAD"} and names.value[text] == found) or before.get(text) == found
    return names.value[text] == found


def agreement(rows: Iterable[Row], outcomes: Iterable[Outcome]) -> tuple[int, list[Difference]]:
    """How many rows there are, and the first difference of each row that has one."""
    compared = [compare(row, outcome) for row, outcome in zip(rows, outcomes, strict=True)]
    return len(compared), [difference for difference in compared if difference is not None]

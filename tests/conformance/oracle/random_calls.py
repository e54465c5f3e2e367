"""Random calls, in the format of the oracle's rows, with what the model answers to them."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any, Final

from tests.conformance.oracle.model import unanswered
from tests.conformance.oracle.port_types import LEVELS, task_of
from tests.conformance.oracle.rights import (
    ALLOCATED,
    COPY_SEND,
    DISPOSITIONS,
    MAKE_ONCE,
    MAKE_SEND,
    MOVE_ONCE,
    MOVE_RECEIVE,
    RIGHTS,
    SENDS,
    Unknown,
)
from tests.conformance.oracle.sequences import POLICIES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from tests.conformance.oracle.model import Model
    from tests.conformance.oracle.sequences import Row

DESCRIPTOR_FLAGS: Final = (
    "MACH_MSG_GUARD_FLAGS_IMMOVABLE_RECEIVE",
    "MACH_MSG_GUARD_FLAGS_UNGUARDED_ON_SEND",
)
VARIABLES: Final = 32
"""Of the program sequences.c."""
GUARDS: Final = ("0x0", "0x1234", "0x9999")
FLAGS: Final = (0, 0x1, 0x10, 0x11, 0x21, 0x31, 0x90, 0x1000, 0x1010, 0x2000, 0x2010, 0x4000, 0x4010)
FLAGS_OF_26: Final = (0x400, 0x410, 0x800, 0x810, 0x2400, 0x2410, 0x8000, 0x8010, 0x10000, 0x10010)
DELTAS: Final = (-70000, -3, -2, -1, -1, -1, 0, 1, 1, 2, 70000)
NOTIFIED: Final = ("MACH_NOTIFY_NO_SENDERS", "MACH_NOTIFY_DEAD_NAME", "MACH_NOTIFY_SEND_POSSIBLE")


class _Choices:
    """Random calls on names, as a row has them."""

    def __init__(self, seed: int, release: str) -> None:
        self._flags = FLAGS if release < "26" else (*FLAGS, *FLAGS_OF_26)
        self._chance = random.Random(seed)  # noqa: S311 - the same sequence for the same seed
        self.names: list[str] = []
        self._bound = 0

    def one(self, *values: Any) -> Any:
        """One of some."""
        return self._chance.choice(values)

    def variable(self) -> str:
        """A new one."""
        self._bound += 1
        return f"v{self._bound}"

    @property
    def full(self) -> bool:
        """Whether the program has no more variables."""
        return self._bound > VARIABLES - 3

    def call(self) -> Row:
        """Any."""
        if len(self.names) <= 2:
            return self._given("mach_port_allocate", ALLOCATED[0])
        kind = self.one(
            "right", "right", "right", "end", "message", "message", "notify", "guard", "look", "set"
        )
        return getattr(self, f"_{kind}")()  # type: ignore[no-any-return]

    def _name(self) -> str:
        return self._chance.choice(self.names)

    def _given(self, call: str, *args: Any) -> Row:
        return {"call": call, "args": [*args], "result": self.variable()}

    def _asked(self, call: str, *args: Any) -> Row:
        return {"call": call, "args": [*args]}

    def _right(self) -> Row:
        return self.one(
            lambda: self._given("mach_port_allocate", self.one(*ALLOCATED)),
            lambda: self._given("mach_port_construct", self.one(*self._flags), 0, self.one(*GUARDS)),
            lambda: self._given("mach_port_extract_right", self._name(), self.one(*DISPOSITIONS)),
            lambda: self._asked("mach_port_insert_right", *[self._name()] * 2, self.one(*DISPOSITIONS)),
            lambda: self._asked(
                "mach_port_insert_right", *[self._name()] * 2, self.one(MAKE_SEND, COPY_SEND)
            ),
            lambda: self._asked(
                "mach_port_insert_right", self._name(), self._name(), self.one(*DISPOSITIONS)
            ),
        )()  # type: ignore[no-any-return]

    def _end(self) -> Row:
        right, delta = self.one(*RIGHTS), self.one(*DELTAS)
        return self.one(
            lambda: self._asked("mach_port_deallocate", self._name()),
            lambda: self._asked("mach_port_destroy", self._name()),
            lambda: self._asked(
                "mach_port_destruct", self._name(), self.one(0, -1, -2, 1), self.one(*GUARDS)
            ),
            lambda: self._asked("mach_port_mod_refs", self._name(), right, delta),
            lambda: self._asked("mach_port_mod_refs", self._name(), right, delta),
        )()  # type: ignore[no-any-return]

    def _look(self) -> Row:
        return self.one(
            lambda: self._asked("mach_port_type", self._name()),
            lambda: self._asked("mach_port_get_refs", self._name(), self.one(*RIGHTS)),
            lambda: self._asked("mach_port_get_context", self._name()),
        )()  # type: ignore[no-any-return]

    def _guard(self) -> Row:
        guard, other = self.one(*GUARDS), self.one(*GUARDS)
        return self.one(
            lambda: self._asked("mach_port_set_context", self._name(), guard),
            lambda: self._asked("mach_port_guard", self._name(), guard, self.one(0, 1)),
            lambda: self._asked("mach_port_guard_with_flags", self._name(), guard, self.one(0, 1, 2, 3)),
            lambda: self._asked("mach_port_unguard", self._name(), guard),
            lambda: self._asked("mach_port_swap_guard", self._name(), guard, other),
        )()  # type: ignore[no-any-return]

    def _set(self) -> Row:
        call = self.one("mach_port_insert_member", "mach_port_extract_member", "mach_port_move_member")
        return self._asked(call, self._name(), self._name())

    def _notify(self) -> Row:
        to, disposition = (
            self.one(self._name(), self._name(), "MACH_PORT_NULL"),
            self.one(MAKE_ONCE, MOVE_ONCE),
        )
        call = "mach_port_request_notification"
        return self._given(call, self._name(), self.one(*NOTIFIED), self.one(0, 1), to, disposition)

    def _message(self) -> Row:
        if self.one(0, 1):
            return self._message_in()
        remote = {"name": self._name(), "disposition": self.one(MAKE_SEND, MAKE_SEND, COPY_SEND, *SENDS)}
        args: Row = {"options": ["MACH_SEND_MSG", "MACH_SEND_TIMEOUT"], "remote": remote}
        if self.one(0, 1):
            args["local"] = {"name": self._name(), "disposition": self.one(MAKE_ONCE, *SENDS)}
        if descriptors := [self._descriptor() for _ in range(self.one(0, 0, 1, 1, 2, 3))]:
            args["descriptors"] = descriptors
        return {"call": "mach_msg", "args": args}

    def _descriptor(self) -> Row:
        name = self.one(self._name(), self._name(), self._name(), "MACH_PORT_NULL")
        if self.one(*range(4)):
            disposition = self.one(*DISPOSITIONS, *DISPOSITIONS, "MACH_MSG_TYPE_COPY_RECEIVE")
            return {"type": "MACH_MSG_PORT_DESCRIPTOR", "name": name, "disposition": disposition}
        flags = self._chance.sample(DESCRIPTOR_FLAGS, self.one(0, 1, 1, 2))
        return {
            "type": "MACH_MSG_GUARDED_PORT_DESCRIPTOR", "name": name, "flags": flags,
            "disposition": self.one(MOVE_RECEIVE, MOVE_RECEIVE, MOVE_RECEIVE, MAKE_SEND),
            "context": self.one(*GUARDS),
        }  # fmt: skip

    def _message_in(self) -> Row:
        names = {"remote": self.variable(), "desc0": self.variable()}
        options = ["MACH_RCV_MSG", "MACH_RCV_TIMEOUT"]
        return {
            "call": "mach_msg",
            "args": {"options": options, "receive_name": self._name(), "names": names},
        }


def _after(row: Row) -> Model:
    """The task of a row after its calls."""
    model = task_of(row, row["release"][0])
    for op in row["ops"]:
        model.answer(op)
    return model


def _task(choices: _Choices, release: str) -> Row:
    """A process: of any kind on macOS 26, where enhanced security makes guards fatal."""
    hardened, fatal = choices.one((False, False), (False, True), (True, True))
    if release < "26":
        return {"hardened_runtime": hardened, "exc_guard_fatal": fatal}
    kind = choices.one("third party", *POLICIES)
    return {"kind": kind, "exc_guard_fatal": fatal or LEVELS.get(kind, 0) >= 1 or "opted out" in kind}


def sequence(seed: int, release: str, length: int = 60) -> Row:
    """A row of random calls; it ends early if the process does."""
    choices = _Choices(seed, release)
    task = _task(choices, release)
    row: Row = {"id": f"random/{release}/{seed}", "release": [release], "task": task, "ops": []}
    model = task_of(row, release)
    for _ in range(2 * length):
        if choices.full or len(row["ops"]) == length:
            break
        before = dict(model.variables)
        try:
            op = model.answer(choices.call())
        except Unknown:
            model = _after(row)
            continue
        if op.get("process") == "ends" and len(row["ops"]) < length // 2 and choices.one(*range(8)):
            model = _after(row)  # the sequence goes on as if the call had not been made
            continue
        row["ops"].append(op)
        if op.get("process") == "ends":
            break
        new = [name for name in model.variables if name not in before]
        choices.names += [name for name in new if model.alias(name) == name]
    return row


def _bound(op: Row) -> list[str]:
    """The variables that a call gives a value."""
    message = op["args"] if isinstance(op["args"], dict) else {}
    return [*message.get("names", {}).values(), *([op["result"]] if "result" in op else [])]


def _distinct(found: Iterable[Row]) -> list[Row]:
    return list({json.dumps(row, sort_keys=True): row for row in found}.values())


def _renamed(found: Any, names: Mapping[str, str]) -> Any:
    """A call with other variables."""
    if isinstance(found, dict):
        return {key: _renamed(value, names) for key, value in found.items()}
    if isinstance(found, list):
        return [_renamed(value, names) for value in found]
    return names.get(found, found) if isinstance(found, str) else found


def crossed(rows: Sequence[Row], release: str, count: int) -> Iterator[Row]:
    """States of rows with calls of others, ``count`` of them a state, and a look at every name after each.

    A state is a row without its last call; the call is about names of the state, by chance.
    """
    chance = random.Random(release)  # noqa: S311 - the same rows each time
    variables = {name for row in rows for op in row["ops"] for name in _bound(op)}
    calls = _distinct(unanswered(op) for row in rows for op in row["ops"])
    states = _distinct({"task": row["task"], "ops": row["ops"][:-1]} for row in rows if row["ops"][1:])
    for number, state in enumerate(states):
        for at, call in enumerate(chance.sample(calls, count)):
            row = state | {"id": f"crossed/{release}/{number}/{at}", "release": [release]}
            try:
                model = _after(row)
                names = [name for name in model.variables if model.alias(name) == name]
                if not names:
                    break
                new = {name: f"new_{name}" for name in _bound(call)}
                others = {name: chance.choice(names) for name in sorted(variables)}
                ops = [*state["ops"], model.answer(_renamed(call, others | new))]
                if ops[-1].get("process") != "ends":
                    ops += [model.answer({"call": "mach_port_type", "args": [name]}) for name in names]
            except Unknown:
                continue
            yield row | {"ops": ops}

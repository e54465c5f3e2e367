"""A model of port names and rights in one task, for sequences that no row of the oracle has.

It is written from the rows and from the kernel's sources (osfmk/ipc, each rule with its function), not from
the simulator, and follows each call to what it returns, gives and raises. ``sequence`` makes a row of random
calls, in the oracle's format. The rows whose calls it all has test the model itself.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conformance.oracle.sequences import Row

SEND, RECEIVE, ONCE, PORT_SET, DEAD = 0x10000, 0x20000, 0x40000, 0x80000, 0x100000
_EX_RECEIVE: Final = 0x200000
_PORT: Final = SEND | RECEIVE | ONCE
_UREFS_MAX: Final = 0xFFFF
_RIGHTS: Final = {
    "MACH_PORT_RIGHT_SEND": SEND,
    "MACH_PORT_RIGHT_RECEIVE": RECEIVE,
    "MACH_PORT_RIGHT_SEND_ONCE": ONCE,
    "MACH_PORT_RIGHT_PORT_SET": PORT_SET,
    "MACH_PORT_RIGHT_DEAD_NAME": DEAD,
}
_MAKE_SEND, _MAKE_ONCE, _COPY_SEND = (
    "MACH_MSG_TYPE_MAKE_SEND",
    "MACH_MSG_TYPE_MAKE_SEND_ONCE",
    "MACH_MSG_TYPE_COPY_SEND",
)
_MOVE_SEND, _MOVE_ONCE, _MOVE_RECEIVE = (
    "MACH_MSG_TYPE_MOVE_SEND",
    "MACH_MSG_TYPE_MOVE_SEND_ONCE",
    "MACH_MSG_TYPE_MOVE_RECEIVE",
)
_BECOMES: Final = {
    _MAKE_SEND: (SEND, 17), _COPY_SEND: (SEND, 17), _MOVE_SEND: (SEND, 17),
    _MAKE_ONCE: (ONCE, 18), _MOVE_ONCE: (ONCE, 18), _MOVE_RECEIVE: (RECEIVE, 16),
}  # fmt: skip
_DISPOSITIONS: Final = tuple(_BECOMES)
_CONTEXT_AS_GUARD, _INSERT_SEND_RIGHT, _STRICT, _IMMOVABLE = 0x1, 0x10, 0x20, 0x80

_DESTROY, _MOD_REFS, _SET_CONTEXT, _UNGUARDED, _INCORRECT, _IMMOVABLE_RIGHT = 1, 2, 4, 8, 16, 32
_LAST_FATAL: Final = 0x80
_INVALID_RIGHT, _INVALID_NAME, _INVALID_VALUE, _INVALID_ARGUMENT = 256, 512, 1024, 2048


@dataclass(eq=False)
class _Port:
    alive: bool = True
    guarded: bool = False
    strict: bool = False
    context: int = 0
    immovable: bool = False
    sets: set[_Entry] = field(default_factory=set)


@dataclass(eq=False)
class _Entry:
    index: int
    generation: int
    kinds: int = 0
    urefs: int = 0
    former: bool = False
    port: _Port | None = None

    @property
    def bits(self) -> int:
        """``ie_bits``."""
        return self.generation << 26 | self.kinds | (_EX_RECEIVE if self.former else 0) | self.urefs

    @property
    def held(self) -> _Port:
        """The port of an entry that has one."""
        assert self.port is not None
        return self.port


class _Answer(Exception):  # noqa: N818 - a way out, not an error
    def __init__(self, returns: str, guard: tuple[int, str, int] | None = None, **gives: Any) -> None:
        super().__init__(returns)
        self.returns, self.guard, self.gives = returns, guard, gives


class Unknown(Exception):  # noqa: N818 - nothing is wrong
    """A call that the model does not know."""


class Model:
    """One task's names."""

    def __init__(self, release: str) -> None:
        self._release = tuple(int(part) for part in release.split("."))
        self._reasons = self._release >= (26,)
        self._entries: list[_Entry] = []
        self._free: list[_Entry] = []
        self.variables: dict[str, tuple[_Entry, int]] = {}

    # ---- names ----

    def _new(self) -> _Entry:
        """The entry that was freed last is the first to be used again (ipc_entry_alloc)."""
        if not self._free:
            self._entries.append(_Entry(len(self._entries), 0))
            return self._entries[-1]
        entry = self._free.pop()
        entry.generation = (entry.generation + 1) % 64
        return entry

    def _end(self, entry: _Entry) -> None:
        entry.kinds, entry.urefs, entry.former, entry.port = 0, 0, False, None
        self._free.append(entry)

    def _find(self, name: str) -> _Entry | None:
        if name not in self.variables:
            raise Unknown(name)
        entry, generation = self.variables[name]
        return entry if entry.kinds and entry.generation == generation else None

    def _bind(self, name: str, entry: _Entry) -> None:
        self.variables[name] = (entry, entry.generation)

    def _need(self, name: str) -> _Entry:
        entry = self._find(name)
        if entry is None:
            raise _Answer("KERN_INVALID_NAME", (_INVALID_NAME, name, 0))
        return entry

    def _reason(self, number: int, detail: int, rest: int) -> int:
        return number << 56 | (detail & 0xFFFFFF) << 32 | rest if self._reasons else 0

    def _wrong(self, name: str, entry: _Entry, reason: int, detail: int = 0) -> _Answer:
        return _Answer("KERN_INVALID_RIGHT", (_INVALID_RIGHT, name, self._reason(reason, detail, entry.bits)))

    @staticmethod
    def _settle(entry: _Entry) -> bool:
        """A send or send-once right to a dead port is a dead name once looked at (ipc_right_check)."""
        if entry.kinds in {SEND, ONCE} and not entry.held.alive:
            entry.kinds, entry.port = DEAD, None
            return True
        return False

    def _kill(self, port: _Port) -> None:
        port.alive, port.guarded, port.strict, port.context = False, False, False, 0
        port.sets.clear()

    def _end_receive(self, entry: _Entry) -> None:
        port = entry.held
        self._kill(port)
        if entry.kinds & SEND:
            entry.kinds, entry.former, entry.port = DEAD, True, None
        else:
            self._end(entry)

    def _end_set(self, entry: _Entry) -> None:
        for other in self._entries:
            if other.port is not None:
                other.port.sets.discard(entry)
        self._end(entry)

    def _drop_send(self, entry: _Entry, count: int = 1) -> None:
        if entry.urefs > count:
            entry.urefs -= count
        elif entry.kinds & RECEIVE:
            entry.kinds, entry.urefs = entry.kinds & ~SEND, 0
        else:
            self._end(entry)

    # ---- calls: each ends with _Answer ----

    def mach_port_allocate(self, right: str, *, result: str) -> None:
        """mach_port_allocate_full."""
        if right not in _ALLOCATED:
            raise Unknown(right)
        entry = self._new()
        entry.kinds = _RIGHTS[right]
        if entry.kinds == RECEIVE:
            entry.port = _Port()
        entry.urefs = int(entry.kinds == DEAD)
        self._bind(result, entry)

    def mach_port_construct(self, flags: Any, _qlimit: int, context: Any, *, result: str) -> None:
        """mach_port_construct."""
        flags, context = _number(flags), _number(context)
        if flags & ~(_CONTEXT_AS_GUARD | _INSERT_SEND_RIGHT | _STRICT | _IMMOVABLE):
            raise Unknown(flags)
        entry = self._new()
        entry.kinds = RECEIVE
        guarded = bool(flags & _CONTEXT_AS_GUARD)
        immovable = bool(flags & _IMMOVABLE) and (guarded or self._reasons)
        entry.port = _Port(
            guarded=guarded, strict=guarded and bool(flags & _STRICT), context=context, immovable=immovable
        )
        if flags & _INSERT_SEND_RIGHT:
            entry.kinds, entry.urefs = entry.kinds | SEND, 1
        self._bind(result, entry)

    def mach_port_type(self, name: str) -> None:
        """mach_port_type: no blame."""
        entry = self._find(name)
        if entry is None:
            raise _Answer("KERN_INVALID_NAME")
        self._settle(entry)
        raise _Answer("KERN_SUCCESS", type=hex(entry.kinds))

    def mach_port_get_refs(self, name: str, right: str) -> None:
        """ipc_right_info: send rights and dead names are counted, others are one."""
        entry = self._find(name)
        if right not in _RIGHTS:
            raise Unknown(right)
        if entry is None:
            raise _Answer("KERN_INVALID_NAME")
        self._settle(entry)
        kind = _RIGHTS[right]
        refs = (entry.urefs if kind in {SEND, DEAD} else 1) if entry.kinds & kind else 0
        raise _Answer("KERN_SUCCESS", refs=refs)

    def mach_port_deallocate(self, name: str) -> None:
        """ipc_right_dealloc."""
        entry = self._need(name)
        self._settle(entry)
        if entry.kinds == PORT_SET:
            self._end_set(entry)
        elif entry.kinds == RECEIVE:
            raise self._wrong(name, entry, 5)
        elif entry.kinds & SEND or entry.kinds == DEAD:
            self._drop_send(entry)
        else:
            self._end(entry)

    def mach_port_destroy(self, name: str) -> None:
        """ipc_right_destroy: a guard of 0 does not keep a port."""
        entry = self._need(name)
        if entry.kinds == PORT_SET:
            self._end_set(entry)
            return
        if entry.kinds & RECEIVE:
            port = entry.held
            if port.guarded and port.context:
                raise _Answer("KERN_INVALID_RIGHT", (_DESTROY, name, port.context))
            self._kill(port)
        self._end(entry)

    def mach_port_destruct(self, name: str, delta: int, guard: Any) -> None:
        """ipc_right_destruct."""
        entry, guard = self._need(name), _number(guard)
        if not entry.kinds & RECEIVE:
            if entry.former:
                raise _Answer("KERN_INVALID_RIGHT")
            raise self._wrong(name, entry, 3)
        if delta and not entry.kinds & SEND:
            raise self._wrong(name, entry, 3)
        port = entry.held
        if delta <= 0 and port.guarded and port.context != guard:
            raise _Answer("KERN_INVALID_ARGUMENT", (_DESTROY, name, port.context))
        if delta > 0 or entry.urefs + delta < 0:
            raise _Answer("KERN_INVALID_VALUE", (_INVALID_VALUE, name, self._reason(3, delta, entry.urefs)))
        if delta:
            self._drop_send(entry, -delta)
        self._end_receive(entry)

    def mach_port_mod_refs(self, name: str, right: str, delta: int) -> None:
        """ipc_right_delta."""
        if right not in _RIGHTS:
            raise Unknown(right)
        entry = self._need(name)
        kind, number = _RIGHTS[right], list(_RIGHTS).index(right)
        if kind & (SEND | ONCE | DEAD):
            self._delta_counted(name, entry, kind, number, delta)
        elif not entry.kinds & kind:
            if kind == RECEIVE and entry.former:
                raise _Answer("KERN_INVALID_RIGHT")
            raise self._wrong(name, entry, 2, number)
        elif delta == 0:
            return
        elif delta != -1:
            raise self._bad_delta(name, entry, number, delta)
        elif kind == PORT_SET:
            self._end_set(entry)
        else:
            if entry.held.guarded:
                flavor = _DESTROY if self._release >= (15, 4) else _MOD_REFS
                raise _Answer("KERN_INVALID_RIGHT", (flavor, name, entry.held.context))
            self._end_receive(entry)

    def _bad_delta(self, name: str, entry: _Entry, number: int, delta: int) -> _Answer:
        payload = self._reason(2, number, (delta & 0xFFFF) << 16 | entry.urefs)
        return _Answer("KERN_INVALID_VALUE", (_INVALID_VALUE, name, payload))

    def _not_held(self, name: str, entry: _Entry, kind: int, number: int, delta: int) -> _Answer:
        """One more send right beside the receive right alone is excused, and dead for alive."""
        excused = kind == SEND and (entry.kinds == DEAD or (entry.kinds & RECEIVE and delta == 1))
        if excused or kind == ONCE:
            return _Answer("KERN_INVALID_RIGHT")
        return self._wrong(name, entry, 2, number)

    def _delta_counted(self, name: str, entry: _Entry, kind: int, number: int, delta: int) -> None:
        if kind == DEAD:
            self._settle(entry)
        if not entry.kinds & kind:
            raise self._not_held(name, entry, kind, number, delta)
        if self._settle(entry):
            if kind == ONCE:
                raise self._wrong(name, entry, 2, number)
            raise _Answer("KERN_INVALID_RIGHT")
        if kind == ONCE and delta in {0, -1}:
            if delta:
                self._end(entry)
            return
        if kind == ONCE or abs(delta) > _UREFS_MAX or entry.urefs + delta < 0:
            raise self._bad_delta(name, entry, number, delta)
        if entry.urefs + delta >= _UREFS_MAX:
            raise Unknown("pegged")
        if delta < 0:
            self._drop_send(entry, -delta)
        else:
            entry.urefs += delta

    # ---- rights that move ----

    def _copyin(self, name: str, entry: _Entry, disposition: str) -> _Port | None:
        """ipc_right_copyin, where dead names are taken; None: a dead one."""
        if disposition in {_MAKE_SEND, _MAKE_ONCE}:
            if not entry.kinds & RECEIVE:
                raise _Answer("KERN_INVALID_RIGHT")
            return entry.held
        if disposition == _MOVE_RECEIVE:
            return self._copyin_receive(name, entry)
        self._settle(entry)
        if entry.kinds == DEAD:
            if disposition != _COPY_SEND:
                self._drop_send(entry)
            return None
        if not entry.kinds & (ONCE if disposition == _MOVE_ONCE else SEND):
            raise _Answer("KERN_INVALID_RIGHT")
        port = entry.held
        if disposition != _COPY_SEND:
            self._drop_send(entry)
        return port

    def _copyin_receive(self, name: str, entry: _Entry) -> _Port:
        if not entry.kinds & RECEIVE:
            raise _Answer("KERN_INVALID_RIGHT")
        port = entry.held
        if port.immovable:
            raise _Answer("KERN_INVALID_CAPABILITY", (_IMMOVABLE_RIGHT, name, 0))
        port.guarded, port.strict, port.context = False, False, 0
        port.sets.clear()
        if entry.kinds & SEND:
            entry.kinds, entry.former = entry.kinds & ~RECEIVE, True
        else:
            self._end(entry)
        return port

    def _holder(self, port: _Port) -> _Entry | None:
        """The entry of a port's send or receive right (ipc_right_reverse)."""
        return next((entry for entry in self._entries if entry.port is port and entry.kinds != ONCE), None)

    @staticmethod
    def _put(entry: _Entry, port: _Port, kind: int) -> None:
        """ipc_right_copyout."""
        entry.kinds |= kind
        entry.port = port
        if kind != RECEIVE:
            entry.urefs += 1

    def mach_port_extract_right(self, name: str, disposition: str, *, result: str) -> None:
        """mach_port_extract_right: into the caller's own names."""
        if disposition not in _BECOMES:
            raise Unknown(disposition)
        entry = self._find(name)
        if entry is None:
            raise _Answer("KERN_INVALID_NAME")
        kind, got = _BECOMES[disposition]
        port = self._copyin(name, entry, disposition)
        if port is None:
            raise _Answer("KERN_SUCCESS", port="DEAD", got=got)
        target = self._holder(port) if kind != ONCE else None
        if target is None:
            target = self._new()
        self._put(target, port, kind)
        # A name that was put under its old generation makes later ones come again.
        pair = (target, target.generation)
        given = next((known for known, value in self.variables.items() if value == pair), "new")
        self._bind(result, target)
        raise _Answer("KERN_SUCCESS", port=given, got=got)

    def _insert_own(self, entry: _Entry, disposition: str) -> None:
        """ipc_object_insert_send_right: the trap's short way."""
        if entry.kinds == DEAD:
            raise _Answer("KERN_INVALID_CAPABILITY")
        if not entry.kinds & _PORT:
            raise _Answer("KERN_INVALID_RIGHT")
        if not entry.held.alive:
            raise _Answer("KERN_INVALID_CAPABILITY")
        if not entry.kinds & (RECEIVE if disposition == _MAKE_SEND else SEND):
            raise _Answer("KERN_INVALID_RIGHT")
        self._put(entry, entry.held, SEND)

    def mach_port_insert_right(self, name: str, right: str, disposition: str) -> None:
        """_kernelrpc_mach_port_insert_right_trap, then ipc_object_copyout_name."""
        if disposition not in _BECOMES:
            raise Unknown(disposition)
        entry = self._find(right)
        if name not in self.variables:
            raise Unknown(name)
        if entry is None:
            raise _Answer("KERN_INVALID_NAME")
        same = self.variables[name] == self.variables[right]
        if same and disposition in {_MAKE_SEND, _COPY_SEND}:
            self._insert_own(entry, disposition)
            return
        kind, _ = _BECOMES[disposition]
        port = self._copyin(right, entry, disposition)
        if port is None:
            raise _Answer("KERN_INVALID_CAPABILITY")
        self._copyout_name(name, port, kind)

    def _copyout_name(self, name: str, port: _Port, kind: int) -> None:
        """ipc_object_copyout_name: under a name that the caller chose."""
        target, generation = self.variables[name]
        in_use = bool(target.kinds)
        if not in_use:  # the name is taken, and given back if the right cannot be put there
            self._free.remove(target)
            target.generation = generation
        refused = self._refused(target, generation, port, kind)
        if refused is None:
            self._put(target, port, kind)
            return
        if not in_use:
            self._free.append(target)
        if kind == RECEIVE:
            self._kill(port)
        raise _Answer(refused)

    def _refused(self, target: _Entry, generation: int, port: _Port, kind: int) -> str | None:
        holder = self._holder(port) if kind != ONCE else None
        if target.kinds and target.generation != generation:
            return "KERN_FAILURE"
        if not port.alive:
            return "KERN_INVALID_CAPABILITY"
        if holder not in {None, target}:
            return "KERN_RIGHT_EXISTS"
        return "KERN_NAME_EXISTS" if target.kinds and holder is None else None

    # ---- contexts and guards ----

    def _receive(self, name: str) -> _Port:
        """ipc_port_translate_receive: since macOS 12 a dead name is no name."""
        entry = self._find(name)
        dead = entry is not None and (entry.kinds == DEAD or (entry.port and not entry.port.alive))
        if entry is None or (dead and self._release >= (12,)):
            raise _Answer("KERN_INVALID_NAME")
        if not entry.kinds & RECEIVE:
            raise _Answer("KERN_INVALID_RIGHT")
        return entry.held

    def _guardable(self, name: str) -> _Port:
        try:
            return self._receive(name)
        except _Answer as answer:
            if answer.returns == "KERN_INVALID_NAME":
                answer.guard = (_INVALID_NAME, name, 0)
            else:
                answer.guard = (_INVALID_RIGHT, name, 1 if self._reasons else 0)
            raise

    def mach_port_set_context(self, name: str, context: Any) -> None:
        """mach_port_set_context."""
        port = self._receive(name)
        if port.strict:
            raise _Answer("KERN_INVALID_ARGUMENT", (_SET_CONTEXT, name, port.context))
        port.context = _number(context)

    def mach_port_get_context(self, name: str) -> None:
        """mach_port_get_context: the context of a strict guard is a secret."""
        port = self._receive(name)
        raise _Answer("KERN_SUCCESS", context=hex(0 if port.strict else port.context))

    def mach_port_guard(self, name: str, guard: Any, strict: int) -> None:
        """mach_port_guard."""
        self.mach_port_guard_with_flags(name, guard, int(bool(strict)))

    def mach_port_guard_with_flags(self, name: str, guard: Any, flags: int) -> None:
        """mach_port_guard_locked."""
        if flags & ~3:
            raise Unknown(flags)
        port = self._guardable(name)
        if port.context:
            payload = port.context if self._release >= (15, 4) else 0
            raise _Answer("KERN_INVALID_ARGUMENT", (_INVALID_ARGUMENT, name, payload))
        port.context, port.guarded, port.strict = _number(guard), True, bool(flags & 1)
        port.immovable = port.immovable or bool(flags & 2)

    def mach_port_unguard(self, name: str, guard: Any) -> None:
        """mach_port_unguard_locked."""
        port = self._guardable(name)
        if not port.guarded:
            raise _Answer("KERN_INVALID_ARGUMENT", (_UNGUARDED, name, 0))
        if port.context != _number(guard):
            raise _Answer("KERN_INVALID_ARGUMENT", (_INCORRECT, name, port.context))
        port.context, port.guarded, port.strict = 0, False, False

    def mach_port_swap_guard(self, name: str, old: Any, new: Any) -> None:
        """mach_port_swap_guard."""
        port = self._guardable(name)
        if not port.guarded:
            raise _Answer("KERN_INVALID_ARGUMENT", (_UNGUARDED, name, 0))
        if port.strict:
            raise _Answer("KERN_INVALID_ARGUMENT", (_SET_CONTEXT, name, port.context))
        if port.context != _number(old):
            raise _Answer("KERN_INVALID_ARGUMENT", (_INCORRECT, name, port.context))
        port.context = _number(new)

    # ---- sets ----

    def _member(self, name: str, after: str) -> tuple[_Port, _Entry]:
        """ipc_object_translate_port_pset, of macOS 13 and later."""
        if self._release < (12, 3):
            raise Unknown("sets")
        if {name, after} & {"MACH_PORT_NULL", "MACH_PORT_DEAD"}:
            raise _Answer("KERN_INVALID_RIGHT")
        entry = self._need(name)
        target = self._need(after)
        if not entry.kinds & RECEIVE:
            if entry.former:
                raise _Answer("KERN_INVALID_RIGHT")
            raise self._wrong(name, entry, 7)
        if target.kinds != PORT_SET:
            if target.former and self._release < (15, 4):
                raise _Answer("KERN_INVALID_RIGHT")
            raise self._wrong(after, target, 8)
        return entry.held, target

    def mach_port_insert_member(self, name: str, after: str) -> None:
        """mach_port_insert_member."""
        port, target = self._member(name, after)
        if target in port.sets:
            raise _Answer("0xb")
        port.sets.add(target)

    def mach_port_extract_member(self, name: str, after: str) -> None:
        """mach_port_extract_member."""
        port, target = self._member(name, after)
        if target not in port.sets:
            raise _Answer("KERN_NOT_IN_SET")
        port.sets.remove(target)

    def mach_port_move_member(self, name: str, after: str) -> None:
        """mach_port_move_member: out of every other set."""
        if after == "MACH_PORT_NULL":
            raise Unknown(after)
        port, target = self._member(name, after)
        port.sets.clear()
        port.sets.add(target)

    # ---- a call of a row ----

    def answer(self, op: Row) -> Row:
        """The call with what the kernel answers."""
        call: Callable[..., None] | None = getattr(self, op["call"], None)
        if not op["call"].startswith("mach_port_") or call is None:
            raise Unknown(op["call"])
        known = {key: op[key] for key in ("call", "args", "result") if key in op}
        extra = {"result": op["result"]} if "result" in op else {}
        try:
            call(*op["args"], **extra)
        except _Answer as answer:
            known["returns"] = answer.returns
            if answer.gives:
                known["gives"] = answer.gives
            if answer.guard:
                flavor, target, payload = answer.guard
                known["guard"] = {"value": flavor, "target": target, "subcode": hex(payload)}
                if flavor <= _LAST_FATAL:
                    known["process"] = "ends"
        else:
            known["returns"] = "KERN_SUCCESS"
        return known


def _number(text: Any) -> int:
    return int(str(text), 0)


_GUARDS: Final = ("0x0", "0x1234", "0x9999")
_ALLOCATED: Final = ("MACH_PORT_RIGHT_RECEIVE", "MACH_PORT_RIGHT_PORT_SET", "MACH_PORT_RIGHT_DEAD_NAME")
_FLAGS: Final = (0, 0x1, 0x10, 0x11, 0x21, 0x31, 0x90)
_DELTAS: Final = (-70000, -3, -2, -1, -1, -1, 0, 1, 1, 2, 70000)


def _random_call(chance: random.Random, names: list[str]) -> tuple[str, list[Any], bool]:
    """A call, its arguments, and whether it gives a name."""
    name, other = chance.choice(names), chance.choice(names)
    return chance.choice(
        (
            ("mach_port_allocate", [chance.choice(_ALLOCATED)], True),
            ("mach_port_construct", [chance.choice(_FLAGS), 0, chance.choice(_GUARDS)], True),
            ("mach_port_type", [name], False),
            ("mach_port_get_refs", [name, chance.choice(list(_RIGHTS))], False),
            ("mach_port_deallocate", [name], False),
            ("mach_port_destroy", [name], False),
            ("mach_port_destruct", [name, chance.choice((0, -1, -2, 1)), chance.choice(_GUARDS)], False),
            ("mach_port_mod_refs", [name, chance.choice(list(_RIGHTS)), chance.choice(_DELTAS)], False),
            ("mach_port_mod_refs", [name, chance.choice(list(_RIGHTS)), chance.choice(_DELTAS)], False),
            ("mach_port_extract_right", [name, chance.choice(_DISPOSITIONS)], True),
            ("mach_port_extract_right", [name, chance.choice(_DISPOSITIONS)], True),
            ("mach_port_insert_right", [name, name, chance.choice(_DISPOSITIONS)], False),
            ("mach_port_insert_right", [name, name, chance.choice((_MAKE_SEND, _COPY_SEND))], False),
            ("mach_port_insert_right", [name, other, chance.choice(_DISPOSITIONS)], False),
            ("mach_port_set_context", [name, chance.choice(_GUARDS)], False),
            ("mach_port_get_context", [name], False),
            ("mach_port_guard", [name, chance.choice(_GUARDS), chance.randrange(2)], False),
            ("mach_port_guard_with_flags", [name, chance.choice(_GUARDS), chance.randrange(4)], False),
            ("mach_port_unguard", [name, chance.choice(_GUARDS)], False),
            ("mach_port_swap_guard", [name, chance.choice(_GUARDS), chance.choice(_GUARDS)], False),
            ("mach_port_insert_member", [name, other], False),
            ("mach_port_extract_member", [name, other], False),
            ("mach_port_move_member", [name, other], False),
        )
    )  # fmt: skip


def sequence(seed: int, release: str, length: int = 40) -> Row:
    """A row of random calls; it ends early if the process does."""
    chance = random.Random(seed)  # noqa: S311 - the same sequence for the same seed
    model = Model(release)
    ops: list[Row] = []
    names: list[str] = []
    while len(ops) < length and len(names) < 30:
        known_names = len(names) > 2
        call, args, gives = (
            _random_call(chance, names) if known_names else ("mach_port_allocate", [_ALLOCATED[0]], True)
        )
        op: Row = {"call": call, "args": args}
        if gives:
            op["result"] = f"v{len(names)}"
        try:
            op = model.answer(op)
        except Unknown:
            continue
        if op.get("process") == "ends" and len(ops) < length // 2 and chance.randrange(8):
            # A fatal guard changes nothing: the sequence goes on without the call.
            continue
        ops.append(op)
        if op.get("process") == "ends":
            break
        if gives and op["returns"] == "KERN_SUCCESS" and op.get("gives", {}).get("port") != "DEAD":
            names.append(op["result"])
        elif gives:
            # The program's variable took something else; the name is not used again.
            model.variables.pop(op["result"], None)
    return {
        "id": f"random/{release}/{seed}",
        "release": [release],
        "task": {"hardened_runtime": False, "exc_guard_fatal": False},
        "ops": ops,
    }

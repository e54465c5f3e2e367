"""One task's port names and rights, contexts, guards and sets, as osfmk/ipc has them: half of ``model``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

SEND, RECEIVE, ONCE, PORT_SET, DEAD = 0x10000, 0x20000, 0x40000, 0x80000, 0x100000
EX_RECEIVE, IMMOVABLE_SEND = 0x200000, 0x800000
PORT: Final = SEND | RECEIVE | ONCE
UREFS_MAX: Final = 0xFFFF
RIGHTS: Final = {
    "MACH_PORT_RIGHT_SEND": SEND,
    "MACH_PORT_RIGHT_RECEIVE": RECEIVE,
    "MACH_PORT_RIGHT_SEND_ONCE": ONCE,
    "MACH_PORT_RIGHT_PORT_SET": PORT_SET,
    "MACH_PORT_RIGHT_DEAD_NAME": DEAD,
}
MAKE_SEND, MAKE_ONCE, COPY_SEND = (
    "MACH_MSG_TYPE_MAKE_SEND",
    "MACH_MSG_TYPE_MAKE_SEND_ONCE",
    "MACH_MSG_TYPE_COPY_SEND",
)
MOVE_SEND, MOVE_ONCE, MOVE_RECEIVE = (
    "MACH_MSG_TYPE_MOVE_SEND",
    "MACH_MSG_TYPE_MOVE_SEND_ONCE",
    "MACH_MSG_TYPE_MOVE_RECEIVE",
)
BECOMES: Final = {
    MAKE_SEND: (SEND, 17), COPY_SEND: (SEND, 17), MOVE_SEND: (SEND, 17),
    MAKE_ONCE: (ONCE, 18), MOVE_ONCE: (ONCE, 18), MOVE_RECEIVE: (RECEIVE, 16),
}  # fmt: skip
DISPOSITIONS: Final = tuple(BECOMES)
SENDS: Final = tuple(name for name in BECOMES if name != MOVE_RECEIVE)
NUMBERS: Final = {
    MOVE_RECEIVE: 16, MOVE_SEND: 17, MOVE_ONCE: 18, COPY_SEND: 19, MAKE_SEND: 20, MAKE_ONCE: 21,
    "MACH_MSG_TYPE_COPY_RECEIVE": 22, "MACH_MSG_TYPE_DISPOSE_RECEIVE": 24, "MACH_MSG_TYPE_DISPOSE_SEND": 25,
    "MACH_MSG_TYPE_DISPOSE_SEND_ONCE": 26, "MACH_MSG_TYPE_PORT_NAME": 15, "0": 0, "": 0,
}  # fmt: skip
KINDS: Final = {0: 0, RECEIVE: 16, SEND: 17, ONCE: 18}
NO_PORTS: Final = frozenset({"MACH_PORT_NULL", "MACH_PORT_DEAD"})
QUEUE: Final = 5  # MACH_PORT_QLIMIT_DEFAULT
CONTEXT_AS_GUARD, INSERT_SEND_RIGHT, STRICT, IMMOVABLE = 0x1, 0x10, 0x20, 0x80
REPLY_PORT, ENFORCES, WEAK_REPLY_PORT = 0x1000, 0x2000, 0x4000
ALLOCATED: Final = ("MACH_PORT_RIGHT_RECEIVE", "MACH_PORT_RIGHT_PORT_SET", "MACH_PORT_RIGHT_DEAD_NAME")
CONSTRUCTED: Final = (
    CONTEXT_AS_GUARD | INSERT_SEND_RIGHT | STRICT | IMMOVABLE | REPLY_PORT | ENFORCES | WEAK_REPLY_PORT
)

DESTROY, MOD_REFS, SET_CONTEXT, UNGUARDED, INCORRECT, IMMOVABLE_RIGHT = 1, 2, 4, 8, 16, 32
LAST_FATAL: Final = 0x80
INVALID_RIGHT, INVALID_NAME, INVALID_VALUE, INVALID_ARGUMENT = 256, 512, 1024, 2048
SEND_INVALID_REPLY, SEND_INVALID_RIGHT, RCV_INVALID_NAME = 0x10000, 0x40000, 0x80000
REQUIRE_REPLY_PORT: Final = 1 << 23
LAST_OPTIONAL: Final = RCV_INVALID_NAME

PORT_DELETED, SEND_POSSIBLE, NO_SENDERS, SEND_ONCE, DEAD_NAME = 65, 66, 70, 71, 72
REQUESTED: Final = 0x80000000  # MACH_PORT_TYPE_DNREQUEST


@dataclass(eq=False)
class Message:
    """One in a queue; its rights are pairs of a kind and a port (None: NULL or DEAD, as ``name`` says)."""

    id: int
    kind: int
    """Of the right that it was sent to."""
    reply: Right | None = None
    body: list[Right] = field(default_factory=list)
    word: int | str | None = None
    """What a notification is about: a name or a count."""


@dataclass(eq=False)
class Right:
    """One that is on its way."""

    kind: int
    port: Port | None
    name: str = "NULL"
    """Of none."""
    guarded: bool = False
    """In a guarded descriptor."""


@dataclass(frozen=True)
class Type:
    """What follows from a port's type since macOS 26."""

    number: int
    """Of osfmk/ipc/ipc_types.h of 26.0."""
    stays: bool = False
    """Its receive right does not move."""
    sends_stay: bool = False
    reply_ports: bool = False
    """Messages to it name reply ports."""
    no_senders: bool = True
    port_destroyed: bool = True


TYPES: Final = {
    "": Type(1),
    "service": Type(2, reply_ports=True),
    "weak service": Type(3),
    "connection": Type(4, sends_stay=True, reply_ports=True),
    "connection with array": Type(5, stays=True, port_destroyed=False),
    "exception": Type(6, stays=True, port_destroyed=False),
    "reply": Type(8, stays=True, sends_stay=True, no_senders=False, port_destroyed=False),
    "weak reply": Type(10),
}
_PLACES: Final = {"destination": 1, "local": 2, "body": 4, "guarded": 5, "array": 6}
_PLACES.update(call=7, extract=7, insert=7)


@dataclass(eq=False)
class Port:
    """A port and its queue."""

    alive: bool = True
    guarded: bool = False
    strict: bool = False
    context: int = 0
    immovable: bool = False
    sets: set[Entry] = field(default_factory=set)
    kind: str = ""
    """A key of ``TYPES``; before macOS 26 reply ports alone have one."""
    enforces: bool = False
    """Messages to it name reply ports."""
    srights: int = 0
    mscount: int = 0
    no_senders: Port | None = None
    """Holds a send-once right, for the notification that the last sender is gone."""
    queue: list[Message] = field(default_factory=list)
    destination: Port | None = None
    """Its receive right is in a message in that port's queue."""
    requests: list[Entry | None] = field(default_factory=list)
    """The table of requests for notifications, by slot; the first is not used."""
    free_requests: list[int] = field(default_factory=list)
    """Its free slots, the next one last."""

    def add_request(self, entry: Entry, release: tuple[int, ...]) -> None:
        """ipc_port_request_alloc and ipc_port_request_grow: new slots are used from the last to the first."""
        if not self.free_requests:
            size = len(self.requests)
            # By kalloc's size classes since 13.0 (kalloc_next_good_size), before by powers of two.
            sizes = (2, 3, 4, 6, 8, 12, 16, 24, 32) if release >= (13,) else (2, 4, 8, 16, 32)
            grown = next(larger for larger in sizes if larger > size)
            self.free_requests = list(range(max(size, 1), grown))
            self.requests += [None] * (grown - size)
        entry.slot = self.free_requests.pop()
        self.requests[entry.slot] = entry

    def remove_request(self, entry: Entry) -> None:
        """ipc_port_request_cancel."""
        if entry.slot:
            self.requests[entry.slot] = None
            self.free_requests.append(entry.slot)
            entry.slot = 0


@dataclass(eq=False)
class Entry:
    """A name's slot in the table."""

    index: int
    generation: int
    kinds: int = 0
    urefs: int = 0
    former: bool = False
    port: Port | None = None
    kept: bool = False
    """Its send rights do not move (IE_BITS_IMMOVABLE_SEND, since macOS 26)."""
    request: Port | None = None
    """Holds a send-once right, for the notification that the name is dead."""
    slot: int = 0
    """Of the request, in the port's table."""

    @property
    def bits(self) -> int:
        """``ie_bits``."""
        marks = (EX_RECEIVE if self.former else 0) | (IMMOVABLE_SEND if self.kept else 0)
        return self.generation << 26 | self.kinds | marks | self.urefs

    @property
    def held(self) -> Port:
        """The port of an entry that has one."""
        assert self.port is not None
        return self.port


class Answer(Exception):  # noqa: N818 - a way out, not an error
    """Ends a call: what it returns, raises and gives."""

    def __init__(self, returns: str, guard: tuple[int, str, int] | None = None, **gives: Any) -> None:
        super().__init__(returns)
        self.returns, self.guard, self.gives = returns, guard, gives


class Unknown(Exception):  # noqa: N818 - nothing is wrong
    """A call that the model does not know."""


class Space:
    """One task's names."""

    def __init__(self, release: str, *, hardened: bool = False, fatal: bool = False) -> None:
        """``hardened``: with the hardened runtime; ``fatal``: with ``TASK_EXC_GUARD_MP_FATAL``."""
        self.release = tuple(int(part) for part in release.split("."))
        self._reasons = self.release >= (26,)
        self._fatal = fatal
        # ip_is_reply_port: whose MPO_REPLY_PORT is one (ipc_port_init, xnu-10063.101.15).
        self._strict_reply_ports = hardened and self.release >= (14, 4)
        self._pending: tuple[int, str, int] | None = None
        self._entries: list[Entry] = []
        self._free: list[Entry] = []
        self.variables: dict[str, tuple[Entry, int]] = {}

    # ---- names ----

    def _new(self) -> Entry:
        """The entry that was freed last is the first to be used again (ipc_entry_alloc)."""
        if not self._free:
            self._entries.append(Entry(len(self._entries), 0))
            return self._entries[-1]
        entry = self._free.pop()
        entry.generation = (entry.generation + 1) % 64
        return entry

    def _end(self, entry: Entry, rights: Callable[[], None] = lambda: None) -> None:
        """The name is free, its rights end, and then a request on it (ipc_right_request_cancel)."""
        name, request = (entry, entry.generation), entry.request
        if entry.port is not None:
            entry.port.remove_request(entry)
        entry.kinds, entry.urefs, entry.former, entry.kept = 0, 0, False, False
        entry.port, entry.request = None, None
        self._free.append(entry)
        rights()
        if request is not None:
            self._notify(request, PORT_DELETED, name)

    def _find(self, name: str) -> Entry | None:
        if name not in self.variables:
            raise Unknown(name)
        entry, generation = self.variables[name]
        return entry if entry.kinds and entry.generation == generation else None

    def _bind(self, name: str, entry: Entry) -> None:
        self.variables[name] = (entry, entry.generation)

    def _need(self, name: str) -> Entry:
        entry = self._find(name)
        if entry is None:
            raise Answer("KERN_INVALID_NAME", (INVALID_NAME, name, 0))
        return entry

    def _reason(self, number: int, detail: int, rest: int) -> int:
        return number << 56 | (detail & 0xFFFFFF) << 32 | rest if self._reasons else 0

    def _wrong(self, name: str, entry: Entry, reason: int, detail: int = 0) -> Answer:
        return Answer("KERN_INVALID_RIGHT", (INVALID_RIGHT, name, self._reason(reason, detail, entry.bits)))

    @staticmethod
    def _settle(entry: Entry) -> bool:
        """A send or send-once right to a dead port is a dead name once looked at (ipc_right_check)."""
        if entry.kinds in {SEND, ONCE} and not entry.held.alive:
            entry.urefs += entry.request is not None
            entry.held.remove_request(entry)
            entry.kinds, entry.port, entry.request = DEAD, None, None
            return True
        return False

    # ---- ports ----

    @staticmethod
    def _notify(port: Port, number: int, word: Any = None) -> None:
        """A message to a send-once right, for which there is always room."""
        if port.alive:
            port.queue.append(Message(number, ONCE, word=word))

    def _kill(self, port: Port) -> None:
        """ipc_port_destroy."""
        port.alive, port.guarded, port.strict, port.context = False, False, False, 0
        port.sets.clear()
        port.destination = None
        queue, port.queue = port.queue, []
        unused, port.no_senders = port.no_senders, None
        if unused is not None and self.release < (12, 3):
            self._notify(unused, SEND_ONCE)
        for message in queue:
            self._destroy(message)
        if unused is not None and self.release >= (12, 3):
            self._notify(unused, SEND_ONCE)
        for entry in port.requests:  # ipc_port_dnnotify
            if entry is not None and entry.request is not None:
                self._notify(entry.request, DEAD_NAME, (entry, entry.generation))

    def _release(self, right: Right) -> None:
        """The end of a right on its way (ipc_object_destroy)."""
        port = right.port
        if port is None:
            return
        if right.kind == SEND:
            self._release_send(port)
        elif right.kind == ONCE:
            self._notify(port, SEND_ONCE)
        else:
            self._kill(port)

    def _destroy(self, message: Message) -> None:
        """ipc_kmsg_clean, without the destination."""
        if message.reply is not None:
            self._release(message.reply)
        for right in message.body:
            self._release(right)

    def _release_send(self, port: Port) -> None:
        port.srights -= 1
        if not port.srights and port.alive and port.no_senders is not None:
            self._notify(port.no_senders, NO_SENDERS, port.mscount)
            port.no_senders = None

    def _end_receive(self, entry: Entry) -> None:
        port = entry.held
        if entry.kinds & SEND:
            entry.kinds, entry.former = SEND, True
            self._kill(port)
            self._settle(entry)
        else:
            self._end(entry, lambda: self._kill(port))

    def _end_set(self, entry: Entry) -> None:
        for other in self._entries:
            if other.port is not None:
                other.port.sets.discard(entry)
        self._end(entry)

    def _drop_send(self, entry: Entry, count: int = 1) -> None:
        if entry.urefs > count:
            entry.urefs -= count
            return
        port = entry.port
        if port is None:
            self._end(entry)
        elif entry.kinds & RECEIVE:
            entry.kinds, entry.urefs = entry.kinds & ~SEND, 0
            self._release_send(port)
        else:
            self._end(entry, lambda: self._release_send(port))

    def _end_once(self, entry: Entry) -> None:
        port = entry.held
        self._end(entry, lambda: self._notify(port, SEND_ONCE))

    def _end_both(self, port: Port) -> None:
        """Who waits for no senders is notified after the port is gone (ipc_right_destroy)."""
        port.srights -= 1
        waits, made = port.no_senders, port.mscount
        if port.srights or waits is None:
            self._kill(port)
            return
        port.no_senders = None
        self._kill(port)
        self._notify(waits, NO_SENDERS, made)

    # ---- calls: each ends with Answer ----

    def mach_port_allocate(self, right: str, *, result: str) -> None:
        """mach_port_allocate_full."""
        if right not in ALLOCATED:
            raise Unknown(right)
        entry = self._new()
        entry.kinds = RIGHTS[right]
        if entry.kinds == RECEIVE:
            entry.port = Port()
        entry.urefs = int(entry.kinds == DEAD)
        self._bind(result, entry)

    def mach_port_construct(self, flags: Any, _qlimit: int, context: Any, *, result: str) -> None:
        """mach_port_construct."""
        flags, context = number(flags), number(context)
        if flags & ~CONSTRUCTED or (flags & (REPLY_PORT | WEAK_REPLY_PORT) and self._reasons):
            raise Unknown(flags)
        if self.release < (13,):  # bits that it does not know
            flags &= ~(REPLY_PORT | ENFORCES | WEAK_REPLY_PORT)
        exclusive = flags & (REPLY_PORT | ENFORCES | WEAK_REPLY_PORT)
        if (14, 4) <= self.release < (26,) and exclusive & (exclusive - 1):
            raise Answer("KERN_INVALID_ARGUMENT")
        entry = self._new()
        entry.kinds = RECEIVE
        guarded = bool(flags & CONTEXT_AS_GUARD)
        immovable = bool(flags & IMMOVABLE) and (guarded or self._reasons)
        entry.port = Port(
            guarded=guarded, strict=guarded and bool(flags & STRICT), context=context, immovable=immovable,
            kind=self._kind(flags), enforces=bool(flags & ENFORCES) and not self._reasons,
        )  # fmt: skip
        if flags & INSERT_SEND_RIGHT:
            entry.kinds, entry.urefs = entry.kinds | SEND, 1
            entry.held.srights = entry.held.mscount = 1
        self._bind(result, entry)

    def _kind(self, flags: int) -> str:
        """A reply port is a real one, or one in name alone."""
        if flags & REPLY_PORT and self._strict_reply_ports:
            return "reply"
        return "weak reply" if flags & (REPLY_PORT | WEAK_REPLY_PORT) else ""

    def mach_port_type(self, name: str) -> None:
        """mach_port_type: no blame."""
        entry = self._find(name)
        if entry is None:
            raise Answer("KERN_INVALID_NAME")
        self._settle(entry)
        raise Answer("KERN_SUCCESS", type=hex(entry.kinds | (0 if entry.request is None else REQUESTED)))

    def mach_port_get_refs(self, name: str, right: str) -> None:
        """ipc_right_info: send rights and dead names are counted, others are one."""
        entry = self._find(name)
        if right not in RIGHTS:
            raise Unknown(right)
        if entry is None:
            raise Answer("KERN_INVALID_NAME")
        self._settle(entry)
        kind = RIGHTS[right]
        refs = (entry.urefs if kind in {SEND, DEAD} else 1) if entry.kinds & kind else 0
        raise Answer("KERN_SUCCESS", refs=refs)

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
            self._end_once(entry)

    def mach_port_destroy(self, name: str) -> None:
        """ipc_right_destroy: a guard of 0 does not keep a port."""
        entry = self._need(name)
        if entry.kinds == PORT_SET:
            self._end_set(entry)
            return
        if entry.kinds & RECEIVE:
            port = entry.held
            if port.guarded and port.context:
                raise Answer("KERN_INVALID_RIGHT", (DESTROY, name, port.context))
            both = entry.kinds & SEND
            self._end(entry, lambda: self._end_both(port) if both else self._kill(port))
        elif entry.kinds == ONCE:
            self._end_once(entry)
        else:
            entry.urefs = 1
            self._drop_send(entry)

    def mach_port_destruct(self, name: str, delta: int, guard: Any) -> None:
        """ipc_right_destruct."""
        entry, guard = self._need(name), number(guard)
        if not entry.kinds & RECEIVE:
            if entry.former:
                raise Answer("KERN_INVALID_RIGHT")
            raise self._wrong(name, entry, 3)
        if delta and not entry.kinds & SEND:
            raise self._wrong(name, entry, 3)
        port = entry.held
        if delta <= 0 and port.guarded and port.context != guard:
            raise Answer("KERN_INVALID_ARGUMENT", (DESTROY, name, port.context))
        if delta > 0 or entry.urefs + delta < 0:
            raise Answer("KERN_INVALID_VALUE", (INVALID_VALUE, name, self._reason(3, delta, entry.urefs)))
        if delta:
            self._drop_send(entry, -delta)
        self._end_receive(entry)

    def mach_port_mod_refs(self, name: str, right: str, delta: int) -> None:
        """ipc_right_delta."""
        if right not in RIGHTS:
            raise Unknown(right)
        entry = self._need(name)
        kind, number = RIGHTS[right], list(RIGHTS).index(right)
        if kind & (SEND | ONCE | DEAD):
            self._delta_counted(name, entry, kind, number, delta)
        elif not entry.kinds & kind:
            if kind == RECEIVE and entry.former:
                raise Answer("KERN_INVALID_RIGHT")
            raise self._wrong(name, entry, 2, number)
        elif delta == 0:
            return
        elif delta != -1:
            raise self._bad_delta(name, entry, number, delta)
        elif kind == PORT_SET:
            self._end_set(entry)
        else:
            if entry.held.guarded:
                flavor = DESTROY if self.release >= (15, 4) else MOD_REFS
                raise Answer("KERN_INVALID_RIGHT", (flavor, name, entry.held.context))
            entry.kept = False  # unlike mach_port_destruct
            self._end_receive(entry)

    def _bad_delta(self, name: str, entry: Entry, number: int, delta: int) -> Answer:
        payload = self._reason(2, number, (delta & 0xFFFF) << 16 | entry.urefs)
        return Answer("KERN_INVALID_VALUE", (INVALID_VALUE, name, payload))

    def _not_held(self, name: str, entry: Entry, kind: int, number: int, delta: int) -> Answer:
        """One more send right beside the receive right alone is excused, and dead for alive."""
        excused = kind == SEND and (entry.kinds == DEAD or (entry.kinds & RECEIVE and delta == 1))
        if excused or kind == ONCE:
            return Answer("KERN_INVALID_RIGHT")
        return self._wrong(name, entry, 2, number)

    def _delta_counted(self, name: str, entry: Entry, kind: int, number: int, delta: int) -> None:
        if kind == DEAD:
            self._settle(entry)
        if not entry.kinds & kind:
            raise self._not_held(name, entry, kind, number, delta)
        if self._settle(entry):
            if kind == ONCE:
                raise self._wrong(name, entry, 2, number)
            raise Answer("KERN_INVALID_RIGHT")
        if kind == ONCE and delta in {0, -1}:
            if delta:
                self._end_once(entry)
            return
        if kind == ONCE or abs(delta) > UREFS_MAX or entry.urefs + delta < 0:
            raise self._bad_delta(name, entry, number, delta)
        if entry.urefs + delta >= UREFS_MAX:
            raise Unknown("pegged")
        if delta < 0:
            self._drop_send(entry, -delta)
        else:
            entry.urefs += delta

    # ---- rights that move ----

    def _copyin(self, name: str, entry: Entry, disposition: str, place: str = "call") -> Right:
        """ipc_right_copyin: a call of the task, or where in a message; without a port, a dead name."""
        kind = BECOMES[disposition][0]
        port = entry.port
        reply = port is not None and port.kind == "reply"
        if disposition in {MAKE_SEND, MAKE_ONCE}:
            if not entry.kinds & RECEIVE:
                raise Answer("KERN_INVALID_RIGHT")
            assert port is not None
            if reply and (disposition == MAKE_SEND or place not in {"destination", "local"}):
                raise self._misused(name, disposition, place)
            if disposition == MAKE_SEND:
                port.srights += 1
                port.mscount += 1
            return Right(kind, port)
        if disposition == MOVE_RECEIVE:
            return Right(kind, self._copyin_receive(name, entry))
        if not (
            place == "destination"
            and disposition == MOVE_ONCE
            and entry.kinds == ONCE
            and entry.request is None
        ):  # a dead port may be sent to (IPC_OBJECT_COPYIN_FLAGS_ALLOW_DEAD_SEND_ONCE)
            self._settle(entry)
        return self._copyin_send(name, entry, disposition, place)

    def _copyin_send(self, name: str, entry: Entry, disposition: str, place: str) -> Right:
        kind = BECOMES[disposition][0]
        if entry.kinds == DEAD:
            if place == "destination":
                raise Answer("KERN_INVALID_RIGHT")
            if disposition != COPY_SEND:
                self._drop_send(entry)
            return Right(kind, None, "DEAD")
        if not entry.kinds & (ONCE if disposition == MOVE_ONCE else SEND):
            raise Answer("KERN_INVALID_RIGHT")
        port = entry.held
        if port.kind == "reply" and not (disposition == MOVE_ONCE and place == "destination"):
            raise self._misused(name, disposition, place)
        if entry.kept and not (
            place in {"destination", "insert"} or (place == "extract" and disposition == COPY_SEND)
        ):
            raise Answer("KERN_INVALID_CAPABILITY", self._kept(name, port, NUMBERS[disposition]))
        if disposition == MOVE_ONCE:
            self._end(entry)
        else:
            port.srights += 1
            if disposition == MOVE_SEND:
                self._drop_send(entry)
        return Right(kind, port)

    def _stays(self, port: Port) -> bool:
        """Whether the receive right does not move."""
        return port.immovable or port.kind == "reply" or (self._reasons and TYPES[port.kind].stays)

    def _misused(self, name: str, disposition: str, place: str) -> Answer:
        """A reply port's right where reply ports have no place."""
        payload = self._reason(4, _PLACES[place], NUMBERS[disposition])
        return Answer("KERN_INVALID_CAPABILITY", (INVALID_RIGHT, name, payload))

    def _kept(self, name: str, port: Port, disposition: int) -> tuple[int, str, int]:
        """The guard of a right that does not move: the type of its port and the disposition."""
        return IMMOVABLE_RIGHT, name, TYPES[port.kind].number << 32 | disposition

    def _copyin_receive(self, name: str, entry: Entry) -> Port:
        if not entry.kinds & RECEIVE:
            raise Answer("KERN_INVALID_RIGHT")
        port = entry.held
        if self._stays(port):
            raise Answer("KERN_INVALID_CAPABILITY", (IMMOVABLE_RIGHT, name, 0))
        port.guarded, port.strict, port.context, port.mscount = False, False, 0, 0
        port.sets.clear()
        if entry.kinds & SEND:
            entry.kinds, entry.former = entry.kinds & ~RECEIVE, True
        else:
            self._end(entry)
        return port

    def _holder(self, port: Port) -> Entry | None:
        """The entry of a port's send or receive right (ipc_right_reverse)."""
        return next((entry for entry in self._entries if entry.port is port and entry.kinds != ONCE), None)

    def _put(self, entry: Entry, port: Port, kind: int) -> None:
        """ipc_right_copyout."""
        entry.kept = entry.kept or (self._reasons and kind != RECEIVE and TYPES[port.kind].sends_stay)
        port.srights -= bool(entry.kinds & kind & SEND)
        entry.kinds |= kind
        entry.port = port
        if kind != RECEIVE:
            entry.urefs += 1
        else:
            port.destination = None

    def mach_port_extract_right(self, name: str, disposition: str, *, result: str) -> None:
        """mach_port_extract_right: into the caller's own names."""
        if disposition not in BECOMES:
            raise Unknown(disposition)
        entry = self._find(name)
        if entry is None:
            raise Answer("KERN_INVALID_NAME")
        right = self._copyin(name, entry, disposition, "extract")
        raise Answer("KERN_SUCCESS", port=self._copyout(right, result), got=BECOMES[disposition][1])

    def _copyout(self, right: Right, result: str | None = None) -> str:
        """ipc_object_copyout, under a name of the kernel's choice; what the caller already calls it."""
        if right.port is None:
            return right.name
        if not right.port.alive:
            return "DEAD"
        target = self._holder(right.port) if right.kind != ONCE else None
        if target is None:
            target = self._new()
        self._put(target, right.port, right.kind)
        # A name that was put under its old generation makes later ones come again.
        given = self._called((target, target.generation))
        if result is not None:
            self._bind(result, target)
        return result if result is not None and given == "new" else given

    def alias(self, text: str) -> str:
        """The first variable with the same name; the text itself if it is not one."""
        return self._called(self.variables[text]) if text in self.variables else text

    def _called(self, name: tuple[Entry, int]) -> str:
        return next((known for known, value in self.variables.items() if value == name), "new")

    def _insert_own(self, entry: Entry, disposition: str) -> None:
        """ipc_object_insert_send_right: the trap's short way."""
        if entry.kinds == DEAD:
            raise Answer("KERN_INVALID_CAPABILITY")
        if not entry.kinds & PORT:
            raise Answer("KERN_INVALID_RIGHT")
        if not entry.held.alive:
            raise Answer("KERN_INVALID_CAPABILITY")
        if not entry.kinds & (RECEIVE if disposition == MAKE_SEND else SEND):
            raise Answer("KERN_INVALID_RIGHT")
        entry.held.srights += 1
        entry.held.mscount += disposition == MAKE_SEND
        self._put(entry, entry.held, SEND)

    def mach_port_insert_right(self, name: str, right: str, disposition: str) -> None:
        """_kernelrpc_mach_port_insert_right_trap, then ipc_object_copyout_name."""
        if disposition not in BECOMES:
            raise Unknown(disposition)
        entry = self._find(right)
        if name not in self.variables:
            raise Unknown(name)
        if entry is None:
            raise Answer("KERN_INVALID_NAME")
        same = self.variables[name] == self.variables[right]
        if same and disposition in {MAKE_SEND, COPY_SEND}:
            self._insert_own(entry, disposition)
            return
        taken = self._copyin(right, entry, disposition, "insert")
        if taken.port is None:
            raise Answer("KERN_INVALID_CAPABILITY")
        self._copyout_name(name, taken)

    def _copyout_name(self, name: str, right: Right) -> None:
        """ipc_object_copyout_name: under a name that the caller chose."""
        port, kind = right.port, right.kind
        assert port is not None
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
        self._release(right)
        raise Answer(refused)

    def _refused(self, target: Entry, generation: int, port: Port, kind: int) -> str | None:
        holder = self._holder(port) if kind != ONCE else None
        if target.kinds and target.generation != generation:
            return "KERN_FAILURE"
        if not port.alive:
            return "KERN_INVALID_CAPABILITY"
        if holder not in {None, target}:
            return "KERN_RIGHT_EXISTS"
        return "KERN_NAME_EXISTS" if target.kinds and holder is None else None

    # ---- contexts and guards ----

    def _receive(self, name: str) -> Port:
        """ipc_port_translate_receive: since macOS 12 a dead name is no name."""
        entry = self._find(name)
        dead = entry is not None and (entry.kinds == DEAD or (entry.port and not entry.port.alive))
        if entry is None or (dead and self.release >= (12,)):
            raise Answer("KERN_INVALID_NAME")
        if not entry.kinds & RECEIVE:
            raise Answer("KERN_INVALID_RIGHT")
        return entry.held

    def _guardable(self, name: str) -> Port:
        try:
            return self._receive(name)
        except Answer as answer:
            if answer.returns == "KERN_INVALID_NAME":
                answer.guard = (INVALID_NAME, name, 0)
            else:
                answer.guard = (INVALID_RIGHT, name, 1 if self._reasons else 0)
            raise

    def mach_port_set_context(self, name: str, context: Any) -> None:
        """mach_port_set_context."""
        port = self._receive(name)
        if port.strict:
            raise Answer("KERN_INVALID_ARGUMENT", (SET_CONTEXT, name, port.context))
        port.context = number(context)

    def mach_port_get_context(self, name: str) -> None:
        """mach_port_get_context: the context of a strict guard is a secret."""
        port = self._receive(name)
        raise Answer("KERN_SUCCESS", context=hex(0 if port.strict else port.context))

    def mach_port_guard(self, name: str, guard: Any, strict: int) -> None:
        """mach_port_guard."""
        self.mach_port_guard_with_flags(name, guard, int(bool(strict)))

    def mach_port_guard_with_flags(self, name: str, guard: Any, flags: int) -> None:
        """mach_port_guard_locked."""
        if flags & ~3:
            raise Unknown(flags)
        port = self._guardable(name)
        if port.context:
            payload = port.context if self.release >= (15, 4) else 0
            raise Answer("KERN_INVALID_ARGUMENT", (INVALID_ARGUMENT, name, payload))
        port.context, port.guarded, port.strict = number(guard), True, bool(flags & 1)
        port.immovable = port.immovable or bool(flags & 2)

    def mach_port_unguard(self, name: str, guard: Any) -> None:
        """mach_port_unguard_locked."""
        port = self._guardable(name)
        if not port.guarded:
            raise Answer("KERN_INVALID_ARGUMENT", (UNGUARDED, name, 0))
        if port.context != number(guard):
            raise Answer("KERN_INVALID_ARGUMENT", (INCORRECT, name, port.context))
        port.context, port.guarded, port.strict = 0, False, False

    def mach_port_swap_guard(self, name: str, old: Any, new: Any) -> None:
        """mach_port_swap_guard."""
        port = self._guardable(name)
        if not port.guarded:
            raise Answer("KERN_INVALID_ARGUMENT", (UNGUARDED, name, 0))
        if port.strict:
            raise Answer("KERN_INVALID_ARGUMENT", (SET_CONTEXT, name, port.context))
        if port.context != number(old):
            raise Answer("KERN_INVALID_ARGUMENT", (INCORRECT, name, port.context))
        port.context = number(new)

    # ---- sets ----

    def _member(self, name: str, after: str) -> tuple[Port, Entry]:
        """ipc_object_translate_port_pset, of macOS 13 and later."""
        if self.release < (12, 3):
            raise Unknown("sets")
        if {name, after} & {"MACH_PORT_NULL", "MACH_PORT_DEAD"}:
            raise Answer("KERN_INVALID_RIGHT")
        entry = self._need(name)
        target = self._need(after)
        if not entry.kinds & RECEIVE:
            if entry.former:
                raise Answer("KERN_INVALID_RIGHT")
            raise self._wrong(name, entry, 7)
        if target.kinds != PORT_SET:
            if target.former and self.release < (15, 4):
                raise Answer("KERN_INVALID_RIGHT")
            raise self._wrong(after, target, 8)
        return entry.held, target

    def mach_port_insert_member(self, name: str, after: str) -> None:
        """mach_port_insert_member."""
        port, target = self._member(name, after)
        if target in port.sets:
            raise Answer("0xb")
        port.sets.add(target)

    def mach_port_extract_member(self, name: str, after: str) -> None:
        """mach_port_extract_member."""
        port, target = self._member(name, after)
        if target not in port.sets:
            raise Answer("KERN_NOT_IN_SET")
        port.sets.remove(target)

    def mach_port_move_member(self, name: str, after: str) -> None:
        """mach_port_move_member: out of every other set."""
        if after == "MACH_PORT_NULL":
            raise Unknown(after)
        port, target = self._member(name, after)
        port.sets.clear()
        port.sets.add(target)


def number(text: Any) -> int:
    """Of a row's text."""
    return int(str(text), 0)

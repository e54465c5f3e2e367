"""A model of one task's ports and messages, for sequences that no row of the oracle has.

It is written from the rows and from the kernel's sources (osfmk/ipc, each rule with its function), not from
the simulator, and follows each call to what it returns, gives and raises. The rows whose calls it all has
test the model itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.conformance.oracle.rights import (
    BECOMES,
    COPY_SEND,
    DEAD,
    DEAD_NAME,
    INCORRECT,
    INVALID_RIGHT,
    KINDS,
    LAST_FATAL,
    LAST_OPTIONAL,
    MAKE_ONCE,
    MAKE_SEND,
    MOVE_ONCE,
    MOVE_RECEIVE,
    MOVE_SEND,
    NO_PORTS,
    NO_SENDERS,
    NUMBERS,
    ONCE,
    PORT,
    PORT_SET,
    QUEUE,
    RCV_INVALID_NAME,
    RECEIVE,
    REQUIRE_REPLY_PORT,
    SEND,
    SEND_INVALID_REPLY,
    SEND_INVALID_RIGHT,
    SEND_ONCE,
    SEND_POSSIBLE,
    SENDS,
    Answer,
    Entry,
    Message,
    Port,
    Right,
    Space,
    Unknown,
    number,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conformance.oracle.sequences import Row


Guard = tuple[int, str, int]
"""Flavor, target, payload."""


class Model(Space):
    """One task: its names, and the messages between its ports."""

    # ---- notifications ----

    def mach_port_request_notification(
        self, name: str, number: str, sync: int, to: str, disposition: str, *, result: str
    ) -> None:
        """_kernelrpc_mach_port_request_notification_trap: its own errors come first."""
        if disposition not in {MAKE_ONCE, MOVE_ONCE}:
            raise Unknown(disposition)
        notify: Port | None = None
        if to == "MACH_PORT_DEAD":
            raise Answer("KERN_INVALID_CAPABILITY")
        if to != "MACH_PORT_NULL":
            entry = self._find(to)
            if entry is None:
                raise Answer("KERN_INVALID_NAME")
            right = self._copyin(to, entry, disposition)
            if right.port is None:
                raise Answer("KERN_INVALID_CAPABILITY")
            notify = right.port
        try:
            previous = self._requested(name, number, sync, notify)
        except Answer:
            if notify is not None:
                self._notify(notify, SEND_ONCE)
            raise
        if notify is not None and previous is not None and not previous.alive:
            raise Answer("KERN_INVALID_CAPABILITY")  # of ipc_object_copyout; the new request stands
        given = "NULL" if previous is None else self._copyout(Right(ONCE, previous), result)
        raise Answer("KERN_SUCCESS", previous=given)

    def _requested(self, name: str, number: str, sync: int, notify: Port | None) -> Port | None:
        """mach_port_request_notification: the port of the request that was there before."""
        if name in {"MACH_PORT_NULL", "MACH_PORT_DEAD"}:
            raise Unknown(name)
        if number == "MACH_NOTIFY_NO_SENDERS":
            port = self._receive(name)
            if port.kind == "reply":
                raise Answer("KERN_INVALID_RIGHT", (INVALID_RIGHT, name, 0))
            previous, port.no_senders = port.no_senders, notify
            if not port.srights and sync <= port.mscount and notify is not None:
                port.no_senders = None
                self._notify(notify, NO_SENDERS, port.mscount)
            return previous
        if number in {"MACH_NOTIFY_DEAD_NAME", "MACH_NOTIFY_SEND_POSSIBLE"}:
            possible = number == "MACH_NOTIFY_SEND_POSSIBLE"
            return self._requested_of_name(name, sync, notify, possible=possible)
        raise Unknown(number)

    def _requested_of_name(self, name: str, sync: int, notify: Port | None, *, possible: bool) -> Port | None:
        """ipc_right_request_alloc."""
        entry = self._find(name)
        if entry is None:
            raise Answer("KERN_INVALID_NAME")
        if notify is None and entry.request is None:
            return None
        self._settle(entry)
        if entry.kinds & PORT:
            previous, entry.request = entry.request, None
            entry.held.remove_request(entry)
            if notify is not None and possible and sync:
                if len(entry.held.queue) >= QUEUE and entry.kinds != ONCE:
                    raise Unknown("full")
                self._notify(notify, SEND_POSSIBLE, (entry, entry.generation))
            else:
                entry.request = notify
                if notify is not None:
                    entry.held.add_request(entry, self.release)
            return previous
        at_once = possible or (sync and self.release < (13,))
        if at_once and notify is not None and entry.kinds == DEAD:
            entry.urefs += 1
            self._notify(notify, DEAD_NAME, (entry, entry.generation))
            return None
        raise Answer("KERN_INVALID_ARGUMENT" if entry.kinds == DEAD else "KERN_INVALID_RIGHT")

    # ---- messages ----

    def mach_msg(self, message: Row) -> None:
        """mach_msg with a timeout of 0: a message of ports, without a voucher."""
        unknown = set(message) - {"options", "remote", "local", "descriptors", "receive_name", "names"}
        if unknown or set(message["options"]) - {
            "MACH_SEND_MSG", "MACH_SEND_TIMEOUT", "MACH_RCV_MSG", "MACH_RCV_TIMEOUT"
        }:  # fmt: skip
            raise Unknown(unknown)
        if "MACH_SEND_MSG" in message["options"]:
            if "mach_task_self" in str(message):
                raise Unknown("self")
            self._send(message)
        if "MACH_RCV_MSG" in message["options"]:
            self._receive_message(message)

    def _send(self, message: Row) -> None:
        """ipc_kmsg_copyin and ipc_kmsg_send: the body's form, the header, the body."""
        descriptors = message.get("descriptors", [])
        # Since 15.0 before the header is looked at (ipc_kmsg_get_and_inflate_from_user).
        if self.release >= (15,) and not all(map(is_well_formed, descriptors)):
            raise Answer("MACH_SEND_INVALID_TYPE")
        to, reply = self._copyin_header(message)
        sent = Message(100, to.kind, reply)
        assert to.port is not None
        try:
            self._check_destination(to.port, reply)
            circular = self._copyin_body(sent, descriptors, to.port)
        except Answer:
            self._release(to)
            self._destroy(sent)
            raise
        if circular or not to.port.alive:
            self._release(to)
            self._destroy(sent)
        elif to.kind == SEND and len(to.port.queue) >= QUEUE:
            raise Unknown("full")
        else:
            to.port.queue.append(sent)

    def _check_destination(self, to: Port, reply: Right) -> None:
        """What a destination asks of the sender, since macOS 26."""

    def _named(self, side: Row) -> tuple[str, Entry | None]:
        name = side["name"]
        return name, None if name in NO_PORTS else self._find(name)

    def _copyin_header(self, message: Row) -> tuple[Right, Right]:
        """ipc_kmsg_copyin_header."""
        remote, local = message["remote"], message.get("local", {"name": "MACH_PORT_NULL", "disposition": ""})
        name, to = self._named(remote)
        reply_name, reply = self._named(local)
        types = remote["disposition"], local["disposition"]
        if types[0] not in SENDS or (types[1] and types[1] not in SENDS):
            raise Answer("MACH_SEND_INVALID_HEADER")
        same = reply is not None and to is reply
        twice = same and MOVE_ONCE in types
        if name in NO_PORTS or (twice and self.release >= (15, 4)):
            raise Answer("MACH_SEND_INVALID_DEST")
        # Since 15.4 a name must be a port's, dead names do not count (ipc_kmsg_copyin_header_rights).
        need_port = self.release >= (15, 4)
        if to is None or (need_port and not to.kinds & PORT):
            raise Answer("MACH_SEND_INVALID_DEST")
        if reply_name not in NO_PORTS and (
            reply is None
            or (need_port and not reply.kinds & PORT)
            or not self._reply_passes(reply_name, reply, types[1], to)
        ):
            raise self._no_reply(reply_name, reply, types[1])
        if twice:
            raise Answer("MACH_SEND_INVALID_DEST")
        if same and not {MAKE_SEND, MAKE_ONCE} & set(types):
            return self._copyin_two(name, to, types)
        try:
            right = self._copyin(name, to, types[0], "destination")
        except Answer as answer:
            if same and answer.returns == "KERN_INVALID_CAPABILITY" and not need_port:
                self._pending = answer.guard
                raise self._no_reply(reply_name, reply, types[1]) from None
            answer.returns = "MACH_SEND_INVALID_DEST"
            raise
        if reply is None:
            kind = BECOMES[types[1]][0] if types[1] else 0
            return right, Right(kind, None, "DEAD" if reply_name == "MACH_PORT_DEAD" else "NULL")
        return right, self._copyin(reply_name, reply, types[1], "local")

    def _no_reply(self, name: str, entry: Entry | None, disposition: str) -> Answer:
        """The guard that was raised before stays."""
        bits = 0 if entry is None else entry.bits
        guard = (SEND_INVALID_REPLY, name, self._reason(0, bits, NUMBERS[disposition]))
        return Answer("MACH_SEND_INVALID_REPLY", guard)

    def _ends(self, guard: Guard) -> bool:
        """Whether it is fatal (mach_port_guard_ast, ipc_policy.c)."""
        return guard[0] <= (LAST_OPTIONAL if self._fatal else LAST_FATAL)

    def _copyin_two(self, name: str, entry: Entry, types: tuple[str, str]) -> tuple[Right, Right]:
        """ipc_right_copyin_two: two send rights from one entry, by move or copy."""
        if types == (MOVE_SEND, MOVE_SEND):
            few = not entry.kinds & SEND or entry.urefs < 2
            # Up to 15.3 the references are counted before the port is looked at.
            if (few and self.release < (15, 4)) or self._settle(entry) or few:
                raise Answer("MACH_SEND_INVALID_DEST")
            first = self._copyin(name, entry, MOVE_SEND, "destination")
            return first, self._copyin(name, entry, MOVE_SEND, "local")
        moved = MOVE_SEND if MOVE_SEND in types else COPY_SEND
        try:
            first = self._copyin(name, entry, moved, "destination")
        except Answer as answer:
            answer.returns = "MACH_SEND_INVALID_DEST"
            raise
        assert first.port is not None
        first.port.srights += 1
        return first, Right(SEND, first.port)

    def _reply_passes(self, name: str, entry: Entry, disposition: str, to: Entry) -> bool:
        """ipc_right_copyin_check_reply; the guard that it raises is ``_pending``."""
        if disposition in {MAKE_SEND, MAKE_ONCE}:
            passes = bool(entry.kinds & RECEIVE)
        elif entry.kinds != DEAD and entry.port is not None and entry.port.alive:
            passes = bool(entry.kinds & (ONCE if disposition == MOVE_ONCE else SEND))
        else:  # of a port that died it does not matter
            passes = bool(entry.kinds & (SEND | ONCE | DEAD))
        if not passes:
            return False
        port = entry.port
        if port is None or not port.alive or self._reasons or self.release < (13,):
            return True
        if port.kind == "reply" and disposition != MAKE_ONCE:
            return False
        wants = to.port is not None and to.port.alive and to.port.enforces
        if wants and not port.kind:
            self._pending = (REQUIRE_REPLY_PORT, name, 0)
            return False
        return True

    def _copyin_body(self, sent: Message, descriptors: list[Row], to: Port) -> bool:
        """ipc_kmsg_copyin_body: whether a receive right would go into its own queue."""
        if not all(map(is_well_formed, descriptors)):
            raise Answer("MACH_SEND_INVALID_TYPE")
        circular = False
        for descriptor in descriptors:
            name, disposition, entry = descriptor["name"], descriptor["disposition"], None
            guarded = "context" in descriptor
            if name in NO_PORTS:
                none = "DEAD" if name == "MACH_PORT_DEAD" else "NULL"
                sent.body.append(Right(BECOMES.get(disposition, (0,))[0], None, none, guarded=guarded))
                continue
            entry = self._find(name)
            if entry is None:
                raise Answer("MACH_SEND_INVALID_RIGHT")
            if guarded:
                self._check_guard(name, entry, descriptor)
            right = self._copyin_of_body(name, entry, disposition, guarded=guarded)
            right.guarded = guarded
            sent.body.append(right)
            if right.kind == RECEIVE:
                assert right.port is not None
                circular = circular or self._is_circular(right.port, to)
                right.port.destination = to
        return circular

    def _copyin_of_body(self, name: str, entry: Entry, disposition: str, *, guarded: bool) -> Right:
        blame = SEND_INVALID_RIGHT, name, self._reason(3 if guarded else 1, 0, NUMBERS[disposition])
        if disposition not in BECOMES:
            reply = self._reasons and entry.port is not None and entry.port.kind == "reply"
            kept = self._kept(name, entry.held, NUMBERS[disposition]) if reply else None
            raise Answer("MACH_SEND_INVALID_RIGHT", kept or blame)
        try:
            return self._copyin(name, entry, disposition, "body")
        except Answer as answer:
            answer.guard = blame if answer.returns == "KERN_INVALID_RIGHT" else answer.guard
            answer.returns = "MACH_SEND_INVALID_RIGHT"
            raise

    @staticmethod
    def _is_circular(port: Port, to: Port) -> bool:
        at: Port | None = to
        while at is not None and at is not port:
            at = at.destination
        return at is port

    def _check_guard(self, name: str, entry: Entry, descriptor: Row) -> None:
        """ipc_right_copyin_check_guard_locked, behind the checks of the right itself."""
        port = entry.port
        if not entry.kinds & RECEIVE or port is None or self._stays(port):
            return
        context = number(descriptor["context"])
        unguarded = "MACH_MSG_GUARD_FLAGS_UNGUARDED_ON_SEND" in descriptor["flags"] and not context
        if (port.guarded and port.context == context) or (not port.guarded and unguarded):
            return
        raise Answer("MACH_SEND_INVALID_RIGHT", (INCORRECT, name, port.context))

    def _receiver(self, name: str) -> Entry:
        """ipc_mqueue_copyin."""
        entry = None if name in NO_PORTS else self._find(name)
        if entry is None:
            raise Answer("MACH_RCV_INVALID_NAME")
        if entry.kinds == PORT_SET:
            raise Unknown("set")
        if entry.kinds & RECEIVE:
            return entry
        dead = entry.kinds == DEAD or not entry.held.alive
        blamed = not entry.former and not (dead and self.release >= (12,))
        raise Answer("MACH_RCV_INVALID_NAME", (RCV_INVALID_NAME, name, 0) if blamed else None)

    def _receive_message(self, message: Row) -> None:
        """mach_msg_receive and ipc_kmsg_copyout."""
        name = message["receive_name"]
        entry = self._receiver(name)
        port = entry.held
        if not port.queue:
            if "MACH_RCV_TIMEOUT" not in message["options"]:
                raise Unknown("waits")
            raise Answer("MACH_RCV_TIMED_OUT")
        taken = port.queue.pop(0)
        binds = message.get("names", {})
        gives: Row = {"id": taken.id}
        reply = taken.reply or Right(0, None)
        gives["remote"] = self._copyout(reply, binds.get("remote"))
        gives["local"] = self._called((entry, entry.generation))
        if taken.kind == SEND:
            self._release_send(port)
        bits = KINDS[reply.kind] | KINDS[taken.kind] << 8 | (0x80000000 if taken.body else 0)
        gives["bits"], gives["size"] = hex(bits), 24
        if taken.body:
            stays = self.release >= (15,)  # a guarded descriptor without its port; before, a port descriptor
            gives["size"] = 28 + sum(16 if right.guarded and stays else 12 for right in taken.body)
            gives |= self._copyout_body(taken, binds)
        elif taken.word is not None:
            gives["size"] = 36
            gives["body"] = (
                (taken.word or "NULL") if isinstance(taken.word, int) else self._called(taken.word)
            )
            if gives["body"] == "new" or isinstance(gives["body"], int):
                del gives["body"]  # the runner has no name to compare it with
        raise Answer("KERN_SUCCESS", **gives)

    def _copyout_body(self, taken: Message, binds: Row) -> Row:
        """ipc_kmsg_copyout_body: who does not ask for guarded descriptors loses their ports."""
        gives = {}
        order = range(len(taken.body))
        for at in order if self.release >= (15,) else reversed(order):
            right, kind = taken.body[at], 0
            if right.guarded:
                self._release(right)
                kind = 4 if self.release >= (15,) else 0
                right = Right(right.kind, None, "NULL")
            name = self._copyout(right, binds.get(f"desc{at}"))
            gives[f"desc{at}"] = f"{name}:{kind}:{KINDS[right.kind]}"
        return gives

    # ---- a call of a row ----

    def _first(self, first: Guard | None, second: Guard | None) -> Guard | None:
        """The first guard stands, but a fatal one takes its place (thread_ast_mach_exception)."""
        if first is None or (second is not None and self._ends(second) and not self._ends(first)):
            return second
        return first

    def answer(self, op: Row) -> Row:
        """The call with what the kernel answers."""
        call: Callable[..., None] | None = getattr(self, op["call"], None)
        if not op["call"].startswith("mach_") or call is None:
            raise Unknown(op["call"])
        known = unanswered(op)
        extra = {"result": op["result"]} if "result" in op else {}
        args = [op["args"]] if isinstance(op["args"], dict) else op["args"]
        self._pending = None
        known["returns"] = "KERN_SUCCESS"
        guard = None
        try:
            call(*args, **extra)
        except Answer as answer:
            known["returns"], guard = answer.returns, answer.guard
            if answer.gives:
                known["gives"] = answer.gives
        guard = self._first(self._pending, guard)
        if guard:
            known["guard"] = {"value": guard[0], "target": guard[1], "subcode": hex(guard[2])}
            if self._ends(guard):
                known["process"] = "ends"
        return known


def unanswered(op: Row) -> Row:
    """The call of a row alone."""
    return {key: op[key] for key in ("call", "args", "result") if key in op}


def is_well_formed(descriptor: Row) -> bool:
    """ipc_kmsg_inflate_guarded_port_descriptor; others have nothing to check."""
    if descriptor["type"] == "MACH_MSG_PORT_DESCRIPTOR":
        return True
    if descriptor["type"] != "MACH_MSG_GUARDED_PORT_DESCRIPTOR":
        raise Unknown(descriptor["type"])
    flags, context = descriptor["flags"], number(descriptor["context"])
    with_context = "MACH_MSG_GUARD_FLAGS_UNGUARDED_ON_SEND" in flags and context
    return descriptor["disposition"] == MOVE_RECEIVE and bool(flags) and not with_context

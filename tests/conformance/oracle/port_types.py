"""The model for macOS 26, where each port has a type and each process a policy.

From osfmk/ipc/ipc_policy.c of xnu-12377, as its rows and what it puts into payloads show.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tests.conformance.oracle.model import Model
from tests.conformance.oracle.rights import (
    MAKE_ONCE,
    MAKE_SEND,
    MOVE_ONCE,
    NUMBERS,
    ONCE,
    RECEIVE,
    SEND,
    TYPES,
    Answer,
    Unknown,
    number,
)  # fmt: skip

if TYPE_CHECKING:
    from tests.conformance.oracle.rights import Entry, Port, Right
    from tests.conformance.oracle.sequences import Row

LEVELS: Final = {
    "hardened runtime": 0,
    "enhanced security 1 (browser engine)": 1,
    "enhanced security 2 (platform restrictions)": 2,
    "enhanced security 2, with every entitlement asked for": 2,
    "platform restrictions 2 in launchd's coalition": 2,
    "launchd (initproc, platform binary)": 2,
    "platform binary": 2,
}
"""Enhanced security; who opted out, and simulators, are as a third party."""

_TYPES: Final = {
    0: "", 0x2400: "service", 0x400: "weak service", 0x800: "connection", 0x1000: "reply",
    0x4000: "weak reply", 0x8000: "exception", 0x10000: "connection with array",
}  # fmt: skip
_TYPE_BITS, _ENFORCES, _FLAGS = 0x1DC00, 0x2000, 0xB1
_SERVICE_VIOLATION, _REQUIRE_REPLY_PORT, _INVALID_REQUEST, _INVALID_ENTITLEMENT = 7, 10, 65, 66
_MOVE_SERVICE_PORT: Final = "7"
_WEAK_REPLY_PORT, _MOVE_WEAK_REPLY_PORT = 0x100002, 0x100004
_NO_SENDERS, _PORT_DESTROYED = 70, 69


class TypedModel(Model):
    """One task on macOS 26.0."""

    def __init__(self, kind: str, *, fatal: bool) -> None:
        """``kind``: of process, as in the rows."""
        super().__init__("26.0", fatal=fatal)
        self._kind_of_process = kind
        self._level = LEVELS.get(kind, -1)
        self._once: set[int] = set()

    @property
    def _unbound(self) -> bool:
        return "simulator" in self._kind_of_process or "opted out" in self._kind_of_process

    def mach_port_construct(self, flags: Any, qlimit: int, context: Any, *, result: str) -> None:
        """mach_port_construct: the type, and what the process may make."""
        flags = number(flags)
        kind_bits = flags & _TYPE_BITS
        kind = _TYPES.get(kind_bits | (flags & _ENFORCES if kind_bits == 0x400 else 0))
        if flags & ~(_TYPE_BITS | _ENFORCES | _FLAGS):
            raise Unknown(flags)
        if kind is None:
            raise Answer("KERN_INVALID_ARGUMENT")
        if kind == "service" and self._unbound:
            kind = "weak service"
        if kind.endswith("service") and "launchd" not in self._kind_of_process:
            raise Answer("KERN_DENIED")
        if kind == "reply" and self._level < 1:
            kind = "weak reply"
        if kind in {"weak reply", "connection with array"} and self._level >= 1:
            self._need_entitlement(kind, flags)
        super().mach_port_construct(flags & _FLAGS, qlimit, context, result=result)
        entry = self.variables[result][0]
        entry.held.kind = kind
        entry.kept = bool(entry.kinds & SEND) and TYPES[kind].sends_stay

    def _need_entitlement(self, kind: str, flags: int) -> None:
        if "entitlement" in self._kind_of_process:
            return
        if kind == "connection with array":
            raise Answer("KERN_DENIED", (_INVALID_ENTITLEMENT, hex(flags), 0))
        self._report_once(_WEAK_REPLY_PORT, "MACH_PORT_NULL")

    def _report_once(self, flavor: int, target: str) -> None:
        """A soft guard that a process raises one time."""
        if flavor not in self._once:
            self._once.add(flavor)
            self._pending = (flavor, target, 0)

    def _copyin(self, name: str, entry: Entry, disposition: str, place: str = "call") -> Right:
        """A reply port gives send-once rights alone."""
        port = entry.port
        if port is not None and port.kind == "reply" and disposition not in {MOVE_ONCE, MAKE_ONCE}:
            raise Answer("KERN_INVALID_CAPABILITY", self._kept(name, port, NUMBERS[disposition]))
        return super()._copyin(name, entry, disposition, place)

    def _put(self, entry: Entry, port: Port, kind: int) -> None:
        """A service or connection moves from its maker to its owner, and then stays."""
        super()._put(entry, port, kind)
        if kind == RECEIVE and port.kind in {"service", "connection"}:
            port.immovable = True

    def _is_service_of_launchd(self, port: Port) -> bool:
        return port.kind == "service" and not self._kind_of_process.startswith("launchd")

    def _stays(self, port: Port) -> bool:
        return super()._stays(port) or self._is_service_of_launchd(port)

    def _copyin_receive(self, name: str, entry: Entry) -> Port:
        """ipc_move_receive_allowed."""
        port = entry.port
        if entry.kinds & RECEIVE and port is not None:
            if self._is_service_of_launchd(port):
                raise Unknown("the payload is a name")
            if port.kind == "weak reply" and self._level >= 2:
                self._report_once(_MOVE_WEAK_REPLY_PORT, name)
        return super()._copyin_receive(name, entry)

    def _reply_passes(self, name: str, entry: Entry, disposition: str, to: Entry) -> bool:
        """ipc_right_copyin_check_reply."""
        port = entry.port
        if port is not None and entry.kinds != 0x100000:
            if port.kind == "reply" and disposition not in {MOVE_ONCE, MAKE_ONCE}:
                return False
            sends = disposition not in {MAKE_SEND, MAKE_ONCE} and entry.kinds & (SEND | ONCE)
            if sends and port.alive and entry.kept:
                self._pending = self._kept(name, port, NUMBERS[MOVE_ONCE])
                return False
        return super()._reply_passes(name, entry, disposition, to)

    def _check_destination(self, to: Port, reply: Right) -> None:
        """ipc_validate_local_port: services and connections are answered at reply ports."""
        port = reply.port
        if port is None or not port.alive or not to.alive or self._unbound:
            return
        if TYPES[to.kind].reply_ports and port.kind not in {"reply", "weak reply"}:
            holder = next((e for e in self._entries if e.port is to and e.kinds & RECEIVE), None)
            if holder is None:
                raise Unknown("in transit")
            target = self._called((holder, holder.generation))
            raise Answer("MACH_SEND_INVALID_REPLY", (_REQUIRE_REPLY_PORT, target, 0))

    def _requested(self, name: str, what: str, sync: int, notify: Port | None) -> Port | None:
        """mach_port_request_notification."""
        if what == "MACH_NOTIFY_NO_SENDERS":
            port = self._receive(name)
            if not TYPES[port.kind].no_senders:
                guard = (_INVALID_REQUEST, hex(TYPES[port.kind].number), _NO_SENDERS)
                raise Answer("KERN_INVALID_RIGHT", guard)
        return super()._requested(name, what, sync, notify)


def task_of(row: Row, release: str) -> Model:
    """The model of the process that a row is of, before its calls."""
    task = row["task"]
    if release == "26.0":
        kind = task.get("kind", "third party")
        return TypedModel(kind, fatal=task["exc_guard_fatal"])
    return Model(release, hardened=task["hardened_runtime"], fatal=task["exc_guard_fatal"])

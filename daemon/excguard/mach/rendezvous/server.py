"""The parent's half: rights registered by process id, given once to the process that the kernel identifies.

One thread, one loop, one message at a time: requests and the kernel's notices of processes that have ended.
The table (`table.py`) is shared with the threads that register ports, under `RendezvousServer.lock`.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, Final

from excguard.mach.bootstrap import check_in
from excguard.mach.errors import MachError, check
from excguard.mach.ports import PortSet, ReceiveRight, SendOnceRight
from excguard.mach.rendezvous import environment, wire
from excguard.mach.rendezvous.events import (
    Claimed,
    Event,
    Inserted,
    NothingToGive,
    Refused,
    Registered,
    Rejected,
    SendFailed,
    Unclaimed,
    Validated,
)
from excguard.mach.rendezvous.insertion import SETTLE, InsertionReport
from excguard.mach.rendezvous.message import HEADER, MalformedError, sender_of
from excguard.mach.rendezvous.port import Port, type_of
from excguard.mach.rendezvous.requirement import Requirement, Validation
from excguard.mach.rendezvous.table import Entry, State, Table, destroy
from excguard.mach.rendezvous.wire import Protocol
from excguard.native import ffi, lib
from excguard.native.closeable import Closeable

MAX_PORTS: Final = int(lib.EXCGUARD_RENDEZVOUS_MAX_PORTS)
"""As many as a client takes."""

_QUEUE_LIMIT: Final = 256
"""Messages that wait while the loop is busy: each process of a large program may report at the same time."""

_MAX_KEY: Final = 0xFFFFFFFF
_SETTLING: Final = 0.5
"""Seconds that `RendezvousServer.settle` waits; after a timeout it does not wait for ten times as long."""


class Launch:
    """A child about to be started, and what is to be registered for it."""

    def __init__(
        self, server: "RendezvousServer", ports: dict[int, Port], requirement: Requirement | None
    ) -> None:
        """Use `RendezvousServer.launch`."""
        self._server = server
        self._ports = ports
        self._requirement = requirement
        self.pid = 0

    def register(self, pid: int) -> None:
        """The child was started and has this pid.

        Raises:
            ValueError: see `RendezvousServer.register_ports`.
        """
        self.pid = pid
        if self._requirement is not None:
            self._server.set_process_requirement(pid, self._requirement)
        if self._ports:
            ports, self._ports = self._ports, {}
            self._server.register_ports(pid, ports)

    def abandon(self) -> None:
        """Destroy what was not registered."""
        ports, self._ports = self._ports, {}
        destroy(ports)


class RendezvousServer(Closeable):
    """Gives ports to children, from construction to `close`.

    Attributes:
        service: its name in the bootstrap name space.
        validation: the policy for requirements of children, also passed to them for the server's.
        lock: the launch lock. Hold it from before a child is started until its ports are registered.
    """

    def __init__(
        self,
        service: str,
        *,
        validation: Validation = Validation.OFF,
        on_event: Callable[[Event], None] | None = None,
        chromium_bundle: str = "",
        chromium_data: bytes = b"",
    ) -> None:
        """Take over a service and start the loop.

        Args:
            service: a name that the launchd job declares under MachServices; without a job any
                name works.
            validation: the policy for requirements.
            on_event: called with each event, on the loop's thread or, for a child that was already dead, on
                the registering thread; must not block and must not raise.
            chromium_bundle: also serve children that speak Chromium's protocol, under the name that they
                derive from this bundle identifier and this process's pid; empty for not. No child can have
                more than 6 ports then: a Chromium client has room for no more.
            chromium_data: the Info.plist for those that ask for it; at most 18 KiB.

        Raises:
            MachError: ``BOOTSTRAP_SERVICE_ACTIVE``: another process serves under this name;
                ``BOOTSTRAP_NOT_PRIVILEGED``: a sandbox forbids it.
            ValueError: a name that is too long for bootstrap.
        """
        self.service = service
        self.validation = validation
        self._on_event = on_event or (lambda _event: None)
        self._data = chromium_data
        self._max_ports = MAX_PORTS if not chromium_bundle else int(lib.EXCGUARD_CHROMIUM_MAX_PORTS)
        self._closing = False
        self._settled = threading.Event()
        self._no_settling_until = 0.0
        with ExitStack() as stack:
            self._set = stack.enter_context(PortSet.allocate())
            # Exits and the end of the loop arrive at a port that no other process can send to.
            self._own = stack.enter_context(ReceiveRight.construct())
            self._table = Table(self._own)
            self.lock = self._table.lock
            self._protocols: dict[int, Protocol] = {self._own.name: Protocol.EXCGUARD}
            self._own.move_to(self._set)
            names = {service: Protocol.EXCGUARD}
            if chromium_bundle:
                names[f"{chromium_bundle}.MachPortRendezvousServer.{os.getpid()}"] = Protocol.CHROMIUM
            self._services = []
            for name, protocol in names.items():
                port = stack.enter_context(check_in(name))
                port.move_to(self._set)
                port.set_queue_limit(_QUEUE_LIMIT)
                self._protocols[port.name] = protocol
                self._services.append(port)
            self._thread = threading.Thread(target=self._serve, name="rendezvous", daemon=True)
            self._thread.start()
            self._stack = stack.pop_all()

    @property
    def environment(self) -> dict[str, str]:
        """What a child needs to find this server, on top of what else it gets."""
        variables = {
            environment.SERVICE: self.service,
            environment.SERVER_PID: str(os.getpid()),
            environment.VALIDATION: self.validation.value,
        }
        if len(self._services) > 1:
            variables[environment.CHROMIUM_VALIDATION] = str(self.validation.number)
        return variables

    def control_port(self) -> Port:
        """A send right for a child to report to this server (``EXCGUARD_KEY_CONTROL``)."""
        return Port.make_send(self._services[0])

    # ---- registration ----

    @contextmanager
    def launch(self, ports: Mapping[int, Port], requirement: Requirement | None = None) -> Iterator[Launch]:
        """Hold the lock while a child is started, and register what it is to have.

        Call `Launch.register` with its pid inside of the block. When the block ends without that, as it does
        when the start failed, ports that move are destroyed.

        Raises:
            ValueError: more ports than a client takes, or an invalid key.
        """
        launch = Launch(self, dict(ports), requirement)
        try:
            self._check(ports)
            with self.lock:
                yield launch
        finally:
            launch.abandon()
            self._report_gone()

    def register_ports(self, pid: int, ports: Mapping[int, Port]) -> None:
        """Keep ports ready for a child of this process. `lock` must be held since before it was started.

        Ports that move are the server's from now on, and are destroyed also when this raises. A child that
        has already ended is not an error: its ports are destroyed.

        Raises:
            ValueError: no ports; more than a client takes; a key that is not a 32-bit number; ports are
                already registered for this pid; the server was closed.
            RuntimeError: the lock is not held.
        """
        mine = dict(ports)
        with ExitStack() as stack:
            stack.callback(destroy, mine)
            self._check(mine)
            if not mine:
                raise ValueError("no ports to register")
            entry = self._to_register(pid)
            if entry is None:
                self._on_event(Unclaimed(pid, len(mine)))
                return
            if entry.ports:
                raise ValueError(f"ports are already registered for process {pid}")
            entry.ports = mine
            stack.pop_all()

    def set_process_requirement(self, pid: int, requirement: Requirement) -> None:
        """Have a child fulfil a requirement before it gets ports. `lock` must be held, as above.

        Raises:
            ValueError: there is one for this pid already; a server that was closed.
            RuntimeError: the lock is not held.
        """
        entry = self._to_register(pid)
        if entry is not None:
            if entry.requirement is not None:
                raise ValueError(f"process {pid} already has a requirement")
            entry.requirement = requirement

    def forget(self, pid: int) -> None:
        """Drop what is kept for a process that was reaped, at once; does nothing for others.

        The kernel also reports the end of processes, a moment later.
        """
        with self.lock:
            self._table.forget([pid])
        self._report_gone()

    @property
    def waiting(self) -> int:
        """How many processes have not yet requested their ports."""
        with self.lock:
            return self._table.waiting()

    @property
    def known(self) -> int:
        """How many living processes are in the table: those that wait and those that received their ports."""
        with self.lock:
            return len(self._table)

    def settle(self) -> None:
        """Return when the messages that were sent to the service until now have been received, or soon after.

        Not for the loop's thread, and for one thread at a time.
        """
        if self._closing or time.monotonic() < self._no_settling_until:
            return
        self._settled.clear()
        sent = _send_to(self._services[0].name, SETTLE)
        if sent != lib.KERN_SUCCESS or not self._settled.wait(_SETTLING):
            self._no_settling_until = time.monotonic() + 10 * _SETTLING

    def close(self) -> None:
        """Stop serving and destroy unclaimed ports. A client that waits for a reply is woken without one."""
        with self.lock:
            if self._closing:
                return
            self._closing = True
        check("mach_msg", self._wake())
        self._thread.join()
        with self.lock:
            self._table.forget()
        self._drain_exits()
        self._report_gone()
        self._stack.close()

    def _drain_exits(self) -> None:
        """Receive exits that came too late for the loop, and release the name that each carries."""
        buffer = ffi.new("uint64_t[]", wire.RECEIVE_SIZE // 8)
        header = ffi.cast("mach_msg_header_t *", buffer)
        options = lib.MACH_RCV_MSG | lib.MACH_RCV_TIMEOUT | lib.EXCGUARD_RCV_AUDIT_TRAILER
        self._own.move_to(None)
        while lib.mach_msg(header, options, 0, wire.RECEIVE_SIZE, self._own.name, 0, 0) == lib.KERN_SUCCESS:
            _discard(header, bytes(ffi.buffer(buffer)))

    def _to_register(self, pid: int) -> Entry | None:
        if not self.lock.held:
            raise RuntimeError("hold the launch lock from before the child is started until it is registered")
        if self._closing:
            raise ValueError("the server was closed")
        return self._table.to_register(pid)

    def _check(self, ports: Mapping[int, Port]) -> None:
        if len(ports) > self._max_ports:
            raise ValueError(f"{len(ports)} ports for one process; the limit is {self._max_ports}")
        for key in ports:
            if not 0 <= key <= _MAX_KEY:
                raise ValueError(f"invalid key {key!r}: keys are 32-bit numbers")

    # ---- the loop ----

    def _serve(self) -> None:
        buffer = ffi.new("uint64_t[]", wire.RECEIVE_SIZE // 8)
        header = ffi.cast("mach_msg_header_t *", buffer)
        options = lib.MACH_RCV_MSG | lib.EXCGUARD_RCV_AUDIT_TRAILER
        while True:
            result = lib.mach_msg(header, options, 0, wire.RECEIVE_SIZE, self._set.name, 0, 0)
            if self._closing:
                self._take_reports(buffer, header, result)
                return
            if result == lib.KERN_SUCCESS:
                # No message may end the loop, whatever is in it.
                try:
                    self._handle(header, bytes(ffi.buffer(buffer)))
                except MachError as error:
                    self._on_event(Rejected(0, str(error)))
                self._report_gone()
            elif result == lib.MACH_RCV_TOO_LARGE:  # the kernel has destroyed it
                self._on_event(Rejected(0, f"longer than {wire.RECEIVE_SIZE} bytes"))
            else:
                self._on_event(Rejected(0, str(MachError("mach_msg", result))))
                if (result & ~0x3E00) in (lib.MACH_RCV_BODY_ERROR, lib.MACH_RCV_HEADER_ERROR):
                    lib.mach_msg_destroy(header)
                else:
                    return  # the set is gone

    def _take_reports(self, buffer: Any, header: Any, result: int) -> None:  # noqa: ANN401 (C pointers)
        """Empty the queues when the server closes: what was reported before counts, requests get no reply."""
        options = lib.MACH_RCV_MSG | lib.MACH_RCV_TIMEOUT | lib.EXCGUARD_RCV_AUDIT_TRAILER
        while result == lib.KERN_SUCCESS:
            received = bytes(ffi.buffer(buffer))
            with suppress(MalformedError):
                message = wire.parse(received, self._protocols[header.msgh_local_port])
                if isinstance(message, InsertionReport):
                    self._on_event(Inserted(message.sender.pid, message))
            _discard(header, received)
            result = lib.mach_msg(header, options, 0, wire.RECEIVE_SIZE, self._set.name, 0, 0)

    def _handle(self, header: Any, received: bytes) -> None:  # noqa: ANN401 (a C pointer)
        try:
            message = wire.parse(received, self._protocols[header.msgh_local_port])
        except MalformedError as error:
            # A sender that waits for a reply gets a send-once notification instead.
            lib.mach_msg_destroy(header)
            self._on_event(Rejected(_pid_of(received), str(error)))
            return
        match message:
            case wire.DeadName(name=name):
                with self.lock:
                    self._table.task_name_died(name)
            case wire.Cancelled():
                pass
            case wire.Settle(sender=sender):
                if sender.pid == os.getpid():
                    self._settled.set()
            case wire.Report(sender=sender, outcome=outcome, result=result):
                self._on_event(Registered(sender.pid, outcome, result))
            case InsertionReport(sender=sender):
                self._on_event(Inserted(sender.pid, message))
            case wire.Request():
                with SendOnceRight(header.msgh_remote_port) as reply:
                    self._reply_to(message, reply)

    def _report_gone(self) -> None:
        """Report the processes that ended before they requested their ports; without the lock."""
        with self.lock:
            gone, self._table.gone = self._table.gone, []
        for event in gone:
            self._on_event(event)

    def _reply_to(self, request: wire.Request, reply: SendOnceRight) -> None:
        pid = request.sender.pid
        if request.protocol is Protocol.EXCGUARD and request.version != lib.EXCGUARD_RENDEZVOUS_VERSION:
            self._send(request, reply, {}, lib.EXCGUARD_CLIENT_OTHER_VERSION)
            self._on_event(Rejected(pid, f"version {request.version} of the protocol"))
            return
        checked, status = self._validate(request)
        with self.lock:
            entry = self._table.living(pid)
            if entry is not checked:  # it ended while its signature was checked
                entry = None
            if entry is None or entry.state is not State.WAITING:
                found = lib.EXCGUARD_CLIENT_UNKNOWN if entry is None else entry.state.value
                ports: dict[int, Port] = {}
            else:
                refused = status != 0 and self.validation is Validation.ENFORCE
                entry.state = State.REFUSED if refused else State.CLAIMED
                found = lib.EXCGUARD_CLIENT_REFUSED if refused else lib.EXCGUARD_CLIENT_GRANTED
                ports, entry.ports = entry.ports, {}
                if refused:
                    destroy(ports)
                    ports = {}
        count = len(ports)
        if not self._send(request, reply, ports, found):
            return
        if found == lib.EXCGUARD_CLIENT_GRANTED:
            self._on_event(Claimed(pid, count))
        elif found == lib.EXCGUARD_CLIENT_REFUSED:
            self._on_event(Refused(pid, status))
        else:
            self._on_event(NothingToGive(pid, before=found == lib.EXCGUARD_CLIENT_CLAIMED_BEFORE))

    def _validate(self, request: wire.Request) -> tuple[Entry | None, int]:
        """The sender's entry, and the result of the check of its requirement: 0 or an OSStatus.

        Without the lock: this can take long, and other threads start children.
        """
        pid = request.sender.pid
        with self.lock:
            entry = self._table.living(pid)
            waiting = entry is not None and entry.state is State.WAITING
            requirement = entry.requirement if entry is not None and waiting else None
        if requirement is None or self.validation is Validation.OFF:
            return entry, 0
        status = requirement.check(request.sender.token)
        self._on_event(Validated(pid, status))
        return entry, status

    def _send(self, request: wire.Request, reply: SendOnceRight, ports: dict[int, Port], status: int) -> bool:
        """Send the reply; ports that move are gone afterwards, sent or destroyed."""
        # Those that move come last: any other right that cannot be sent is found before these are taken.
        ordered = sorted(ports.items(), key=lambda item: item[1].disposition.moves)
        try:
            rights = [(key, port.name, int(port.disposition)) for key, port in ordered]
        except ValueError:  # a right that was to be copied was closed meanwhile
            destroy(ports)
            self._on_event(SendFailed(request.sender.pid, MachError("mach_msg", lib.MACH_SEND_INVALID_RIGHT)))
            return False
        if request.protocol is Protocol.CHROMIUM:
            data = self._data if request.wants_data else b""
            message = wire.build_chromium_reply(reply.name, rights, data)
        else:
            message = wire.build_reply(reply.name, rights, status=status)
        result = _send(message)
        if result == lib.KERN_SUCCESS:
            reply.detach()
            for port in ports.values():
                port.delivered()
            return True
        for port in ports.values():
            port.after_failed_send()
        if not type_of(reply.name) & (lib.MACH_PORT_TYPE_SEND_ONCE | lib.MACH_PORT_TYPE_DEAD_NAME):
            reply.detach()  # the message took it along
        self._on_event(SendFailed(request.sender.pid, MachError("mach_msg", result)))
        return False

    def _wake(self) -> int:
        """Wake the loop."""
        return _send_to(self._own.name, 0)


def _send_to(port: int, msgh_id: int) -> int:
    """Send an empty message to a port of our own, by a send-once right, which no full queue can block."""
    return _send(HEADER.pack(int(lib.MACH_MSG_TYPE_MAKE_SEND_ONCE), HEADER.size, port, 0, 0, msgh_id))


def _send(message: bytes) -> int:
    buffer = ffi.new("uint64_t[]", (len(message) + 7) // 8)
    ffi.buffer(buffer)[: len(message)] = message
    header = ffi.cast("mach_msg_header_t *", buffer)
    # A send-once right never waits for room; the timeout is for any other right.
    return int(lib.mach_msg(header, lib.MACH_SEND_MSG | lib.MACH_SEND_TIMEOUT, len(message), 0, 0, 0, 0))


def _discard(header: Any, received: bytes) -> None:  # noqa: ANN401 (a C pointer)
    """Release all rights in a message."""
    with suppress(MalformedError):
        message = wire.parse(received, Protocol.EXCGUARD)
        if isinstance(message, wire.DeadName):
            lib.mach_port_deallocate(lib.mach_task_self(), message.name)
    lib.mach_msg_destroy(header)


def _pid_of(received: bytes) -> int:
    try:
        return sender_of(received).pid
    except MalformedError:
        return 0

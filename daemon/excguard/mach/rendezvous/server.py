"""The parent's half: rights kept ready by process id, given once to the process that the kernel says it is.

One thread, one loop, one message at a time: requests and the kernel's notices of processes that have ended.
The table is shared with whoever registers, under `RendezvousServer.lock`.

A process is watched through the name port of its task, which dies with the task: the loop is told by a
dead-name notification. The task also goes when the process puts another program in its place (exec keeps the
pid and the claim), so `waitid` is asked what it was. Until the parent has reaped its child nobody else can
have the pid; a name port that died and a child that is no longer ours mean that whoever has the pid now is a
stranger.
"""

import enum
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self

from excguard.mach.bootstrap import check_in
from excguard.mach.errors import MachError, check
from excguard.mach.ports import PortSet, ReceiveRight, SendOnceRight
from excguard.mach.rendezvous import environment, wire
from excguard.mach.rendezvous.port import Port, type_of
from excguard.mach.rendezvous.requirement import Requirement, Validation
from excguard.mach.rendezvous.wire import MalformedError, Protocol
from excguard.native import ffi, lib

MAX_PORTS: Final = int(lib.EXCGUARD_RENDEZVOUS_MAX_PORTS)
"""As many as a client takes."""

_MAX_KEY: Final = 0xFFFFFFFF


@dataclass(frozen=True)
class Claimed:
    """A child has its ports."""

    pid: int
    ports: int


@dataclass(frozen=True)
class NothingToGive:
    """A process asked that has nothing registered, or (`before`) that had its ports already."""

    pid: int
    before: bool


@dataclass(frozen=True)
class Refused:
    """A child did not fulfil its requirement and got nothing; `status` is an OSStatus."""

    pid: int
    status: int


@dataclass(frozen=True)
class Validated:
    """A child's requirement was checked: `status` is 0 or an OSStatus. Told under either policy."""

    pid: int
    status: int


@dataclass(frozen=True)
class SendFailed:
    """An answer could not be sent: the child is gone, or a right that was to be copied is."""

    pid: int
    error: MachError


@dataclass(frozen=True)
class Unclaimed:
    """A process ended without having asked for what was registered for it."""

    pid: int
    ports: int


@dataclass(frozen=True)
class Attached:
    """A child reports how `excguard_client_watch_self` went: an outcome and a kern_return_t."""

    pid: int
    outcome: int
    result: int


@dataclass(frozen=True)
class Rejected:
    """A message was none of the protocol's and was destroyed; `pid` is 0 when its sender is unknown."""

    pid: int
    reason: str


Event = Claimed | NothingToGive | Refused | Validated | SendFailed | Unclaimed | Attached | Rejected


class _State(enum.Enum):
    WAITING = lib.EXCGUARD_CLIENT_GRANTED
    CLAIMED = lib.EXCGUARD_CLIENT_CLAIMED_BEFORE
    REFUSED = lib.EXCGUARD_CLIENT_REFUSED


@dataclass(eq=False)
class _Entry:
    """What is known of one process. It stays until the process ends: a second claim is told from none."""

    pid: int
    task_name: int
    """A send right (or, later, a dead name) for the name port of its task."""
    ports: dict[int, Port] = field(default_factory=dict)
    requirement: Requirement | None = None
    state: _State = _State.WAITING


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
        _destroy(ports)


class _LaunchLock:
    """A lock that the same thread may take again, and that knows whose it is."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._owner = 0
        self._depth = 0

    def __enter__(self) -> Self:
        self._lock.acquire()
        self._owner = threading.get_ident()
        self._depth += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._depth -= 1
        if not self._depth:
            self._owner = 0
        self._lock.release()

    @property
    def held(self) -> bool:
        """Whether it is the calling thread's."""
        return self._owner == threading.get_ident()


class RendezvousServer:
    """Gives ports to children, from construction to `close`.

    Attributes:
        service: its name in the bootstrap name space.
        validation: what is done about requirements of children, and told to them about the server.
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
            service: a name that the launchd job declares under MachServices; where there is no job the name
                is taken as it is.
            validation: what is done about requirements.
            on_event: told what happens, on the loop's thread or, of a child that was dead on arrival, on the
                one that registers; must not block and must not raise.
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
        self.lock = _LaunchLock()
        self._on_event = on_event or (lambda _event: None)
        self._data = chromium_data
        self._max_ports = MAX_PORTS if not chromium_bundle else int(lib.EXCGUARD_CHROMIUM_MAX_PORTS)
        self._entries: dict[int, _Entry] = {}
        self._by_task_name: dict[int, _Entry] = {}
        self._closing = False
        with ExitStack() as stack:
            self._set = stack.enter_context(PortSet.allocate())
            # Exits and the end of the loop come to a port that nobody else can send to.
            self._own = stack.enter_context(ReceiveRight.construct())
            self._protocols: dict[int, Protocol] = {self._own.name: Protocol.EXCGUARD}
            self._own.move_to(self._set)
            names = {service: Protocol.EXCGUARD}
            if chromium_bundle:
                names[f"{chromium_bundle}.MachPortRendezvousServer.{os.getpid()}"] = Protocol.CHROMIUM
            self._services = []
            for name, protocol in names.items():
                port = stack.enter_context(check_in(name))
                port.move_to(self._set)
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
            ValueError: more ports than a client takes, or a key that is none.
        """
        launch = Launch(self, dict(ports), requirement)
        try:
            self._check(ports)
            with self.lock:
                yield launch
        finally:
            launch.abandon()

    def register_ports(self, pid: int, ports: Mapping[int, Port]) -> None:
        """Keep ports ready for a child of this process. `lock` must be held since before it was started.

        Ports that move are the server's from now on, and are destroyed also when this raises. A child that
        has ended already is no error: its ports are destroyed.

        Raises:
            ValueError: no ports; more than a client takes; a key that is no 32-bit number; ports that wait
                for this pid already; a server that was closed.
            RuntimeError: the lock is not held.
        """
        mine = dict(ports)
        with ExitStack() as stack:
            stack.callback(_destroy, mine)
            self._check(mine)
            if not mine:
                raise ValueError("no ports to register")
            entry = self._entry(pid)
            if entry is None:
                self._on_event(Unclaimed(pid, len(mine)))
                return
            if entry.ports:
                raise ValueError(f"process {pid} has ports waiting for it already")
            entry.ports = mine
            stack.pop_all()

    def set_process_requirement(self, pid: int, requirement: Requirement) -> None:
        """Have a child fulfil a requirement before it gets ports. `lock` must be held, as above.

        Raises:
            ValueError: there is one for this pid already; a server that was closed.
            RuntimeError: the lock is not held.
        """
        entry = self._entry(pid)
        if entry is not None:
            if entry.requirement is not None:
                raise ValueError(f"process {pid} has a requirement already")
            entry.requirement = requirement

    def forget(self, pid: int) -> None:
        """Drop what is kept for a process that was reaped, at once; does nothing for others.

        The kernel tells of the end of processes too, a moment later.
        """
        with self.lock:
            entry = self._entries.get(pid)
            event = self._drop(entry) if entry is not None else None
        if event is not None:
            self._on_event(event)

    @property
    def waiting(self) -> int:
        """How many processes have not asked yet for what is registered for them."""
        with self.lock:
            return sum(entry.state is _State.WAITING for entry in self._entries.values())

    @property
    def known(self) -> int:
        """How many living processes the table knows: those that wait and those that had their ports."""
        with self.lock:
            return len(self._entries)

    def close(self) -> None:
        """Stop serving and destroy what nobody has claimed. Who waits for an answer is woken without one."""
        with self.lock:
            if self._closing:
                return
            self._closing = True
        check("mach_msg", self._wake())
        self._thread.join()
        with self.lock:
            for entry in list(self._entries.values()):
                self._drop(entry)
        self._drain_exits()
        self._stack.close()

    def _drain_exits(self) -> None:
        """Exits that were told too late for the loop: each carries a reference to a name, or it leaks."""
        buffer = ffi.new("uint64_t[]", wire.RECEIVE_SIZE // 8)
        header = ffi.cast("mach_msg_header_t *", buffer)
        options = lib.MACH_RCV_MSG | lib.MACH_RCV_TIMEOUT | lib.EXCGUARD_RCV_AUDIT_TRAILER
        self._own.move_to(None)
        while lib.mach_msg(header, options, 0, wire.RECEIVE_SIZE, self._own.name, 0, 0) == lib.KERN_SUCCESS:
            _discard(header, bytes(ffi.buffer(buffer)))

    def __enter__(self) -> Self:
        """Serve for the length of a block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def _check(self, ports: Mapping[int, Port]) -> None:
        if len(ports) > self._max_ports:
            raise ValueError(f"{len(ports)} ports for one process; {self._max_ports} is the limit")
        for key in ports:
            if not 0 <= key <= _MAX_KEY:
                raise ValueError(f"{key!r} is no key: they are 32-bit numbers")

    # ---- the table; all with the lock ----

    def _entry(self, pid: int) -> _Entry | None:
        """The entry that waits for a claim of this process, made if need be; None when it has ended."""
        if not self.lock.held:
            raise RuntimeError("hold the launch lock from before the child is started until it is registered")
        if self._closing:
            raise ValueError("this server was closed")
        entry = self._living(pid)
        if entry is None:
            entry = self._watch(_Entry(pid, 0))
        elif entry.state is not _State.WAITING:
            # Once more: it had its ports, and may ask for others.
            entry.state, entry.requirement = _State.WAITING, None
        return entry

    def _living(self, pid: int) -> _Entry | None:
        """The entry of the process that has this pid now. One that is older than the process is dropped."""
        entry = self._entries.get(pid)
        if entry is None or not type_of(entry.task_name) & lib.MACH_PORT_TYPE_DEAD_NAME:
            return entry
        return self._task_has_gone(entry)

    def _task_has_gone(self, entry: _Entry) -> _Entry | None:
        """Its task is no more: the process has ended, or runs another program (and so has another task)."""
        self._unwatch(entry)
        if _is_running_child(entry.pid) and self._watch(entry) is not None:
            return entry
        self._entries.pop(entry.pid, None)
        _destroy(entry.ports)
        return None

    def _watch(self, entry: _Entry) -> _Entry | None:
        """Have the loop told when the entry's process ends; None when it has."""
        name = ffi.new("mach_port_name_t *")
        if lib.task_name_for_pid(lib.mach_task_self(), entry.pid, name) != lib.KERN_SUCCESS:
            return None
        previous = ffi.new("mach_port_t *")
        result = lib.mach_port_request_notification(
            lib.mach_task_self(),
            name[0],
            lib.MACH_NOTIFY_DEAD_NAME,
            0,
            self._own.name,
            lib.MACH_MSG_TYPE_MAKE_SEND_ONCE,
            previous,
        )
        if result != lib.KERN_SUCCESS:
            lib.mach_port_deallocate(lib.mach_task_self(), name[0])
            return None
        entry.task_name = name[0]
        self._by_task_name[entry.task_name] = entry
        self._entries[entry.pid] = entry
        return entry

    def _unwatch(self, entry: _Entry) -> None:
        self._by_task_name.pop(entry.task_name, None)
        previous = ffi.new("mach_port_t *")
        # No longer there when the notification is on its way; that one brings a reference of its own.
        cancelled = lib.mach_port_request_notification(
            lib.mach_task_self(), entry.task_name, lib.MACH_NOTIFY_DEAD_NAME, 0, 0, 0, previous
        )
        if cancelled == lib.KERN_SUCCESS and previous[0]:
            lib.mach_port_deallocate(lib.mach_task_self(), previous[0])
        lib.mach_port_deallocate(lib.mach_task_self(), entry.task_name)
        entry.task_name = 0

    def _drop(self, entry: _Entry) -> Unclaimed | None:
        self._unwatch(entry)
        self._entries.pop(entry.pid, None)
        return self._after(entry)

    @staticmethod
    def _after(entry: _Entry) -> Unclaimed | None:
        """What is to be told of an entry that has gone; its ports go too."""
        ports, entry.ports = entry.ports, {}
        _destroy(ports)
        if entry.state is _State.WAITING:
            return Unclaimed(entry.pid, len(ports))
        return None

    # ---- the loop ----

    def _serve(self) -> None:
        buffer = ffi.new("uint64_t[]", wire.RECEIVE_SIZE // 8)
        header = ffi.cast("mach_msg_header_t *", buffer)
        options = lib.MACH_RCV_MSG | lib.EXCGUARD_RCV_AUDIT_TRAILER
        while True:
            result = lib.mach_msg(header, options, 0, wire.RECEIVE_SIZE, self._set.name, 0, 0)
            if self._closing:
                if result == lib.KERN_SUCCESS:
                    _discard(header, bytes(ffi.buffer(buffer)))
                return
            if result == lib.KERN_SUCCESS:
                # No message may end the loop, whatever is in it.
                try:
                    self._handle(header, bytes(ffi.buffer(buffer)))
                except MachError as error:
                    self._on_event(Rejected(0, str(error)))
            elif result == lib.MACH_RCV_TOO_LARGE:  # the kernel has destroyed it
                self._on_event(Rejected(0, f"longer than {wire.RECEIVE_SIZE} bytes"))
            else:
                self._on_event(Rejected(0, str(MachError("mach_msg", result))))
                if (result & ~0x3E00) in (lib.MACH_RCV_BODY_ERROR, lib.MACH_RCV_HEADER_ERROR):
                    lib.mach_msg_destroy(header)
                else:
                    return  # the set is gone

    def _handle(self, header: Any, received: bytes) -> None:  # noqa: ANN401 (a C pointer)
        try:
            message = wire.parse(received, self._protocols[header.msgh_local_port])
        except MalformedError as error:
            # The asker, if it waits for an answer, is told that its reply right is gone.
            lib.mach_msg_destroy(header)
            self._on_event(Rejected(_pid_of(received), str(error)))
            return
        match message:
            case wire.DeadName(name=name):
                self._task_name_died(name)
            case wire.Cancelled():
                pass
            case wire.Report(sender=sender, outcome=outcome, result=result):
                self._on_event(Attached(sender.pid, outcome, result))
            case wire.Request():
                with SendOnceRight(header.msgh_remote_port) as reply:
                    self._answer(message, reply)

    def _task_name_died(self, name: int) -> None:
        event = None
        with self.lock:
            entry = self._by_task_name.get(name)
            if entry is not None:
                count, state = len(entry.ports), entry.state
                if self._task_has_gone(entry) is None and state is _State.WAITING:
                    event = Unclaimed(entry.pid, count)
        # The notification carries a reference to the name.
        lib.mach_port_deallocate(lib.mach_task_self(), name)
        if event is not None:
            self._on_event(event)

    def _answer(self, request: wire.Request, reply: SendOnceRight) -> None:
        pid = request.sender.pid
        if request.protocol is Protocol.EXCGUARD and request.version != lib.EXCGUARD_RENDEZVOUS_VERSION:
            self._send(request, reply, {}, lib.EXCGUARD_CLIENT_OTHER_VERSION)
            self._on_event(Rejected(pid, f"version {request.version} of the protocol"))
            return
        checked, status = self._validate(request)
        with self.lock:
            entry = self._living(pid)
            if entry is not checked:  # it went while its signature was looked at
                entry = None
            if entry is None or entry.state is not _State.WAITING:
                found = lib.EXCGUARD_CLIENT_UNKNOWN if entry is None else entry.state.value
                ports: dict[int, Port] = {}
            else:
                refused = status != 0 and self.validation is Validation.ENFORCE
                entry.state = _State.REFUSED if refused else _State.CLAIMED
                found = lib.EXCGUARD_CLIENT_REFUSED if refused else lib.EXCGUARD_CLIENT_GRANTED
                ports, entry.ports = entry.ports, {}
                if refused:
                    _destroy(ports)
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

    def _validate(self, request: wire.Request) -> tuple[_Entry | None, int]:
        """The asker's entry, and its requirement checked: 0 or an OSStatus.

        Without the lock: this can take long, and others want to start their children.
        """
        pid = request.sender.pid
        with self.lock:
            entry = self._living(pid)
            waiting = entry is not None and entry.state is _State.WAITING
            requirement = entry.requirement if entry is not None and waiting else None
        if requirement is None or self.validation is Validation.OFF:
            return entry, 0
        status = requirement.check(request.sender.token)
        self._on_event(Validated(pid, status))
        return entry, status

    def _send(self, request: wire.Request, reply: SendOnceRight, ports: dict[int, Port], status: int) -> bool:
        """Answer; ports that move are gone afterwards, one way or the other."""
        # Those that move come last: what else cannot be sent is met before anything of theirs is taken.
        ordered = sorted(ports.items(), key=lambda item: item[1].disposition.moves)
        try:
            rights = [(key, port.name, int(port.disposition)) for key, port in ordered]
        except ValueError:  # a right that was to be copied was closed meanwhile
            _destroy(ports)
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
        """Have the loop look around: a message to our own port, by a right that no full queue can hold up."""
        bits = int(lib.MACH_MSG_TYPE_MAKE_SEND_ONCE)
        return _send(wire.HEADER.pack(bits, wire.HEADER.size, self._own.name, 0, 0, 0))


def _send(message: bytes) -> int:
    buffer = ffi.new("uint64_t[]", (len(message) + 7) // 8)
    ffi.buffer(buffer)[: len(message)] = message
    header = ffi.cast("mach_msg_header_t *", buffer)
    # A send-once right never waits for room; the timeout is for what should not be there.
    return int(lib.mach_msg(header, lib.MACH_SEND_MSG | lib.MACH_SEND_TIMEOUT, len(message), 0, 0, 0, 0))


def _discard(header: Any, received: bytes) -> None:  # noqa: ANN401 (a C pointer)
    """Release all that a message carries."""
    with suppress(MalformedError):
        message = wire.parse(received, Protocol.EXCGUARD)
        if isinstance(message, wire.DeadName):
            lib.mach_port_deallocate(lib.mach_task_self(), message.name)
    lib.mach_msg_destroy(header)


def _destroy(ports: dict[int, Port]) -> None:
    for port in ports.values():
        port.destroy()


def _pid_of(received: bytes) -> int:
    try:
        return wire.sender_of(received).pid
    except MalformedError:
        return 0


def _is_running_child(pid: int) -> bool:
    """Whether this process has a child of that pid that has not ended; asking does not reap it."""
    info = ffi.new("siginfo_t *")  # zeroed: si_pid stays 0 while there is nothing to tell
    options = lib.WEXITED | lib.WNOHANG | lib.WNOWAIT
    return bool(lib.waitid(lib.P_PID, pid, info, options) == 0 and info.si_pid == 0)

"""The targets that are watched at present: their exception ports, their numbers, and what became of them."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from excguard.config import Target
from excguard.mach.errors import MachError
from excguard.mach.host import Host
from excguard.pipeline.counters import TargetState
from excguard.pipeline.pipeline import Pipeline
from excguard.pipeline.receiver import Receiver
from excguard.targets.attachment import Attachment
from excguard.targets.bundle import bundle_version
from excguard.targets.events import Event, Exited, ExitReason, Restarting, Started, StartFailed
from excguard.targets.supervised_target import SupervisedTarget
from excguard.targets.supervisor import Supervisor


@dataclass(eq=False)
class _Entry:
    """A target that is watched."""

    target: Target
    number: int
    supervised: SupervisedTarget | None  # None: a process that was not started here
    no_senders: int = 0  # no-senders notifications that were logged
    state: TargetState = field(
        default_factory=lambda: TargetState(exits={reason.value: 0 for reason in ExitReason})
    )


class TargetSet:
    """Adds targets to supervisor and receiver, removes them, and keeps their states."""

    def __init__(self, host: Host, pipeline: Pipeline, supervisor: Supervisor, receiver: Receiver) -> None:
        """Begin without targets."""
        self._host = host
        self._pipeline = pipeline
        self._supervisor = supervisor
        self._receiver = receiver
        self._entries: dict[str, _Entry] = {}

    @property
    def states(self) -> Mapping[str, TargetState]:
        """The state of each target; the mapping is a new one each time."""
        return {name: entry.state for name, entry in self._entries.items()}

    def number(self, name: str) -> int:
        """The number of a target, as in records."""
        return self._entries[name].number

    def add(self, target: Target, *, foreground: bool = False) -> None:
        """Give a target its number and its port; its program starts with the supervisor, or at once.

        Raises:
            JournalError: the table of target names cannot be written.
            UnsupportedReleaseError: the running system does not have the target's behavior.
            MachError: the port cannot be made.
        """
        (number,) = self._pipeline.names.number([target.name])
        supervised = self._supervisor.add(target, foreground=foreground)
        self._entries[target.name] = _Entry(target, number, supervised)
        # Before the program can have the port: messages to ports that the receiver does not have are refused.
        self._receiver.add_target(supervised.port.name, number, target.reply)

    def attach(self, pid: int, target: Target) -> Attachment:
        """Watch a process that runs already; the caller closes the attachment.

        Raises:
            JournalError: the table of target names cannot be written.
            UnsupportedReleaseError: the running system does not have the target's behavior.
            MachError: the kernel refuses.
        """
        (number,) = self._pipeline.names.number([target.name])
        attachment = Attachment(self._host, pid, target.behavior, self._supervisor.port_set)
        entry = self._entries[target.name] = _Entry(target, number, None)
        self._pipeline.live.processes.started(number, pid)
        try:
            self._receiver.add_target(attachment.port.name, number, target.reply)
            self._receiver.set_pid(number, pid)
            replaced = attachment.attach()
        except MachError:
            attachment.close()
            raise
        entry.state.up = True
        self._pipeline.emit("info", "target_attached", target=target.name, pid=pid, replaced_handler=replaced)
        return attachment

    async def change(self, targets: Iterable[Target]) -> None:
        """Go over to other targets. Those that stay the same run on; the others are ended, or started."""
        wanted = {target.name: target for target in targets}
        done = self._supervisor.hold()  # while the last one makes room for its successor
        try:
            gone = [name for name, entry in self._entries.items() if wanted.get(name) != entry.target]
            await asyncio.gather(*(self._remove(name) for name in gone))
            for name, target in wanted.items():
                if name not in self._entries:
                    try:
                        self.add(target)
                    except MachError as error:
                        self._pipeline.emit("error", "target_start_failed", target=name, error=str(error))
        finally:
            done()

    async def _remove(self, name: str) -> None:
        """End a target's program and forget the target."""
        entry = self._entries[name]
        assert entry.supervised is not None  # noqa: S101 - nothing is reloaded while attached
        await self._supervisor.remove(entry.supervised)
        self._receiver.remove_target(entry.number)
        self._supervisor.release(entry.supervised)
        del self._entries[name]

    def handle(self, event: Event) -> None:
        """Take note of what happened to a target, and log it."""
        name, emit = event.target.name, self._pipeline.emit
        entry = self._entries[name]
        match event:
            case Started(pid=pid):
                entry.state.up = True
                entry.state.starts += 1
                entry.state.version, entry.state.build = bundle_version(Path(entry.target.command[0]))
                self._pipeline.live.processes.started(entry.number, pid)
                self._receiver.set_pid(entry.number, pid)
                emit("info", "target_started", target=name, pid=pid)
            case Exited(pid=pid, reason=reason):
                entry.state.up = False
                entry.state.exits[reason.value] += 1
                self._receiver.set_pid(entry.number, 0)
                self._pipeline.live.processes.ended(entry.number, pid, self._pipeline.live.journal.head)
                self._pipeline.drain()  # its hits are logged before its end
                emit(
                    "info" if reason in {ExitReason.EXITED, ExitReason.STOPPED} else "warning",
                    "target_exited",
                    target=name,
                    pid=pid,
                    reason=reason.value,
                    status=event.status,
                    signal=event.signal,
                    seconds=round(event.seconds, 3),
                )
            case StartFailed(reason=why):
                emit("error", "target_start_failed", target=name, error=why)
            case Restarting(delay=delay):
                emit("info", "target_restarting", target=name, delay=delay)

    def report(self) -> None:
        """Log which targets' ports have lost their last sender since the last time."""
        for name, entry in self._entries.items():
            times = self._receiver.no_senders(entry.number)
            if times > entry.no_senders:
                self._pipeline.emit("info", "target_no_senders", target=name)
            entry.no_senders = times

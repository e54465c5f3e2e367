"""The targets that are watched at present: their exception ports, their numbers, and what became of them."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from excguard.config import Target
from excguard.decoding.site import Place
from excguard.mach import processes
from excguard.mach.errors import MachError
from excguard.mach.host import Host
from excguard.pipeline.counters import TargetState
from excguard.pipeline.pipeline import Pipeline
from excguard.pipeline.receiver import Receiver
from excguard.targets.attachment import Attachment
from excguard.targets.bundle import bundle_version
from excguard.targets.events import (
    Event,
    Exited,
    ExitReason,
    GroupEnded,
    NotEnded,
    Restarting,
    Started,
    StartFailed,
)
from excguard.targets.handover import handed_over
from excguard.targets.program import Program
from excguard.targets.supervised_target import SupervisedTarget
from excguard.targets.supervisor import Supervisor
from excguard.targets.visibility import SEVERITIES, Visibility, visibility

if TYPE_CHECKING:
    from excguard.crash_reports.symbols.symbol import Symbolizer


@dataclass(eq=False)
class _Entry:
    """A target that is watched."""

    target: Target
    number: int
    supervised: SupervisedTarget | None  # None: a process that was not started here
    program: Program | None = None  # the last one that was started
    attached: str = ""  # the file name of the program of a process that was not started here
    visibility: Visibility | None = None
    unseen: set[str] = field(default_factory=set)  # programs without the library that were logged
    no_senders: int = 0  # no-senders notifications that were logged
    state: TargetState = field(
        default_factory=lambda: TargetState(exits={reason.value: 0 for reason in ExitReason})
    )


class TargetSet:
    """Adds targets to supervisor and receiver, removes them, and keeps their states."""

    def __init__(
        self,
        host: Host,
        pipeline: Pipeline,
        supervisor: Supervisor,
        receiver: Receiver,
        symbolizer: "Symbolizer | None" = None,
    ) -> None:
        """Begin without targets.

        Args:
            host: the running system.
            pipeline: of their hits.
            supervisor: runs their programs.
            receiver: receives their exceptions.
            symbolizer: names the places of hits; None: they have no names.
        """
        self._host = host
        self._symbolizer = symbolizer
        self._pipeline = pipeline
        self._supervisor = supervisor
        self._receiver = receiver
        self._entries: dict[str, _Entry] = {}
        for stream in pipeline.streams:
            stream.processes.names = self

    @property
    def states(self) -> Mapping[str, TargetState]:
        """The state of each target; the mapping is a new one each time."""
        return {name: entry.state for name, entry in self._entries.items()}

    def visibility(self, name: str) -> Visibility | None:
        """Where the hits of a target can be seen, as it is known by now; None before its first start."""
        entry = self._entries[name]
        if entry.program is None:
            return None
        circumstances = entry.program.circumstances().replace(
            reads_log="unified_log" in self._pipeline.external,
            reads_reports="crash_report" in self._pipeline.external,
        )
        return visibility(self._host, circumstances)

    def started(self, name: str) -> Program | None:
        """The last start of a target's program; None before the first."""
        return self._entries[name].program

    def executable(self, target_id: int, pid: int) -> str:
        """See `ProcessNames`."""
        program = self._program_of(target_id)
        return program.path_of(pid) if program is not None else processes.path(pid)

    def program(self, target_id: int, pid: int) -> str:
        """See `ProcessNames`."""
        entry = self._entry(target_id)
        if entry is None or entry.program is None:
            return entry.attached if entry is not None else ""
        return entry.program.name_of(pid)

    def place(self, target_id: int, pid: int, addresses: Sequence[int]) -> Place | None:
        """See `ProcessNames`."""
        program = self._program_of(target_id)
        found = program.place(pid, addresses) if program is not None else None
        if found is None or self._symbolizer is None:
            return found
        from excguard.crash_reports.symbolicate import named  # noqa: PLC0415 - with all of crash_reports

        return named(found, self._symbolizer)

    def _entry(self, target_id: int) -> _Entry | None:
        return next((one for one in self._entries.values() if one.number == target_id), None)

    def _program_of(self, target_id: int) -> Program | None:
        entry = self._entry(target_id)
        return entry.program if entry is not None else None

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
        entry.attached = Path(processes.path(pid)).name
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
            case Started(pid=pid, program=program):
                entry.program = program
                entry.visibility = self.visibility(name)
                entry.unseen.clear()
                entry.state.up = True
                entry.state.starts += 1
                entry.state.version, entry.state.build = bundle_version(Path(entry.target.command[0]))
                self._pipeline.live.processes.started(entry.number, pid)
                self._receiver.set_pid(entry.number, pid)
                seen = entry.visibility.fields() if entry.visibility else {}
                emit(
                    "info",
                    "target_started",
                    target=name,
                    pid=pid,
                    executable=str(program.plan.executable.path),
                    delivery=program.plan.delivery.value,
                    delivery_children=program.plan.children,
                    visibility=seen,
                    handed_over=handed_over(entry.target.command) or None,
                )
                self._set_state(entry)
            case Exited(pid=pid, reason=reason):
                entry.state.up = False
                if entry.program is not None:
                    entry.program.exited(event.signal)
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
                    left=event.left,
                )
                if entry.program is not None and entry.program.ended_with_library:
                    emit("error", "target_ended_with_library", target=name, pid=pid)
            case GroupEnded(detached=detached):
                self._report_program(name, entry)
                if detached:
                    emit("warning", "target_processes_detached", target=name)
            case NotEnded(pid=pid):
                emit("error", "target_not_ended", target=name, pid=pid)
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
            self._report_program(name, entry)

    def _report_program(self, name: str, entry: _Entry) -> None:
        """Log what became known of a program: what is seen of it, and which of its programs are not."""
        if entry.program is None:
            return
        now = self.visibility(name)
        if now != entry.visibility and now is not None:
            entry.visibility = now
            self._pipeline.emit("info", "target_visibility", target=name, visibility=now.fields())
            self._set_state(entry)
        for path in entry.program.unseen:
            if path not in entry.unseen:
                entry.unseen.add(path)
                self._pipeline.emit("warning", "descendant_not_seen", target=name, executable=path)

    @staticmethod
    def _set_state(entry: _Entry) -> None:
        if entry.visibility is not None:
            entry.state.visibility = {
                severity.value: entry.visibility.of(severity).by.value for severity in SEVERITIES
            }
            entry.state.unseen = tuple(
                (" and ".join(severity.value for severity in severities), reason)
                for severities, reason in entry.visibility.gaps()
            )
            entry.state.fix = entry.visibility.fix

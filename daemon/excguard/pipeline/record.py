"""A record of the journal, decoded into a `Hit`."""

from typing import Any

from excguard.decoding.decode import decode
from excguard.decoding.violation import Violation
from excguard.knowledge import releases
from excguard.knowledge.exception_behavior import Behavior
from excguard.mach.host import Host
from excguard.native import lib
from excguard.pipeline.hit import LIVE, Hit
from excguard.pipeline.journal import Record
from excguard.pipeline.own_processes import OwnProcesses
from excguard.pipeline.target_names import TargetNames

_BEHAVIORS = {
    lib.EXCEPTION_IDENTITY_PROTECTED: Behavior.IDENTITY_PROTECTED.value,
    lib.EXCEPTION_STATE_IDENTITY_PROTECTED: Behavior.STATE_IDENTITY_PROTECTED.value,
}


def site_of(record: Record) -> tuple[int, int, int]:
    """The site of a record: target number, guard type and flavor, program counter (0: not known)."""
    registers = record.flags & lib.EXCGUARD_RECORD_REGISTERS
    return record.target_id, record.code >> 32, record.pc if registers else 0


class RecordDecoder:
    """Decodes the records of one source."""

    def __init__(self, source: str, names: TargetNames, host: Host, processes: OwnProcesses) -> None:
        """Decode records of ``source``.

        Args:
            source: what reported them.
            names: the names of targets.
            host: the running system; its release is that of records without one.
            processes: which processes were targets' own.
        """
        self.source = source
        self.names = names
        self._host = host
        self._processes = processes

    def hit(self, record: Any, *, recovered: bool) -> Hit:  # noqa: ANN401 - a cffi pointer
        """The hit of a record; ``recovered``: an earlier process had it and ended before it was written."""
        flags = record.flags
        registers = bool(flags & lib.EXCGUARD_RECORD_REGISTERS)
        live = self.source == LIVE
        inherited = bool(flags & lib.EXCGUARD_RECORD_INHERITED)
        if live and not recovered and not flags & lib.EXCGUARD_RECORD_PID_UNKNOWN:
            # A program, and what it starts, can break a rule before the receiver has the program's pid.
            inherited = not self._processes.own(record.target_id, record.pid)
        pid = None if flags & lib.EXCGUARD_RECORD_PID_UNKNOWN else record.pid
        # A pid of an earlier excguard's hit may be another process's by now.
        names = None if recovered or pid is None else self._processes.names
        place = names.place(record.target_id, record.pid, record.pc) if names and registers else None
        subcode = None if flags & lib.EXCGUARD_RECORD_NO_SUBCODE else record.subcode
        release = self.release(record.release)
        return Hit(
            violation=decode(record.code, subcode, release),
            target=self.names.name(record.target_id),
            pid=pid,
            thread_id=record.thread_id if live else None,
            time_ns=record.time_ns,
            behavior=_BEHAVIORS.get(record.behavior, str(record.behavior)) if live else None,
            reply=("consume" if record.reply == lib.KERN_SUCCESS else "forward") if live else None,
            kernel=self._host.kernel,
            release=f"macOS {release}",
            seq=record.seq,
            recovered=recovered,
            inherited=inherited,
            source=self.source,
            pc=record.pc if registers else None,
            lr=record.lr if registers else None,
            sp=record.sp if registers else None,
            executable=(names.executable(record.target_id, record.pid) or None) if names else None,
            image=place.image if place else None,
            image_uuid=place.uuid if place else None,
            image_offset=place.offset if place else None,
        )

    def violation(self, code: int, subcode: int, release: int) -> Violation:
        """The numbers of a record, decoded."""
        return decode(code, subcode, self.release(release))

    def release(self, release: int) -> str:
        """The release of a record as text; the running one when the record has none."""
        return releases.show(release) if release else self._host.release

"""A record of the journal, decoded into a `Hit`."""

from collections import OrderedDict
from typing import Any, Final, NamedTuple

from excguard.decoding.decode import decode
from excguard.decoding.site import Place, Site
from excguard.decoding.violation import Violation
from excguard.knowledge import releases
from excguard.knowledge.exception_behavior import Behavior
from excguard.mach.host import Host
from excguard.native import lib
from excguard.pipeline.hit import LIVE, Hit
from excguard.pipeline.journal import Record
from excguard.pipeline.own_processes import OwnProcesses
from excguard.pipeline.source import ExternalHit
from excguard.pipeline.target_names import TargetNames

_BEHAVIORS = {
    lib.EXCEPTION_IDENTITY_PROTECTED: Behavior.IDENTITY_PROTECTED.value,
    lib.EXCEPTION_STATE_IDENTITY_PROTECTED: Behavior.STATE_IDENTITY_PROTECTED.value,
}

# Addresses of programs have no bits above these (MACH_VM_MAX_ADDRESS, osfmk/mach/arm/vm_param.h and
# osfmk/mach/i386/vm_param.h, xnu-11417.121.6); on arm64e pointer authentication has put some there.
_ADDRESS: Final = (1 << 47) - 1

_MAX_REPORTS: Final = 10_000  # of which place and frames are kept, the latest ones


class ReportedAt(NamedTuple):
    """What a report says of a hit beside its record.

    Attributes:
        process: the name of the process.
        place: see `ExternalHit`.
        path: of the report's file; empty when there is none.
        frames: likewise.
    """

    process: str
    place: Place | None
    path: str
    frames: tuple[str, ...]


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
        self._reports: OrderedDict[int, ReportedAt] = OrderedDict()  # by seq

    def remember(self, seq: int, hit: ExternalHit) -> None:
        """Keep what has no room in the record of a hit."""
        self._reports[seq] = ReportedAt(hit.process, hit.place, hit.report, hit.frames)
        if len(self._reports) > _MAX_REPORTS:
            self._reports.popitem(last=False)

    def report(self, record: Any) -> ReportedAt | None:  # noqa: ANN401 - a cffi pointer
        """What a report says of a hit; None when no source has reported it in this run."""
        return self._reports.get(record.seq)

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
        subcode = None if flags & lib.EXCGUARD_RECORD_NO_SUBCODE else record.subcode
        release = self.release(record.release)
        report = self.report(record)
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
            place=None if recovered else self.place(record),
            program=None if recovered else self.program(record),
            report=report.path if report else "",
            frames=report.frames if report else (),
        )

    def place(self, record: Any) -> Place | None:  # noqa: ANN401 - a cffi pointer
        """Where in the code the call was made that broke the rule; None when that is not known.

        The program counter is in the system's library that made the call for the program, or in the program
        where that traps by itself. The link register (arm64) is where the function of the program counter
        returns to. No more of the stack is in a message, and excguard has no port to read it with.
        """
        if (report := self.report(record)) is not None:
            return report.place
        names = self._processes.names
        if names is None or not record.flags & lib.EXCGUARD_RECORD_REGISTERS:
            return None
        addresses = [address & _ADDRESS for address in (record.pc, record.lr) if address]
        return names.place(record.target_id, record.pid, addresses)

    def program(self, record: Any) -> str:  # noqa: ANN401 - a cffi pointer
        """The file name that stands for the place of a hit when that is not known."""
        names = self._processes.names
        found = names.program(record.target_id, record.pid) if names else ""
        if not found and (report := self.report(record)) is not None:
            found = report.process
        return found or self.names.name(record.target_id)

    def site(self, record: Any) -> Site:  # noqa: ANN401 - a cffi pointer
        """What identifies a hit that is not recovered, across runs."""
        subcode = None if record.flags & lib.EXCGUARD_RECORD_NO_SUBCODE else record.subcode
        violation = decode(record.code, subcode, self.release(record.release))
        return Site.of(violation, self.place(record), self.program(record))

    def violation(self, code: int, subcode: int, release: int) -> Violation:
        """The numbers of a record, decoded."""
        return decode(code, subcode, self.release(release))

    def release(self, release: int) -> str:
        """The release of a record as text; the running one when the record has none."""
        return releases.show(release) if release else self._host.release

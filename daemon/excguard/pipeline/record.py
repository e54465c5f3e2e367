"""A record of the journal, decoded into a `Hit`."""

from collections import OrderedDict
from functools import lru_cache
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

# Of the C core; looking them up there takes longer.
_REGISTERS: Final = lib.EXCGUARD_RECORD_REGISTERS
_INHERITED: Final = lib.EXCGUARD_RECORD_INHERITED
_PID_UNKNOWN: Final = lib.EXCGUARD_RECORD_PID_UNKNOWN
_NO_SUBCODE: Final = lib.EXCGUARD_RECORD_NO_SUBCODE
_CONSUMED: Final = lib.KERN_SUCCESS

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
    return record.target_id, record.code >> 32, record.pc if record.flags & _REGISTERS else 0


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
        self._release_texts: dict[int, str] = {}
        self._recent: dict[int, Hit] = {}  # by seq: those that were decoded since `forget`

    def remember(self, seq: int, hit: ExternalHit) -> None:
        """Keep what has no room in the record of a hit."""
        self._reports[seq] = ReportedAt(hit.process, hit.place, hit.report, hit.frames)
        if len(self._reports) > _MAX_REPORTS:
            self._reports.popitem(last=False)

    def report(self, record: Any) -> ReportedAt | None:  # noqa: ANN401 - a cffi pointer
        """What a report says of a hit; None when no source has reported it in this run."""
        return self._reports.get(record.seq) if self._reports else None

    def hit(self, record: Any, *, recovered: bool) -> Hit:  # noqa: ANN401 - a cffi pointer
        """The hit of a record; ``recovered``: an earlier process had it and ended before it was written.

        It is the same object for everything that reads the record before the next `forget`.
        """
        found = self._recent.get(record.seq)
        if found is None:
            found = self._recent[record.seq] = self._hit(record, recovered=recovered)
        return found

    def forget(self) -> None:
        """Begin with records that were not decoded yet."""
        self._recent.clear()

    def _hit(self, record: Any, *, recovered: bool) -> Hit:  # noqa: ANN401 - a cffi pointer
        flags, target_id, behavior = record.flags, record.target_id, record.behavior
        registers = flags & _REGISTERS
        live = self.source == LIVE
        inherited = bool(flags & _INHERITED)
        pid = None if flags & _PID_UNKNOWN else record.pid
        if live and not recovered and pid is not None:
            # A program, and what it starts, can break a rule before the receiver has the program's pid.
            inherited = not self._processes.own(target_id, pid)
        # A pid of an earlier excguard's hit may be another process's by now.
        names = None if recovered or pid is None else self._processes.names
        target = self.names.name(target_id)
        report = self.report(record)
        placed = not recovered and (registers or report is not None)
        # By position: a tenth of a line's instructions is msgspec's search for keywords otherwise.
        return Hit(
            record.code,
            None if flags & _NO_SUBCODE else record.subcode,
            target,
            pid,
            record.thread_id if live else None,
            record.time_ns,
            (_BEHAVIORS.get(behavior) or str(behavior)) if live else None,
            ("consume" if record.reply == _CONSUMED else "forward") if live else None,
            self._host.kernel,
            self._release_text(record.release),
            record.seq,
            recovered,
            inherited,
            self.source,
            record.pc if registers else None,
            record.lr if registers else None,
            record.sp if registers else None,
            (names.executable(target_id, record.pid) or None) if names else None,
            self.place(record) if placed else None,
            "" if report is None else report.path,
            () if report is None else report.frames,
            None if recovered else self._reported_program(record) or target,
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
        if names is None or not record.flags & _REGISTERS:
            return None
        addresses = [address & _ADDRESS for address in (record.pc, record.lr) if address]
        return names.place(record.target_id, record.pid, addresses)

    def program(self, record: Any) -> str:  # noqa: ANN401 - a cffi pointer
        """The file name that stands for the place of a hit when that is not known."""
        return self._reported_program(record) or self.names.name(record.target_id)

    def _reported_program(self, record: Any) -> str:  # noqa: ANN401 - a cffi pointer
        names = self._processes.names
        found = names.program(record.target_id, record.pid) if names else ""
        if not found and (report := self.report(record)) is not None:
            found = report.process
        return found

    def site(self, record: Any) -> Site:  # noqa: ANN401 - a cffi pointer
        """What identifies a hit that is not recovered, across runs."""
        subcode = None if record.flags & _NO_SUBCODE else record.subcode
        violation = decode(record.code, subcode, self.release(record.release))
        return Site.of(violation, self.place(record), self.program(record))

    def violation(self, code: int, subcode: int, release: int) -> Violation:
        """The numbers of a record, decoded."""
        return decode(code, subcode, self.release(release))

    def _release_text(self, release: int) -> str:
        found = self._release_texts.get(release)
        if found is None:
            found = self._release_texts[release] = f"macOS {self.release(release)}"
        return found

    def release(self, release: int) -> str:
        """The release of a record as text; the running one when the record has none, or an impossible one."""
        return _shown(release) or self._host.release


@lru_cache(maxsize=32)
def _shown(release: int) -> str:
    """A release as text; empty for none, and for a number that another program wrote to the file."""
    text = releases.show(release)
    try:
        releases.parse(text)
    except releases.ReleaseError:
        return ""
    return text

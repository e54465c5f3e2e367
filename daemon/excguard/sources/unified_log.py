"""The unified log as a source: the line that the kernel writes for each guard exception (macOS 26 and later).

The kernel's words (`guard_ast`, osfmk/kern/thread.c of the macOS 26 kernel)::

    ERROR: [Mail:4711] EXC_GUARD AST: type=0x1 flavor=0x200 target=0x8f53 code=0x2000020000008f53 subcode=0x0

come as the ``eventMessage`` of the JSON lines that ``log stream --style ndjson`` or ``log show --style
ndjson`` print. Both are read alike; a recorded file can be read with ``cat`` in their place.
"""

import asyncio
import contextlib
import math
import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, ClassVar, Final

import msgspec

from excguard.config import Config
from excguard.files import errors
from excguard.pipeline.source import ExternalHit, Reporter

# The predicate that selects these lines alone.
PREDICATE: Final = 'process == "kernel" AND eventMessage CONTAINS "EXC_GUARD AST"'
DEFAULT_COMMAND: Final = ("/usr/bin/log", "stream", "--style", "ndjson", "--predicate", PREDICATE)

# A subprocess that ends is started again after so many seconds, then after twice as many, and so on.
_FIRST_DELAY = 1.0
_MAX_DELAY = 60.0
# One that ran for so long has worked: its next end counts as the first.
_WORKED = 60.0
# A JSON line holds a backtrace and paths; one of this size is not a line of the kernel's.
_MAX_LINE = 1 << 20
_STOP_TIMEOUT = 2.0

_MARK = "EXC_GUARD AST"
_REST = re.compile(
    r"EXC_GUARD AST: type=0x(?P<type>[0-9a-f]{1,8}) "
    r"flavor=0x(?P<flavor>[0-9a-f]{1,8})(?: target=0x(?P<target>[0-9a-f]{1,8}))?"
    r"(?: code=0x(?P<code>[0-9a-f]{1,16}) subcode=0x(?P<subcode>[0-9a-f]{1,16}))?\s*"
)


class _Event(msgspec.Struct):
    """What is used of a line of ndjson."""

    event_message: str = msgspec.field(name="eventMessage", default="")
    event_type: str = msgspec.field(name="eventType", default="")
    timestamp: str = ""


class LineError(ValueError):
    """A line that should describe a guard and cannot be read."""


def parse_line(line: bytes | str) -> ExternalHit | None:
    """Read one line of ``log``'s ndjson.

    Returns:
        The guard exception that it describes; None for a line that is about something else.

    Raises:
        LineError: it is not a complete line of JSON, or it describes a guard by numbers that cannot be.
    """
    try:
        event = msgspec.json.decode(line, type=_Event)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise LineError(f"not a JSON object of log(1): {error}") from None
    if event.event_type == "lossEvent":
        raise LineError("log(1) dropped lines")
    if _MARK not in event.event_message:
        return None
    process, pid, code, subcode = parse_message(event.event_message)
    try:
        moment = datetime.strptime(event.timestamp, "%Y-%m-%d %H:%M:%S.%f%z")
    except ValueError:
        raise LineError(f"invalid timestamp: {event.timestamp[:60]!r}") from None
    try:
        return ExternalHit(
            pid=pid,
            process=process,
            code=code,
            subcode=subcode,
            time_ns=math.floor(moment.timestamp()) * 1_000_000_000 + moment.microsecond * 1000,
        )
    except ValueError as error:
        raise LineError(str(error)) from None


def parse_message(message: str) -> tuple[str, int, int, int | None]:
    """Read the kernel's words: process, pid, code, subcode.

    Quotations of it often lack the process (then "" and 0) or end after the flavor or the target; the code is
    put together of what there is, and the subcode is None.

    Raises:
        LineError: it is not in that form, or its numbers contradict each other.
    """
    mark = max(message.rfind(_MARK), 0)
    found = _REST.fullmatch(message, mark)
    if found is None:
        raise LineError(f"not the kernel's format: {message[:120]!r}")
    parts = ("type", "flavor", "target", "code", "subcode")
    number = {name: int(found[name], 16) for name in parts if found[name]}
    if number["type"] > 7 or number["flavor"] >= 1 << 29:
        raise LineError(f"type or flavor do not fit a code: {message[:120]!r}")
    code = number["type"] << 61 | number["flavor"] << 32 | number.get("target", 0)
    if number.get("code", code) != code:
        raise LineError(f"code and its parts disagree: {message[:120]!r}")
    process, pid = _process(message[:mark].rpartition("\n")[2])
    return process, pid, code, number.get("subcode")


def _process(prefix: str) -> tuple[str, int]:
    """Name and pid of ``... [NAME:PID] ``; "" and 0 where they are left out.

    The name may hold anything, "]" and ":" too; the pid ends it.
    """
    name, _, pid = prefix.removesuffix("] ").rpartition(":")
    _, bracket, process = name.partition("[")
    if prefix.endswith("] ") and bracket and pid.isascii() and pid.isdecimal() and len(pid) <= 10:
        return process, int(pid)
    return "", 0


class UnifiedLogReader:
    """Follows ``log``, and starts it again when it ends."""

    def __init__(
        self,
        command: Sequence[str],
        report: Reporter,
        *,
        sleep: Callable[[float], Any] = asyncio.sleep,
    ) -> None:
        """Prepare to follow.

        Args:
            command: prints ndjson; `DEFAULT_COMMAND` for this Mac's log.
            report: receives each guard exception, each line that cannot be read, and what happens to the
                subprocess.
            sleep: waits that many seconds.
        """
        self._command = tuple(command)
        self._report = report
        self._sleep = sleep

    async def run(self) -> None:
        """Follow until cancelled, or until the subprocess has ended with status 0: there is no more then."""
        delay = _FIRST_DELAY
        loop = asyncio.get_running_loop()
        while True:
            begun = loop.time()
            status, last_line = await self._follow()
            if status == 0:
                self._report.event("info", "source_finished", source=UnifiedLogSource.name)
                return
            if loop.time() - begun >= _WORKED:
                delay = _FIRST_DELAY
            self._report.event(
                "warning",
                "source_failed",
                source=UnifiedLogSource.name,
                command=self._command[0],
                status=status,
                error=last_line,
                delay=delay,
            )
            await self._sleep(delay)
            delay = min(delay * 2, _MAX_DELAY)

    async def _follow(self) -> tuple[int, str]:
        """One life of the subprocess: its exit status (127: could not be started) and its last line."""
        loop = asyncio.get_running_loop()
        try:
            transport, protocol = await loop.subprocess_exec(
                lambda: asyncio.subprocess.SubprocessStreamProtocol(limit=1 << 16, loop=loop),
                *self._command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,  # the terminal's ^C is for us: we end it ourselves
            )
        except OSError as error:
            return 127, errors.reason(error)
        process = asyncio.subprocess.Process(transport, protocol, loop)
        assert process.stdout is not None  # noqa: S101 - asked for above
        assert process.stderr is not None  # noqa: S101 - likewise
        last_line = asyncio.create_task(_tail(process.stderr))
        try:
            await self._read(process.stdout)
            status = await process.wait()
            return status, await last_line
        finally:
            last_line.cancel()
            for descriptor in (1, 2):
                # In CPython 3.11 `Process.wait` waits for the end of the pipes too, which never comes
                # where reading has paused because the process writes without end.
                pipe = transport.get_pipe_transport(descriptor)
                if pipe is not None:
                    pipe.close()
            try:
                await _end(process)
            finally:
                transport.close()  # or what is left of it is closed after the loop, which is an error

    async def _read(self, stream: asyncio.StreamReader) -> None:
        rest = b""
        skipping = False  # within a line that is too long
        while chunk := await stream.read(1 << 16):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                if skipping:
                    skipping = False
                elif line.strip():
                    self._take(line)
            if len(rest) > _MAX_LINE:
                if not skipping:
                    self._report.failure("garbled", "a line without end")
                rest, skipping = b"", True
        if rest.strip() and not skipping:
            self._take(rest)

    def _take(self, line: bytes) -> None:
        if line.startswith(b"Filtering the log data"):  # the first line of `log stream`
            return
        try:
            hit = parse_line(line)
        except LineError as error:
            self._report.failure("dropped" if "dropped" in str(error) else "garbled", str(error))
        else:
            if hit is not None:
                self._report.hit(hit)


class UnifiedLogSource:
    """The kernel's lines in the unified log."""

    name: ClassVar[str] = "unified_log"
    one_per_process: ClassVar[bool] = False

    def enabled(self, config: Config) -> bool:
        """Whether the configuration asks for it."""
        log = config.unified_log
        return bool(log.processes) if log.enabled == "auto" else log.enabled

    def processes(self, config: Config) -> tuple[str, ...]:
        """Patterns of the names of processes that count although no target started them."""
        return config.unified_log.processes

    def revision(self, config: Config) -> object:
        """The command that is run."""
        return config.unified_log.command

    async def follow(self, config: Config, report: Reporter) -> None:
        """Follow until cancelled, or until there is no more to come."""
        await UnifiedLogReader(config.unified_log.command or DEFAULT_COMMAND, report).run()


async def _tail(stream: asyncio.StreamReader) -> str:
    """The last line that comes out of ``stream``, shortened."""
    kept = b""
    while chunk := await stream.read(4096):
        kept = (kept + chunk)[-1000:]
    lines = kept.decode(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")[:200]


async def _end(process: asyncio.subprocess.Process) -> None:
    """End a subprocess that may have ended already, and reap it."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), _STOP_TIMEOUT)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

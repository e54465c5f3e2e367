"""The unified log as a source: the line that the kernel writes for each guard exception (macOS 26 and later).

The kernel's words (`guard_ast`, osfmk/kern/thread.c of the macOS 26 kernel)::

    ERROR: [Mail:4711] EXC_GUARD AST: type=0x1 flavor=0x200 target=0x8f53 code=0x2000020000008f53 subcode=0x0

come as the ``eventMessage`` of the JSON lines that ``log stream --style ndjson`` or ``log show --style
ndjson`` print. Both are read alike; a recorded file can be read with ``cat`` in their place.
"""

import asyncio
import contextlib
import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from excguard.pipeline.hit import Source
from excguard.sources.external_hit import OnFailure, OnSighting, Sighting

# What asks log(1) for these lines and no others.
PREDICATE: Final = 'process == "kernel" AND eventMessage CONTAINS "EXC_GUARD AST"'
DEFAULT_COMMAND: Final = ("/usr/bin/log", "stream", "--style", "ndjson", "--predicate", PREDICATE)

# A subprocess that ends is started again after so many seconds, then after twice as many, and so on.
_FIRST_DELAY = 1.0
_LONGEST_DELAY = 60.0
# One that has run so long has worked: the next end counts as the first.
_WORKED = 60.0
# A JSON line holds a backtrace and paths; one of this size is no line of the kernel's.
_LONGEST_LINE = 1 << 20
_STOP_TIMEOUT = 2.0

_MARK = "EXC_GUARD AST"
_LINE = re.compile(
    # The name may hold anything, "]" and ":" too; the pid ends it.
    r"(?:\[(?P<process>.*):(?P<pid>\d{1,10})\] )?EXC_GUARD AST: type=0x(?P<type>[0-9a-f]{1,8}) "
    r"flavor=0x(?P<flavor>[0-9a-f]{1,8})(?: target=0x(?P<target>[0-9a-f]{1,8}))?"
    r"(?: code=0x(?P<code>[0-9a-f]{1,16}) subcode=0x(?P<subcode>[0-9a-f]{1,16}))?\s*"
)


class _Event(msgspec.Struct):
    """What is used of a line of ndjson."""

    event_message: str = msgspec.field(name="eventMessage", default="")
    event_type: str = msgspec.field(name="eventType", default="")
    timestamp: str = ""


class LineError(ValueError):
    """A line that should tell of a guard and cannot be read."""


def parse_line(line: bytes | str) -> Sighting | None:
    """Read one line of ``log``'s ndjson.

    Returns:
        The guard exception that it tells of; None for a line that is about something else.

    Raises:
        LineError: it is no whole line of JSON, or what it says of a guard makes no sense.
    """
    try:
        event = msgspec.json.decode(line, type=_Event)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise LineError(f"not a JSON object of log(1): {error}") from None
    if event.event_type == "lossEvent":
        raise LineError("log(1) dropped lines")
    if _MARK not in event.event_message:
        return None
    process, pid, code, subcode = parse_message(event.event_message)
    try:
        moment = datetime.strptime(event.timestamp, "%Y-%m-%d %H:%M:%S.%f%z")
    except ValueError:
        raise LineError(f"no time: {event.timestamp[:60]!r}") from None
    seconds, microseconds = int(moment.timestamp()), moment.microsecond
    return Sighting(
        Source.UNIFIED_LOG,
        pid=pid,
        process=process,
        code=code,
        subcode=subcode,
        time_ns=seconds * 1_000_000_000 + microseconds * 1000,
    )


def parse_message(message: str) -> tuple[str, int, int, int | None]:
    """Read the kernel's words: process, pid, code, subcode.

    Quotations of it often lack the process (then "" and 0) or end after the flavor or the target; the code is
    put together of what there is, and the subcode is None.

    Raises:
        LineError: it is not in that form, or its numbers contradict each other.
    """
    found = _LINE.search(message)
    if found is None or found.end() != len(message):
        raise LineError(f"not the kernel's words: {message[:120]!r}")
    parts = ("type", "flavor", "target", "code", "subcode")
    number = {name: int(found[name], 16) for name in parts if found[name]}
    if number["type"] > 7 or number["flavor"] >= 1 << 29:
        raise LineError(f"type or flavor do not fit a code: {message[:120]!r}")
    code = number["type"] << 61 | number["flavor"] << 32 | number.get("target", 0)
    if number.get("code", code) != code:
        raise LineError(f"code and its parts disagree: {message[:120]!r}")
    return found["process"] or "", int(found["pid"] or 0), code, number.get("subcode")


class UnifiedLog:
    """Follows ``log``, and starts it again when it ends."""

    def __init__(
        self,
        command: Sequence[str],
        on_sighting: OnSighting,
        on_failure: OnFailure,
        on_event: Callable[..., None],
        *,
        sleep: Callable[[float], Any] = asyncio.sleep,
    ) -> None:
        """Prepare to follow.

        Args:
            command: prints ndjson; `DEFAULT_COMMAND` for this Mac's log.
            on_sighting: told of each guard exception.
            on_failure: told of each line that cannot be read.
            on_event: called with level, name and fields of what happens to the subprocess.
            sleep: waits that many seconds.
        """
        self._command = tuple(command)
        self._on_sighting = on_sighting
        self._on_failure = on_failure
        self._on_event = on_event
        self._sleep = sleep

    async def run(self) -> None:
        """Follow until cancelled, or until the subprocess has ended with status 0: there is no more then."""
        delay = _FIRST_DELAY
        loop = asyncio.get_running_loop()
        while True:
            begun = loop.time()
            status, said = await self._follow()
            if status == 0:
                self._on_event("info", "source_finished", source=Source.UNIFIED_LOG.value)
                return
            if loop.time() - begun >= _WORKED:
                delay = _FIRST_DELAY
            self._on_event(
                "warning",
                "source_failed",
                source=Source.UNIFIED_LOG.value,
                command=self._command[0],
                status=status,
                error=said,
                delay=delay,
            )
            await self._sleep(delay)
            delay = min(delay * 2, _LONGEST_DELAY)

    async def _follow(self) -> tuple[int, str]:
        """One life of the subprocess: its exit status (127: could not be started) and its last words."""
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,  # the terminal's ^C is for us: we end it ourselves
            )
        except OSError as error:
            return 127, (error.strerror or str(error)).lower()
        assert process.stdout is not None  # noqa: S101 - asked for above
        assert process.stderr is not None  # noqa: S101 - likewise
        last_words = asyncio.create_task(_tail(process.stderr))
        try:
            await self._read(process.stdout)
            status = await process.wait()
            return status, await last_words
        finally:
            last_words.cancel()
            await _end(process)

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
            if len(rest) > _LONGEST_LINE:
                if not skipping:
                    self._on_failure(Source.UNIFIED_LOG, "garbled", "a line without end")
                rest, skipping = b"", True
        if rest.strip() and not skipping:
            self._take(rest)

    def _take(self, line: bytes) -> None:
        if line.startswith(b"Filtering the log data"):  # what `log stream` says first
            return
        try:
            sighting = parse_line(line)
        except LineError as error:
            kind = "dropped" if "dropped" in str(error) else "garbled"
            self._on_failure(Source.UNIFIED_LOG, kind, str(error))
        else:
            if sighting is not None:
                self._on_sighting(sighting)


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

"""Lines to a file, a pipe or a terminal, and what happens when they cannot be written.

Lines gather until `LineOutput.flush` writes them. A regular file that cannot be written (the disk is full,
say), and a pipe or terminal that is not being read, are tried again: the rest stays here, in order
and from the very byte where the write stopped. A pipe, socket or terminal that has failed for good, because
its other end is gone, is given up, and its lines are counted instead of written. Either is reported to
``complain`` once, not once a line.

A write never waits without end, although a descriptor that was inherited must stay in blocking mode, which
it shares with other programs: what can fill up is asked first whether it takes more, and then given no more
than it takes for certain (``PIPE_BUF`` bytes).
"""

import contextlib
import errno
import os
import select
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final

from excguard.files import atomic, errors, opening

_MAX_PENDING: Final = 8 << 20  # bytes of lines that may gather; reading of hits stops long before this
_PATIENCE_MS: Final = 500  # how long a flush waits for something that is full
_OWN_PART: Final = 1 << 16  # bytes that are written at a time to what was opened here, in non-blocking mode

Complain = Callable[[str], None]


class LineOutput:
    """A destination for lines; it has the methods that structlog expects of a logger.

    Attributes:
        fd: the descriptor.
        name: what complaints call it.
        failures: writes that failed.
        dropped: lines that will never be written.
        progress: bytes that were written.
    """

    def __init__(self, fd: int, name: str, complain: Complain, *, owned: bool = False) -> None:
        """Write to the open descriptor ``fd``; close it if ``owned``."""
        self.fd = fd
        self.name = name
        self.failures = 0
        self.dropped = 0
        self.progress = 0
        self._complain = complain
        self._owned = owned
        self._regular = stat.S_ISREG(os.fstat(fd).st_mode)
        self._lines: list[bytes] = []
        self._pending = bytearray()
        self._failing = False
        self._given_up = False
        self._path = Path(name)
        self._successor: LineOutput | None = None

    @classmethod
    def open(cls, path: Path, complain: Complain) -> "LineOutput":
        """Append to the file at ``path``, which is made when there is none. Raises OSError."""
        # O_RDWR and O_NONBLOCK: a FIFO is opened at once, whether it is read or not.
        fd = opening.descriptor(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK, atomic.PRIVATE)
        output = cls(fd, str(path), complain, owned=True)
        # A writer that was killed can have left half a line; this one must not continue it.
        if output._regular and (size := os.fstat(fd).st_size) and os.pread(fd, 1, size - 1) != b"\n":
            output._pending += b"\n"
        return output

    def msg(self, line: str) -> None:
        """Take one line, without its newline, for the next `flush`."""
        if self._given_up or len(self._pending) > _MAX_PENDING:
            self.dropped += 1
            return
        self._lines.append(line.encode("utf-8", "backslashreplace") + b"\n")
        if self._failing:
            self._gather()

    debug = info = warning = error = critical = msg

    def flush(self) -> bool:
        """Write what has gathered. False when some of it has to wait: try again later."""
        self._gather()
        try:
            while self._pending:
                written = self._write()
                self.progress += written
                del self._pending[:written]
        except OSError as error:
            self._failed(error)
        else:
            self._failing = False
            self._replace()
        return not self._pending

    def reopen(self, path: Path | None = None) -> None:
        """Go on in another file, or in the one that has taken the place of this one after a rotation.

        As `successor` and `go_on_in`.

        Args:
            path: the file; None for the one that was opened last.

        Raises:
            OSError: it cannot be opened; the old one stays in use.
        """
        successor = self.successor(path)
        if successor is not None:
            self.go_on_in(successor)

    def successor(self, path: Path | None = None) -> "LineOutput | None":
        """Open what `reopen` goes on in; None for a log that is not a file of its own. Raises OSError."""
        return LineOutput.open(path or self._path, self._complain) if self._owned else None

    def go_on_in(self, successor: "LineOutput") -> None:
        """Go on in ``successor``.

        Lines that have gathered still go to the old file. While that cannot be written the exchange waits.
        """
        self._drop_successor()
        self._successor = successor
        self._path = Path(successor.name)
        self.flush()

    def close(self) -> bool:
        """Flush for the last time and close the descriptor; False when lines were left unwritten."""
        written = self.flush() and not self._given_up
        self._drop_successor()
        if self._owned and self.fd >= 0:
            with contextlib.suppress(OSError):
                os.close(self.fd)
            self.fd = -1
        return written

    def _write(self) -> int:
        """Write some bytes. Raises OSError, BlockingIOError when nothing is taken for a while."""
        if self._regular:
            return os.write(self.fd, self._pending)
        poll = select.poll()
        poll.register(self.fd, select.POLLOUT)
        if not poll.poll(_PATIENCE_MS):
            raise BlockingIOError(errno.EAGAIN, "nothing reads it")
        part = _OWN_PART if self._owned else select.PIPE_BUF
        return os.write(self.fd, self._pending[:part])

    def _replace(self) -> None:
        """Write to the successor from now on, if there is one."""
        if self._successor is not None:
            os.dup2(self._successor.fd, self.fd, inheritable=False)
            self.name = self._successor.name
            self._regular = self._successor._regular  # noqa: SLF001 - of this class
            self._pending += self._successor._pending  # noqa: SLF001 - likewise
            self._given_up = False
            self._drop_successor()

    def _drop_successor(self) -> None:
        if self._successor is not None:
            os.close(self._successor.fd)
            self._successor = None

    def _gather(self) -> None:
        self._pending += b"".join(self._lines)
        self._lines.clear()

    def _failed(self, error: OSError) -> None:
        self.failures += 1
        reason = errors.reason(error)
        if not self._regular and error.errno not in {errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM}:
            self._given_up = True
            self.dropped += self._pending.count(b"\n")
            self._pending.clear()
            self._complain(f"{self.name} cannot be written: {reason}; the log ends here, metrics go on")
        elif not self._failing:
            self._failing = True
            self._complain(f"{self.name} cannot be written: {reason}; hits wait in the journal until it can")

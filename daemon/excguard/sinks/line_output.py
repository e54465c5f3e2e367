"""Lines out to a file, a pipe or a terminal, with a plan for the day when writing fails.

Lines gather until `LineOutput.flush` hands them to the kernel in one write. A regular file that cannot be
written (the disk is full, say) is waited for: the rest stays here, in order and from the very byte where
the write stopped, and the next flush tries again. A pipe, socket or terminal that fails has nobody behind
it any more: it is given up, and its lines are counted instead of written. Both are told to ``complain``
once, not once a line.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

# Lines that may gather while a file cannot be written; the service stops reading hits long before this.
_PENDING_LIMIT = 8 << 20


class LineOutput:
    """A destination for lines; it has the methods that structlog wants of a logger."""

    def __init__(self, fd: int, name: str, complain: Callable[[str], None], *, owned: bool = False) -> None:
        """Write to the open descriptor ``fd``, called ``name`` in complaints; close it if ``owned``."""
        self.fd = fd
        self.name = name
        self.failures = 0  # writes that failed
        self.dropped = 0  # lines that will never be written
        self._complain = complain
        self._owned = owned
        self._regular = stat.S_ISREG(os.fstat(fd).st_mode)
        self._lines: list[bytes] = []
        self._pending = bytearray()
        self._in_trouble = False
        self._given_up = False
        self._path = Path(name)
        self._successor: LineOutput | None = None

    @classmethod
    def open(cls, path: Path, complain: Callable[[str], None]) -> "LineOutput":
        """Append to the file at ``path``, which is made when there is none. Raises OSError."""
        fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        output = cls(fd, str(path), complain, owned=True)
        # A writer that was killed can have left half a line; ours must not continue it.
        if output._regular and (size := os.fstat(fd).st_size) and os.pread(fd, 1, size - 1) != b"\n":
            output._pending += b"\n"
        return output

    def msg(self, line: str) -> None:
        """Take one line, without its newline, for the next `flush`."""
        if self._given_up or len(self._pending) > _PENDING_LIMIT:
            self.dropped += 1
            return
        self._lines.append(line.encode("utf-8", "backslashreplace") + b"\n")
        if self._in_trouble:
            self._gather()

    debug = info = warning = error = critical = msg

    def flush(self) -> bool:
        """Write what has gathered. False when some of it has to wait: try again later."""
        self._gather()
        try:
            while self._pending:
                del self._pending[: os.write(self.fd, self._pending)]
        except OSError as error:
            self._trouble(error)
        else:
            self._in_trouble = False
            self._move_on()
        return not self._pending

    def reopen(self, path: Path | None = None) -> None:
        """Go on in another file, or in the one that has taken the place of this one after a rotation.

        Lines that have gathered still go to the old file. When that cannot be written just now, neither can
        the exchange be made; it is then, as soon as it can. A log that is no file of its own stays what it
        is.

        Args:
            path: the file; None for the one that was opened last.

        Raises:
            OSError: it cannot be opened; the old one stays in use.
        """
        if self._owned:
            successor = LineOutput.open(path or self._path, self._complain)
            self._drop_successor()
            self._successor = successor
            self._path = path or self._path
            self.flush()

    def close(self) -> bool:
        """Flush for the last time and let the descriptor go; False when lines were left unwritten."""
        written = self.flush() and not self._given_up
        self._drop_successor()
        if self._owned and self.fd >= 0:
            with contextlib.suppress(OSError):
                os.close(self.fd)
            self.fd = -1
        return written

    def _move_on(self) -> None:
        """Write to the successor from now on, if there is one."""
        if self._successor is not None:
            os.dup2(self._successor.fd, self.fd, inheritable=False)
            self.name = self._successor.name
            self._regular = self._successor._regular  # noqa: SLF001 - one of us
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

    def _trouble(self, error: OSError) -> None:
        self.failures += 1
        reason = (error.strerror or str(error)).lower()
        if not self._regular and error.errno not in {errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM}:
            self._given_up = True
            self.dropped += self._pending.count(b"\n")
            self._pending.clear()
            self._complain(f"{self.name} cannot be written: {reason}; the log ends here, metrics go on")
        elif not self._in_trouble:
            self._in_trouble = True
            self._complain(f"{self.name} cannot be written: {reason}; hits wait in the journal until it can")

"""`excguard run --events`: what happens, as JSON lines on a descriptor or in a file of their own."""

import errno
import fcntl
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self

import click

from excguard.cli.service_runner import report_error
from excguard.config import Log
from excguard.files import opening
from excguard.mach.host import Host
from excguard.pipeline.sink import Sink
from excguard.sinks.line_output import LineOutput
from excguard.sinks.log import EventLog, json_form

_STANDARD_STREAMS: Final = (0, 1, 2)


class EventStream:
    """Events of a run, and at its end the one that sums it up."""

    def __init__(self, output: LineOutput, name: str) -> None:
        """Write to ``output``, which is not closed by the sink.

        Args:
            output: the destination.
            name: what metrics call the sink.
        """
        self._output = output
        self._name = name

    @classmethod
    def on_descriptor(cls, number: int) -> Self:
        """Write to a descriptor that this process has inherited.

        The program that is run does not inherit it in turn: it could keep a pipe open after the run.

        Raises:
            click.UsageError: it is not open for writing.
        """
        name = f"descriptor {number}"
        try:
            mode = fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE
            # What Python has opened for itself is not inheritable, so it is not what was meant.
            inherited = os.get_inheritable(number)
        except (OSError, OverflowError):
            inherited = False
        if not inherited:
            raise click.UsageError(
                f"--events {number}: {name} is not open; "
                f"open it in the shell ({number}>events.jsonl), or name a file (./{number})"
            )
        if mode == os.O_RDONLY:
            raise click.UsageError(f"--events {number}: {name} is open for reading only")
        if number not in _STANDARD_STREAMS:
            os.set_inheritable(number, False)  # noqa: FBT003 - it takes no keyword
        return cls(LineOutput(number, name, report_error), "events")

    @classmethod
    def in_file(cls, path: Path, name: str, *, new: bool = False) -> Self:
        """Write to a file, which is emptied first.

        Args:
            path: the file; a FIFO is opened whether it is read or not.
            name: what metrics call the sink.
            new: whether the file must not exist yet, not even as a symbolic link.

        Raises:
            OSError: it cannot be opened.
        """
        flags = (os.O_EXCL | os.O_NOFOLLOW) if new else 0
        flags |= os.O_APPEND | os.O_CREAT | os.O_TRUNC | os.O_NONBLOCK
        try:
            fd = opening.descriptor(path, flags | os.O_WRONLY, 0o666)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            fd = opening.descriptor(path, flags | os.O_RDWR, 0o666)  # a FIFO that is not read yet
        return cls(LineOutput(fd, str(path), report_error), name)

    def sink(self, host: Host, settings: Log) -> Sink:
        """A log of every event that ends here; of the settings only ``explain`` counts."""
        return EventLog(
            self._output,
            kernel=host.kernel,
            release=f"macOS {host.release}",
            form=json_form,
            name=self._name,
            explain=settings.explain,
        )

    def write(self, event: Mapping[str, Any]) -> None:
        """Write one event after those of the sink, which is closed by now.

        Raises:
            OSError: it cannot be written.
        """
        self._output.msg(json_form(dict(event)))
        if not self._output.flush():
            raise BlockingIOError(errno.EAGAIN, "the last event cannot be written", self._output.name)

    def close(self) -> None:
        """Close it; standard streams stay open."""
        if self._output.fd not in _STANDARD_STREAMS:
            os.close(self._output.fd)

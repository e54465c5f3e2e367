"""What `excguard run` leaves beside its lines on standard error: report, JUnit file, stream of events."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import click
import msgspec

from excguard.cli.event_stream import EventStream
from excguard.cli.service_runner import Failure, error_event
from excguard.files import errors, opening

if TYPE_CHECKING:
    from excguard.cli.collection import Collection
    from excguard.cli.outcome import Outcome
    from excguard.crash_reports.symbols.symbol import Symbolizer

_STANDARD_OUTPUT: Final = "-"


class Results:
    """The destinations that the options name. Use as a context manager, which closes them.

    Attributes:
        streams: what receives the events of the run as they happen; filled by `open`.
        collection: what gets everything of the run; set by `open` when the options ask for it.
    """

    def __init__(  # noqa: PLR0913 - one an option
        self,
        *,
        report: str | None,
        junit: str | None,
        events: str | None,
        collect: str | None,
        symbolicate: bool | None,
        names: bool,
        directories: tuple[Path, ...],
    ) -> None:
        """Take what the options say; nothing is opened before `open`.

        Args:
            report: where the object of the run goes.
            junit: where the JUnit file goes.
            events: where the JSON lines go.
            collect: the directory for everything.
            symbolicate: whether places get names; None: not said.
            names: whether they get them then, if something here can give names.
            directories: with debug files; one implies ``symbolicate``.

        Raises:
            click.UsageError: two of them name standard output, or contradict each other.
        """
        named = {"--report": report, "--junit": junit, "--events": events}
        both = [f"{option} -" for option, value in named.items() if value == _STANDARD_OUTPUT]
        if len(both) > 1:
            raise click.UsageError(f"{' and '.join(both)}: only one of them can go to standard output")
        self.streams: list[EventStream] = []
        self._report = report
        self._junit = junit
        self._events = events
        self._collect = collect
        if symbolicate is False and directories:
            raise click.UsageError("--no-symbolicate and --dsym contradict each other: leave out one of them")
        self._required = symbolicate or bool(directories)
        self._symbolicate = self._required or (names and symbolicate is None)
        self._directories = directories
        self._symbolizer: Symbolizer | None = None
        self.collection: Collection | None = None
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        """The results themselves."""
        return self

    def __exit__(self, *_exception: object) -> None:
        """Close the streams."""
        self._stack.close()

    def open(self, *more: Path) -> None:
        """Empty the files and ``more``, make the directory, and open the streams.

        A run that is cut short must not leave the results of the last one, and a path that cannot be written
        is better reported before the run than after it.

        Raises:
            click.UsageError: a descriptor is not open, the directory is not empty, or there is no
                symbolizer.
            OSError: a file cannot be written.
        """
        self._open_symbolizer()
        if self._collect is not None:
            from excguard.cli.collection import Collection  # noqa: PLC0415 - with all of crash_reports

            self.collection = Collection(Path(self._collect))
            self._add(EventStream.in_file(self.collection.events, "collection", new=True))
        files = [Path(path) for path in (self._report, self._junit) if path not in (None, _STANDARD_OUTPUT)]
        for path in (*files, *more):
            opening.write(path, b"")
        if self._events is not None:
            number = "1" if self._events == _STANDARD_OUTPUT else self._events
            if number.isascii() and number.isdecimal():
                self._add(EventStream.on_descriptor(int(number)))
            else:
                self._add(EventStream.in_file(Path(self._events), "events"))

    def failed(self, error: str) -> None:
        """Write to the streams why there is no run."""
        with contextlib.suppress(OSError):  # the error is reported on standard error
            for stream in self.streams:
                stream.write(error_event(error))

    def write(self, outcome: Outcome, *, started: str) -> None:
        """Write everything that there is to write at the end.

        Args:
            outcome: of the run.
            started: when it was started, RFC 3339.

        Raises:
            Failure: something cannot be written.
        """
        summary = outcome.to_dict()
        if self._report is not None:
            _write(self._report, msgspec.json.format(msgspec.json.encode(summary)) + b"\n")
        if self._junit is not None:
            from excguard.cli import junit as junit_xml  # noqa: PLC0415 - with an XML writer, for this option

            _write(self._junit, junit_xml.render(outcome, started=started))
        if self.collection is not None:
            try:
                self.collection.finish(summary, outcome.page(), self._symbolizer)
            except OSError as error:
                raise Failure(f"--collect {self.collection.path}: {errors.reason(error)}") from None
        for stream in self.streams:
            try:
                stream.write(summary)
            except OSError as error:
                raise Failure(errors.message(error)) from None

    @property
    def symbolizer(self) -> Symbolizer | None:
        """What names the places of hits, if the options ask for that."""
        return self._symbolizer if self._symbolicate else None

    def _open_symbolizer(self) -> None:
        """Open the symbolizer that the options ask for; a collection takes one if it is there."""
        if not self._symbolicate and self._collect is None:
            return
        from excguard.crash_reports.symbols.cached import CachedSymbolizer  # noqa: PLC0415 - as above
        from excguard.crash_reports.symbols.symbolizer import (  # noqa: PLC0415 - as above
            SymbolizerError,
            open_symbolizer,
        )

        try:
            self._symbolizer = CachedSymbolizer(open_symbolizer(self._directories))
        except SymbolizerError as error:
            if self._required:
                raise click.UsageError(str(error)) from None

    def _add(self, stream: EventStream) -> None:
        self._stack.callback(stream.close)
        self.streams.append(stream)


def _write(path: str, content: bytes) -> None:
    try:
        if path == _STANDARD_OUTPUT:
            sys.stdout.buffer.write(content)
            sys.stdout.buffer.flush()
        else:
            opening.write(Path(path), content)
    except OSError as error:  # an error of writing names no file
        name = "standard output" if path == _STANDARD_OUTPUT else path
        raise Failure(f"{name}: {errors.reason(error)}") from None

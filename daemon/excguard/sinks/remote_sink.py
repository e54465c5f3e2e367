"""What the sinks have in common that send to servers of others: counts, and complaints that do not repeat."""

from typing import ClassVar

from excguard.pipeline.sink import Sink
from excguard.sinks.line_output import Complain


class RemoteSink(Sink):
    """A best-effort sink that sends to one server."""

    durable = False
    unit: ClassVar[str]
    """What it sends, for complaints: "records"."""

    def __init__(self, place: str, complain: Complain) -> None:
        """Begin with nothing sent.

        Args:
            place: what complaints call the server.
            complain: receives one line when sending begins to fail, and one when it works again.
        """
        self._place = place
        self._complain = complain
        self._failing = False
        self._failures = 0
        self._dropped = 0
        self._sent = 0

    @property
    def failures(self) -> int:
        """Requests that failed."""
        return self._failures

    @property
    def dropped(self) -> int:
        """What had no room, was refused, or was left at the end, in `unit`."""
        return self._dropped

    @property
    def progress(self) -> int:
        """What was sent, in `unit`."""
        return self._sent

    def _say(self, problem: str) -> None:
        """Complain when sending begins to fail ("" for a success), and say when it works again."""
        if problem and not self._failing:
            self._complain(f"{self._place}: {problem}; further failures are only counted")
        elif not problem and self._failing:
            self._complain(f"{self._place}: {self.unit} are taken again")
        self._failing = bool(problem)

"""What everything has in common that holds something of the system's until it is closed."""

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self


class Closeable(ABC):
    """Closed at the end of a ``with`` block."""

    @abstractmethod
    def close(self) -> object:
        """Release what is held."""

    def __enter__(self) -> Self:
        """The object itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it, however the block ends."""
        self.close()

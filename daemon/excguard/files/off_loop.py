"""Calls that may wait for a disk, made off the event loop and with a deadline.

`asyncio.to_thread` will not do: its threads are joined when the loop closes, so one that waits for a file
server that is gone would keep the process from ending.
"""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final, ParamSpec, TypeVar

MAX_ABANDONED: Final = 4
"""Calls that may be under way after their deadline; no further ones begin meanwhile."""

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


class OffLoop:
    """Makes calls on threads of their own, one at a time."""

    def __init__(self, seconds: float) -> None:
        """Each call has ``seconds``."""
        self._seconds = seconds
        self._one = asyncio.Lock()
        self._abandoned: list[Future[Any]] = []

    async def call(
        self,
        function: Callable[_Arguments, _Result],
        *arguments: _Arguments.args,
        **keywords: _Arguments.kwargs,
    ) -> _Result:
        """Call ``function`` and wait for its result; its exceptions are raised here.

        Raises:
            TimeoutError: it takes longer than it may. It goes on, and its result is dropped.
        """

        def run() -> None:
            try:
                future.set_result(function(*arguments, **keywords))
            except BaseException as error:  # noqa: BLE001 - raised by whoever waits
                future.set_exception(error)

        async with self._one:
            self._abandoned = [one for one in self._abandoned if not one.done()]
            if len(self._abandoned) >= MAX_ABANDONED:
                raise TimeoutError(f"{len(self._abandoned)} earlier calls have not ended")
            future: Future[_Result] = Future()
            future.set_running_or_notify_cancel()  # from here on it cannot be cancelled
            threading.Thread(target=run, name="excguard-off-loop", daemon=True).start()
            try:
                async with asyncio.timeout(self._seconds):
                    return await asyncio.wrap_future(future)
            except TimeoutError:
                if future.done():  # the function's own
                    raise
                raise TimeoutError(f"not done after {self._seconds:g} s") from None
            finally:
                if not future.done():
                    self._abandoned.append(future)

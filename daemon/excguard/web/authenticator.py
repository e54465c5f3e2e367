"""HTTP basic authentication against the bcrypt hashes of the web configuration.

The time that a check takes must not reveal which user names exist. So each check takes as long as one of the
most expensive hash in the file: bcrypt at cost ``c`` does ``2**c`` rounds, and ``2**c`` plus the rounds of
all costs from ``c`` to ``n - 1`` is ``2**n``.
"""

import asyncio
import base64
import binascii
import contextlib
import hashlib
import hmac
import os
import threading
from collections.abc import Mapping

from excguard.web.errors import TooManyChecksError

_UNKNOWN_USER = "$2b$%02d$" + "." * 53  # a hash that no password has; the cost is filled in
_MAX_WAITING = 16  # checks that run or wait; further ones are refused
_MAX_REMEMBERED = 64  # accepted credentials: a scrape must not cost a bcrypt hash each
_MAX_PASSWORD_BYTES = 72  # that bcrypt uses


class Authenticator:
    """Checks passwords, one at a time, in a thread. Belongs to one event loop."""

    def __init__(self) -> None:
        """Remember no credentials."""
        self._one_at_a_time = asyncio.Lock()  # guesses use one core at most
        self._waiting = 0
        self._secret = os.urandom(32)
        self._accepted: dict[bytes, None] = {}

    def remembers(self, users: Mapping[str, str], authorization: str) -> bool:
        """Whether ``authorization`` (the header) was accepted before, with the same hash in ``users``."""
        user, password = _credentials(authorization)
        if user is None or user not in users:
            return False
        return self._key(user, password, users[user]) in self._accepted

    async def check(self, users: Mapping[str, str], authorization: str) -> bool:
        """Whether ``authorization`` (the header) has the name and the password of one of ``users``.

        Raises TooManyChecksError.
        """
        user, password = _credentials(authorization)
        if user is None or b"\0" in password:  # bcrypt's passwords end at a NUL
            return False
        if self._waiting >= _MAX_WAITING:
            raise TooManyChecksError
        cost = max(map(_cost, users.values()))
        stored = users.get(user)
        self._waiting += 1
        try:
            async with self._one_at_a_time:
                matches = await _in_thread(password, stored or _UNKNOWN_USER % cost, cost)
        finally:
            self._waiting -= 1
        if stored is None or not matches:
            return False
        while len(self._accepted) >= _MAX_REMEMBERED:
            del self._accepted[next(iter(self._accepted))]
        self._accepted[self._key(user, password, stored)] = None
        return True

    def _key(self, user: str, password: bytes, stored: str) -> bytes:
        return hmac.digest(
            self._secret, b"\0".join((user.encode(), password, stored.encode())), hashlib.sha256
        )


def _credentials(authorization: str) -> tuple[str | None, bytes]:
    """User and password of a header; the user is None when it is not a header of basic authentication."""
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None, b""
    try:
        user, colon, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
        return (user.decode() if colon else None), password
    except (binascii.Error, ValueError):
        return None, b""


def _cost(stored: str) -> int:
    return int(stored[4:6])  # "$2b$10$..."


async def _in_thread(password: bytes, stored: str, cost: int) -> bool:
    """`_matches` in a thread of its own, one that does not keep the process from exiting."""
    loop = asyncio.get_running_loop()
    result: asyncio.Future[bool] = loop.create_future()

    def deliver(outcome: bool | Exception) -> None:  # noqa: FBT001 - the result
        if result.cancelled():
            return
        if isinstance(outcome, Exception):
            result.set_exception(outcome)
        else:
            result.set_result(outcome)

    def run() -> None:
        outcome: bool | Exception
        try:
            outcome = _matches(password, stored, cost)
        except Exception as error:  # noqa: BLE001 - for the one who waits
            outcome = error
        with contextlib.suppress(RuntimeError):  # the loop has been closed meanwhile
            loop.call_soon_threadsafe(deliver, outcome)

    threading.Thread(target=run, name="excguard-bcrypt", daemon=True).start()
    return await result


def _matches(password: bytes, stored: str, cost: int) -> bool:
    """Whether ``password`` has the hash ``stored``, in the time of a hash of ``cost``."""
    import bcrypt  # noqa: PLC0415 - not before a password has to be checked

    used = password[:_MAX_PASSWORD_BYTES]
    # $2y$ is htpasswd's name of $2b$.
    matches = bcrypt.checkpw(used, stored.replace("$2y$", "$2b$", 1).encode())
    for padding in range(_cost(stored), cost):
        bcrypt.checkpw(used, (_UNKNOWN_USER % padding).encode())
    return matches

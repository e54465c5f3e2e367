"""Who may come in: passwords (HTTP basic authentication) and the rate limit of the web configuration."""

import asyncio
import base64
import binascii
import hashlib
import hmac
import os
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import bcrypt

# Somebody who tries user names must not learn from the time it takes which ones there are: this is checked in
# place of the hash that an unknown user does not have. Nothing hashes to it.
_NOBODY = "$2b$10$" + "." * 53
_MOST_WAITING = 16  # passwords waiting to be hashed; further requests are turned away
_MOST_REMEMBERED = 64  # passwords that were right; a scrape must not cost a bcrypt round each


class Gate:
    """Lets requests in: passwords and the rate limit. For one event loop."""

    def __init__(self) -> None:
        """Nobody is known yet."""
        self._hasher = ThreadPoolExecutor(1, "excguard-bcrypt")  # one: guessing costs one core at most
        self._waiting = 0
        self._secret = os.urandom(32)
        self._right: dict[bytes, None] = {}
        self._tokens = 0.0
        self._filled = 0.0

    async def knows(self, users: Mapping[str, str], authorization: str) -> bool | None:
        """Whether ``authorization`` (the header) names one of ``users`` with its password.

        None: too many wait for the answer already.
        """
        user, password = _credentials(authorization)
        if user is None:
            return False
        stored = users.get(user, _NOBODY)
        key = hmac.digest(
            self._secret, b"\0".join((user.encode(), password, stored.encode())), hashlib.sha256
        )
        if key in self._right:
            return True
        if self._waiting >= _MOST_WAITING:
            return None
        self._waiting += 1
        try:
            right = await asyncio.get_running_loop().run_in_executor(self._hasher, _matches, password, stored)
        finally:
            self._waiting -= 1
        if right and stored is not _NOBODY:
            while len(self._right) >= _MOST_REMEMBERED:
                del self._right[next(iter(self._right))]
            self._right[key] = None
            return True
        return False

    def has_room(self, interval: float, burst: int) -> bool:
        """Whether one more request is within the limit: one an ``interval`` (seconds), ``burst`` at once."""
        if not interval:
            return True
        now = time.monotonic()
        self._tokens = min(
            float(burst), self._tokens + (now - self._filled) / interval if self._filled else float(burst)
        )
        self._filled = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True

    def close(self) -> None:
        """Hash no more passwords."""
        self._hasher.shutdown(wait=False, cancel_futures=True)


def _credentials(authorization: str) -> tuple[str | None, bytes]:
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None, b""
    try:
        user, colon, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
        return (user.decode() if colon else None), password
    except (binascii.Error, ValueError):
        return None, b""


def _matches(password: bytes, stored: str) -> bool:
    # bcrypt looks at 72 bytes at most; $2y$ is what htpasswd calls $2b$.
    try:
        return bcrypt.checkpw(password[:72], stored.replace("$2y$", "$2b$", 1).encode())
    except ValueError:  # a NUL in the password
        return False

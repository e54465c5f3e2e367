"""The rate limit of the web configuration: a token bucket."""

import time


class TokenBucket:
    """Starts full; each request takes a token."""

    def __init__(self) -> None:
        """Start with a full bucket."""
        self._tokens: float | None = None
        self._updated = 0.0

    def take(self, interval: float, burst: int) -> bool:
        """Take a token; False when there is none.

        Args:
            interval: seconds after which a token is added; 0: no limit.
            burst: the maximum number of tokens.
        """
        if not interval:
            return True
        now = time.monotonic()
        tokens = float(burst) if self._tokens is None else self._tokens + (now - self._updated) / interval
        self._updated = now
        self._tokens = min(float(burst), tokens)
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True

"""Errors of the endpoint."""


class WebConfigError(ValueError):
    """An unusable web configuration, in one line: file, key, what is wrong, the fix."""


class UnprotectedError(ValueError):
    """The endpoint would be open to other machines without authentication."""


class TooManyChecksError(Exception):
    """As many passwords as may wait are waiting to be checked."""

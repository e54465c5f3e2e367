"""Errors of the endpoint's configuration."""


class WebConfigError(ValueError):
    """An unusable web configuration, in one line: file, key, what is wrong, the fix."""


class UnprotectedError(ValueError):
    """The endpoint would be open to other machines without authentication."""

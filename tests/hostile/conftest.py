"""What the tests of hostile input share."""

from tests.support.endpoint import endpoint, open_endpoint, world

__all__ = ["endpoint", "open_endpoint", "world"]

"""An endpoint, and what it serves."""

from tests.support.endpoint import endpoint, open_endpoint, world

__all__ = ["endpoint", "open_endpoint", "world"]

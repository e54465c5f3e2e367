"""Options of the whole suite."""

from __future__ import annotations

import sys

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds --kernel and --slow."""
    group = parser.getgroup("excguard")
    group.addoption(
        "--kernel",
        choices=("simulated", "native"),
        default="native" if sys.platform == "darwin" else "simulated",
        help="what tests/mach runs against: the simulator, or XNU on a Mac (default: what this system has)",
    )
    group.addoption("--slow", action="store_true", help="also run the tests marked slow")


def pytest_configure(config: pytest.Config) -> None:
    """Refuses a kernel that this system does not have."""
    if config.getoption("--kernel") == "native" and sys.platform != "darwin":
        raise pytest.UsageError("--kernel=native needs a Mac; this system has the simulator only")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out the slow tests unless asked for."""
    if not config.getoption("--slow"):
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(pytest.mark.skip(reason="slow: give --slow to run it"))

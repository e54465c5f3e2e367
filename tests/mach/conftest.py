"""Tasks of their own, on kernels of their own."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.task import run as run_task


@pytest.fixture
def task() -> Callable[..., Any]:
    """Runs a function as a task of its own; JSON carries arguments and result. Keywords go to the kernel."""

    def run(function: Callable[..., Any], *arguments: object, **settings: object) -> object:
        return run_task(function.__module__, function.__name__, *arguments, **settings)

    return run

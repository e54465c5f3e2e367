"""Runs a reader of `python_readers` under atheris: `python -m tests.fuzz.atheris_driver NAME [OPTIONS]`."""

from __future__ import annotations

import gc
import sys
from types import FunctionType

import atheris

from tests.fuzz import python_readers

INSTRUMENTED = ("excguard", "h11", "plistlib", "tarfile", "tomllib", "zipfile")


def instrument() -> None:
    """Measure the coverage of what reads: an editable installation keeps atheris from doing so at import."""
    for found in gc.get_objects():
        if isinstance(found, FunctionType) and str(found.__module__).partition(".")[0] in INSTRUMENTED:
            atheris.instrument_func(found)


if __name__ == "__main__":
    reader = python_readers.READERS[sys.argv[1]]
    instrument()
    atheris.Setup([sys.argv[0], *sys.argv[2:]], reader)
    atheris.Fuzz()

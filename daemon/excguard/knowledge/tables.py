"""The tables of kernel facts: CSV files beside this module, each with a header line."""

from __future__ import annotations

import csv
import os.path


def rows(name: str) -> list[dict[str, str]]:
    """The rows of a table ("flavors.csv"), keyed by its header's names."""
    # Not pathlib: its import is a tenth of what `excguard decode` adds to the start of click.
    path = os.path.join(os.path.dirname(__file__), name)  # noqa: PTH118, PTH120
    with open(path, newline="", encoding="ascii") as file:  # noqa: PTH123
        return list(csv.DictReader(file))

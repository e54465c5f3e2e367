"""The tables: CSV files beside this module, each with a header line. No value is quoted: none has a comma."""

from __future__ import annotations

import os.path


def rows(name: str) -> list[dict[str, str]]:
    """The rows of a table ("flavors.csv"), keyed by its header's names.

    Raises:
        ValueError: a row has more or fewer values than the header.
    """
    # Neither pathlib nor csv: each command that decodes would import them for this alone.
    path = os.path.join(os.path.dirname(__file__), name)  # noqa: PTH118, PTH120
    with open(path, encoding="utf-8") as file:  # noqa: PTH123
        head, *lines = file.read().splitlines()
    keys = head.split(",")
    return [dict(zip(keys, line.split(","), strict=True)) for line in lines]

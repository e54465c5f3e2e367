"""Constants of Apple's headers."""

import csv
import re

from tests.support import DATA

SDK = DATA / "sdk27_constants.csv"


def constants(header: str) -> dict[str, int]:
    """Names and values of the numbers in one header of Apple's newest SDK."""
    with SDK.open(newline="") as rows:
        return {
            row["name"]: int(row["value"].rstrip("U"), 0)
            for row in csv.DictReader(rows)
            if row["header"] == header and re.fullmatch(r"(0x[0-9a-fA-F]+|-?[0-9]+)U?", row["value"])
        }

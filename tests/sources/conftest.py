"""What sources report, as public reports show it."""

import json
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def corpus_lines() -> list[dict]:
    """The kernel's lines of public reports: message, code, subcode."""
    path = Path(__file__).with_name("kernel_lines.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]

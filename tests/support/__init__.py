"""What the tests of several directories share."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The checkout."""

DATA = ROOT / "tests" / "data"
"""What was recorded elsewhere: messages of MIG's stubs, constants of an SDK, crash reports."""

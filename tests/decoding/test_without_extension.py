"""What needs no Mach works where the C extension cannot be loaded."""

import subprocess
import sys

import pytest

PROGRAM = """\
import sys
sys.modules["excguard.native"] = None  # an import of it raises ImportError
import {modules}
{use}
"""


@pytest.mark.parametrize(
    ("modules", "use", "printed"),
    [
        (
            "excguard.decoding.decode",
            "print(excguard.decoding.decode.decode(0x2000020000000103, 0).flavor_name)",
            "INVALID_NAME",
        ),
        (
            "excguard",
            "print(excguard.decode(0x2000020000000103, 0).flavor_name, excguard.reports.__name__)",
            "INVALID_NAME excguard.crash_reports",
        ),
        (
            "excguard.crash_reports",
            "print(excguard.crash_reports.read_text('GUARD 2305845208237090567').violations[0].flavor_name)",
            "INVALID_NAME",
        ),
        (
            "pathlib, excguard.config",
            (
                "config = excguard.config.parse('', file='f', directory=pathlib.Path())\n"
                "print(config.behavior.value)"
            ),
            "auto",
        ),
        (
            "excguard.testing",
            "print(excguard.testing.simulated_hit('DESTROY').violation.severity)",
            "fatal",
        ),
    ],
    ids=["decoding", "public names", "crash_reports", "config", "testing"],
)
def test_without_the_extension(modules: str, use: str, printed: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(modules=modules, use=use)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, printed + "\n", "")

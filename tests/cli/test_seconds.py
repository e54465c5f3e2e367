"""Seconds on the command line: numbers in a range, and nothing else."""

import pytest
from click.testing import CliRunner

from excguard.cli.run import command


@pytest.mark.parametrize("option", ["--timeout", "--kill-after"])
@pytest.mark.parametrize("value", ["nan", "-nan", "NaN", "-1", "x", ""])
def test_what_is_not_a_number_of_seconds_is_a_usage_error(option: str, value: str) -> None:
    result = CliRunner().invoke(command, [option, value, "--", "true"])

    assert result.exit_code == 2
    assert f"Invalid value for '{option}'" in result.output

"""Seconds on the command line."""

import math
from typing import Any

import click


class Seconds(click.FloatRange):
    """A number in a range. "nan" is not one, although it is outside of no range."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:  # noqa: ANN401 - click's
        """The number; a usage error for any other text."""
        number = float(super().convert(value, param, ctx))
        if math.isnan(number):
            self.fail(f"{value!r} is not a number of seconds.", param, ctx)
        return number

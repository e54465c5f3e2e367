"""How fast codes are decoded, as ratios within one run: `python bench/columns.py`.

* columns: `excguard.decode_columns` against numpy's bit operations on the same array (guard type, flavor and
  target by shifts and masks, each into an array of its own type); the bar is 1.0. numpy is needed.
* scalar: `excguard.decode` of pairs that were not decoded before, a code, beside one code of the column.

Each figure is the best of several rounds, the peers taking turns.
"""

from __future__ import annotations

import random
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np

import excguard
from bench.row import Measure, Options, Row, pin, run
from excguard.decoding.code import join
from excguard.knowledge import flavors, guards

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CODES = 1_000_000
PAIRS = 5_000
ROUNDS = 15


def codes(known: float) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """Codes of the tables' numbers in this share, and others of the same guard types."""
    rng = random.Random(1)  # noqa: S311 - the same codes in every run
    heads = [(guards.NUMBERS[row.guard_type], row.value) for row in flavors.table()]
    numbers = [
        join(*(rng.choice(heads) if rng.random() < known else (rng.randrange(1, 7), rng.randrange(2**29))), 7)
        for _ in range(CODES // 20)
    ]
    return np.resize(np.array(numbers, dtype=np.uint64), CODES)


def by_numpy(column: np.ndarray[Any, np.dtype[np.uint64]]) -> tuple[Any, ...]:
    """The three fields of a code."""
    return (
        (column >> np.uint64(61)).astype(np.uint8),
        ((column >> np.uint64(32)) & np.uint64(0x1FFFFFFF)).astype(np.uint32),
        (column & np.uint64(0xFFFFFFFF)).astype(np.uint32),
    )


def by_excguard(column: np.ndarray[Any, np.dtype[np.uint64]]) -> excguard.Columns:
    """All of a code that the tables have."""
    return excguard.decode_columns(column, release="26.4")


def one_by_one(pairs: list[tuple[int, int]]) -> list[excguard.Violation]:
    """Violations, whole."""
    return [excguard.decode(code, subcode, "26.4") for code, subcode in pairs]


def seconds(work: Callable[[Any], object], argument: object) -> float:
    """How long one call takes."""
    began = time.perf_counter()
    work(argument)
    return time.perf_counter() - began


def best(column: np.ndarray[Any, np.dtype[np.uint64]]) -> tuple[float, float]:
    """Nanoseconds a code, of ours and of numpy; the least of several rounds by turns."""
    rounds = [(seconds(by_excguard, column), seconds(by_numpy, column)) for _ in range(ROUNDS)]
    ours, theirs = (min(taken) / CODES * 1e9 for taken in zip(*rounds, strict=True))
    return ours, theirs


def rows(options: Options) -> Iterator[Row]:
    """Columns, all of whose codes are in the tables, or half of them."""
    if options.check:  # time alone
        return
    pin()
    for share in (1.0, 0.5):
        ours, theirs = best(codes(share))
        name = f"decode_columns, {share:.0%} of the codes in the tables"
        yield Row(name, "numpy's bit operations", Measure.TIME, ours, theirs, 1, "ns")


def main() -> None:
    """Print the ratios."""
    for share in (1.0, 0.5):
        ours, theirs = best(codes(share))
        print(
            f"columns, {share:.0%} in the tables: decode_columns {ours:.2f} ns a code, numpy's bit "
            f"operations {theirs:.2f}: {ours / theirs:.2f} times (bar 1.0)"
        )
    pairs = [(int(code), number) for number, code in enumerate(codes(1.0)[:PAIRS])]
    scalar = seconds(one_by_one, pairs)
    print(f"scalar: decode of a fresh pair {scalar / PAIRS * 1e6:.1f} us")


if __name__ == "__main__":
    sys.exit(run(rows, main))

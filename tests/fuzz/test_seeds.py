"""Every reader takes its seeds, and damaged copies of them. `python -m tests.fuzz` goes on for longer."""

from __future__ import annotations

import random

import pytest

from tests.fuzz import python_readers, seeds
from tests.support.corpus import mutate


@pytest.mark.parametrize("name", python_readers.READERS)
def test_seeds_and_damaged_copies(name: str) -> None:
    chance = random.Random(15)  # noqa: S311 - to be repeatable
    given = seeds.of(name)
    reader = python_readers.READERS[name]

    for seed in given:
        reader(seed)
    for _ in range(60):
        reader(mutate(chance.choice(given)[:4096], chance))


def test_every_reader_has_seeds() -> None:
    assert set(python_readers.READERS) <= set(seeds.SEEDS)

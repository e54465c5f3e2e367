"""Hit counters under their names: all that can happen, from 0, unknown flavors together, exactly."""

import os
from pathlib import Path

import pytest

from excguard.decoding.code import join
from excguard.decoding.decode import decode
from excguard.knowledge import flavors, guards, releases
from excguard.pipeline.counters import Labels, labels_of
from excguard.pipeline.hit_table import HitTable, expected_flavors
from excguard.pipeline.journal import Journal

RELEASE = "26.4"
VERSION = releases.parse(RELEASE).version
NAMES = {1: "mail", 2: "maps", 3: "gone"}


@pytest.fixture
def journal(tmp_path: Path):
    with Journal(tmp_path / "journal", capacity=1024, release=VERSION) as opened:
        yield opened


@pytest.fixture
def other(tmp_path: Path):
    with Journal(tmp_path / "other", capacity=1024, release=VERSION) as opened:
        yield opened


def hit(journal: Journal, code: int, target_id: int = 1, time_ns: int = 5) -> None:
    journal.append(target_id=target_id, pid=1, time_ns=time_ns, code=code, subcode=0, flags=0)


def table(*journals: Journal) -> HitTable:
    return HitTable(journals, NAMES.__getitem__, ["mail", "maps"], RELEASE, VERSION)


def counted(found) -> dict[Labels, int]:
    counts, _ = found.read()
    return dict(zip(counts.labels, counts.hits, strict=True))


def test_every_flavor_of_the_release_is_there_from_zero_on(journal: Journal) -> None:
    counts = counted(table(journal))

    assert set(counts.values()) == {0}
    assert {labels.target for labels in counts} == {"mail", "maps"}
    assert len(counts) == 2 * len(expected_flavors(VERSION))
    assert Labels("mail", "MACH_PORT", "INVALID_NAME", "optional") in counts
    assert Labels("maps", "USER", "none", "soft") in counts


def test_labels_are_those_of_decode_for_every_flavor(journal: Journal) -> None:
    """C decides severity and whether a flavor is known, Python the names; both read the same tables."""
    wanted = {}
    for row in flavors.table():
        code = join(guards.NUMBERS[row.guard_type], row.value, 0)
        if code not in wanted:
            hit(journal, code)
            wanted[code] = labels_of("mail", decode(code, None, RELEASE))

    counts = counted(table(journal))

    assert {labels for labels, hits in counts.items() if hits} == set(wanted.values())
    assert sum(counts.values()) == len(wanted)


def test_unknown_flavors_are_one_series(journal: Journal) -> None:
    for flavor, time_ns in ((0x1234567, 7), (0x1234568, 9), (0x1234569, 8)):
        hit(journal, join(1, flavor, 1), time_ns=time_ns)
    hit(journal, join(7, 5, 1))

    counts, _ = table(journal).read()
    found = {
        labels: (hits, last)
        for labels, hits, last in zip(counts.labels, counts.hits, counts.last_ns, strict=True)
        if hits
    }

    assert found[Labels("mail", "MACH_PORT", "unknown", "soft")] == (3, 9)
    assert [labels for labels in found if labels.guard_type == "unknown"] == [
        Labels("mail", "unknown", "unknown", "unknown")
    ]


def test_labels_stay_the_same_object_until_one_is_added(journal: Journal) -> None:
    found = table(journal)
    first = found.read()[0].labels
    hit(journal, join(1, 1, 1))
    second = found.read()[0].labels
    hit(journal, join(1, 1, 1))

    assert found.read()[0].labels is second
    assert second is not first


def test_journals_are_added_up_by_series_and_by_target(journal: Journal, other: Journal) -> None:
    hit(journal, join(1, 1, 1), 1, 3)
    hit(journal, join(1, 1, 1), 3)
    hit(other, join(1, 1, 9), 1, 8)
    hit(other, join(2, 1, 9), 2)

    counts, by_target = table(journal, other).read()

    assert by_target == [{"mail": 1, "gone": 1}, {"mail": 1, "maps": 1}]
    assert counts.last_ns_by_target == {"mail": 8, "gone": 5, "maps": 5}
    targets = [labels.target for labels in counts.labels]
    assert targets == sorted(targets)
    assert len(counts.hits) == len(counts.last_ns) == len(counts.labels)
    destroy = counts.labels.index(labels_of("mail", decode(join(1, 1, 0), None, RELEASE)))
    assert (counts.hits[destroy], counts.last_ns[destroy]) == (2, 8)


def test_fifty_targets_with_all_flavors_have_room(journal: Journal) -> None:
    codes = {
        join(guards.NUMBERS[row.guard_type], row.value, 0)
        for row in flavors.table()
        if flavors.at(row.guard_type, row.value, VERSION)
    }
    for target_id in range(1, 51):
        for code in codes:
            hit(journal, code, target_id)
    found = HitTable([journal], str, (), RELEASE, VERSION)

    counts = counted(found)

    assert len(counts) == 50 * len({labels[1:] for labels in counts})
    assert sum(counts.values()) == 50 * len(codes)
    assert {labels.flavor for labels in counts}.isdisjoint({"unknown"})


def test_a_counter_that_another_program_takes_away_and_returns_is_counted_as_its_own(tmp_path: Path) -> None:
    """What another program writes to the file decides neither whose a count is nor where it is added."""
    path = tmp_path / "journal"
    with Journal(path, capacity=1024, release=VERSION) as journal, path.open("r+b", buffering=0) as file:
        hit(journal, join(1, 1, 1), 1)
        hit(journal, join(1, 1, 1), 2)
        found = table(journal)
        assert found.read()[1] == [{"mail": 1, "maps": 1}]
        slot = next(counter.slot for counter in journal.hit_counters() if counter.target_id == 1)
        place = 4096 + 64 * slot
        key = os.pread(file.fileno(), 8, place)

        os.pwrite(file.fileno(), bytes(8), place)
        assert found.read()[1] == [{"maps": 1}]
        hit(journal, join(1, 2, 1), 2)  # the others are numbered again
        assert found.read()[1] == [{"maps": 2}]

        os.pwrite(file.fileno(), key, place)
        assert found.read()[1] == [{"mail": 1, "maps": 2}]


def test_counters_are_found_again_after_a_restart(tmp_path: Path) -> None:
    for hits in (1, 2, 3):
        with Journal(tmp_path / "journal", capacity=1024, release=VERSION) as journal:
            for flavor in (1, 2, 0x1234567):
                hit(journal, join(1, flavor, 1))
            counts, by_target = table(journal).read()
            assert by_target == [{"mail": 3 * hits}]
            assert sorted(found for found in counts.hits if found) == [hits] * 3

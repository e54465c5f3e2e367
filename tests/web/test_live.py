"""The feed: who has seen what, what stays, and how little a storm costs it."""

import json

import pytest

from excguard.decoding.code import join
from excguard.decoding.decode import decode
from excguard.pipeline.counters import labels_of
from excguard.pipeline.rate_limit import Site, Suppressed
from excguard.web import live_feed


def told(feed, seen: int) -> tuple[int, dict]:
    seen, message = feed.message(seen)
    return seen, json.loads(message)


def test_a_viewer_gets_what_came_after_what_it_has_seen(world) -> None:
    world.hit(subcode=1)
    world.feed.look()
    seen, first = told(world.feed, -1)
    assert [hit["payload"] for hit in first["hits"]] == ["0x1"]
    assert first["about"]["release"] == "macOS 26.4"
    assert told(world.feed, seen)[1] == {}

    world.hit(subcode=2)
    world.hit(subcode=3)
    world.feed.look()
    seen, second = told(world.feed, seen)
    assert [hit["payload"] for hit in second["hits"]] == ["0x2", "0x3"]
    assert second["counts"][0][4] == 3
    assert "targets" not in second

    world.targets["mail"].up = False
    world.feed.look()
    _, third = told(world.feed, seen)
    assert third["targets"][0]["up"] is False
    assert "hits" not in third


def test_only_the_latest_rows_stay(world) -> None:
    for number in range(live_feed.ROWS + 7):
        world.hit(subcode=number)

    _, state = told(world.feed, -1)

    assert len(state["hits"]) == live_feed.ROWS
    assert state["hits"][0]["payload"] == "0x7"


def test_repeats_join_the_newest_row_of_their_site(world) -> None:
    world.hit(subcode=1, pc=0x10)
    world.hit(subcode=2, pc=0x20)
    world.hit(subcode=3, pc=0x10, more=5)
    world.hit(subcode=4, pc=0x20)

    rows = {row["payload"]: row["repeats"] for row in told(world.feed, -1)[1]["hits"]}

    assert rows == {"0x1": 0, "0x2": 0, "0x3": 5, "0x4": 0}


@pytest.mark.parametrize("lumped", [False, True])
def test_a_count_whose_row_is_gone_has_a_row_of_its_own(world, make_hit, lumped: bool) -> None:  # noqa: FBT001
    violation = decode(join(1, 1, 7), 3, "26.4")
    site = None if lumped else Site(1, violation.code >> 32, 0)
    group = Suppressed(site, 1, violation.code, 3, 0, 12, 1, 12, 10**18, 10**18 + 5, ())

    world.feed.suppressed(group, "mail", violation)
    world.feed.suppressed(group, "mail", violation)

    (row,) = told(world.feed, -1)[1]["hits"]
    assert (row["repeats"], row["counted"]) == (24, True)
    assert row["severity"] == (None if lumped else "fatal")
    assert "payload" not in row


def test_the_history_is_of_now_and_by_flavor(world) -> None:
    world.hit(more=99)
    world.feed.look()  # what an earlier life has counted is no history
    assert "history" not in told(world.feed, -1)[1]

    world.hit(more=4)
    world.hit(join(2, 1, 3))
    world.feed.look()
    seen, state = told(world.feed, -1)
    world.hit()
    world.feed.look()
    _, update = told(world.feed, seen)

    def sums(history) -> dict[str, int]:
        found: dict[str, int] = {}
        for _, came in history:
            for flavor, hits in came.items():
                found[flavor] = found.get(flavor, 0) + hits
        return found

    assert sums(state["history"]) == {"MACH_PORT INVALID_NAME": 5, "FD CLOSE": 1}
    assert sums(update["history"])["MACH_PORT INVALID_NAME"] in {1, 6}  # another step, or the same again


def test_exemplars_are_hits_that_the_log_shows(world) -> None:
    first = world.hit(seq=41)
    world.hit(seq=42, more=1000)

    exemplar = world.feed.exemplars[labels_of("mail", first.violation)]

    assert exemplar.seq == 42


def test_a_target_of_an_earlier_life_has_a_name(world) -> None:
    world.hit(target="gone")

    _, state = told(world.feed, -1)

    (target,) = state["targets"]
    assert (target["name"], target["configured"]) == ("gone", False)
    assert state["hits"][0]["target"] == target["id"]

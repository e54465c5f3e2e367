"""The feed: which viewer gets what, what is kept, and how a storm is summed up."""

import json

import pytest

from excguard.decoding.code import join
from excguard.decoding.decode import decode
from excguard.pipeline.counters import TargetState, labels_of
from excguard.pipeline.suppressed import SiteKey, Suppressed
from excguard.web import live_feed


def message_after(feed, seen: int) -> tuple[int, dict]:
    seen, message = feed.message(seen)
    return seen, json.loads(message)


def test_a_viewer_gets_what_has_changed_since_its_last_message(world) -> None:
    world.hit(subcode=1)
    world.feed.update()
    seen, first = message_after(world.feed, -1)
    assert [hit["payload"] for hit in first["hits"]] == ["0x1"]
    assert first["about"]["release"] == "macOS 26.4"
    assert message_after(world.feed, seen)[1] == {}

    world.hit(subcode=2)
    world.hit(subcode=3)
    world.feed.update()
    seen, second = message_after(world.feed, seen)
    assert [hit["payload"] for hit in second["hits"]] == ["0x2", "0x3"]
    assert second["counts"][0][4] == 3
    assert "targets" not in second

    world.targets["mail"].up = False
    world.feed.update()
    _, third = message_after(world.feed, seen)
    assert third["targets"][0]["up"] is False
    assert "hits" not in third


def test_only_the_latest_rows_are_kept(world) -> None:
    for number in range(live_feed.ROWS + 7):
        world.hit(subcode=number)

    _, state = message_after(world.feed, -1)

    assert len(state["hits"]) == live_feed.ROWS
    assert state["hits"][0]["payload"] == "0x7"


def test_repeats_join_the_newest_row_of_their_site(world) -> None:
    world.hit(subcode=1, pc=0x10)
    world.hit(subcode=2, pc=0x20)
    world.hit(subcode=3, pc=0x10, more=5)
    world.hit(subcode=4, pc=0x20)

    rows = {row["payload"]: row["repeats"] for row in message_after(world.feed, -1)[1]["hits"]}

    assert rows == {"0x1": 0, "0x2": 0, "0x3": 5, "0x4": 0}


@pytest.mark.parametrize("lumped", [False, True])
def test_a_count_without_a_row_gets_a_row(world, make_hit, lumped: bool) -> None:  # noqa: FBT001
    violation = decode(join(1, 1, 7), 3, "26.4")
    site = None if lumped else SiteKey(1, violation.code >> 32, 0)
    group = Suppressed(site, 1, violation.code, 3, 0, 12, 1, 12, 10**18, 10**18 + 5, ())

    world.feed.suppressed(group, "mail", violation)
    world.feed.suppressed(group, "mail", violation)

    (row,) = message_after(world.feed, -1)[1]["hits"]
    assert (row["repeats"], row["counted"]) == (24, True)
    assert row["severity"] == (None if lumped else "fatal")
    assert "payload" not in row


def test_the_history_has_recent_hits_by_flavor(world) -> None:
    world.hit(more=99)
    world.feed.update()  # hits from before the start are not in the history
    assert "history" not in message_after(world.feed, -1)[1]

    world.hit(more=4)
    world.hit(join(2, 1, 3))
    world.feed.update()
    seen, state = message_after(world.feed, -1)
    world.hit()
    world.feed.update()
    _, update = message_after(world.feed, seen)

    def sums(history) -> dict[str, int]:
        found: dict[str, int] = {}
        for _, counts in history:
            for flavor, hits in counts.items():
                found[flavor] = found.get(flavor, 0) + hits
        return found

    assert sums(state["history"]) == {"MACH_PORT INVALID_NAME": 5, "FD CLOSE": 1}
    assert sums(update["history"])["MACH_PORT INVALID_NAME"] in {1, 6}  # another step, or the same again


def test_exemplars_are_hits_that_the_log_has_in_full(world) -> None:
    first = world.hit(seq=41)
    world.hit(seq=42, more=1000)

    exemplar = world.exemplars.newest[labels_of("mail", first.violation)]

    assert exemplar.seq == 42


def test_a_target_that_is_not_configured_has_a_name(world) -> None:
    world.hit(target="gone")

    _, state = message_after(world.feed, -1)

    (target,) = state["targets"]
    assert (target["name"], target["configured"]) == ("gone", False)
    assert state["hits"][0]["target"] == target["id"]


def test_a_target_that_is_removed_is_not_shown_as_running(world) -> None:
    world.targets["maps"] = TargetState(up=True, starts=3)
    world.feed.update()
    seen, _ = message_after(world.feed, -1)

    del world.targets["maps"]
    world.feed.update()

    (target,) = message_after(world.feed, seen)[1]["targets"]
    assert (target["name"], target["configured"], target["up"], target["starts"]) == ("maps", False, False, 3)

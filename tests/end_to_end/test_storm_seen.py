"""A storm of hits: page and endpoint answer all the while, and all numbers agree."""

import json
import os
import re
import urllib.request

import pytest

from excguard.knowledge import releases
from excguard.pipeline.journal import Journal
from tests.support.browser import ARGUMENTS, CHROMIUM, NO_PLAYWRIGHT, needs_chromium
from tests.support.harness import scrape, total
from tests.support.samples import INVALID_NAME
from tests.support.waiting import wait_until


def feed_of(url: str) -> dict:
    """The first message of the live feed: everything."""
    with urllib.request.urlopen(url) as response:
        for line in response:
            if line.startswith(b"data: "):
                return json.loads(line[6:])
    raise AssertionError("the feed ended")


@needs_chromium
@pytest.mark.parametrize("storm", [20_000, pytest.param(200_000, marks=pytest.mark.slow)])
def test_all_numbers_agree_and_everything_answers(serve, child: str, tmp_path, storm: int) -> None:
    sync_api = pytest.importorskip("playwright.sync_api", reason=NO_PLAYWRIGHT)
    os.mkfifo(tmp_path / "go")
    daemon = serve(
        f"""
        [[target]]
        name = "storm"
        command = ["sh", "-c", "read go < {tmp_path}/go && exec {child} raise {INVALID_NAME:#x} {storm}"]
        restart = "never"

        [[target]]
        name = "still"
        command = ["sleep", "600"]
        """
    )
    metrics = daemon.url
    home = metrics.removesuffix("/metrics")
    answered = 0
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_page()
        page.goto(home)
        shown = page.locator("#total")
        sync_api.expect(page.locator("#link-text")).to_have_text("Live")
        (tmp_path / "go").write_text("go\n")
        while not daemon.events("target_exited"):
            # While it storms: a scrape, the page's own script, and a click that does something.
            assert total(scrape(metrics), "excguard_target_up", target="still") == 1
            page.keyboard.press("p")
            assert page.locator("#pause").get_attribute("aria-pressed") == "true"
            page.keyboard.press("p")
            answered += 1
        assert answered
        sync_api.expect(shown).to_have_text(f"{storm:,}", timeout=20_000)
        flavor = page.locator("#flavors button", has_text="INVALID_NAME").locator(".figure")
        sync_api.expect(flavor).to_have_attribute("data-count", str(storm))
        target = page.locator("#targets button", has_text="storm").locator(".figure")
        sync_api.expect(target).to_have_attribute("data-count", str(storm))
        repeats = wait_until(
            lambda: (
                sum(
                    int(re.sub(r"\D", "", text) or 0)
                    for text in page.locator(".hit .badge").all_text_contents()
                )
                + page.locator(".hit").count()
                + int(page.locator("#health dd").nth(4).text_content().replace(",", ""))
            ),
            lambda found: found >= storm,
        )
        browser.close()

    samples = scrape(metrics)
    state = feed_of(home + "/events")
    assert daemon.stop() == 0
    whole = len(daemon.events("guard_hit"))
    summed = sum(event["count"] for event in daemon.events("guard_hits_suppressed"))
    lost = sum(event["count"] for event in daemon.events("journal_records_lost"))
    release = releases.parse("26.4").version
    with Journal(tmp_path / "journal", capacity=0, release=release) as journal:
        (counter,) = journal.hit_counters()
        assert journal.lost == lost

    assert whole + summed + lost == storm  # the log
    assert counter.hits == storm  # the journal
    assert total(samples, "excguard_hits_total") == storm  # the metrics
    assert total(samples, "excguard_hits_total", target="storm", flavor="INVALID_NAME") == storm
    assert total(samples, "excguard_log_suppressed_total") == summed
    assert total(samples, "excguard_journal_records_lost_total") == lost
    assert total(samples, "excguard_reply_seconds_count") == storm
    assert sum(count[4] for count in state["counts"]) == storm  # the feed
    assert state["health"]["suppressed"] == summed
    assert repeats == storm  # the page's list, its repeats, and what it says is missing

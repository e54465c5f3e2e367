"""The live page in a real browser."""

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from excguard.decoding.code import join
from excguard.decoding.site import Place
from excguard.pipeline.counters import TargetState
from excguard.web.live_feed import LiveFeed
from tests.support.browser import ARGUMENTS, CHROMIUM, NO_PLAYWRIGHT, needs_chromium

sync_api = pytest.importorskip("playwright.sync_api", reason=NO_PLAYWRIGHT)
pytestmark = needs_chromium

expect = sync_api.expect

IMMOVABLE = join(1, 0x20, 0x1203)
CLOSE = join(2, 1, 9)
HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    'it\'s "quoted" \\ and `ticked`',
    "two\nlines",
    "\N{PILE OF POO}\N{RIGHT-TO-LEFT OVERRIDE}gnp.exe",
    "{{7*7}}${7*7}",
    "x" * 10_000,
]


@pytest.fixture(scope="module")
def browser() -> Iterator:
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield launched
        launched.close()


@pytest.fixture
def open_page(browser, endpoint):
    """Opens the page; messages of its console and requests to other hosts fail the test."""
    complaints: list[str] = []
    contexts = []

    def make(**options):
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
        page.on(
            "request",
            lambda request: (
                request.url.startswith((endpoint.url, "data:"))
                or complaints.append(f"request for {request.url}")
            ),
        )
        page.goto(endpoint.url)
        expect(page.locator("#link-text")).to_have_text("Live")
        return page

    yield make
    for context in contexts:
        context.close()
    assert complaints == []


def rules(page) -> list[str]:
    return page.locator(".hit .rule").all_text_contents()


def test_a_hit_appears_within_a_second_with_its_explanation(open_page, world) -> None:
    page = open_page()
    expect(page.locator("#empty")).to_be_visible()
    expect(page.locator("#about")).to_contain_text("simulated kernel")

    hit = world.hit(IMMOVABLE, 0x20000, pc=0x1_0000_4711, lr=1, sp=2)

    row = page.locator(".hit").first
    expect(row.locator(".rule")).to_have_text("IMMOVABLE", timeout=1000)
    expect(row).to_contain_text("mail pid 4242")
    expect(page.locator("#total")).to_have_text("1")
    expect(page.locator('.severity[data-severity="fatal"] .figure')).to_have_text("1")
    row.locator("button").first.click()
    detail = row.locator(".detail")
    expect(detail).to_contain_text(hit.violation.summary)
    expect(detail).to_contain_text(hit.violation.advice)
    for field in hit.violation.payload_fields:
        expect(detail.locator("table").first).to_contain_text(field.text)
    for text in (f"{IMMOVABLE:#x}", "0x20000", "0x100004711", "identity_protected", "kGUARD_EXC_IMMOVABLE"):
        expect(detail).to_contain_text(text)


def test_counts_charts_and_targets_are_updated(open_page, world) -> None:
    world.targets["maps"] = TargetState(up=False, starts=2, exits={"killed": 2})
    page = open_page()
    world.hit()
    world.hit(IMMOVABLE, target="maps", more=1_233)

    expect(page.locator("#total")).to_have_text("1,235")
    flavors = page.locator("#flavors button")
    expect(flavors.nth(0)).to_contain_text("IMMOVABLE")
    expect(flavors.nth(0).locator(".figure")).to_have_text("1,234")
    expect(flavors.nth(0).locator("svg path")).to_have_count(1)
    expect(flavors.nth(1)).to_contain_text("INVALID_NAME")
    expect(page.locator(".hit").first.locator(".badge")).to_have_text("+1,233 more")
    maps = page.locator("#targets button", has_text="maps")
    expect(maps.locator(".figure")).to_have_text("1,234")
    expect(maps).to_contain_text("not running, started 2 times; ended: killed 2")
    world.targets["maps"].up = True
    expect(maps).to_contain_text("running, started")
    expect(maps).not_to_contain_text("not running")


def test_a_target_shows_what_of_it_is_not_seen_and_the_fix(open_page, world) -> None:
    world.targets["maps"] = TargetState(
        up=True,
        visibility={"fatal": "crash_report", "optional": "nothing", "soft": "nothing"},
        unseen=(("optional and soft", "it is setuid"),),
        fix="test a copy",
    )
    world.targets["news"] = TargetState(up=True, visibility=dict.fromkeys(("fatal", "soft"), "handler"))
    page = open_page()

    expect(page.locator("#targets button", has_text="maps")).to_contain_text(
        "optional and soft hits are not seen: it is setuid; fatal hits are seen in the crash report only; "
        "fix: test a copy"
    )
    expect(page.locator("#targets button", has_text="news")).to_contain_text("all hits are seen")


def test_the_place_of_a_hit_is_in_its_details_and_is_found(open_page, world) -> None:
    page = open_page()
    world.hit(pid=11)
    hit = world.hit(place=Place("/opt/libfoo.dylib", "ABCD", 0x1F20, "foo_close", 24), program="mail")
    page.fill("#search", hit.site.id)
    expect(page.locator(".hit")).to_have_count(1)
    page.locator(".hit button").first.click()

    for text in ("/opt/libfoo.dylib", "0x1f20", "foo_close + 24", hit.site.id):
        expect(page.locator(".hit .detail")).to_contain_text(text)


def test_search_and_filters(open_page, world) -> None:
    page = open_page()
    world.hit(pid=11)
    world.hit(IMMOVABLE, target="maps", pid=22)
    world.hit(CLOSE, target="maps", pid=33)
    expect(page.locator(".hit")).to_have_count(3)
    assert rules(page) == ["CLOSE", "IMMOVABLE", "INVALID_NAME"]

    page.fill("#search", "maps 22")
    expect(page.locator(".hit")).to_have_count(1)
    assert rules(page) == ["IMMOVABLE"]
    expect(page.locator("#shown")).to_have_text("1 of 3")
    page.fill("#search", "nothing like this")
    expect(page.locator("#empty")).to_contain_text("No hit matches")
    page.keyboard.press("Escape")
    expect(page.locator(".hit")).to_have_count(3)

    page.click('.severity[data-severity="optional"]')
    expect(page.locator(".hit")).to_have_count(1)
    assert rules(page) == ["INVALID_NAME"]
    page.click('.severity[data-severity="fatal"]')
    expect(page.locator(".hit")).to_have_count(3)
    page.click("#clear")
    page.click("#targets button:has-text('mail')")
    expect(page.locator(".hit")).to_have_count(1)
    page.click("#targets button:has-text('mail')")
    page.click("#flavors button:has-text('CLOSE')")
    expect(page.locator(".hit")).to_have_count(1)
    assert rules(page) == ["CLOSE"]
    world.hit()
    expect(page.locator("#shown")).to_have_text("1 of 4")


def test_the_page_works_with_the_keyboard_alone(open_page, world) -> None:
    for pid in (1, 2, 3):
        world.hit(pid=pid)
    page = open_page()
    expect(page.locator(".hit")).to_have_count(3)

    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expanded = page.locator('.hit > button[aria-expanded="true"]')
    expect(expanded).to_have_count(1)
    expect(expanded).to_contain_text("pid 2")
    expect(expanded).to_be_focused()
    world.hit(pid=4)
    expect(page.locator(".hit")).to_have_count(4)
    expect(expanded).to_be_focused()
    page.keyboard.press("ArrowUp")
    expect(page.locator(".hit > button:focus")).to_contain_text("pid 3")
    page.keyboard.press("/")
    expect(page.locator("#search")).to_be_focused()
    page.keyboard.type("p")
    expect(page.locator("#pause")).to_have_attribute("aria-pressed", "false")
    page.keyboard.press("Escape")
    page.locator("h1").click()
    page.keyboard.press("?")
    expect(page.locator("#keys")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#keys")).not_to_be_visible()
    assert page.locator('.hit > button[tabindex="0"]').count() == 1


def test_pause_holds_the_page_and_resume_updates_it(open_page, world) -> None:
    page = open_page()
    other = open_page()
    page.keyboard.press("p")
    expect(page.locator("#link-text")).to_have_text("Paused")

    world.hit()
    expect(other.locator("#total")).to_have_text("1")  # so this page has received it, too

    expect(page.locator("#total")).to_have_text("0")
    page.keyboard.press("p")
    expect(page.locator("#total")).to_have_text("1")


def test_search_and_filters_work_while_paused(open_page, world) -> None:
    world.hit(pid=11)
    world.hit(IMMOVABLE, target="maps", pid=22)
    page = open_page()
    other = open_page()
    expect(page.locator(".hit")).to_have_count(2)
    page.keyboard.press("p")
    world.hit(CLOSE, target="maps", pid=33)
    expect(other.locator(".hit")).to_have_count(3)

    page.fill("#search", "maps")
    expect(page.locator(".hit")).to_have_count(1)
    expect(page.locator("#shown")).to_have_text("1 of 2")
    page.click("#clear")
    expect(page.locator(".hit")).to_have_count(2)
    page.click("#targets button:has-text('mail')")
    expect(page.locator(".hit .rule")).to_have_text(["INVALID_NAME"])
    page.keyboard.press("Escape")
    page.keyboard.press("1")
    expect(page.locator(".hit .rule")).to_have_text(["IMMOVABLE"])
    page.keyboard.press("1")
    page.locator(".hit button").first.click()
    expect(page.locator(".detail:visible")).to_have_count(1)

    page.keyboard.press("p")
    expect(page.locator(".hit")).to_have_count(3)


def test_targets_are_not_shown_as_running_without_a_connection(browser, world, open_endpoint) -> None:
    endpoint = open_endpoint()
    context = browser.new_context()
    page = context.new_page()
    page.goto(endpoint.url)
    mail = page.locator("#targets button", has_text="mail")
    expect(mail).to_have_class("up")

    endpoint.close()

    expect(mail).to_have_class("unknown")
    expect(mail).to_contain_text("state unknown")
    expect(mail).not_to_contain_text("running")
    context.close()


@pytest.mark.parametrize("width", [360, 1200])
def test_a_long_name_leaves_room_for_pid_and_badge(open_page, world, width: int) -> None:
    world.hit(IMMOVABLE, 0x20000, more=1_000_000, pid=77777, target="a rather long name " * 12)
    page = open_page(viewport={"width": width, "height": 700})
    row = page.locator(".hit").first
    box = row.bounding_box()

    for part in (row.get_by_text("pid 77777"), row.locator(".badge")):
        found = part.bounding_box()
        assert found["width"] > 20
        assert found["x"] + found["width"] <= box["x"] + box["width"]
        assert found["y"] + found["height"] <= box["y"] + box["height"]


def test_it_reconnects_when_excguard_restarts(browser, world, open_endpoint) -> None:
    first = open_endpoint()
    context = browser.new_context()
    page = context.new_page()
    page.goto(first.url)
    world.hit()
    expect(page.locator("#total")).to_have_text("1")

    first.close()
    expect(page.locator("#link-text")).to_have_text("Reconnecting")
    world.feed = LiveFeed(kernel="simulated", release="macOS 26.4")
    world.feed.connect(world)
    world.hit()
    open_endpoint(port=urlsplit(first.url).port)

    expect(page.locator("#link-text")).to_have_text("Live", timeout=10_000)
    expect(page.locator("#total")).to_have_text("2")
    context.close()


def test_hostile_names_are_text(open_page, world) -> None:
    for name in HOSTILE:
        world.targets[name] = TargetState(up=True, starts=1)
        world.hit(IMMOVABLE, target=name, more=2)
    page = open_page()

    expect(page.locator(".hit")).to_have_count(len(HOSTILE))
    wanted = {name if len(name) <= 200 else name[:200] + "…" for name in HOSTILE}
    assert set(page.locator(".hit .who bdi").all_text_contents()) == wanted
    assert set(page.locator("#targets bdi").all_text_contents()) == wanted | {"mail"}
    for button in page.locator(".hit > button").all():
        button.click()
    expect(page.locator(".detail:visible")).to_have_count(len(HOSTILE))
    assert page.locator("main script, main img").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_security_policy_forbids_other_scripts_and_requests(browser, endpoint) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(endpoint.url)
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))

    ran = page.evaluate(
        """() => {
            const script = document.createElement("script");
            try { script.textContent = "window.ran = true"; } catch { return "denied"; }
            document.head.append(script);
            return String(window.ran);
        }"""
    )
    fetched = page.evaluate("() => fetch('http://127.0.0.1:9/').then(() => 'allowed', () => 'denied')")
    context.close()

    assert (ran in {"denied", "undefined"}, fetched) == (True, "denied")
    assert re.search(r"Content Security Policy|Trusted", " ".join(complaints))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_accessibility(open_page, world, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="pip install 'excguard[test]'")
    world.targets["maps"] = TargetState(up=False, starts=1)
    for code in (IMMOVABLE, CLOSE, join(1, 0x1234567, 1), join(7, 3, 4)):
        world.hit(code, 0x20000, more=3)
    world.hit()
    world.hit(CLOSE, target="maps")
    page = open_page(color_scheme=scheme, bypass_csp=True)  # for the checker's own script
    page.locator(".hit > button").nth(1).click()
    page.locator("#flavors button").first.click()
    page.locator("#flavors button").first.click()
    page.evaluate("() => Promise.all(document.getAnimations().map((one) => one.finished))")

    found = axe.Axe().run(page)

    assert [
        (one["id"], [node["html"][:200] for node in one["nodes"]]) for one in found.response["violations"]
    ] == []


def test_nothing_is_wider_than_the_window(open_page, world) -> None:
    world.hit(IMMOVABLE, 0x20000, more=1_000_000, target="a rather long name of a target " * 5)
    page = open_page()
    page.locator(".hit > button").first.click()
    expect(page.locator(".detail")).to_be_visible()

    for width in (360, 800, 1600):
        page.set_viewport_size({"width": width, "height": 700})
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), width


def test_the_color_scheme_is_remembered(open_page) -> None:
    page = open_page(color_scheme="light")
    paper = "getComputedStyle(document.documentElement).backgroundColor"
    light = page.evaluate(paper)

    page.click("#theme")
    assert page.evaluate(paper) == light
    page.click("#theme")
    dark = page.evaluate(paper)
    assert dark != light
    page.reload()
    assert page.evaluate(paper) == dark
    page.click("#theme")
    assert page.evaluate(paper) == light

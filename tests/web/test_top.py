"""`excguard top`: the feed in a terminal."""

import contextlib
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
from fcntl import ioctl

import bcrypt
import pytest
from click.testing import CliRunner

from excguard.cli import main
from excguard.cli.top import bars
from excguard.decoding.code import join
from excguard.pipeline.counters import TargetState
from excguard.web.feed_client import Feed, FeedError, messages
from excguard.web.web_config import WebConfigFile

IMMOVABLE = join(1, 0x20, 0x1203)


def top(*arguments: str, env: dict[str, str] | None = None):
    return CliRunner().invoke(
        main, ["top", *arguments], standalone_mode=True, env={"COLUMNS": "120", **(env or {})}
    )


def test_the_address_can_be_the_argument(world, endpoint) -> None:
    world.hit()

    assert top(endpoint.url, "--once").exit_code == 0
    twice = top(endpoint.url, "--url", endpoint.url, "--once")
    assert (twice.exit_code, "one time" in twice.output) == (2, True)


def test_once_shows_targets_flavors_and_hits(world, endpoint) -> None:
    world.targets["maps"] = TargetState(up=False, starts=2)
    world.hit()
    hit = world.hit(IMMOVABLE, target="maps", pid=77, more=1_232)

    shown = top("--url", endpoint.url, "--once")

    assert shown.exit_code == 0
    lines = shown.output.splitlines()
    assert "simulated kernel" in lines[0]
    assert re.search(r"1,234 hits +1,233 fatal +1 optional +0 soft", lines[1])
    assert "● mail 1" in shown.output
    assert "○ maps 1,233" in shown.output
    assert re.search(r"1,233 +fatal +IMMOVABLE", shown.output)
    (row,) = [line for line in lines if "+1,232" in line]
    assert "maps 77" in row
    assert hit.violation.summary.removeprefix("IMMOVABLE ")[:20] in row


def test_json_has_everything(world, endpoint) -> None:
    world.hit(subcode=3)

    shown = json.loads(top("--url", endpoint.url, "--json").output)

    assert shown["kernel"] == "simulated"
    assert shown["counts"] == [
        {
            "target": "mail",
            "guard_type": "MACH_PORT",
            "flavor": "INVALID_NAME",
            "severity": "optional",
            "hits": 1,
        }
    ]
    assert (shown["hits"][0]["target"], shown["hits"][0]["payload"]) == ("mail", "0x3")


def test_terminal_control_characters_are_escaped(world, endpoint) -> None:
    world.hit(target="\x1b]0;owned\x07\N{RIGHT-TO-LEFT OVERRIDE}" + "x" * 500)

    shown = top("--url", endpoint.url, "--once").output

    assert "\x1b" not in shown
    assert "\x07" not in shown
    assert "\N{RIGHT-TO-LEFT OVERRIDE}" not in shown
    assert "x" * 100 not in shown


@pytest.mark.parametrize("name", ["[/x]", "[red]mail[/red]", "[link=http://evil.example]mail[/link]"])
def test_markup_in_names_is_text(world, endpoint, name: str) -> None:
    world.hit(IMMOVABLE, target=name)

    shown = top("--url", endpoint.url, "--once", env={"COLUMNS": "200"})

    assert shown.exit_code == 0
    assert name[:20] in shown.output


def test_errors_are_one_line_with_the_fix(endpoint, capfd) -> None:
    for url, words in (
        ("nonsense", "invalid address: nonsense"),
        ("http://127.0.0.1:1", "check that `excguard serve` runs there"),
        (endpoint.url + "/metrics", "not a feed of excguard (status 404"),
    ):
        failed = top("--url", url, "--once")

        assert failed.exit_code == 125
        assert words in failed.output
        assert failed.output.count("\n") == 1


def test_a_password_comes_from_the_environment(world, open_endpoint, tmp_path) -> None:
    hashed = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()
    (tmp_path / "web.yml").write_text(f"basic_auth_users: {{qa: {hashed}}}")
    endpoint = open_endpoint(web_config=WebConfigFile(tmp_path / "web.yml"))

    assert "EXCGUARD_PASSWORD" in top("--url", endpoint.url, "--once").output
    accepted = top("--url", endpoint.url, "--once", "--user", "qa", env={"EXCGUARD_PASSWORD": "secret"})
    assert accepted.exit_code == 0


def test_the_client_has_the_state_of_the_feed(world, endpoint) -> None:
    feed = Feed()
    with contextlib.closing(messages(endpoint.url)) as stream:
        feed.apply(*next(stream))
        world.hit(more=9)
        world.targets["mail"].up = False
        while not feed.rows or feed.targets[0]["up"]:
            feed.apply(*next(stream))

    assert feed.counts == {(0, "MACH_PORT", "INVALID_NAME", "optional"): 10}
    assert [(row["repeats"], row["severity"]) for row in feed.latest] == [(9, "optional")]
    assert sum(feed.recent("MACH_PORT INVALID_NAME", 24)) == 10


def test_a_page_that_is_not_a_feed(endpoint) -> None:
    with pytest.raises(FeedError, match="not a feed"):
        next(messages(endpoint.url + "/-/healthy"))


def test_bars() -> None:
    assert bars([0, 0]) == "  "
    assert bars([0, 1, 16, 64]) == " ▁▄▇"
    assert bars([1, 1_000_000]) == "▁▇"


@pytest.mark.parametrize("width", [30, 40, 60, 80, 200])
def test_it_fits_narrow_terminals(world, endpoint, width: int) -> None:
    world.hit(IMMOVABLE, target="a rather long name of a target " * 3, pid=77777, more=1_232)

    shown = top("--url", endpoint.url, "--once", env={"COLUMNS": str(width)})

    assert shown.exit_code == 0
    assert max(map(len, shown.output.splitlines())) <= width
    assert "77777" in shown.output
    assert ("what happened" in shown.output) == (width >= 70)


def test_a_wrong_password_is_named(world, open_endpoint, tmp_path) -> None:
    hashed = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()
    (tmp_path / "web.yml").write_text(f"basic_auth_users: {{qa: {hashed}}}")
    endpoint = open_endpoint(web_config=WebConfigFile(tmp_path / "web.yml"))

    failed = top("--url", endpoint.url, "--once", "--user", "qa", env={"EXCGUARD_PASSWORD": "guess"})

    assert failed.exit_code == 125
    assert "wrong user name or password" in failed.output


def test_a_feed_of_another_version_is_an_error() -> None:
    with pytest.raises(FeedError, match="this version"):
        Feed().apply("state", {"counts": [[0, "FD", "CLOSE", "terrible", 1, 2]]})


ROW = {"id": 1, "target": 1, "last_timestamp": "2026-01-01T00:00:00Z", "repeats": 0, "summary": "a"}


@pytest.mark.parametrize(
    "message",
    [
        7,
        {"about": 7},
        {"health": {"rejected": "x"}},
        {"targets": [{"id": 1}]},
        {"hits": [{"id": 1}]},
        {"hits": [ROW | {"last_timestamp": "0001-01-01T00:00:00Z"}]},
        {"hits": [ROW | {"repeats": -1}]},
        {"hits": [ROW | {"last_timestamp": "2026-01-01T00:00:00z"}]},
        {"hits": [ROW | {"severity": "terrible"}]},
        {"counts": [[1, "FD", "CLOSE", "fatal", "many", 2]]},
        {"counts": [[1, "FD", "CLOSE", "fatal", 10**30, 2]]},
        {"history": [["x", {}]]},
        {"history": [[1, {"FD CLOSE": -1}]]},
    ],
    ids=str,
)
def test_a_message_that_no_excguard_sends_is_an_error(message: object) -> None:
    Feed().apply("state", {"hits": [ROW]})

    with pytest.raises(FeedError, match="this version"):
        Feed().apply("state", message)


@pytest.mark.parametrize("how", ["q", "Ctrl-C"])
def test_on_a_terminal_it_follows_until_q_or_ctrl_c(world, endpoint, how: str) -> None:
    terminal, other_side = pty.openpty()
    ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "excguard", "top", "--url", endpoint.url],
        stdin=other_side,
        stdout=other_side,
        env={**os.environ, "TERM": "xterm-256color"},
    )
    os.close(other_side)
    seen = b""

    def until(words: bytes) -> None:
        nonlocal seen
        while words not in seen:
            assert select.select([terminal], [], [], 20)[0], seen[-500:]
            seen += os.read(terminal, 65536)

    until(b"No hits yet")
    world.hit(IMMOVABLE)
    until(b"IMMOVABLE")
    if how == "q":
        os.write(terminal, b"xq")
    else:
        process.send_signal(signal.SIGINT)
    with contextlib.suppress(OSError):  # how Linux says that the other side of a terminal is gone
        while True:
            seen += os.read(terminal, 65536)
    os.close(terminal)

    assert process.wait(timeout=20) == 0
    assert seen.rstrip().endswith(b"\x1b[?1049l")  # the screen is as it was

"""`excguard top`: the live page in a terminal."""

import http.client
import os
import sys
import termios
import threading
import time
import tty
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import click
import msgspec
from rich import box
from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from excguard.cli.service_runner import Failure
from excguard.files.escaping import printable
from excguard.knowledge.severity import Severity
from excguard.process.terminal_output import wants_color
from excguard.web.feed_client import Feed, FeedError, messages

DEFAULT_URL = "http://127.0.0.1:12012"
_BARS = " ▁▂▃▄▅▆▇"  # no full block: it would touch the row above
_CHART = 24  # columns of a chart
_RETRY = 2.0  # seconds
_NARROW = 70  # columns; below, what happened is left out and charts are shorter
_VERY_NARROW = 45  # below, times and charts are left out
_MIN_TARGET = 13  # columns of a name and a pid
_QUIT = (b"q", b"Q", b"\x04", b"")  # the last: the terminal is closed

Messages = Iterator[tuple[str, Any]]


@click.command("top")
@click.argument("address", required=False, metavar="[URL]")
@click.option("--url", help=f"The same as URL.  [default: {DEFAULT_URL}]")
@click.option(
    "--user", default="", metavar="NAME", help="User name, if a password is required (EXCGUARD_PASSWORD)."
)
@click.option("--ca", default="", metavar="FILE", help="Certificate authority to trust beside the system's.")
@click.option("--once", is_flag=True, help="Show the current state and exit.")
@click.option("--json", "as_json", is_flag=True, help="Print the current state as one JSON object.")
def command(  # noqa: PLR0913 - one a command line option
    address: str | None, url: str | None, user: str, ca: str, *, once: bool, as_json: bool
) -> None:
    """Show targets, counts by flavor and the latest hits of a running excguard, live. Press q to quit.

    URL is the address that `excguard serve` prints when it starts.

    \b
    Examples:
      excguard top
      excguard top https://qa-mac.example:12012 --user qa
      excguard top --json | jq '.counts[] | select(.severity == "fatal")'

    \b
    Exit status:
      0    ended by q or Ctrl-C, or --once or --json finished
      125  no excguard answers at that address, or it denies access
    """  # noqa: D301 - click wants the real backspace
    if address and url:
        raise click.UsageError("give the address one time: URL or --url")
    url = address or url or DEFAULT_URL

    def connect() -> Messages:
        return messages(url, user=user, password=os.environ.get("EXCGUARD_PASSWORD", ""), ca=ca)

    stream = connect()
    feed = Feed()
    try:
        feed.apply(*next(stream))
    except (FeedError, StopIteration) as error:
        raise Failure(printable(str(error)) or f"{url}: the feed ended") from None
    except (OSError, http.client.HTTPException) as error:
        raise Failure(f"{url}: {error}") from None
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(feed.to_dict())).decode())
        return
    console = Console(no_color=not wants_color(1), highlight=False)
    if once or not console.is_terminal:
        console.print(picture(feed, width=console.width, height=None, link="now"))
        return
    _follow(feed, stream, connect, console)


def _follow(feed: Feed, stream: Messages, connect: Callable[[], Messages], console: Console) -> None:
    """Draw until q or Ctrl-C; connect again after the connection is lost."""
    lock = threading.Lock()
    link = "live"

    def read() -> None:
        nonlocal link
        source = stream
        while True:
            try:
                for message in source:
                    with lock:
                        feed.apply(*message)
                        link = "live"
                link = "disconnected"
            except (OSError, http.client.HTTPException, FeedError) as error:
                link = f"disconnected: {printable(str(error))}"
            time.sleep(_RETRY)
            source = connect()

    threading.Thread(target=read, daemon=True).start()

    def current() -> RenderableType:
        with lock:
            return picture(feed, width=console.width, height=console.height, link=link)

    try:
        with Live(get_renderable=current, console=console, screen=True, refresh_per_second=4):
            _wait_for_quit()
    except KeyboardInterrupt:
        pass
    sys.exit(0)


def _wait_for_quit() -> None:
    """Wait for q; without a terminal to read from, wait for Ctrl-C."""
    if not sys.stdin.isatty():
        threading.Event().wait()
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    tty.setcbreak(terminal)
    try:
        while os.read(terminal, 1) not in _QUIT:
            pass
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


def picture(feed: Feed, *, width: int, height: int | None, link: str) -> RenderableType:
    """The whole display in at most ``height`` lines (None: no limit)."""
    flavors = _flavors(feed)
    max_flavors = 8 if height is None else max(3, (height - 8) // 3)
    max_hits = (
        None
        if height is None
        else max(3, height - 10 - min(len(flavors), max_flavors) - _target_lines(feed, width))
    )
    targets = Columns(_shown_targets(feed, width, connected=_is_connected(link)), padding=(0, 3))
    parts: list[RenderableType] = [_title(feed, link), _sums(feed), Text(), targets, Text()]
    if not flavors:
        parts.append(Text("No hits yet.", style="dim"))
        return Group(*parts)
    parts += [_flavor_table(feed, flavors[:max_flavors], width), _hit_table(feed, max_hits, width)]
    if len(flavors) > max_flavors:
        parts.insert(-1, Text(f"  and {len(flavors) - max_flavors} more flavors", style="dim"))
    return Group(*parts)


def _is_connected(link: str) -> bool:
    return not link.startswith("disconnected")


def _title(feed: Feed, link: str) -> Text:
    kernel = feed.about.get("kernel", "")
    kernel = "simulated kernel" if kernel == "simulated" else kernel
    return Text.assemble(
        ("excguard ", "bold"),
        (link, "green" if link == "live" else "dim" if link == "now" else "red"),
        (printable(f"  {feed.about.get('version', '')}  {feed.about.get('release', '')}  {kernel}"), "dim"),
        ("" if link == "now" else "  q: quit", "dim"),
        no_wrap=True,
        overflow="ellipsis",
    )


def _sums(feed: Feed) -> Text:
    """The hits by severity, and what is wrong with excguard."""
    sums = dict.fromkeys(reversed(Severity), 0)
    for (_, _, _, severity), hits in feed.counts.items():
        sums[severity] += hits
    line = Text.assemble((f"{sum(sums.values()):,}", "bold"), " hits  ")
    for severity, hits in sums.items():
        if hits or severity is not Severity.UNKNOWN:
            line.append(f" {hits:,} {severity} ", style=severity.color or "" if hits else "dim")
    health = feed.health
    if health.get("lost"):
        line.append(f"  {health['lost']:,} missing from the log", style="red")
    if health.get("rejected"):
        line.append(f"  {sum(health['rejected'].values()):,} messages rejected", style="red")
    return line


def _shown_targets(feed: Feed, width: int, *, connected: bool) -> list[Text]:
    shown = []
    for number, target in feed.targets.items():
        hits = sum(count for (owner, *_), count in feed.counts.items() if owner == number)
        if target["configured"] or hits:
            sign = ("? ", "dim") if not connected else ("● ", "green") if target["up"] else ("○ ", "dim")
            name = _short(target["name"], max(8, min(30, width - 12)))
            shown.append(Text.assemble(sign, name, (f" {hits:,}", "bold" if hits else "dim")))
    return shown


def _target_lines(feed: Feed, width: int) -> int:
    shown = _shown_targets(feed, width, connected=True)
    widest = max((text.cell_len for text in shown), default=1) + 3
    return -(-len(shown) // max(1, width // widest))


def _flavors(feed: Feed) -> list[tuple[str, str, Severity, int]]:
    """Guard type, flavor, severity and hits, most hits first."""
    sums: dict[tuple[str, str, Severity], int] = {}
    for (_, guard_type, flavor, severity), hits in feed.counts.items():
        key = (guard_type, flavor, severity)
        sums[key] = sums.get(key, 0) + hits
    return sorted(((*key, hits) for key, hits in sums.items()), key=lambda each: (-each[3], each))


def _flavor_table(feed: Feed, flavors: list[tuple[str, str, Severity, int]], width: int) -> Table:
    columns = _CHART if width >= _NARROW else _CHART // 2 if width >= _VERY_NARROW else 0
    table = Table(box=None, padding=(0, 2, 0, 0), expand=False)
    table.add_column("hits", justify="right", header_style="dim", no_wrap=True)
    table.add_column("severity", header_style="dim", no_wrap=True)
    table.add_column("rule", header_style="dim", overflow="ellipsis", no_wrap=True)
    if columns:
        table.add_column("last ten minutes"[:columns], header_style="dim", no_wrap=True)
    for guard_type, flavor, severity, hits in flavors:
        name = f"{guard_type} {flavor}" if flavor == "unknown" else guard_type if flavor == "none" else flavor
        style = severity.color or ""
        chart = [Text(bars(feed.recent(f"{guard_type} {flavor}", columns)), style=style)] if columns else []
        table.add_row(f"{hits:,}", Text(severity, style=style), Text(printable(name), style="bold"), *chart)
    return table


def _hit_table(feed: Feed, limit: int | None, width: int) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 2, 0, 0), expand=True, pad_edge=False)
    shown = {
        "time": width >= _VERY_NARROW,
        "target": True,
        "rule": True,
        "what happened": width >= _NARROW,
    }
    for name in [name for name, is_shown in shown.items() if is_shown]:
        ratio = 1 if name == "what happened" else None
        table.add_column(
            name,
            header_style="dim",
            ratio=ratio,
            no_wrap=True,
            overflow="ellipsis",
            min_width=_MIN_TARGET if name == "target" and width < _NARROW else None,
        )
    for row in feed.latest[:limit]:
        seen = datetime.fromisoformat(row["last_timestamp"]).astimezone()
        rule = Text(
            printable(row.get("flavor_name") or row.get("guard_type") or "various"),
            style=Severity.of(row.get("severity")).color or "",
        )
        if row["repeats"]:
            rule.append(f" +{row['repeats']:,}", style="bold")
        # A long name is shortened; the pid beside it stays.
        pid = f" {row['pid']}" if row.get("pid") else ""
        target = _short(feed.name(row["target"]), max(6, min(24, width // 3 - len(pid)))) + pid
        # As `Text`: rich would read markup in a plain string.
        cells = {"time": Text(f"{seen:%H:%M:%S}"), "target": Text(target), "rule": rule}
        cells["what happened"] = Text(printable(_what(row)))
        table.add_row(*(cell for name, cell in cells.items() if shown[name]))
    return table


def bars(values: list[int]) -> str:
    """A chart of one line. Heights are square roots, so that small counts stay visible beside large ones."""
    highest = max(values) ** 0.5 or 1.0
    return "".join(_BARS[0 if not value else max(1, round(value**0.5 / highest * 7))] for value in values)


def _what(row: dict[str, Any]) -> str:
    """The summary, without the name of the rule that is shown beside it."""
    summary = str(row["summary"])
    return summary.removeprefix(row.get("flavor_name") or "\0").removeprefix(":").strip()


def _short(text: str, limit: int) -> str:
    shown = printable(text)
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"

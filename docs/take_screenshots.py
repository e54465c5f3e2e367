"""Take the screenshots in docs/screenshots: the live page, `excguard top`, and the dashboard's queries.

    python docs/take_screenshots.py [SECONDS]

Runs the demonstration of dashboards/demo.toml with a Prometheus of its own for SECONDS (150), on free ports
and in a directory of its own. Needs Prometheus, Chromium and Playwright (excguard[test]).
"""

import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import draw_dashboard
import yaml
from playwright.sync_api import Page, sync_playwright
from rich.console import Console

from excguard.cli.top import picture
from excguard.web.feed_client import Feed, messages

ROOT = Path(__file__).parents[1]
SCREENSHOTS = Path(__file__).with_name("screenshots")
CHROMIUM = os.environ.get("EXCGUARD_CHROMIUM", "/usr/bin/chromium")
ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")
COLORS = (
    "#2f648c",
    "#8a5a0b",
    "#3a7048",
    "#6b4f8a",
    "#a8322a",
    "#2d6068",
    "#b0803c",
    "#4b6a9b",
    "#7a4a4a",
    "#555",
)
SEVERITIES = {"fatal": "#a8322a", "optional": "#8a5a0b", "soft": "#2f648c"}


def free_port() -> int:
    """A free TCP port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(directory: Path, port: int, prometheus: int) -> list[subprocess.Popen[bytes]]:
    """Start excguard on ``port`` and Prometheus on ``prometheus``."""
    config = (ROOT / "dashboards" / "demo.toml").read_text(encoding="utf-8")
    config = config.replace("/tmp/excguard-demo", str(directory / "demo"))  # noqa: S108 - its text
    (directory / "demo.toml").write_text(
        f'{config}\n[metrics]\nlisten = "127.0.0.1:{port}"\n', encoding="utf-8"
    )
    rules = [str(ROOT / "dashboards" / name) for name in ("rules.yml", "alerts.yml")]
    scrapes = [{"job_name": "excguard", "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}]
    (directory / "prometheus.yml").write_text(
        yaml.safe_dump(
            {
                "global": {"scrape_interval": "2s", "evaluation_interval": "2s"},
                "rule_files": rules,
                "scrape_configs": scrapes,
            }
        ),
        encoding="utf-8",
    )
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return [
        subprocess.Popen(
            [sys.executable, "-m", "excguard", "serve", "--config", str(directory / "demo.toml")],
            env={**os.environ, "PATH": path},
            stderr=subprocess.DEVNULL,
        ),
        subprocess.Popen(
            [
                "prometheus",
                f"--config.file={directory / 'prometheus.yml'}",
                f"--storage.tsdb.path={directory / 'tsdb'}",
                f"--web.listen-address=127.0.0.1:{prometheus}",
                "--log.level=error",
            ]
        ),
    ]


def live_page(page: Page, url: str, scheme: str) -> None:
    """The page with a hit expanded."""
    page.goto(url)
    page.wait_for_selector(".hit")
    page.locator(
        ".hit", has=page.locator(".rule", has_text=re.compile("INVALID_RIGHT|INVALID_VALUE"))
    ).first.locator("button").first.click()
    page.wait_for_timeout(2000)
    page.screenshot(path=SCREENSHOTS / f"page-{scheme}.png")


def top(url: str) -> None:
    """`excguard top` as an image of a terminal."""
    feed = Feed()
    stream = messages(url)
    feed.apply(*next(stream))
    stream.close()  # type: ignore[attr-defined]
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        console = Console(record=True, width=120, force_terminal=True, file=nowhere)
        console.print(picture(feed, width=120, height=36, link="live"))
        drawn = console.export_svg(title="excguard top")
    # rich loads a font from another host; every viewer has a fixed-width one.
    drawn = re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.DOTALL)
    (SCREENSHOTS / "top.svg").write_text(drawn, encoding="utf-8")


def main() -> int:
    """Take all screenshots."""
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 150
    SCREENSHOTS.mkdir(exist_ok=True)
    port, prometheus = free_port(), free_port()
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory() as directory:
        processes = start(Path(directory), port, prometheus)
        try:
            time.sleep(seconds)
            top(url)
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
                for scheme in ("light", "dark"):
                    page = browser.new_page(color_scheme=scheme, viewport={"width": 1360, "height": 900})
                    live_page(page, url, scheme)
                page = browser.new_page()
                page.set_viewport_size({"width": 1500, "height": 900})
                page.set_content(draw_dashboard.html(f"http://127.0.0.1:{prometheus}", seconds))
                page.locator("main").screenshot(path=SCREENSHOTS / "dashboard-queries.png")
                browser.close()
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait(timeout=30)
    return 0


if __name__ == "__main__":
    sys.exit(main())

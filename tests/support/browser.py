"""A real browser for tests: which one, and how it is started."""

import os
import shutil

import pytest

CHROMIUM = os.environ.get("EXCGUARD_CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium: apt-get install chromium, or name one in EXCGUARD_CHROMIUM"
)
NO_PLAYWRIGHT = "no Playwright: pip install 'excguard[test]'"

# The last ones keep Chromium from calling home at every start.
ARGUMENTS = [
    "--no-sandbox",  # CI runs as root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

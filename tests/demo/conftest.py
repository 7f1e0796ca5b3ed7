"""What the tests in a real browser share: the browser."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser; that there is none is a failure, and says what to run."""
    with sync_playwright() as playwright:
        bundled = playwright.chromium.executable_path
        found = [path for path in map(shutil.which, BROWSERS) if path]
        found += [bundled] if Path(bundled).exists() else []
        if not found:
            pytest.fail(
                "no Chromium on PATH; run: sudo apt-get install chromium (Debian, Ubuntu),"
                " brew install --cask chromium (macOS), or: python -m playwright install chromium",
                pytrace=False,
            )
        browser = playwright.chromium.launch(executable_path=found[0], args=FLAGS)
        yield browser
        browser.close()

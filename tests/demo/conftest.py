"""What the tests in a real browser share: the browser, and the demo in it."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, sync_playwright

from .windows import Demo, Window

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


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    """The demo, which in the end has written nothing to stderr."""
    demo = Demo(tmp_path / "stderr")
    demo.start()
    yield demo
    demo.kill()
    assert demo.errors.read_text() == ""


@pytest.fixture
def window(browser: Browser, demo: Demo) -> Iterator[Callable[..., Window]]:
    """Opens windows, each of a person of their own unless a context is given.

    In the end no page has complained, and none has asked another host for anything.
    """
    contexts: list[BrowserContext] = []
    windows: list[Window] = []

    def open_window(context: BrowserContext | None = None, **options: Any) -> Window:
        if context is None:
            context = browser.new_context(**options)
            contexts.append(context)
        windows.append(Window(context.new_page(), demo))
        return windows[-1]

    yield open_window
    for context in contexts:
        context.close()
    assert [problem for window in windows for problem in window.problems] == []
    assert {host for window in windows for host in window.hosts} <= {f"127.0.0.1:{demo.port}"}

"""What tests in a real browser share: the browser, and windows that are watched."""

import shutil
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    expect,
    sync_playwright,
)

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
SOON = 20_000  # milliseconds; what a page shows within this passes
expect.set_options(timeout=SOON)


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


class Server(Protocol):
    """What serves the pages."""

    port: int
    was_down: bool


S = TypeVar("S", bound=Server)


class Window:
    """One window with a page in it: what the page complains of, and which hosts it asks."""

    def __init__(self, page: Page, server: Server) -> None:
        self.page = page
        self.server = server
        self.problems: list[str] = []
        self.hosts: set[str] = set()
        page.on("pageerror", lambda error: self.problems.append(f"uncaught: {error}"))
        page.on("console", self._heard)
        page.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))
        page.on("websocket", lambda socket: self.hosts.add(urlsplit(socket.url).netloc))

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not self.expects(message.text):
            self.problems.append(f"{message.type}: {message.text}")

    def expects(self, complaint: str) -> bool:
        """Return whether the complaint is the browser's own, of a server that is away."""
        return self.server.was_down and "WebSocket connection to" in complaint


W = TypeVar("W", bound=Window)


@contextmanager
def windows(
    browser: Browser, kind: Callable[[Page, S], W], server: S
) -> Generator[Callable[..., W]]:
    """Yields what opens windows, each of a person of their own unless a context is given.

    In the end no page has complained, and none has asked another host for anything.
    """
    contexts: list[BrowserContext] = []
    opened: list[W] = []

    def open_window(context: BrowserContext | None = None, **options: Any) -> W:
        if context is None:
            context = browser.new_context(**options)
            contexts.append(context)
        opened.append(kind(context.new_page(), server))
        return opened[-1]

    try:
        yield open_window
    finally:
        for context in contexts:
            context.close()
    assert [problem for window in opened for problem in window.problems] == []
    assert {host for window in opened for host in window.hosts} <= {f"127.0.0.1:{server.port}"}

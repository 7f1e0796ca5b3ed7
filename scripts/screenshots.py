"""Make the pictures of the documentation (``make screenshots``): PNGs in ``docs/images``.

The demo and the tutorial's steps are served as a reader serves them, the inspector by ``busy.py``;
all are looked at with Chromium.
"""

import base64
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, ViewportSize, expect, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
LISTENING = re.compile(r"http://127\.0\.0\.1:\d+")
UVICORN = ["-m", "uvicorn", "--port", "0", "--no-access-log", "--timeout-graceful-shutdown", "1"]
LIMIT = 150_000
"""Bytes that a picture may have."""


def main() -> None:
    """Make every picture; a picture that is too large is an error."""
    expect.set_options(timeout=30_000)
    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
        found = next(filter(None, map(shutil.which, BROWSERS)), own)
        browser = playwright.chromium.launch(executable_path=found, args=FLAGS)
        for name, take in PICTURES.items():
            picture = take(browser)
            (IMAGES / name).write_bytes(picture)
            print(f"screenshots: docs/images/{name}, {len(picture):,} bytes")
            if len(picture) > LIMIT:
                raise SystemExit(f"screenshots: {name} is larger than {LIMIT:,} bytes")
        browser.close()


@contextmanager
def served(command: list[str], folder: Path) -> Generator[str]:
    """Run a server for the time of the block; yields the address that it tells."""
    process = subprocess.Popen(
        [sys.executable, "-u", *command],
        cwd=folder,
        env={**os.environ, "PORT": "0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    told = ""
    try:
        while (address := LISTENING.search(told)) is None:
            line = process.stdout.readline()
            if not line:
                raise SystemExit(f"screenshots: {' '.join(command)} has ended: {told}")
            told += line
        yield address[0]
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate()


def step(name: str) -> tuple[list[str], Path]:
    """Return what serves a step of the tutorial, and where."""
    return [*UVICORN, "main:app"], ROOT / "examples" / "tutorial" / name


def window(browser: Browser, width: int, height: int) -> Page:
    """Return a page of that size."""
    return browser.new_page(viewport=ViewportSize(width=width, height=height))


def demo(browser: Browser) -> bytes:
    """The demo's chat, while two people talk."""
    with served(["-m", "fast_channels_tools.demo"], ROOT) as address:
        pages = {name: window(browser, 900, 560) for name in ("Ann", "Bob")}
        for name, page in pages.items():
            page.goto(address)
            page.fill("#name-input", name)
            page.press("#name-input", "Enter")
        said = [
            ("Ann", "Did the export finish?"),
            ("Bob", "Just now. It told me by itself."),
            ("Ann", "Nice. I closed the lid of my laptop meanwhile, and missed nothing."),
        ]
        for name, text in said:
            pages[name].fill("#text", text)
            pages[name].press("#text", "Enter")
            for page in pages.values():
                expect(page.locator("#log").get_by_text(text)).to_have_count(1)
        expect(pages["Ann"].locator("#people")).to_contain_text("Bob")
        return pages["Ann"].screenshot()


def chat(browser: Browser) -> bytes:
    """Two windows of the tutorial's chat, side by side."""
    with served(*step("chat5")) as address:
        pages = {name: window(browser, 500, 420) for name in ("ann", "bob")}
        for name, page in pages.items():
            page.goto(f"{address}/#kitchen,{name}")
            expect(page.locator("#state")).to_have_text("online")
        for number, (name, text) in enumerate(
            [("ann", "The soup is ready."), ("bob", "Coming!")], 1
        ):
            pages[name].fill("#text", text)
            pages[name].press("#text", "Enter")
            for page in pages.values():
                expect(page.locator("#messages li")).to_have_count(number)
        for page in pages.values():
            expect(page.locator("#people")).to_have_text("ann, bob")
        shots = [base64.b64encode(page.screenshot()).decode() for page in pages.values()]
        both = window(browser, 1040, 440)
        both.set_content(
            "<body style='display: flex; gap: 20px; margin: 10px; background: #e4e8e6'>"
            + "".join(f"<img src='data:image/png;base64,{shot}'>" for shot in shots)
        )
        return both.screenshot()


def dashboard(browser: Browser) -> bytes:
    """The tutorial's dashboard with two charts."""
    with served(*step("dashboard2")) as address:
        page = window(browser, 800, 500)
        page.goto(address)
        expect(page.locator("#state")).to_have_text("live")
        for at in range(59):
            measure(address, "oven", 180 + 8 * math.sin(at / 9) + 2 * math.sin(at * 1.7))
            measure(address, "fridge", 5 + math.sin(at / 5) + 0.3 * math.cos(at * 2.3))
        for name in ("oven", "fridge"):
            measure(address, name, 180.5 if name == "oven" else 5.2)
        expect(page.locator("output")).to_have_text(["180.5", "5.2"])
        return page.screenshot()


def inspector(browser: Browser) -> bytes:
    """The inspector, after it has looked at a busy chat for a while."""
    with served([*UVICORN, "busy:app"], ROOT / "scripts") as address:
        page = window(browser, 1180, 1010)
        page.goto(f"{address}/channels/#default/chat.kitchen")
        expect(page.locator("#messages li").first).to_be_visible()
        expect(page.locator("#plot-messages")).to_have_attribute(
            "data-points", "61", timeout=90_000
        )
        return page.screenshot()


def measure(address: str, name: str, value: float) -> None:
    """The dashboard's server has a reading."""
    body = json.dumps({"name": name, "value": value}).encode()
    headers = {"content-type": "application/json"}
    urllib.request.urlopen(urllib.request.Request(f"{address}/readings", body, headers)).close()


PICTURES = {
    "demo.png": demo,
    "tutorial-chat.png": chat,
    "tutorial-dashboard.png": dashboard,
    "inspector.png": inspector,
}
"""Each picture, and what takes it."""


if __name__ == "__main__":
    main()

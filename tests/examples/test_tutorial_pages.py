"""The pages of the tutorial's steps work in a browser."""

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect
from tests.browsers import browser as browser

from .served import PATIENCE, served

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]


def opened(browser: Browser, address: str) -> Page:
    """A page that has loaded, and that waits as long as a loaded machine takes."""
    page = browser.new_page()
    page.set_default_timeout(PATIENCE * 1_000)
    expect.set_options(timeout=PATIENCE * 1_000)
    page.goto(f"http://{address}")
    return page


def test_pages_of_one_room_talk(browser: Browser) -> None:
    with served("chat2") as address:
        ann, bob = opened(browser, f"{address}/#attic"), opened(browser, f"{address}/#attic")
        expect(ann.locator("h1")).to_have_text("Room attic")
        for page in (ann, bob):  # its own words come back when the socket has joined
            page.wait_for_function("socket.readyState === WebSocket.OPEN")
        ann.fill("#text", "hello")
        ann.press("#text", "Enter")
        expect(bob.locator("li")).to_have_text(["hello"])
        expect(ann.locator("li")).to_have_text(["hello"])
        ann.close()
        bob.close()


def test_a_page_that_is_reloaded_has_missed_nothing_and_shows_who_is_there(
    browser: Browser,
) -> None:
    with served("chat5") as address:
        ann = opened(browser, f"{address}/#attic,ann")
        expect(ann.locator("#state")).to_have_text("online")
        ann.fill("#text", "hello")
        ann.press("#text", "Enter")
        expect(ann.locator("li")).to_have_text(["ann: hello"])
        bob = opened(browser, f"{address}/#attic,bob")
        expect(bob.locator("li")).to_have_text(["ann: hello"])
        expect(ann.locator("#people")).to_have_text("ann, bob")
        ann.reload()
        expect(ann.locator("li")).to_have_text(["ann: hello"])
        ann.close()
        bob.close()


def test_a_dashboard_draws_what_is_measured(browser: Browser) -> None:
    with served("dashboard2") as address:
        for value in (20.0, 22.0, 21.0):
            reading = {"name": "oven", "value": value}
            httpx.post(f"http://{address}/readings", json=reading, timeout=PATIENCE)
        page = opened(browser, address)
        expect(page.locator("#state")).to_have_text("live")
        expect(page.locator("output")).to_have_text("21.0")
        assert page.get_attribute("polyline", "points") == "0,95 1,5 2,50"
        page.close()

"""The page in a real browser without a layer, and when its server or a broker dies."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect
from tests.browsers import SOON, windows
from tests.redis.servers import running

from .windows import Application, Window

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]


@pytest.mark.parametrize("mortal", [{"LAYERS": "none"}], indirect=True)
def test_without_a_layer_the_page_says_what_to_do(
    window: Callable[..., Window], mortal: Application
) -> None:
    page = window().open()
    expect(page.page.get_by_role("heading", name="No layer to look at")).to_be_visible(timeout=SOON)
    expect(page.page.locator("#board")).to_be_hidden()


def test_the_page_outlasts_a_restart_of_its_server_until_it_is_refused(
    window: Callable[..., Window], mortal: Application
) -> None:
    page = window().open()
    note = page.page.locator("#groups-note")
    expect(note).to_have_text("No group has a member in this process.", timeout=SOON)
    mortal.join("news", 2)
    page.follow("news")
    process = page.page.locator("#process").text_content()
    mortal.kill()
    page.sees_light("#connection", "bad")
    expect(page.page.locator("#connection-text")).to_have_text("Not connected")
    expect(page.page.get_by_role("alert")).to_contain_text("does not answer")

    mortal.start()
    page.sees_light("#connection", "good")
    expect(page.page.get_by_role("alert")).to_be_hidden(timeout=SOON)
    expect(page.page.locator("#process")).not_to_have_text(process or "")
    mortal.join("news", 1)
    page.sees_groups("news 1")
    expect(page.messages()).to_have_text("messages may be missing here", timeout=SOON)
    mortal.send("news", {"type": "news.item"})
    expect(page.messages().last).to_have_text(re.compile("news.item"), timeout=SOON)

    page.allowed = False
    mortal.kill()
    mortal.environ["ALLOWED"] = "no"
    mortal.start()
    expect(page.page.get_by_role("alert")).to_contain_text("may not look", timeout=SOON)
    expect(page.page.locator("#connection-text")).to_have_text("Ended")
    page.open()
    assert page.page.locator("body").inner_text().strip() == "you may not look at this"


def test_the_light_of_a_broker_that_dies_turns_red_and_green_again(
    browser: Browser, tmp_path: Path
) -> None:
    with (
        running(tmp_path) as redis,
        Application(REDIS=redis.url).start() as app,
        windows(browser, Window, app) as window,
    ):
        page = window().open()
        other = "#layers .layer:nth-child(3)"
        page.sees_light(other, "good")
        page.choose("other")
        expect(page.page.locator("#kind")).to_have_text("RedisChannelLayer", timeout=SOON)
        page.sees_light("#health", "good")
        app.join("news", 2, layer="other")
        page.sees_groups("news 2")

        redis.kill()
        page.sees_light("#health", "bad")
        page.sees_light(other, "bad")
        expect(page.page.locator("#health-text")).to_have_text("The layer is deaf")
        expect(page.page.locator("#health-detail")).not_to_be_empty()
        page.sees_light("#layers .layer:nth-child(1)", "good")
        page.sees_light("#connection", "good")

        redis.start()
        page.sees_light("#health", "good")
        page.sees_light(other, "good")
        reconnects = page.page.locator('[data-stat="reconnects"]')
        expect(reconnects).to_have_text("1", timeout=SOON)
        page.sees_groups("news 2")

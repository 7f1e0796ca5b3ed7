"""What the page shows in a real browser, over the memory layer.

The tests share one application, so each has groups of its own, and looks for these.
"""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import expect
from tests.browsers import SOON

from .windows import Application, Window

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]


def test_the_page_shows_health_numbers_groups_and_what_is_lost(
    window: Callable[..., Window], app: Application
) -> None:
    app.join("news", 40, layer="small")
    app.join("chat.lobby", 2, layer="small")
    page = window().open()
    assert page.page.url.endswith("/inside/channels/")
    page.sees_light("#connection", "good")
    page.choose("small")
    page.sees_light("#health", "good")
    expect(page.page.locator("#health-text")).to_have_text("The layer hears")
    expect(page.page.locator("#round-trip")).to_have_text(re.compile(r"^[\d.,]+ m?s$"))
    page.sees_groups("news 40", "chat.lobby 2")
    expect(page.page.locator("#no-losses")).to_be_visible()
    for _ in range(3):  # a member holds five messages, and none is read
        app.send("news", {"type": "news.item"}, times=5, layer="small")
    losses = page.page.locator("#losses tbody tr")
    expect(losses).to_have_text("overflowed400400", timeout=SOON)
    expect(page.page.locator('[data-stat="unread"]')).to_have_text("200", timeout=SOON)
    expect(page.page.locator('[data-stat="channels"]')).to_have_text("42")


POINTS = """(wanted) => document.querySelector("#plot-messages").dataset.points >= wanted"""


def test_the_plots_move(window: Callable[..., Window], app: Application) -> None:
    app.join("moving", 3)
    page = window().open()
    line = page.page.locator("#plot-messages path.line-1")
    page.page.wait_for_function(POINTS, arg=2, timeout=SOON)
    app.send("moving", {"type": "news.item"}, times=5)
    page.page.wait_for_function(
        """() => {  // a line that is not level any more
            const d = document.querySelector("#plot-messages path.line-1").getAttribute("d");
            return new Set([...d.matchAll(/ ([\\d.]+)/g)].map(([, y]) => y)).size > 1;
        }""",
        timeout=SOON,
    )
    before = line.evaluate("line => line.getBoundingClientRect().left")
    page.page.wait_for_function(
        """(before) => document.querySelector("#plot-messages path.line-1")
            .getBoundingClientRect().left < before - 1""",
        arg=before,
        timeout=SOON,
    )


def test_the_messages_of_a_group_are_shown_without_secrets_or_markup(
    window: Callable[..., Window], app: Application
) -> None:
    app.join("markup", 1)
    page = window().open()
    page.follow("markup")
    page.sees_groups("markup 1")  # who looks is not counted
    text = "<img src=x onerror=alert(1)>"
    app.send("markup", {"type": "news.item", "text": text, "token": "t0p"})
    expect(page.messages()).to_have_count(1, timeout=SOON)
    expect(page.messages().locator(".type")).to_have_text("news.item")
    expect(page.messages().locator("pre")).to_have_text(
        '{ "text": "<img src=x onerror=alert(1)>", "token": "(hidden)" }'
    )
    page.button("Close").click()
    page.sees_note("Choose a group to see what comes to it.")
    expect(page.messages()).to_have_count(0)


def test_the_list_stands_still_while_it_is_paused(
    window: Callable[..., Window], app: Application
) -> None:
    app.join("paused", 1)
    page = window().open()
    page.follow("paused")
    page.button("Pause").click()
    app.send("paused", {"type": "news.item"}, times=3)
    page.sees_note("Paused; 3 wait")
    expect(page.messages()).to_have_count(0)
    page.button("Go on").click()
    expect(page.messages()).to_have_count(3)
    page.button("Clear").click()
    expect(page.messages()).to_have_count(0)


def test_the_list_is_bounded(window: Callable[..., Window], app: Application) -> None:
    app.join("bounded", 1)
    page = window().open()
    page.follow("bounded")
    for _ in range(12):
        app.send("bounded", {"type": "news.item"}, times=20)
    app.send("bounded", {"type": "news.last"})
    expect(page.messages().last).to_have_text(re.compile("news.last"), timeout=SOON)
    assert page.messages().count() <= 200


def test_who_is_present_and_what_a_durable_group_has_kept_is_shown(
    window: Callable[..., Window], app: Application
) -> None:
    app.join("kept.room", 1, name="Ann")
    [bob] = app.join("kept.room", 1, name="Bob")
    for text in ("one", "two"):
        app.send("kept.room", {"type": "said", "text": text})
    page = window().open("/#default/kept.room")
    present = page.page.locator("#present")
    expect(present).to_have_text(
        re.compile(r"^Present in all processes: 2 \((Ann, Bob|Bob, Ann)\)$"), timeout=SOON
    )
    expect(page.messages().locator("pre")).to_have_text(
        ['{ "text": "one" }', '{ "text": "two" }'], timeout=SOON
    )
    app.post(f"leave/default/kept.room/{bob}")
    expect(present).to_have_text("Present in all processes: 1 (Ann)", timeout=SOON)

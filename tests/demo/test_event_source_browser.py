"""A browser's own ``EventSource``, and what it makes of an event-stream consumer."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect
from tests.browsers import SOON
from tests.killable import KillableServer

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]


class Server(KillableServer):
    """``streams.py`` in a process of its own."""

    def __init__(self) -> None:
        super().__init__("streams:application", Path(__file__).parent)

    def publish(self, text: str) -> None:
        assert httpx.post(self.url, content=text).status_code == 204


@pytest.fixture
def server() -> Iterator[Server]:
    """The server, whose log names no failure in the end."""
    server = Server()
    server.start()
    yield server
    assert "Traceback" not in server.kill()


@pytest.fixture
def page(browser: Browser) -> Iterator[Callable[[str], Page]]:
    """Opens pages."""
    contexts: list[Any] = []

    def open_page(url: str) -> Page:
        contexts.append(browser.new_context())
        page: Page = contexts[-1].new_page()
        page.goto(url)
        return page

    yield open_page
    for context in contexts:
        context.close()


def shows(page: Page, *lines: str) -> None:
    expect(page.locator("li")).to_have_text(list(lines), timeout=SOON)


def test_group_messages_arrive_and_a_restart_of_the_server_is_survived(
    server: Server, page: Callable[[str], Page]
) -> None:
    pages = [page(server.url) for _ in range(2)]
    seen = ["open", 'welcome {"last":null}']
    for each in pages:
        shows(each, *seen)
    server.publish("41 first")
    server.publish("42 two\nlines: \u00fc")
    seen += ["41: first", "42: two\nlines: \u00fc"]
    for each in pages:
        shows(each, *seen)
        assert each.locator("li").last.evaluate("li => li.textContent") == seen[-1]

    server.kill()
    for each in pages:  # the browser tries again and again, so there may be more of these
        expect(each.get_by_text("lost").first).to_be_visible(timeout=SOON)
    server.start()
    for each in pages:
        back = each.locator("li").get_by_text('welcome {"last":"42"}', exact=True)
        expect(back).to_have_count(1, timeout=SOON)
    server.publish("43 after the restart")
    for each in pages:
        expect(each.locator("li").last).to_have_text("43: after the restart", timeout=SOON)


def test_a_stream_that_the_server_closes_is_opened_again_with_the_last_id(
    server: Server, page: Callable[[str], Page]
) -> None:
    window = page(server.url)
    shows(window, "open", 'welcome {"last":null}')
    server.publish("7 before")
    shows(window, "open", 'welcome {"last":null}', "7: before")
    server.publish("over")
    again = ["lost", "open", 'welcome {"last":"7"}']
    shows(window, "open", 'welcome {"last":null}', "7: before", *again)


def test_a_204_ends_it_for_good(server: Server, page: Callable[[str], Page]) -> None:
    window = page(server.url + "?none")
    shows(window, "closed")

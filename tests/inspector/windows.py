"""The inspector in an application of its own, and windows of a browser with its page."""

from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import Locator, Page, expect
from tests import browsers
from tests.browsers import SOON
from tests.killable import KillableServer


class Application(KillableServer):
    """``watched.py`` in a process of its own."""

    def __init__(self, **environ: str) -> None:
        super().__init__("watched:app", Path(__file__).parent, **environ)

    def post(self, path: str, content: Any = None, **query: Any) -> Any:
        response = httpx.post(f"{self.url}{path}", params=query, json=content, timeout=20)
        assert response.status_code == 200
        return response.json() if response.content else None

    def join(self, group: str, members: int = 1, layer: str = "default", **query: Any) -> Any:
        return self.post(f"join/{layer}/{group}", members=members, **query)

    def send(
        self, group: str, message: dict[str, Any], times: int = 1, layer: str = "default"
    ) -> None:
        self.post(f"send/{layer}/{group}", message, times=times)


class Window(browsers.Window):
    """One window with the inspector in it, and what a person does and sees there."""

    def __init__(self, page: Page, app: Application) -> None:
        super().__init__(page, app)
        self.app = app
        self.allowed = True

    def expects(self, complaint: str) -> bool:
        of_browser = "WebSocket connection to" in complaint or "Failed to load" in complaint
        return of_browser and (self.app.was_down or not self.allowed)

    def open(self, below: str = "") -> "Window":
        self.page.goto(f"{self.app.url}inside/channels{below}")
        return self

    def sees_light(self, selector: str, state: str) -> None:
        """The light there has this state, and its color."""
        light = self.page.locator(selector)
        expect(light).to_have_attribute("data-state", state)
        color = {"good": "--green", "bad": "--red"}[state]
        self.page.wait_for_function(  # health may be another for a moment
            """([selector, state, name]) => {
                const probe = document.createElement("i");
                probe.style.background = `var(${name})`;
                document.body.append(probe);
                const element = document.querySelector(selector);
                const [shown, wanted] = [element.querySelector(".light"), probe].map(
                    (each) => getComputedStyle(each).backgroundColor);
                probe.remove();
                return element.dataset.state === state && shown === wanted;
            }""",
            arg=[selector, state, color],
            timeout=SOON,
        )

    def choose(self, layer: str) -> None:
        self.page.locator("#layers").get_by_text(layer).click()
        expect(self.page.locator("#layers [aria-current]")).to_contain_text(layer, timeout=SOON)

    def find(self, text: str) -> None:
        self.page.get_by_label("Find groups by a part of the name").fill(text)

    def groups(self) -> Locator:
        return self.page.locator("#groups tbody tr")

    def sees_groups(self, *rows: str) -> None:
        """The table has just these groups, each with its members: "news 3"."""
        expect(self.groups()).to_have_text([row.replace(" ", "") for row in rows], timeout=SOON)

    def follow(self, group: str) -> None:
        self.find(group)
        self.page.get_by_role("button", name=group, exact=True).click()
        expect(self.page.locator("#tail-title")).to_have_text(f"Messages of {group}")
        self.sees_note("Nothing has come since you look.")

    def sees_note(self, text: str) -> None:
        expect(self.page.locator("#tail-note")).to_have_text(text, timeout=SOON)

    def messages(self) -> Locator:
        return self.page.locator("#messages li")

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name, exact=True)

    def has_no_sideways_scroll(self) -> None:
        widths = self.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert widths[0] == widths[1]

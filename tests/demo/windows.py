"""The demo as a process of its own, and windows of a browser with its chat page."""

from typing import Any

from playwright.sync_api import Page, expect
from tests import browsers
from tests.browsers import SOON
from tests.killable import KillableProcess


class Demo(KillableProcess):
    """The demo, whose log has nothing but its greetings."""

    command = "-m fast_channels_tools.demo"

    def __init__(self) -> None:
        super().__init__(HOST="", LAYER="memory://")

    def kill(self) -> str:
        log = super().kill()
        assert log == ""
        return log


class Window(browsers.Window):
    """One window with the chat in it, and what a person does and sees there."""

    def __init__(self, page: Page, demo: Demo) -> None:
        super().__init__(page, demo)
        self.demo = demo

    def expects(self, complaint: str) -> bool:
        away = self.demo.was_down or "ERR_INTERNET_DISCONNECTED" in complaint
        return "WebSocket connection to" in complaint and away

    def open(self, room: str = "") -> "Window":
        self.page.goto(self.demo.url + (f"#{room}" if room else ""))
        return self

    def enter(self, name: str, room: str = "") -> "Window":
        self.open(room)
        self.give_name(name)
        self.sees_light("online")
        return self

    def give_name(self, name: str) -> None:
        self.page.get_by_label("Your name", exact=True).fill(name)
        self.page.get_by_role("button", name="Start talking").click()

    def rename(self, name: str) -> None:
        self.page.get_by_role("button", name="Change your name").click()
        self.give_name(name)
        self.sees(f"You joined as {name}")

    @property
    def input(self) -> Any:
        return self.page.get_by_label("Message", exact=True)

    def say(self, text: str) -> None:
        self.input.fill(text)
        self.input.press("Enter")
        expect(self.input).to_have_value("")

    def sees(self, text: str) -> None:
        """The log has an entry of exactly this text, once."""
        entry = self.page.locator("#log").get_by_text(text, exact=True)
        expect(entry).to_have_count(1, timeout=SOON)

    def sees_people(self, *names: str) -> None:
        """The list of who is here has just these names."""
        expect(self.page.locator("#people li")).to_have_text(list(names), timeout=SOON)

    def sees_message(self, author: str, text: str) -> None:
        """The log has this message once, and the name nearest above it is the author's."""
        self.sees(text)
        message = self.page.locator("#log .message", has=self.page.get_by_text(text, exact=True))
        expect(message).to_have_attribute("data-author", author)

    def sees_light(self, state: str) -> None:
        light = self.page.locator("#connection")
        expect(light).to_have_attribute("data-state", state, timeout=SOON)
        color = {"online": "--green", "offline": "--red", "refused": "--red"}[state]
        self.page.wait_for_function(  # it may be between two states
            """([state, name]) => {
                const probe = document.createElement("i");
                probe.style.background = `var(${name})`;
                document.body.append(probe);
                const [wanted, shown] = [probe, document.querySelector(".light")].map(
                    (each) => getComputedStyle(each).backgroundColor);
                probe.remove();
                return document.querySelector("#connection").dataset.state === state
                    && shown === wanted;
            }""",
            arg=[state, color],
            timeout=SOON,
        )

    def has_no_sideways_scroll(self) -> None:
        widths = self.page.evaluate(
            "[document.documentElement.scrollWidth, document.body.scrollWidth,"
            " document.querySelector('#scroller').scrollWidth -"
            " document.querySelector('#scroller').clientWidth, innerWidth]"
        )
        assert widths == [widths[3], widths[3], 0, widths[3]]

"""The page in a real browser, over the memory layer and over a Redis that dies.

Most tests share one application, so each has groups of its own, and looks for these.
"""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, Locator, Page, expect
from tests.redis.servers import running

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]

SOON = 20_000  # milliseconds; what the page shows within this passes


class Application:
    """``watched.py`` in a process of its own; started again, it is on the same port."""

    def __init__(self, **environ: str) -> None:
        self.environ = environ
        self.port = 0
        self.was_down = False
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> "Application":
        """It listens."""
        command = f"-m uvicorn --no-access-log --log-level info --port {self.port} watched:app"
        self.process = subprocess.Popen(
            [sys.executable, *command.split()],
            cwd=Path(__file__).parent,
            env={**os.environ, **self.environ},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if address := re.search(rb"running on http://127\.0\.0\.1:(\d+)", line):
                self.port = int(address[1])
                return self
        pytest.fail("the application has not started")

    def kill(self) -> str:
        """It is gone, without a word to anyone; what it has logged."""
        if self.process is None:
            return ""
        self.was_down = True
        self.process.kill()
        _, log = self.process.communicate(timeout=10)
        self.process = None
        return log.decode()

    def post(self, path: str, content: Any = None, **query: Any) -> Any:
        response = httpx.post(f"{self.url}{path}", params=query, json=content, timeout=20)
        assert response.status_code == 200
        return response.json() if response.content else None

    def join(self, group: str, members: int = 1, layer: str = "default", **query: Any) -> Any:
        return self.post(f"/join/{layer}/{group}", members=members, **query)

    def send(
        self, group: str, message: dict[str, Any], times: int = 1, layer: str = "default"
    ) -> None:
        self.post(f"/send/{layer}/{group}", message, times=times)


class Window:
    """One window with the page in it."""

    def __init__(self, page: Page, app: Application) -> None:
        self.page = page
        self.app = app
        self.allowed = True
        self.problems: list[str] = []
        self.hosts: set[str] = set()
        page.on("pageerror", lambda error: self.problems.append(f"uncaught: {error}"))
        page.on("console", self._heard)
        page.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))
        page.on("websocket", lambda socket: self.hosts.add(urlsplit(socket.url).netloc))

    def _heard(self, message: Any) -> None:
        # A browser itself reports what a server that is not there, or refuses, answers.
        of_browser = "WebSocket connection to" in message.text or "Failed to load" in message.text
        expected = of_browser and (self.app.was_down or not self.allowed)
        if message.type in ("error", "warning") and not expected:
            self.problems.append(f"{message.type}: {message.text}")

    def open(self, below: str = "") -> "Window":
        self.page.goto(f"{self.app.url}/inside/channels{below}")
        return self

    def sees_light(self, selector: str, state: str) -> None:
        """The light there has this state, and its color."""
        light = self.page.locator(selector)
        expect(light).to_have_attribute("data-state", state, timeout=SOON)
        color = {"good": "--green", "bad": "--red"}[state]
        shown, wanted = light.evaluate(
            """(element, name) => {
                const probe = document.createElement("i");
                probe.style.background = `var(${name})`;
                document.body.append(probe);
                const colors = [element.querySelector(".light"), probe].map(
                    (each) => getComputedStyle(each).backgroundColor);
                probe.remove();
                return colors;
            }""",
            color,
        )
        assert shown == wanted

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


@pytest.fixture(scope="module")
def app() -> Iterator[Application]:
    """The application that tests share, whose log names no failure in the end."""
    app = Application().start()
    yield app
    assert "Traceback" not in app.kill()


@pytest.fixture
def mortal(request: pytest.FixtureRequest) -> Iterator[Application]:
    """An application of the test's own, which it may kill."""
    app = Application(**getattr(request, "param", {})).start()
    yield app
    assert "Traceback" not in app.kill()


@pytest.fixture
def window(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Callable[..., Window]]:
    """Opens windows on the test's own application, or on the shared one.

    In the end no page has complained, and none has asked another host for anything.
    """
    own = "mortal" in request.fixturenames
    app = request.getfixturevalue("mortal" if own else "app")
    contexts: list[Any] = []
    windows: list[Window] = []

    def open_window(**options: Any) -> Window:
        contexts.append(browser.new_context(**options))
        windows.append(Window(contexts[-1].new_page(), app))
        return windows[-1]

    yield open_window
    for context in contexts:
        context.close()
    assert [problem for window in windows for problem in window.problems] == []
    assert {host for window in windows for host in window.hosts} <= {f"127.0.0.1:{app.port}"}


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


def test_a_plot_tells_its_numbers_to_a_keyboard_and_a_screen_reader(
    window: Callable[..., Window],
) -> None:
    page = window().open()
    page.page.wait_for_function(POINTS, arg=3, timeout=SOON)
    chart = page.page.get_by_role("img", name=re.compile("^Messages per second, now: Sent "))
    chart.focus()
    page.page.keyboard.press("Home")
    told = page.page.get_by_role("img", name=re.compile(r"^Messages per second, \d+ seconds ago"))
    expect(told).to_be_visible()
    page.page.keyboard.press("Escape")
    expect(chart).to_be_visible()


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
    app.post(f"/leave/default/kept.room/{bob}")
    expect(present).to_have_text("Present in all processes: 1 (Ann)", timeout=SOON)


def test_a_group_is_found_and_chosen_with_the_keyboard_alone(
    window: Callable[..., Window], app: Application
) -> None:
    for name in ("key.alpha", "key.beta", "key.gamma"):
        app.join(name, 1)
    page = window().open()
    expect(page.button("key.beta")).to_be_visible(timeout=SOON)
    page.page.keyboard.press("Tab")
    expect(page.page.get_by_role("link", name="Skip to the numbers")).to_be_focused()
    page.page.keyboard.press("Enter")
    search = page.page.get_by_label("Find groups by a part of the name")
    for _ in range(20):  # past the plots
        page.page.keyboard.press("Tab")
        if search.evaluate("input => input === document.activeElement"):
            break
    page.page.keyboard.type("y.gamm")
    page.sees_groups("key.gamma 1")
    page.page.keyboard.press("Tab")
    page.page.keyboard.press("Tab")
    expect(page.button("key.gamma")).to_be_focused()
    page.page.keyboard.press("Enter")
    expect(page.page.locator("#tail-title")).to_have_text("Messages of key.gamma")
    search.fill("nothing")
    expect(page.page.locator("#groups-note")).to_have_text(
        "No group has this in its name.", timeout=SOON
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_and_its_text_can_be_read(
    scheme: str, window: Callable[..., Window], app: Application
) -> None:
    group = f"{scheme}.a-group-with-a-rather-long-name." + "x" * 60
    app.join(group, 3)
    page = window(viewport={"width": 360, "height": 740}, color_scheme=scheme).open()
    page.sees_light("#health", "good")
    page.follow(group)
    page.has_no_sideways_scroll()
    faint = page.page.evaluate(
        """() => {
            const parse = (color) => color.match(/[\\d.]+/g).slice(0, 3).map(Number);
            const light = (color) => {
                const [r, g, b] = parse(color).map((c) => (c /= 255) <= 0.03928
                    ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
                return 0.2126 * r + 0.7152 * g + 0.0722 * b;
            };
            const ground = (element) => {
                for (; element; element = element.parentElement) {
                    const color = getComputedStyle(element).backgroundColor;
                    if (!/, 0\\)|transparent/.test(color) && !color.includes("/")) return color;
                }
            };
            const faint = [];
            for (const element of document.querySelectorAll("body *")) {
                const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
                if (!own || !element.checkVisibility() || element.closest("svg, .label")) continue;
                const [a, b] = [getComputedStyle(element).color, ground(element)].map(light);
                const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
                if (contrast < 4.5) faint.push([element.outerHTML.slice(0, 80), contrast]);
            }
            return faint;
        }"""
    )
    assert faint == []


def test_everything_that_can_be_used_has_a_name(window: Callable[..., Window], app: Any) -> None:
    app.join("named", 1)
    page = window().open()
    page.follow("named")
    nameless = page.page.evaluate(
        """() => [...document.querySelectorAll("button, input, a, section, nav, [tabindex='0']")]
            .filter((e) => e.checkVisibility())
            .filter((e) => !(e.ariaLabel || e.textContent.trim() || e.labels?.length
                || e.getAttribute("aria-labelledby")))
            .map((e) => e.outerHTML)"""
    )
    assert nameless == []
    levels = page.page.evaluate(
        "[...document.querySelectorAll('h1, h2, h3')].map((h) => h.tagName).join(' ')"
    )
    assert re.fullmatch("H1( H2)+", levels)


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
    with running(tmp_path) as redis:
        app = Application(REDIS=redis.url).start()
        context = browser.new_context()
        try:
            page = Window(context.new_page(), app).open()
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
            assert page.problems == []
        finally:
            context.close()
            app.kill()

"""The chat page in a real browser, against the demo as ``make demo`` starts it."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect
from tests.redis.servers import running

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]

SOON = 20_000  # milliseconds; what the page shows within this passes


class Demo:
    """The demo as a process of its own; started again, it is on the same port."""

    def __init__(self, errors: Path) -> None:
        self.errors = errors
        self.layer = "memory://"
        self.port = 0
        self.was_down = False
        self.process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def start(self) -> None:
        """The demo serves."""
        environ = {k: v for k, v in os.environ.items() if k not in ("HOST", "LAYER")}
        with self.errors.open("a") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "fast_channels_tools.demo"],
                env={**environ, "PORT": str(self.port), "LAYER": self.layer},
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        assert self.process.stdout is not None
        greeting = self.process.stdout.readline()
        address = re.search(r"http://127\.0\.0\.1:(\d+)", greeting)
        assert address, f"the demo said {greeting!r} and {self.errors.read_text()!r}"
        self.port = int(address[1])

    def kill(self) -> None:
        """The process is gone, without a word to anyone."""
        self.was_down = True
        if self.process is not None:
            assert self.process.stdout is not None
            self.process.kill()
            self.process.wait(10)
            self.process.stdout.close()
            self.process = None


class Window:
    """One window with the chat in it, and what a person does and sees there."""

    def __init__(self, page: Page, demo: Demo) -> None:
        self.page = page
        self.demo = demo
        self.problems: list[str] = []
        self.hosts: set[str] = set()
        page.on("pageerror", lambda error: self.problems.append(f"uncaught: {error}"))
        page.on("console", self._heard)
        page.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))
        page.on("websocket", lambda socket: self.hosts.add(urlsplit(socket.url).netloc))

    def _heard(self, message: Any) -> None:
        # A browser itself reports each attempt to reach a server that is not there, or to reach
        # one while it is offline.
        away = self.demo.was_down or "ERR_INTERNET_DISCONNECTED" in message.text
        no_server = "WebSocket connection to" in message.text and away
        if message.type in ("error", "warning") and not no_server:
            self.problems.append(f"{message.type}: {message.text}")

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


def test_two_people_talk_in_two_windows(window: Callable[..., Window]) -> None:
    ann, bob = window().enter("Ann"), window().enter("Bob")
    ann.sees("Bob joined")
    ann.say("Hello, Bob")
    bob.sees_message("Ann", "Hello, Bob")
    bob.say("Hello, Ann\nHow are you?")
    ann.sees_message("Bob", "Hello, Ann\nHow are you?")
    expect(ann.page.locator("#log .mine")).to_have_text(re.compile("Hello, Bob"))
    expect(bob.page.locator("#log .mine")).to_have_text(re.compile("Hello, Ann"))
    bob.page.close()
    ann.sees("Bob left")


def test_typing_is_shown_and_ends(window: Callable[..., Window]) -> None:
    ann, bob = window(), window().enter("Bob")
    ann.page.clock.install()
    ann.enter("Ann")
    line = ann.page.locator("#typing")
    bob.input.press_sequentially("Hel")
    expect(line).to_have_text("Bob is typing…")
    ann.say("Go on")
    bob.sees_message("Ann", "Go on")
    assert bob.page.locator("#typing").inner_text() == ""  # to himself he is not typing
    bob.input.press_sequentially("lo")
    bob.input.press("Enter")
    ann.sees_message("Bob", "Hello")
    expect(line).to_have_text("")
    bob.input.press_sequentially("Never to be sent")
    expect(line).to_have_text("Bob is typing…")
    ann.page.clock.fast_forward(10_000)
    expect(line).to_have_text("")


def test_a_reloaded_window_is_the_same_person(window: Callable[..., Window]) -> None:
    ann, bob = window().enter("Ann"), window().enter("Bob")
    bob.input.fill("a draft")
    bob.page.reload()
    bob.sees("You joined as Bob")
    expect(bob.input).to_have_value("a draft")
    ann.say("Still there?")
    bob.sees_message("Ann", "Still there?")
    bob.say("Yes")
    ann.sees_message("Bob", "Yes")


def test_the_light_follows_the_server_and_nothing_typed_is_lost(
    demo: Demo, window: Callable[..., Window]
) -> None:
    ann, bob = window().enter("Ann"), window().enter("Bob")
    ann.sees("Bob joined")
    demo.kill()
    ann.sees_light("offline")
    bob.sees_light("offline")
    expect(ann.page.get_by_role("status")).to_have_text("Offline, reconnecting")
    ann.say("written")
    ann.say("while away")
    waiting = ann.page.locator("#pending .text")
    expect(waiting).to_have_text(["written", "while away"])
    expect(ann.page.locator("#pending").get_by_text("Waiting to be sent").first).to_be_visible()

    now = bob.page.get_by_role("button", name="Try now")
    expect(now).to_be_visible()
    demo.start()
    bob.page.locator("#retry").dispatch_event("click")  # even if he is back by himself already
    ann.sees_light("online")
    bob.sees_light("online")
    expect(waiting).to_have_count(0)
    ann.sees_message("Ann", "written")
    ann.sees_message("Ann", "while away")
    ann.say("and now")
    bob.sees_message("Ann", "and now")
    bob.say("welcome back")
    ann.sees_message("Bob", "welcome back")
    expect(ann.page.locator("#log .mine .text")).to_have_text(["written", "while away", "and now"])


def test_a_message_typed_while_offline_arrives(demo: Demo, window: Callable[..., Window]) -> None:
    ann, bob = window().enter("Ann"), window()
    demo.kill()
    ann.sees_light("offline")
    # Only Bob returns by himself at first, so that he is there when Ann's message comes.
    ann.page.context.set_offline(True)
    ann.say("from the tunnel")
    demo.start()
    bob.enter("Bob")
    ann.sees_light("offline")
    ann.page.context.set_offline(False)
    bob.sees_message("Ann", "from the tunnel")
    ann.sees_message("Ann", "from the tunnel")


def test_a_reload_and_a_while_offline_miss_nothing(
    demo: Demo, window: Callable[..., Window]
) -> None:
    ann, bob = window().enter("Ann"), window().enter("Bob")
    said = ["one", "two", "three", "four", "five"]
    bob.say("one")
    ann.say("two")
    bob.sees_message("Ann", "two")
    ann.page.goto("about:blank")  # a reload, in which Bob goes on
    bob.say("three")
    bob.sees("three")
    ann.open()
    ann.sees_message("Bob", "three")

    ann.page.context.set_offline(True)
    ann.sees_light("offline")
    bob.say("four")
    bob.sees("four")
    ann.page.context.set_offline(False)
    ann.sees_light("online")
    bob.say("five")
    ann.sees_message("Bob", "five")
    texts = ann.page.locator("#log .message .text")
    expect(texts).to_have_text(said)
    expect(ann.page.locator("#log .mine .text")).to_have_text(["two"])
    expect(ann.page.get_by_text("Something may be missing here")).to_have_count(0)

    late = window().enter("Cy")
    expect(late.page.locator("#log .message .text")).to_have_text(said)


def test_what_only_the_servers_memory_had_is_told_to_be_missing(
    demo: Demo, window: Callable[..., Window]
) -> None:
    ann = window().enter("Ann")
    ann.say("before")
    ann.sees("before")
    demo.kill()
    ann.sees_light("offline")
    demo.start()
    ann.sees_light("online")
    ann.sees("Something may be missing here")
    ann.say("after")
    ann.sees_message("Ann", "after")


def test_a_restart_misses_nothing_where_a_broker_keeps_it(
    demo: Demo, window: Callable[..., Window], tmp_path: Path
) -> None:
    demo.kill()
    with running(tmp_path) as redis:
        demo.layer = redis.url
        demo.start()
        ann, bob = window().enter("Ann"), window().enter("Bob")
        bob.say("before")
        ann.sees_message("Bob", "before")
        ann.page.context.set_offline(True)
        ann.sees_light("offline")
        bob.say("while she is away")
        bob.sees("while she is away")
        demo.kill()
        bob.sees_light("offline")
        demo.start()
        bob.sees_light("online")
        bob.say("after")
        bob.sees("after")
        ann.page.context.set_offline(False)
        ann.sees_message("Bob", "after")
        for each in (ann, bob):
            texts = each.page.locator("#log .message .text")
            expect(texts).to_have_text(["before", "while she is away", "after"])
            assert each.page.get_by_text("Something may be missing here").count() == 0
        demo.kill()


def test_two_tabs_of_one_browser_are_two_people(window: Callable[..., Window]) -> None:
    first = window().enter("Ann")
    second = window(first.page.context).open()
    second.sees("You joined as Ann")
    first.rename("Zoe")
    second.page.reload()
    second.sees("You joined as Ann")
    first.page.reload()
    first.sees("You joined as Zoe")
    second.say("I am Ann")
    first.sees_message("Ann", "I am Ann")
    first.say("I am Zoe")
    second.sees_message("Zoe", "I am Zoe")
    expect(second.page.locator("#log .mine")).to_have_count(1)
    third = window(first.page.context).open()
    third.sees("You joined as Zoe")


def test_who_is_here_is_listed_live(demo: Demo, window: Callable[..., Window]) -> None:
    ann = window().enter("Ann")
    ann.sees_people("Ann (you)")
    bob, other = window().enter("Bob"), window().enter("Bob")
    elsewhere = window().enter("Eve", room="tea")
    elsewhere.sees_people("Eve (you)")
    ann.sees_people("Ann (you)", "Bob", "Bob")
    bob.sees_people("Ann", "Bob", "Bob (you)")
    other.page.close()
    ann.sees_people("Ann (you)", "Bob")
    bob.rename("Cy")
    ann.sees_people("Ann (you)", "Cy")
    demo.kill()
    ann.sees_people()
    demo.start()
    ann.sees_people("Ann (you)", "Cy")


def test_a_reload_is_no_leave(window: Callable[..., Window]) -> None:
    ann, bob = window().enter("Ann"), window().enter("Bob")
    ann.sees_people("Ann (you)", "Bob")
    bob.page.reload()
    bob.sees("You joined as Bob")
    bob.sees_people("Ann", "Bob (you)")
    cy = window().enter("Cy")
    cy.page.close()
    ann.sees("Cy left")  # held as long as Bob's, and told after it
    ann.sees("Bob joined")
    expect(ann.page.locator("#log").get_by_text("Bob left")).to_have_count(0)


def test_rooms_are_apart_and_their_addresses_can_be_shared(window: Callable[..., Window]) -> None:
    ann, bob = window().enter("Ann"), window().enter("Bob", room="tea.room")
    ann.page.get_by_label("Name of a room").fill("tea.room")
    ann.page.get_by_role("button", name="Open the room").click()
    bob.sees("Ann joined")
    assert ann.page.url.endswith("#tea.room")
    bob.say("Milk?")
    ann.sees_message("Bob", "Milk?")
    ann.page.get_by_role("link", name="lobby").click()
    bob.sees("Ann left")
    ann.sees("You joined as Ann")
    expect(ann.page.get_by_text("Milk?")).to_have_count(0)
    ann.say("Nobody hears this")
    ann.sees_message("Ann", "Nobody hears this")
    ann.page.go_back()
    ann.sees("You joined as Ann")
    bob.say("Sugar?")
    ann.sees_message("Bob", "Sugar?")
    expect(bob.page.get_by_text("Nobody hears this")).to_have_count(0)


def test_a_bad_room_says_why(window: Callable[..., Window]) -> None:
    ann = window().enter("Ann")
    reason = ann.page.get_by_role("alert")
    for room in ("no%20spaces", "caf%C3%A9", "a/b", "..", "%2e", "%", "x" * 81):
        ann.open(room)
        ann.sees_light("refused")
        expect(reason).to_contain_text("a letter or digit first")
        expect(ann.input).to_be_disabled()
        ann.open("good")
        ann.sees_light("online")
        expect(reason).to_be_hidden()
    expect(ann.page.locator("#rooms a")).to_have_text(["good", "lobby"])


def test_html_is_only_text(window: Callable[..., Window]) -> None:
    evil = "<img src=x onerror=\"document.title='pwned'\"><b>bold</b>"
    ann, bob = window().enter("Ann"), window().enter("<i>Bob</i>")
    bob.say(evil)
    ann.sees_message("<i>Bob</i>", evil)
    assert ann.page.locator("#log img, #log b, #log i").count() == 0


def test_a_phone_has_no_sideways_scroll(window: Callable[..., Window]) -> None:
    phone = window(viewport={"width": 375, "height": 700}, has_touch=True, is_mobile=True)
    phone.enter("A name of forty characters, all of them!", room="r" * 80)
    phone.say("Donaudampfschifffahrtsgesellschaftskapitän" * 5)
    for number in range(14):
        phone.say(f"{number}")
    expect(phone.page.locator("#log .mine")).to_have_count(15)
    phone.has_no_sideways_scroll()
    expect(phone.page.locator("#log .mine .text").last).to_be_in_viewport()

    phone.page.set_viewport_size({"width": 375, "height": 330})  # the keyboard is open
    phone.page.wait_for_function(
        "() => { const s = document.querySelector('#scroller');"
        " return s.scrollHeight - s.scrollTop - s.clientHeight < 2 }"
    )
    phone.has_no_sideways_scroll()
    expect(phone.page.get_by_role("heading", level=1)).to_be_in_viewport(ratio=1)
    expect(phone.input).to_be_in_viewport(ratio=1)
    expect(phone.page.get_by_role("button", name="Send")).to_be_in_viewport(ratio=1)

    expect(phone.page.get_by_label("Name of a room")).to_be_hidden()
    phone.page.get_by_role("button", name="Rooms").tap()
    phone.page.get_by_label("Name of a room").fill("lobby")
    phone.page.get_by_role("button", name="Open the room").tap()
    phone.sees_light("online")
    expect(phone.page.get_by_role("heading", name="lobby")).to_be_visible()
    expect(phone.page.get_by_label("Name of a room")).to_be_hidden()


def test_no_name_given_makes_a_guest(window: Callable[..., Window]) -> None:
    somebody = window().open()
    somebody.page.keyboard.press("Escape")
    somebody.sees_light("online")
    expect(somebody.page.locator("#me-name")).to_have_text(re.compile(r"Guest \d+"))


def test_the_server_explains_bad_input(demo: Demo, window: Callable[..., Window]) -> None:
    page = window().open().page
    answers = page.evaluate(
        """async (contents) => {
            const socket = new WebSocket("ws/lobby");
            const answers = [];
            return new Promise((resolve, reject) => {
                const next = () => socket.send(JSON.stringify(contents[answers.length]));
                socket.onopen = next;
                socket.onclose = reject;
                socket.onmessage = ({data}) => {
                    const answer = JSON.parse(data);
                    if (answer.channels === "subscribed") answer.group = "as " + answer.group;
                    answers.push(answer.data ?? answer.detail ?? answer.group);
                    if (answers.length < contents.length) return next();
                    socket.onclose = () => resolve(answers);
                    socket.close();
                };
            });
        }""",
        [
            {"type": "message", "id": "1", "text": "before joining"},
            [],
            {"channels": "subscribe", "group": "elsewhere"},
            {"channels": "subscribe", "group": "room"},
            *(
                {"channels": "subscribe", "group": "room", "presence": {"name": name}}
                for name in (7, "  ", "x" * 41, " Eve ", "Eve again")
            ),
            {"type": "message", "id": "2", "text": ""},
            {"type": "message", "id": "3", "text": "x" * 2_001},
            {"type": "message", "id": "4", "text": "x" * 2_000},
        ],
    )
    join_first = "join first; then talk"
    bad_name = "a name has 1 to 40 characters"
    bad_text = "not 1 to 2000 characters"
    assert 0 < answers[-1].pop("at") - time.time() + 60 < 120
    message = {"type": "chat.message", "id": "4", "text": "x" * 2_000, "name": "Eve"}
    assert answers == [
        *[join_first] * 2,
        "the client may not have this group",
        *[bad_name] * 4,
        "as room",
        "the client has this group already",
        *[bad_text] * 2,
        message,
    ]


def test_a_bad_room_is_closed_with_4404(window: Callable[..., Window]) -> None:
    closed = (
        window()
        .open()
        .page.evaluate(
            """() => new Promise((resolve) => {
            const socket = new WebSocket("ws/no%20spaces");
            socket.onclose = ({code, reason}) => resolve([code, reason]);
        })"""
        )
    )
    assert closed == [4404, "use 1 to 80 of A-Z a-z 0-9 . _ - (a letter or digit first)"]

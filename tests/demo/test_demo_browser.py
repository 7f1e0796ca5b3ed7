"""The chat page in a real browser, against the demo as ``make demo`` starts it."""

import re
import time
from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from .windows import Demo, Window

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]


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

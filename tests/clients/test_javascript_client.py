"""``clients/js`` in a real browser: whatever breaks, each message comes once and in order."""

import signal
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page

from .conftest import Road, Server, visit

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]

KEEPING = {"storage": "session"}


def begin(page: Page, *groups: str, **options: Any) -> None:
    """The page's client is subscribed to the groups."""
    page.evaluate(
        """([groups, {follow: fields, ...options}]) => {
            if (options.storage) options.storage = sessionStorage;
            start(options);
            window.groups = groups.map((name) => follow(name, fields ?? {}));
        }""",
        [list(groups), options],
    )
    subscribed(page)


def subscribed(page: Page) -> None:
    page.wait_for_function("groups.every(({state}) => state === 'subscribed')")


def is_in_state(page: Page, state: str) -> None:
    page.wait_for_function("(state) => client.state === state", arg=state)


def comes(page: Page, group: str, number: object) -> None:
    page.wait_for_function(
        "([group, n]) => log.some((entry) => entry[0] === group && entry[1] === n)",
        arg=[group, number],
    )


def log(page: Page, group: str) -> list[Any]:
    """What has come of that group, in order."""
    return [what for name, what in page.evaluate("log") if name == group]


def test_whatever_breaks_a_kept_group_is_complete_and_another_tells_gaps(
    server: Server, road: Road, page: Callable[..., Page]
) -> None:
    window = page(road.url)
    begin(window, "chat.a", "live.a", **KEEPING)
    for group in ("chat.a", "live.a"):
        server.send(group, *range(5))
    comes(window, "live.a", 4)
    comes(window, "chat.a", 4)

    window.goto("about:blank")  # a reload, in which a message comes
    server.send("chat.a", 5, 6)
    visit(window, road.url)
    begin(window, "chat.a", "live.a", **KEEPING)
    comes(window, "chat.a", 6)
    assert "gap" not in log(window, "live.a")  # a new page has nothing that it could complete

    server.send("chat.a", 7)
    road.cut()
    server.send("chat.a", 8)
    comes(window, "chat.a", 8)
    comes(window, "live.a", "gap")

    window.context.set_offline(True)
    is_in_state(window, "offline")
    for group in ("chat.a", "live.a"):
        server.send(group, 9, 10)
    window.context.set_offline(False)
    comes(window, "chat.a", 10)

    server.kill()
    is_in_state(window, "offline")
    server.send_while_it_is_down("chat.a", *range(11, 200))
    server.start()
    subscribed(window)
    for group in ("chat.a", "live.a"):
        server.send(group, 200)
        comes(window, group, 200)
    assert log(window, "chat.a") == list(range(201))
    assert log(window, "live.a") == [0, 1, 2, 3, 4, "gap", "gap", "gap", 200]


def test_a_server_that_has_frozen_is_noticed(server: Server, page: Callable[..., Page]) -> None:
    window = page()
    begin(window, "chat.a", heartbeat=100, patience=300, openTimeout=500)
    server.send("chat.a", 0)
    comes(window, "chat.a", 0)
    server.signal(signal.SIGSTOP)
    is_in_state(window, "offline")
    server.signal(signal.SIGCONT)
    is_in_state(window, "online")
    subscribed(window)
    server.send("chat.a", 1)
    comes(window, "chat.a", 1)
    assert log(window, "chat.a") == [0, 1]


def test_a_quiet_connection_that_answers_is_kept(server: Server, page: Callable[..., Page]) -> None:
    window = page()
    begin(window, "chat.a", heartbeat=20, patience=20_000)
    server.send("chat.a", 0)
    comes(window, "chat.a", 0)
    window.evaluate("new Promise((done) => setTimeout(done, 200))")  # it is time that passes
    assert window.evaluate("states") == [["online"]]


def test_a_code_that_means_stay_away_ends_it_until_the_page_asks(
    server: Server, page: Callable[..., Page]
) -> None:
    window = page()
    begin(window, "chat.a", "live.a")
    server.send("live.a", {"type": "websocket.close", "code": 4401})
    is_in_state(window, "closed")
    assert window.evaluate("states") == [["online"], ["closed", 4401]]
    assert window.evaluate("client.send({})") is False
    server.send("chat.a", 1)
    window.evaluate("client.connect()")
    subscribed(window)
    comes(window, "chat.a", 1)
    server.send("live.a", {"type": "websocket.close", "code": 1012})
    window.wait_for_function("states.some(([state]) => state === 'offline')")
    is_in_state(window, "online")


def test_what_is_sent_while_offline_waits_up_to_a_bound(
    server: Server, page: Callable[..., Page]
) -> None:
    window = page()
    begin(window, queue=2)
    is_in_state(window, "online")
    server.kill()
    is_in_state(window, "offline")
    assert window.evaluate("[1, 2, 3].map((n) => client.send({n}))") == [True, True, False]
    server.start()
    window.wait_for_function("log.length === 2")
    assert window.evaluate("client.send([4])") is True
    window.wait_for_function("log.length === 3")
    assert log(window, "app") == [{"heard": {"n": 1}}, {"heard": {"n": 2}}, {"heard": [4]}]
    mistakes = window.evaluate(
        """[{channels: 1}, undefined].map((content) => {
            try { client.send(content); } catch (error) { return error.name; }
        })"""
    )
    assert mistakes == ["TypeError", "TypeError"]


def test_a_thousand_clients_do_not_come_back_at_one_instant(page: Callable[..., Page]) -> None:
    window = page()
    delays = window.evaluate(
        """async () => {
            const delays = [], later = window.setTimeout;
            const socket = window.WebSocket;
            window.WebSocket = class {
                constructor() { later(() => this.onclose({code: 1006})); }
                close() {}
            };
            let clients = [];
            window.setTimeout = (work, delay) => {
                if (delay < 10_000) delays.push(delay);
                return 0;
            };
            const lost = [];
            for (let i = 0; i < 1000; i++) {
                const client = new FastChannels("ws:/x", {minDelay: 1000});
                clients.push(client);
                lost.push(new Promise((done) => client.on("state", done)));
            }
            await Promise.all(lost);
            for (const client of clients) client.close();
            Object.assign(window, {setTimeout: later, WebSocket: socket});
            return delays;
        }"""
    )
    assert len(delays) == 1000
    tenths = [sum(1 for delay in delays if n * 100 <= delay < n * 100 + 100) for n in range(10)]
    assert sum(tenths) == 1000
    assert all(50 < count < 200 for count in tenths), tenths


def test_who_is_there_is_kept_up_to_date(server: Server, page: Callable[..., Page]) -> None:
    ann, bob = page(), page()
    users = "[...groups[0].members.values()].map(({user}) => user).sort().join()"
    begin(ann, "chat.a", follow={"presence": {"user": "ann"}, "watch": True})
    begin(bob, "chat.a", follow={"presence": {"user": "bob"}})
    ann.wait_for_function(f"{users} === 'ann,bob'")
    bob.evaluate("groups[0].setPresence({user: 'Bob'})")
    ann.wait_for_function(f"{users} === 'Bob,ann'")
    assert ann.evaluate("groups[0].members.get(groups[0].me)") == {"user": "ann"}
    bob.close()
    ann.wait_for_function(f"{users} === 'ann'")
    server.kill()
    is_in_state(ann, "offline")
    server.start()
    subscribed(ann)
    ann.wait_for_function(f"{users} === 'ann' && groups[0].members.has(groups[0].me)")


def test_a_refusal_is_told_and_is_not_repeated(page: Callable[..., Page]) -> None:
    window = page()
    window.evaluate("() => { start(); window.groups = [follow('secret'), follow('chat.a')]; }")
    window.wait_for_function("groups[1].state === 'subscribed'")
    assert log(window, "secret") == ["refused"]
    assert window.evaluate("groups[0].state") == "refused"


def test_a_subscription_ends_and_begins_anew(server: Server, page: Callable[..., Page]) -> None:
    window = page()
    begin(window, "chat.a", "chat.b", **KEEPING)
    server.send("chat.a", 0)
    comes(window, "chat.a", 0)
    window.evaluate("groups[0].unsubscribe()")
    server.send("chat.a", 1)
    server.send("chat.b", 1)
    comes(window, "chat.b", 1)
    window.evaluate("() => { groups[0] = follow('chat.a', {since: 'last:1'}); }")
    comes(window, "chat.a", 1)
    assert log(window, "chat.a") == [0, 1]


def test_a_listener_that_fails_costs_no_message(server: Server, page: Callable[..., Page]) -> None:
    window = page()
    begin(window, "chat.a")
    window.evaluate(
        """() => {
            window.failed = 0;
            window.addEventListener("error", (event) => { event.preventDefault(); failed += 1; });
            groups[0].on("message", () => { throw new Error("a mistake"); });
            groups[0].on("message", ({n}) => log.push(["second", n]));
        }"""
    )
    server.send("chat.a", 0, 1)
    comes(window, "second", 1)
    window.wait_for_function("failed === 2")
    assert log(window, "chat.a") == log(window, "second") == [0, 1]


def test_an_event_source_misses_nothing_over_a_kill(
    server: Server, page: Callable[..., Page]
) -> None:
    window = page()
    window.evaluate("listen('chat.a,chat.b,live.a')")
    window.wait_for_function("log.length === 1")
    server.kill()  # before the first event
    server.send_while_it_is_down("chat.a", 0, 1)
    server.start()
    window.wait_for_function("log.some(([, n]) => n === 1)")
    server.send("chat.b", 2)
    server.send("live.a", 3)
    window.wait_for_function("log.some(([, n]) => n === 3)")
    server.kill()
    server.send_while_it_is_down("chat.b", *range(4, 50))
    server.send_while_it_is_down("chat.a", *range(50, 100))
    server.start()
    window.wait_for_function("log.filter(([kind]) => kind === 'event').length >= 100")
    server.send("live.a", 100)
    window.wait_for_function("log.some(([, n]) => n === 100)")
    entries = window.evaluate("log")
    events = [n for kind, *rest in entries if kind == "event" for n in rest]
    assert sorted(events) == list(range(101))
    assert [n for n in events if 3 < n < 50] == list(range(4, 50))
    assert [n for n in events if n < 2 or n >= 50] == [0, 1, *range(50, 101)]
    assert [entry for entry in entries if entry[0] == "gap"] == [["gap", "live.a"]] * 2

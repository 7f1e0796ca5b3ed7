"""The chat page in a real browser while the server or the network is away."""

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import expect
from tests.redis.servers import running

from .windows import Demo, Window

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]


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
        demo.environ["LAYER"] = redis.url
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

"""What an open page gets, and that a closed one costs nothing."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.waiting import soon, until

from fast_channels.layers import (
    BaseChannelLayer,
    ChannelLayerRegistry,
    Health,
    HistoryPolicy,
    InMemoryChannelLayer,
)
from fast_channels.testing import WebsocketCommunicator
from fast_channels_tools.inspector import inspector


@asynccontextmanager
async def opened(app: Any, path: str = "/feed") -> AsyncIterator[WebsocketCommunicator]:
    """A socket as a page has it."""
    async with WebsocketCommunicator(app, path) as client:
        assert (await client.connect(5))[0]
        yield client


async def frame(client: WebsocketCommunicator, **wanted: Any) -> dict[str, Any]:
    """Return the next frame in which these keys have these values."""
    while True:
        found: dict[str, Any] = await client.receive_json_from(10)
        if all(found.get(key) == value for key, value in wanted.items()):
            return found


async def tail(client: WebsocketCommunicator, group: str, **fields: Any) -> dict[str, Any]:
    await client.send_json_to({"channels": "subscribe", "group": group, **fields})
    return await frame(client, channels="subscribed")


def may_look(scope: Any) -> bool:
    return True


class CountedLayer(InMemoryChannelLayer):
    """Counts how often it is looked at."""

    looks = 0

    def stats(self) -> dict[str, int]:
        self.looks += 1
        return super().stats()

    def local_groups(self) -> dict[str, int]:
        self.looks += 1
        return super().local_groups()

    async def health(self, timeout: float = 1.0) -> Health:
        self.looks += 1
        return await super().health(timeout)


async def test_a_page_gets_the_numbers_the_groups_and_the_health(
    layer: BaseChannelLayer, layers: ChannelLayerRegistry
) -> None:
    channels = [await layer.new_channel() for _ in range(3)]
    for channel in channels:
        await layer.group_add("news", channel)
    await layer.group_add("chat", channels[0])
    await layer.group_send("news", {"type": "news.item"})
    async with opened(inspector(authorize=may_look)) as client:
        hello = await frame(client, kind="hello")
        assert hello["drops"][0] == "overflowed"
        look = await frame(client, kind="look")
        [shown] = look["layers"]
        assert (shown["alias"], shown["kind"]) == ("default", "InMemoryChannelLayer")
        assert shown["stats"]["delivered"] == 3
        assert look["groups"]["rows"] == [
            {"name": "news", "members": 3},
            {"name": "chat", "members": 1},
        ]
        while look["layers"][0]["health"] is None:
            look = await frame(client, kind="look")
        assert look["layers"][0]["health"]["state"] == "good"


async def test_only_the_groups_that_are_looked_for_are_shown(
    layer: BaseChannelLayer, layers: ChannelLayerRegistry
) -> None:
    channel = await layer.new_channel()
    for number in range(120):
        await layer.group_add(f"room.{number:03}", channel)
    async with opened(inspector(authorize=may_look)) as client:
        groups = (await frame(client, kind="look"))["groups"]
        assert [row["name"] for row in groups["rows"]] == [f"room.{n:03}" for n in range(100)]
        assert (groups["found"], groups["all"]) == (120, 120)
        await client.send_json_to({"layer": "default", "filter": "m.11"})
        while groups["found"] == 120:
            groups = (await frame(client, kind="look"))["groups"]
        assert (groups["found"], groups["rows"][-1]["name"]) == (10, "room.119")


@pytest.mark.parametrize("question", [[], {"layer": 1, "filter": ""}, {"filter": "a"}, "look"])
async def test_a_question_that_no_page_asks_closes_the_feed(
    question: Any, layers: ChannelLayerRegistry
) -> None:
    async with opened(inspector(authorize=may_look)) as client:
        await client.send_json_to(question)
        while (answer := await client.receive_output(5))["type"] == "websocket.send":
            pass
        assert answer["code"] == 1007


async def test_a_layer_that_nobody_looks_at_is_not_asked_anything(
    layers: ChannelLayerRegistry,
) -> None:
    layer = CountedLayer()
    layers.register("default", layer)
    app = inspector(authorize=may_look)
    tasks = asyncio.all_tasks()
    await layer.open()
    async with opened(app) as client:
        await frame(client, kind="look")
        assert layer.looks
    async with opened(app, "/tail/default") as client:
        await tail(client, "news")
    await until(lambda: not layer.local_groups())
    looks = layer.looks
    assert asyncio.all_tasks() == tasks
    for _ in range(20):
        await layer.group_send("news", {"type": "news.item"})
    assert layer.looks == looks
    await layer.close()


async def test_a_layer_that_is_deaf_says_why_and_the_others_are_shown(
    layers: ChannelLayerRegistry,
) -> None:
    class Deaf(InMemoryChannelLayer):
        async def health(self, timeout: float = 1.0) -> Health:
            return Health("the cable is cut", 0.5)

    class Failing(InMemoryChannelLayer):
        async def health(self, timeout: float = 1.0) -> Health:
            raise OSError("no such host")

    layers.register("deaf", Deaf())
    layers.register("failing", Failing())
    async with opened(inspector(authorize=may_look)) as client:
        found: dict[str, Any] = {}
        while len(found) < 3:
            look = await frame(client, kind="look")
            found = {each["alias"]: each["health"] for each in look["layers"] if each["health"]}
    assert found["deaf"] == {"state": "bad", "reason": "the cable is cut", "seconds": 0.5}
    assert found["failing"]["reason"] == "OSError('no such host')"
    assert found["default"]["state"] == "good"


async def test_a_layer_that_counts_nothing_is_left_out_and_one_without_health_is_unknown(
    layers: ChannelLayerRegistry,
) -> None:
    class Upstream:
        async def send(self, channel: str, message: Mapping[str, Any]) -> None: ...

        async def receive(self, channel: str) -> dict[str, Any]:
            return {}

        async def new_channel(self, prefix: str = "") -> str:
            return ""

    class Counting(Upstream):
        def stats(self) -> dict[str, int]:
            return {"sent": 3}

    layers.clear()
    layers.register("upstream", Upstream())  # type: ignore[arg-type]  # the upstream kind
    layers.register("counting", Counting())  # type: ignore[arg-type]  # as above, with stats
    async with opened(inspector(authorize=may_look)) as client:
        look = await frame(client, kind="look")
        while look["layers"][0]["health"] is None:
            look = await frame(client, kind="look")
        [shown] = look["layers"]
        assert (shown["alias"], shown["health"]["state"], shown["tail"]) == (
            *("counting", "unknown"),
            False,
        )


async def test_without_any_layer_a_page_says_so_and_waits_for_one(
    layer: BaseChannelLayer, layers: ChannelLayerRegistry
) -> None:
    layers.clear()
    async with opened(inspector(authorize=may_look)) as client:
        look = await frame(client, kind="look")
        assert (look["layers"], look["groups"]["rows"]) == ([], [])
        layers.register("late", layer)
        while not look["layers"]:
            look = await frame(client, kind="look")


async def test_a_tail_shows_what_comes_to_its_group_and_nothing_else(
    layer: BaseChannelLayer, layers: ChannelLayerRegistry
) -> None:
    async with opened(inspector(authorize=may_look), "/tail/default") as client:
        answer = await tail(client, "news")
        await layer.group_send("other", {"type": "other.item"})
        await layer.send(answer["me"], {"type": "direct"} | {"channels": "gone"})
        await layer.group_send("news", {"type": "news.item", "text": "x", "token": "t"})
        shown = await frame(client, channels="message")
        assert shown["data"] == {"type": "news.item", "text": "x", "token": "(hidden)"}


@pytest.mark.parametrize(
    "kind", ["websocket.send", "websocket.close", "websocket.disconnect", "disconnect", "send_json"]
)
async def test_a_message_that_means_something_to_consumers_is_only_shown(
    kind: str, layer: BaseChannelLayer, layers: ChannelLayerRegistry
) -> None:
    async with opened(inspector(authorize=may_look), "/tail/default") as client:
        await tail(client, "news")
        await layer.group_send("news", {"type": kind, "text": "hello", "code": 4000})
        await layer.group_send("news", {"type": "last"})
        assert (await frame(client, channels="message"))["data"]["type"] == kind
        assert (await frame(client, channels="message"))["data"]["type"] == "last"


async def test_a_tail_keeps_up_with_a_flood_and_says_how_much_it_leaves_out(
    layer: BaseChannelLayer, layers: ChannelLayerRegistry
) -> None:
    async with opened(inspector(authorize=may_look), "/tail/default") as client:
        await tail(client, "news")
        sends = [layer.group_send("news", {"type": "news.item", "n": n}) for n in range(1_000)]
        await asyncio.gather(*sends)
        seen, left_out = 0, 0
        while seen + left_out < 1_000:
            found = await client.receive_json_from(10)
            seen += found.get("channels") == "message"
            left_out += found.get("count", 0) if found.get("kind") == "left_out" else 0
        assert seen + left_out == 1_000
        assert seen <= 250
    assert layer.stats()["overflowed"] == 0


async def test_who_tails_is_counted_as_no_member(
    layer: BaseChannelLayer, layers: ChannelLayerRegistry
) -> None:
    app = inspector(authorize=may_look)
    await layer.group_add("news", await layer.new_channel())
    async with opened(app, "/tail/default") as first, opened(app, "/tail/default") as second:
        await tail(first, "news")
        await tail(second, "quiet")
        async with opened(app) as feed:
            look = await frame(feed, kind="look")
            assert look["groups"]["rows"] == [{"name": "news", "members": 1}]
            assert look["layers"][0]["stats"]["channels"] == 1


async def test_who_is_present_in_all_processes_is_told_with_redaction(
    layers: ChannelLayerRegistry, layer: BaseChannelLayer
) -> None:
    async def join(name: str) -> str:
        channel = await layer.new_channel()
        await layer.group_add("news", channel, presence={"name": name, "session_id": "s"})
        return channel

    for number in range(14):
        await join(f"user {number}")
    app = inspector(authorize=may_look)
    async with opened(app, "/tail/default") as client:
        await tail(client, "news", watch=True)
        present = await frame(client, kind="present", count=14)
        assert len(present["some"]) == 12
        assert {"name": "user 3", "session_id": "(hidden)"} in present["some"]
        await join("late")
        await frame(client, kind="present", count=15)


async def test_the_history_of_a_durable_group_comes_first(layers: ChannelLayerRegistry) -> None:
    layer = InMemoryChannelLayer(history={"kept.*": HistoryPolicy(keep=10, ttl=60.0)})
    layers.register("default", layer)
    for number in range(5):
        await layer.group_send("kept.a", {"type": "item", "n": number})
    app = inspector(authorize=may_look)
    async with opened(app, "/tail/default") as client:
        await tail(client, "kept.a", since="last:3")
        await layer.group_send("kept.a", {"type": "item", "n": 5})
        shown = [(await frame(client, channels="message"))["data"]["n"] for _ in range(4)]
        assert shown == [2, 3, 4, 5]
    await layer.close()


async def test_a_redact_function_decides_and_hides_what_it_fails_at(
    layer: BaseChannelLayer, layers: ChannelLayerRegistry
) -> None:
    def redact(group: str, message: dict[str, Any]) -> Any:
        if message["n"] == 1:
            raise KeyError("text")
        return {"type": message["type"], "of": group}

    app = inspector(authorize=may_look, redact=redact)
    async with opened(app, "/tail/default") as client:
        await tail(client, "news")
        for number in range(2):
            await layer.group_send("news", {"type": "item", "n": number, "text": "private"})
        assert (await frame(client, channels="message"))["data"] == {"type": "item", "of": "news"}
        assert (await frame(client, channels="message"))["data"] == "(hidden)"


async def test_a_name_that_no_group_can_have_is_refused(layers: ChannelLayerRegistry) -> None:
    async with opened(inspector(authorize=may_look), "/tail/default") as client:
        for name in ("a b", "g\u00fcnther", "x" * 150):
            await client.send_json_to({"channels": "subscribe", "group": name})
            assert (await frame(client, channels="error"))["code"] == "refused"
        await tail(client, "news")
        await client.send_json_to({"channels": "subscribe", "group": "second"})
        assert (await frame(client, channels="error"))["code"] == "limit"


async def test_a_feed_that_cannot_go_on_closes_with_1011_and_is_logged(
    layers: ChannelLayerRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(InMemoryChannelLayer):
        def stats(self) -> dict[str, int]:
            raise ZeroDivisionError("no numbers")

    layers.register("broken", Broken())
    client = WebsocketCommunicator(inspector(authorize=may_look), "/feed")
    assert (await client.connect(5))[0]
    assert (await client.receive_json_from(5))["kind"] == "hello"
    answer = await soon(client.receive_output(5))
    assert (answer["type"], answer["code"]) == ("websocket.close", 1011)
    assert "no numbers" in caplog.text
    await client.disconnect(1011)

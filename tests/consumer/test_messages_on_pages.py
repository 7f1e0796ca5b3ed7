"""The messages that the pages show, unfenced: each is sent, or is one of those that come."""

import json
from typing import Any

import pytest
from tests.workspace.pages import PAGES, ROOT, messages_on, relative

from fast_channels import InMemoryChannelLayer, ResumableWebsocketConsumer, register_channel_layer
from fast_channels.layers import HistoryPolicy, unregister_channel_layer
from fast_channels.testing import WebsocketCommunicator

LAYERS = [json.loads(line) for line in messages_on(ROOT / "docs" / "layers.md")]
PRESENCE = [json.loads(line) for line in messages_on(ROOT / "docs" / "presence.md")]
PROTOCOL = [json.loads(line) for line in messages_on(ROOT / "docs" / "resume.md")]
PONG = {"channels": "pong"}

Shape = tuple[str, frozenset[str]]


class Rooms(ResumableWebsocketConsumer):
    async def authorize_group(self, name: str) -> str | None:
        return None if name == "secret" else name

    async def presence_for(self, name: str, wanted: Any) -> Any:
        return wanted


def shape(message: dict[str, Any]) -> Shape:
    """Return what kind of message it is, and the names of its fields."""
    return str(message.get("channels", message.get("type"))), frozenset(message)


def test_no_other_page_has_a_block_without_a_fence() -> None:
    assert {relative(page) for page in PAGES if messages_on(page)} == {
        "docs/layers.md",
        "docs/presence.md",
        "docs/resume.md",
    }


async def test_the_protocol_of_the_page_is_what_is_spoken() -> None:
    options: dict[str, Any] = {"history": {"room.*": HistoryPolicy()}, "presence_lease": 0.6}
    layer = register_channel_layer("default", InMemoryChannelLayer(gaps=True, **options))
    seen: set[Shape] = set()

    async def connected() -> WebsocketCommunicator:
        client = WebsocketCommunicator(Rooms.as_asgi(), "/")
        assert await client.connect() == (True, None)
        return client

    async def until(client: WebsocketCommunicator, kind: str, field: str = "channels") -> Any:
        while True:
            message = await client.receive_json_from(10)
            seen.add(shape(message))
            assert message["channels"] != "error" or kind == "error", message
            if message["channels"] == kind and field in message:
                return message

    subscribe, unsubscribe, change, ping = PROTOCOL[:4]
    ann, bob = await connected(), await connected()
    await ann.send_json_to({**subscribe, "since": None})
    position = (await until(ann, "subscribed"))["position"]
    await ann.send_json_to(unsubscribe)
    await until(ann, "unsubscribed")
    await ann.send_json_to({**subscribe, "since": position})
    await until(ann, "presence", "state")
    await bob.send_json_to({**subscribe, "since": "last:20", "watch": False})
    await until(bob, "subscribed")
    await bob.send_json_to(change)
    await until(ann, "presence", "joins")
    await bob.send_json_to(unsubscribe)
    await until(ann, "presence", "leaves")
    await bob.send_json_to({**unsubscribe, "channels": "subscribe", "group": "secret"})
    await until(bob, "error")
    await bob.send_json_to(ping)
    await until(bob, "pong")
    await layer.group_send("room.1", {"type": "room.message", "text": "hi"})
    await until(ann, "message")
    await layer.send((await _me(ann, until)), {"type": "channels.gap", "group": "room.1"})
    await until(ann, "gap")
    assert {shape(message) for message in PROTOCOL[4:]} <= seen
    for client in (ann, bob):
        await client.disconnect()
    await layer.close()
    unregister_channel_layer("default")


async def _me(client: WebsocketCommunicator, until: Any) -> str:
    """Return the channel of the client, which it is told when it subscribes."""
    await client.send_json_to({"channels": "subscribe", "group": "other"})
    return str((await until(client, "subscribed"))["me"])


async def test_the_messages_of_presence_and_gaps_are_as_the_pages_show_them() -> None:
    layer = InMemoryChannelLayer(presence_lease=0.6, gaps=True)
    async with layer.channel() as watcher, layer.channel() as member:
        await layer.group_add("room", watcher.name, watch=True)
        await layer.group_add("room", member.name, presence={"user": "ann"})
        join = await watcher.receive()
        await layer.group_discard("room", member.name)
        leave = await watcher.receive()
    assert [*map(shape, (join, leave))] == [*map(shape, PRESENCE)]
    assert PRESENCE[0]["members"] == {"specific.…": join["members"][member.name]}
    await layer.close()


def test_a_gap_is_as_the_page_shows_it() -> None:
    assert LAYERS == [{"type": "channels.gap", "group": "news"}]  # tests/layers/test_gaps.py


@pytest.mark.parametrize("text", ["Text\n\n    {}\n", "Text\n\n    one\n    two\n\nText\n"])
def test_a_block_without_a_fence_is_found(text: str, tmp_path: Any) -> None:
    page = tmp_path / "page.md"
    page.write_text(text + '\n```json\n\n    {"fenced": true}\n```\n')
    assert len(messages_on(page)) == text.count("    ")

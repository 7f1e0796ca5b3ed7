"""Groups and channels over one Redis server."""

import asyncio
import json

from tests.waiting import soon, until

from .conftest import Make
from .servers import Server


async def test_a_group_message_reaches_members_in_every_process(server: Server, make: Make) -> None:
    here, there = make(server.url), make(server.url)
    channels = [(layer, await layer.new_channel()) for layer in (here, here, there)]
    for layer, channel in channels:
        await layer.group_add("room", channel)
    await here.group_send("room", {"type": "hello", "data": b"\x00\xff"})
    for layer, channel in channels:
        assert await soon(layer.receive(channel)) == {"type": "hello", "data": b"\x00\xff"}


async def test_a_direct_message_reaches_a_channel_of_another_process(
    server: Server, make: Make
) -> None:
    here, there = make(server.url), make(server.url)
    channel = await there.new_channel()
    await here.send(channel, {"type": "hello"})
    assert await soon(there.receive(channel)) == {"type": "hello"}


async def test_a_process_has_one_connection_to_publish_and_one_to_listen(
    server: Server, make: Make, prefix: str
) -> None:
    layer = make(f"{server.url}?client_name={prefix}")
    channel = await layer.new_channel()
    for number in range(50):
        await layer.group_add(f"room-{number}", channel)
        await layer.group_send(f"room-{number}", {"type": "hello"})
    with server.client() as client:
        names = [each["name"] for each in client.client_list()]
        assert client.pubsub_numpat() == 0
    assert names.count(prefix) == 2


async def test_joins_at_the_same_time_share_one_confirmed_subscription(
    server: Server, make: Make, prefix: str
) -> None:
    here, there = make(server.url), make(server.url)
    channels = [await there.new_channel() for _ in range(20)]
    await asyncio.gather(*(there.group_add("room", channel) for channel in channels))
    await here.group_send("room", {"type": "hello"})
    for channel in channels:
        assert await soon(there.receive(channel)) == {"type": "hello"}
    with server.client() as client:
        [(_, subscribers)] = client.pubsub_numsub(f"{prefix}:g.room")
    assert subscribers == 1


async def test_ten_thousand_topics_are_joined_and_left_in_few_commands(
    server: Server, make: Make, prefix: str
) -> None:
    layer = make(server.url, linger=0.0)
    channel = await layer.new_channel()
    groups = [f"room-{number}" for number in range(10_000)]
    await asyncio.gather(*(layer.group_add(group, channel) for group in groups))
    with server.client() as client:
        assert len(client.pubsub_channels(f"{prefix}:g.*")) == 10_000
        await asyncio.gather(*(layer.group_discard(group, channel) for group in groups))
        await until(lambda: not client.pubsub_channels(f"{prefix}:g.*"))


async def test_anything_that_can_publish_can_send_plain_json_to_a_group(
    server: Server, make: Make, prefix: str
) -> None:
    layer = make(server.url)
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    with server.client() as client:
        client.publish(f"{prefix}:g.room", json.dumps({"type": "hello"}))
    assert await soon(layer.receive(channel)) == {"type": "hello"}


async def test_garbage_on_our_topics_is_counted_and_skipped(
    server: Server, make: Make, prefix: str
) -> None:
    layer = make(server.url)
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    with server.client() as client:
        for garbage in (b"", b"\x00", b"{", b"\xff" * 1_000, b"hello"):
            client.publish(f"{prefix}:g.room", garbage)
    await layer.group_send("room", {"type": "hello"})
    assert await soon(layer.receive(channel)) == {"type": "hello"}
    assert layer.stats()["malformed"] == 5


async def test_prefixes_and_databases_keep_applications_apart(server: Server, make: Make) -> None:
    layers = [
        make(f"{server.url}/0"),
        make(f"{server.url}/1"),
        make(f"{server.url}/0", prefix="another"),
        make(f"{server.url}/1", prefix="another"),
    ]
    channels = [await layer.new_channel() for layer in layers]
    for layer, channel in zip(layers, channels, strict=True):
        await layer.group_add("room", channel)
    for number, layer in enumerate(layers):
        await layer.group_send("room", {"type": "from", "layer": number})
        await layer.send("jobs", {"type": "job", "layer": number})
    for number, (layer, channel) in enumerate(zip(layers, channels, strict=True)):
        assert await soon(layer.receive(channel)) == {"type": "from", "layer": number}
        assert await soon(layer.receive("jobs")) == {"type": "job", "layer": number}


async def test_a_message_of_a_megabyte_arrives(server: Server, make: Make) -> None:
    here, there = make(server.url), make(server.url)
    channel = await there.new_channel()
    await there.group_add("room", channel)
    await here.group_send("room", {"type": "big", "data": b"x" * 1_000_000})
    assert len((await soon(there.receive(channel)))["data"]) == 1_000_000

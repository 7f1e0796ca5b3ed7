"""Consumers on layers that are not made as ours are, and on layers that close or break."""

# ruff: noqa: RUF012  consumers are written here as applications write them

import asyncio
import itertools
from contextlib import asynccontextmanager

import pytest
from asgiref.sync import async_to_sync

from fast_channels import (
    AsyncWebsocketConsumer,
    BaseChannelLayer,
    WebsocketConsumer,
    register_channel_layer,
)
from fast_channels.exceptions import BackendUnavailable

pytestmark = pytest.mark.timeout(20)


class SevenMethods:
    """What a layer for Django Channels has, and no more."""

    extensions = ["groups", "flush"]

    def __init__(self):
        self.queues = {}
        self.groups = {}
        self.numbers = itertools.count()

    async def send(self, channel, message):
        self.queues[channel].put_nowait(dict(message))

    async def receive(self, channel):
        message = await self.queues[channel].get()
        if isinstance(message, Exception):
            raise message
        return message

    async def new_channel(self, prefix="specific."):
        name = f"{prefix}!{next(self.numbers)}"
        self.queues[name] = asyncio.Queue()
        return name

    async def flush(self):
        self.queues.clear()
        self.groups.clear()

    async def group_add(self, group, channel):
        self.groups.setdefault(group, []).append(channel)

    async def group_discard(self, group, channel):
        self.groups[group].remove(channel)
        if not self.groups[group]:
            del self.groups[group]

    async def group_send(self, group, message):
        for channel in self.groups.get(group, ()):
            await self.send(channel, message)

    def break_down(self, error):
        """Every ``receive`` raises this."""
        for queue in self.queues.values():
            queue.put_nowait(error)


class SevenMethodsOfOurs(SevenMethods, BaseChannelLayer):
    """The same, derived from our base class as Channels' layers are from Channels'."""

    def __init__(self):
        BaseChannelLayer.__init__(self)
        SevenMethods.__init__(self)


class WithChannels(SevenMethods):
    """The whole protocol, on its own: its channels are not ours."""

    @asynccontextmanager
    async def channel(self, prefix="specific."):
        raise AssertionError("consumers need the seven methods only")
        yield

    async def open(self):
        pass

    async def close(self):
        pass

    def stats(self):
        return {}


class Chat(AsyncWebsocketConsumer):
    groups = ["all"]
    journal = None

    async def receive(self, text_data=None, bytes_data=None):
        if text_data == "name?":
            await self.send(self.channel_name)
        elif text_data == "fail":
            raise ValueError("broken")
        else:
            await self.channel_layer.group_send("all", {"type": "note", "text": text_data})

    async def note(self, message):
        await self.send(message["text"])

    async def disconnect(self, code):
        self.journal(f"disconnect {code}")


class SyncChat(WebsocketConsumer):
    groups = ["all"]

    def receive(self, text_data=None, bytes_data=None):
        if text_data == "name?":
            self.send(self.channel_name)
        else:
            send = async_to_sync(self.channel_layer.group_send)
            send("all", {"type": "note", "text": text_data})

    def note(self, message):
        self.send(message["text"])


@pytest.fixture(params=[SevenMethods, SevenMethodsOfOurs, WithChannels])
def seven(request):
    layer = request.param()
    register_channel_layer("default", layer)
    return layer


@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_two_clients_chat_over_a_layer_of_seven_methods(connect, journal, seven, kind):
    consumer = Chat.as_asgi(journal=journal) if kind == "async" else SyncChat.as_asgi()
    first, second = [await connect(consumer) for _ in range(2)]
    for text in ("hello", "again"):
        first.says(text)
        assert [await first.hears(), await second.hears()] == [text, text]
    second.says("name?")
    name = await second.hears()
    await seven.send(name, {"type": "note", "text": "only you"})
    assert await second.hears() == "only you"
    await first.end()
    assert list(seven.groups) == ["all"]
    await second.end()
    assert seven.groups == {}
    assert journal == (["disconnect 1001"] * 2 if kind == "async" else [])


async def test_order_holds_and_nothing_is_lost_on_a_layer_of_seven_methods(connect, journal, seven):
    class Consumer(Chat):
        async def receive(self, text_data=None, bytes_data=None):
            journal(("client", int(text_data)))
            if text_data == "0":
                await free.wait()
            await asyncio.sleep(0)

        async def note(self, message):
            journal(("layer", message["number"]))
            if message["number"] % 3:
                await asyncio.sleep(0)

    # More than is read ahead from either side, while a handler waits.
    free = asyncio.Event()
    client = await connect(Consumer.as_asgi(journal=journal))
    client.says("0")
    await journal.has(("client", 0))
    for number in range(1, 200):
        client.says(str(number))
        await seven.group_send("all", {"type": "note", "number": number})
        await asyncio.sleep(0)
    assert len(journal) == 1
    free.set()
    await journal.until(lambda: len(journal) == 399)
    for source in ("client", "layer"):
        numbers = [number for kind, number in journal if kind == source]
        assert numbers == sorted(numbers)


async def test_an_exception_leaves_the_groups_of_a_layer_of_seven_methods(connect, journal, seven):
    client = await connect(Chat.as_asgi(journal=journal))
    client.says("fail")
    assert str(await client.ended()) == "broken"
    assert await client.hears_close() == 1011
    assert seven.groups == {}
    assert journal == ["disconnect 1011"]


async def test_a_layer_of_seven_methods_that_breaks_ends_the_consumer_with_its_exception(
    connect, journal, seven
):
    client = await connect(Chat.as_asgi(journal=journal))
    seven.break_down(BackendUnavailable("the broker is gone"))
    error = await client.ended()
    assert str(error) == "the broker is gone"
    assert await client.hears_close() == 1011
    assert journal == ["disconnect 1011"]


async def test_nothing_is_left_of_consumers_on_a_layer_of_seven_methods(connect, journal, seven):
    before = asyncio.all_tasks()
    for way in ("leave", "fail", "cancel") * 5:
        client = await connect(Chat.as_asgi(journal=journal))
        if way == "leave":
            client.leaves()
        elif way == "fail":
            client.says("fail")
        else:
            client.task.cancel()
        await client.ended()
    assert asyncio.all_tasks() == before
    assert seven.groups == {}
    assert len(journal) == 15


# --- layers that close or break -------------------------------------------------------------------


async def test_a_socket_is_served_on_though_its_layer_was_closed(connect, layer, journal):
    class Consumer(Chat):
        async def receive(self, text_data=None, bytes_data=None):
            await self.send(text_data)

    client = await connect(Consumer.as_asgi(journal=journal))
    await layer.close()
    client.says("still there?")
    assert await client.hears() == "still there?"
    client.leaves()
    assert await client.ended() is None
    assert journal == ["disconnect 1001"]


async def test_a_consumer_whose_groups_cannot_be_left_has_its_disconnect(connect, journal):
    class Unreachable(SevenMethods):
        async def group_discard(self, group, channel):
            raise BackendUnavailable("no answer")

    register_channel_layer("default", Unreachable())
    client = await connect(Chat.as_asgi(journal=journal))
    client.leaves()
    assert str(await client.ended()) == "no answer"
    assert journal == ["disconnect 1001"]


async def test_a_consumer_that_cannot_join_its_groups_fails_before_it_is_accepted(connect, journal):
    class Unreachable(SevenMethods):
        async def group_add(self, group, channel):
            raise BackendUnavailable("no answer")

        async def group_discard(self, group, channel):
            pass

    register_channel_layer("default", Unreachable())
    client = await connect(Chat.as_asgi(journal=journal))
    assert str(await client.ended()) == "no answer"
    assert client.sent == []
    assert journal == ["disconnect 1011"]


async def test_flush_ends_memberships_and_keeps_what_the_client_said(connect, layer, journal):
    class Consumer(Chat):
        async def receive(self, text_data=None, bytes_data=None):
            journal(text_data)
            if text_data == "wait":
                await free.wait()

        async def note(self, message):
            journal("note")

    free = asyncio.Event()
    client = await connect(Consumer.as_asgi(journal=journal))
    client.says("wait")
    await journal.has("wait")
    await layer.group_send("all", {"type": "note"})
    client.says("kept")
    await client.read()
    await layer.flush()
    await layer.group_send("all", {"type": "note"})
    free.set()
    await journal.has("kept")
    assert journal == ["wait", "kept"]
    await client.end()

"""One handler at a time, and events in the order in which they came, from both sides."""

# ruff: noqa: RUF012  consumers are written here as applications write them

import asyncio
import random

import pytest

from fast_channels import AsyncWebsocketConsumer, InMemoryChannelLayer, register_channel_layer

pytestmark = pytest.mark.timeout(30)


async def test_never_two_handlers_of_one_consumer_run_at_the_same_time(connect, journal):
    steps = random.Random(7)
    # Nothing may be dropped where a busy machine makes the handlers slower than their senders.
    layer = register_channel_layer("default", InMemoryChannelLayer(capacity=1_000))

    class Consumer(AsyncWebsocketConsumer):
        groups = ["all"]
        running = 0

        async def receive(self, text_data=None, bytes_data=None):
            await self.note({"text": text_data})

        async def note(self, message):
            self.running += 1
            assert self.running == 1
            for _ in range(steps.randrange(3)):
                await asyncio.sleep(0)
                assert self.running == 1
            if steps.random() < 0.1:
                await asyncio.sleep(0.0001)  # for longer than a turn of the loop
            assert self.running == 1
            self.running -= 1
            journal(message["text"])
            if steps.random() < 0.1:
                raise RuntimeError("an error ends its handler, too")

        async def on_error(self, exception, message):
            assert type(exception) is RuntimeError
            assert self.running == 0
            await asyncio.sleep(0)
            assert self.running == 0

    client = await connect(Consumer)
    for number in range(300):
        client.says(f"client {number}")
        await layer.group_send("all", {"type": "note", "text": f"layer {number}"})
        for _ in range(steps.randrange(5)):
            await asyncio.sleep(0)
        # Where sleeps take long, the mailbox must not overflow.
        await journal.until(lambda number=number: len(journal) > 2 * (number - 80))
    await journal.until(lambda: len(journal) == 600)
    assert [entry for entry in journal if "client" in entry] == [f"client {n}" for n in range(300)]
    assert [entry for entry in journal if "layer" in entry] == [f"layer {n}" for n in range(300)]
    await client.end()
    await layer.close()


async def test_events_of_client_and_layer_that_wait_are_handled_as_they_came(
    connect, layer, journal
):
    class Consumer(AsyncWebsocketConsumer):
        groups = ["all"]

        async def receive(self, text_data=None, bytes_data=None):
            journal(text_data)
            if text_data == "wait":
                await free.wait()

        async def note(self, message):
            journal(message["text"])
            if message["text"] == "4":
                await asyncio.sleep(0)

    free = asyncio.Event()
    client = await connect(Consumer)
    client.says("wait")
    await journal.has("wait")
    for number in range(8):
        if number % 3 == 0:
            client.says(str(number))
            await client.read()
        else:
            await layer.group_send("all", {"type": "note", "text": str(number)})
    assert journal == ["wait"]
    free.set()
    await journal.has("7")
    assert journal == ["wait", *"01234567"]


async def test_a_message_that_comes_while_main_wakes_is_not_handled_before_older_ones(
    connect, layer, journal
):
    class Consumer(AsyncWebsocketConsumer):
        async def receive(self, text_data=None, bytes_data=None):
            await self.send(self.channel_name)

        async def note(self, message):
            journal(message["text"])
            if message["text"] == "0":
                await asyncio.sleep(0)  # the rest of this is main's, which must first be woken

    client = await connect(Consumer)
    client.says("name?")
    name = await client.hears()
    await asyncio.gather(
        *(layer.send(name, {"type": "note", "text": str(number)}) for number in range(20))
    )
    await journal.has("19")
    assert journal == [str(number) for number in range(20)]


async def test_direct_and_group_messages_of_one_sender_keep_their_order(connect, layer, journal):
    class Consumer(AsyncWebsocketConsumer):
        groups = ["all"]

        async def receive(self, text_data=None, bytes_data=None):
            await self.send(self.channel_name)

        async def note(self, message):
            journal(message["number"])
            if message["number"] % 7 == 0:
                await asyncio.sleep(0)

    client = await connect(Consumer)
    client.says("name?")
    name = await client.hears()
    for number in range(100):
        message = {"type": "note", "number": number}
        if number % 2:
            await layer.send(name, message)
        else:
            await layer.group_send("all", message)
    await journal.has(99)
    assert journal == list(range(100))


async def test_ten_thousand_frames_are_handled_all_and_in_order(connect, layer, journal):
    class Consumer(AsyncWebsocketConsumer):
        max_frame_rate = None

        groups = ["all"]

        async def receive(self, text_data=None, bytes_data=None):
            number = int(text_data)
            if number % 100 == 0:
                await asyncio.sleep(0)
            if number % 1000 == 0:
                # More than the mailbox holds: what is dropped are the layer's messages.
                for _ in range(150):
                    await self.channel_layer.group_send("all", {"type": "note"})
            received.append(number)
            if number == 9_999:
                journal("last")

        async def note(self, message):
            pass

    received = []
    client = await connect(Consumer)
    for number in range(10_000):
        client.says(str(number))
    await journal.has("last")
    assert received == list(range(10_000))
    assert layer.stats()["overflowed"] > 0


async def test_a_consumer_whose_handler_waits_reads_at_most_16_events_ahead(
    connect, layer, journal, turns
):
    class Consumer(AsyncWebsocketConsumer):
        async def receive(self, text_data=None, bytes_data=None):
            journal(int(text_data))
            if text_data == "0":
                await free.wait()

    free = asyncio.Event()
    client = await connect(Consumer)
    for number in range(100):
        client.says(str(number))
    before = client.asked
    await journal.has(0)
    await turns(200)
    # One for the event that is being handled, and 16 that wait.
    assert client.asked - before <= 1 + 16
    assert client.asked - before >= 16
    free.set()
    await journal.has(99)
    assert journal == list(range(100))


async def test_frames_that_wait_take_nothing_of_the_capacity_for_messages(connect, journal, layer):
    class Consumer(AsyncWebsocketConsumer):
        groups = ["all"]

        async def receive(self, text_data=None, bytes_data=None):
            if text_data == "0":
                journal("waits")
                await free.wait()

        async def note(self, message):
            journal(message["number"])

    free = asyncio.Event()
    client = await connect(Consumer)
    for number in range(16):
        client.says(str(number))
    await journal.has("waits")
    for number in range(100):  # the default capacity
        await layer.group_send("all", {"type": "note", "number": number})
    free.set()
    await journal.has(99)
    assert journal == ["waits", *range(100)]
    assert layer.stats()["overflowed"] == 0


async def test_what_waited_longer_than_expiry_is_not_handled(connect, layer, journal):
    class Consumer(AsyncWebsocketConsumer):
        groups = ["all"]
        channel_layer_alias = "hasty"

        async def receive(self, text_data=None, bytes_data=None):
            journal(text_data)
            if text_data == "wait":
                await free.wait()

        async def note(self, message):
            journal("note")

    hasty = register_channel_layer("hasty", "memory://", expiry=0.01)
    free = asyncio.Event()
    client = await connect(Consumer)
    client.says("wait")
    await journal.has("wait")
    await hasty.group_send("all", {"type": "note"})
    client.says("frames do not expire")
    await client.read()
    await asyncio.sleep(0.02)  # time itself is what is tested
    free.set()
    await journal.has("frames do not expire")
    assert journal == ["wait", "frames do not expire"]
    assert hasty.stats()["expired"] == 1
    await client.end()
    await hasty.close()

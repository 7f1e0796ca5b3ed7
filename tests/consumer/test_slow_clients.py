"""A client that does not read holds a bounded number of messages, and harms nobody else."""

# ruff: noqa: RUF012  consumers are written here as applications write them

import asyncio
import logging

import pytest

from fast_channels import AsyncWebsocketConsumer, InMemoryChannelLayer, register_channel_layer

pytestmark = pytest.mark.timeout(20)


class Chat(AsyncWebsocketConsumer):
    groups = ["all"]
    journal = None

    async def note(self, message):
        await self.send(str(message["number"]))

    async def disconnect(self, code):
        self.journal(f"disconnect {code}")


def layer_with(policy):
    return register_channel_layer("default", InMemoryChannelLayer(capacity=5, overflow=policy))


async def fan_out(layer, count):
    for number in range(count):
        await layer.group_send("all", {"type": "note", "number": number})


async def test_overflow_disconnect_closes_the_slow_client_with_1013_and_no_other(
    connect, journal, caplog
):
    layer = layer_with("disconnect")
    application = Chat.as_asgi(journal=journal)
    others = [await connect(application) for _ in range(3)]
    slow = await connect(slow_application(application))
    slow.writable.clear()
    await fan_out(layer, 20)
    for other in others:
        assert [await other.hears() for _ in range(20)] == [str(number) for number in range(20)]
    await journal.has("disconnect 1013")
    assert journal == ["disconnect 1013"]
    assert await slow.ended() is None
    assert await slow.hears_close() == 1013
    assert [sent["type"] for sent in slow.sent] == ["websocket.accept", "websocket.close"]
    assert layer.stats()["overflowed"] == 1
    assert layer.stats()["channels"] == 3
    for other in others:
        await other.end()
    await layer.close()
    assert [record.levelname for record in caplog.records if record.levelno > logging.INFO] == [
        "WARNING"
    ]


def slow_application(application):
    """The server sends a close although the client does not read."""

    async def serve(scope, receive, send):
        async def lets_close_pass(message):
            if message["type"] == "websocket.close":
                send.__self__.writable.set()
            await send(message)

        await application(scope, receive, lets_close_pass)

    return serve


async def test_a_slow_client_whose_handler_has_only_begun_is_closed_with_1013_too(connect, journal):
    class Consumer(Chat):
        async def note(self, message):
            journal("begun")
            await asyncio.Event().wait()

    layer = layer_with("disconnect")
    slow = await connect(Consumer.as_asgi(journal=journal))
    # All in one turn: the first handler has begun, and main has not taken it over.
    await asyncio.gather(
        *(layer.group_send("all", {"type": "note", "number": number}) for number in range(20))
    )
    await journal.has("disconnect 1013")
    assert journal == ["begun", "disconnect 1013"]
    assert await slow.ended() is None
    assert await slow.hears_close() == 1013
    await layer.close()


async def test_a_slow_client_is_closed_though_it_is_on_error_that_sends_to_it(connect, journal):
    class Consumer(Chat):
        async def note(self, message):
            raise ValueError("broken")

        async def on_error(self, exception, message):
            journal("on_error")
            await self.send(str(exception))

    layer = layer_with("disconnect")
    slow = await connect(slow_application(Consumer.as_asgi(journal=journal)))
    slow.writable.clear()
    await fan_out(layer, 20)
    await journal.has("disconnect 1013")
    assert journal == ["on_error", "disconnect 1013"]
    assert await slow.ended() is None
    assert await slow.hears_close() == 1013
    await layer.close()


@pytest.mark.asyncio(loop_factories=["asyncio"])  # takes the 2 s of HANG_UP_SECONDS
async def test_a_client_that_does_not_even_take_its_close_holds_its_consumer_for_2_s_at_most(
    connect, journal
):
    layer = layer_with("disconnect")
    slow = await connect(Chat.as_asgi(journal=journal))
    slow.writable.clear()
    began = asyncio.get_running_loop().time()
    await fan_out(layer, 20)
    await journal.has("disconnect 1013")
    assert await slow.ended() is None
    assert asyncio.get_running_loop().time() - began < 4
    assert layer.stats()["channels"] == 0
    await layer.close()


async def test_a_slow_client_that_leaves_is_not_closed(connect, journal):
    layer = layer_with("disconnect")
    slow = await connect(slow_application(Chat.as_asgi(journal=journal)))
    slow.writable.clear()
    await fan_out(layer, 3)
    slow.leaves(1001)
    slow.writable.set()
    assert await slow.ended() is None
    assert slow.close is None
    assert journal == ["disconnect 1001"]
    await layer.close()


@pytest.mark.parametrize(
    ("policy", "kept"),
    [("drop_newest", [0, 1, 2, 3, 4, 5]), ("drop_oldest", [0, 15, 16, 17, 18, 19])],
)
async def test_other_policies_keep_the_slow_client_and_count_what_is_lost(
    connect, journal, policy, kept
):
    layer = layer_with(policy)
    slow = await connect(Chat.as_asgi(journal=journal))
    slow.writable.clear()
    await fan_out(layer, 20)
    slow.writable.set()
    assert [await slow.hears() for _ in kept] == [str(number) for number in kept]
    assert layer.stats()["overflowed"] == 20 - len(kept)
    await slow.end()
    assert journal == ["disconnect 1001"]
    await layer.close()


async def test_a_gap_is_told_to_a_full_mailbox_and_costs_no_capacity(connect, journal):
    class Consumer(Chat):
        async def channels_gap(self, message):
            journal(f"gap in {message['group']}")

    layer = register_channel_layer("default", InMemoryChannelLayer(capacity=5, gaps=True))
    slow = await connect(Consumer.as_asgi(journal=journal))
    slow.writable.clear()
    await fan_out(layer, 3)
    [session] = layer._sessions.live
    session.gap(ConnectionError("the broker went away"))
    await fan_out(layer, 3)
    slow.writable.set()
    assert [await slow.hears() for _ in range(6)] == ["0", "1", "2", "0", "1", "2"]
    assert journal == ["gap in all"]
    await layer.close()

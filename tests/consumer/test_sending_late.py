"""What is sent to a client that has left, or after the close, harms nobody."""

import logging

import pytest

from .recorded import Recorded, Working

pytestmark = pytest.mark.timeout(20)


def of_consumers(caplog):
    return [record for record in caplog.records if record.name == "fast_channels.consumer"]


async def test_a_handler_that_sends_after_its_client_left_writes_one_debug_line(
    connect, layer, journal, free, caplog
):
    class Consumer(Working):
        async def receive(self, text_data=None, bytes_data=None):
            await super().receive(text_data)
            await self.send("too late")
            await self.close()
            journal("sent")

    caplog.set_level(logging.DEBUG)
    client = await connect(Consumer.as_asgi(journal=journal, free=free))
    client.says("work")
    await journal.has("work")
    client.leaves()
    await client.read_to_the_end()
    free.set()
    assert await client.ended() is None  # a server raises if something is sent now
    assert journal == ["work", "worked", "sent", "disconnect 1001"]
    [record] = of_consumers(caplog)
    assert record.levelno == logging.DEBUG


async def test_a_group_message_for_a_client_that_vanished_is_one_debug_line(
    connect, layer, journal, caplog
):
    class Consumer(Recorded):
        async def note(self, message):
            await self.send("hello")
            journal("note")

    caplog.set_level(logging.DEBUG)
    client = await connect(Consumer.as_asgi(journal=journal))
    client.vanished = True
    for count in (1, 2):
        await layer.group_send("all", {"type": "note"})
        await journal.until(lambda count=count: len(journal) == count)
        assert len(of_consumers(caplog)) == count
    assert {record.levelno for record in of_consumers(caplog)} == {logging.DEBUG}
    client.leaves()
    assert await client.ended() is None
    assert journal == ["note", "note", "disconnect 1001"]


@pytest.mark.parametrize("call", ["accept", "close", "deny", "send_close"])
async def test_an_oserror_of_the_server_means_that_the_client_is_gone(
    connect, layer, journal, call
):
    class Consumer(Recorded):
        async def connect(self):
            if call in ("accept", "deny"):
                client.vanished = True
                await getattr(self, call)()
            else:
                await self.accept()
            journal("connected")

        async def receive(self, text_data=None, bytes_data=None):
            client.vanished = True
            if call == "close":
                await self.close()
            else:
                await self.send("x", close=True)
            journal("closed")

    client = await connect(Consumer.as_asgi(journal=journal), wait=False)
    await journal.has("connected")
    if call in ("close", "send_close"):
        client.says("x")
        await journal.has("closed")
    client.leaves(1006)
    assert await client.ended() is None
    assert journal[-1] == "disconnect 1006"


async def test_sending_after_close_does_nothing(connect, layer, journal):
    class Consumer(Recorded):
        async def receive(self, text_data=None, bytes_data=None):
            await self.close(4001)
            await self.send("after the close")
            await self.close(4002)
            journal("went on")

    client = await connect(Consumer.as_asgi(journal=journal))
    client.says("x")
    assert await client.ended() is None
    assert [sent["type"] for sent in client.sent] == ["websocket.accept", "websocket.close"]
    assert journal == ["went on", "disconnect 4001"]


async def test_disconnect_may_send_and_close_and_nothing_comes_of_it(connect, layer, journal):
    class Consumer(Recorded):
        async def disconnect(self, code):
            await self.send("bye")
            await self.close()
            journal("done")

    client = await connect(Consumer.as_asgi(journal=journal))
    client.leaves()
    assert await client.ended() is None
    assert journal == ["done"]


async def test_disconnect_can_still_send_to_groups_and_is_in_none(connect, layer, journal):
    class Consumer(Recorded):
        async def disconnect(self, code):
            await self.channel_layer.group_send("all", {"type": "note"})

    other = await connect(Recorded.as_asgi(journal=journal))
    client = await connect(Consumer.as_asgi(journal=journal))
    client.leaves()
    assert await client.ended() is None
    await journal.has("note")
    assert journal == ["note"]
    await other.end()

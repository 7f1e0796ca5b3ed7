"""What cancels a handler: its client's leaving, where that is asked for, and its server."""

import asyncio

import pytest

from .recorded import Recorded, Working

pytestmark = pytest.mark.timeout(20)


async def test_cancel_on_disconnect_cancels_the_handler_and_not_the_task(
    connect, layer, journal, free, turns
):
    class Consumer(Working):
        cancel_on_disconnect = True

        async def disconnect(self, code):
            journal(f"disconnect {code}")
            await asyncio.sleep(0)
            journal(f"cancelling: {asyncio.current_task().cancelling()}")

    client = await connect(Consumer.as_asgi(journal=journal, free=free))
    client.says("work")
    await journal.has("work")
    client.leaves()
    await turns()  # far less than 100 ms
    assert journal[:3] == ["work", "cancelled", "disconnect 1001"]
    assert await client.ended() is None
    assert not client.task.cancelled()
    assert journal == ["work", "cancelled", "disconnect 1001", "cancelling: 0"]


async def test_cancel_on_disconnect_can_be_given_to_as_asgi(connect, layer, journal, free):
    client = await connect(Working.as_asgi(journal=journal, free=free, cancel_on_disconnect=True))
    client.says("work")
    await journal.has("work")
    client.leaves()
    await client.ended()
    assert journal == ["work", "cancelled", "disconnect 1001"]


async def test_cancel_on_disconnect_reaches_a_handler_that_has_only_begun(
    connect, layer, journal, turns
):
    """The client leaves between the handler's first step and main's wake-up."""

    class Consumer(Recorded):
        cancel_on_disconnect = True

        async def note(self, message):
            client.leaves()
            journal("begun")
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                journal("cancelled")
                raise

    client = await connect(Consumer.as_asgi(journal=journal))
    await layer.group_send("all", {"type": "note"})
    assert await client.ended() is None
    assert journal == ["begun", "cancelled", "disconnect 1001"]


async def test_cancel_on_disconnect_does_not_cancel_what_follows_a_failed_handler(
    connect, layer, journal
):
    """The client leaves between the handler's failure and main's wake-up."""

    class Consumer(Recorded):
        cancel_on_disconnect = True

        async def note(self, message):
            client.leaves()
            raise ValueError("broken")

        async def on_error(self, exception, message):
            journal(f"on_error: {exception}")

    client = await connect(Consumer.as_asgi(journal=journal))
    await layer.group_send("all", {"type": "note"})
    assert await client.ended() is None
    assert journal == ["on_error: broken", "disconnect 1001"]


async def test_cancel_on_disconnect_cancels_on_error_too(connect, layer, journal, free):
    class Consumer(Working):
        cancel_on_disconnect = True

        async def note(self, message):
            raise ValueError("broken")

        async def on_error(self, exception, message):
            await self.receive("on_error")

    client = await connect(Consumer.as_asgi(journal=journal, free=free))
    await layer.group_send("all", {"type": "note"})
    await journal.has("on_error")
    client.leaves()
    assert await client.ended() is None
    assert journal == ["on_error", "cancelled", "disconnect 1001"]


async def test_a_handler_that_swallows_its_cancellation_finishes_first(
    connect, layer, journal, free
):
    class Consumer(Working):
        cancel_on_disconnect = True

        async def receive(self, text_data=None, bytes_data=None):
            journal("begun")
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                journal("swallowed")
            await free.wait()
            journal("finished")

    client = await connect(Consumer.as_asgi(journal=journal, free=free))
    client.says("work")
    await journal.has("begun")
    client.leaves()
    await journal.has("swallowed")
    free.set()
    assert await client.ended() is None
    assert journal == ["begun", "swallowed", "finished", "disconnect 1001"]


async def test_a_handler_that_fails_when_it_is_cancelled_has_its_disconnect_too(
    connect, layer, journal
):
    class Consumer(Recorded):
        cancel_on_disconnect = True

        async def receive(self, text_data=None, bytes_data=None):
            journal("begun")
            try:
                await asyncio.Event().wait()
            finally:
                raise ValueError("clean-up failed")

    client = await connect(Consumer.as_asgi(journal=journal))
    client.says("work")
    await journal.has("begun")
    client.leaves()
    error = await client.ended()
    assert str(error) == "clean-up failed"
    assert journal[0] == "begun"
    assert [entry[:10] for entry in journal[1:]] == ["disconnect"]


@pytest.mark.parametrize("busy", [False, True])
async def test_a_cancellation_from_outside_runs_disconnect_and_stays_one(
    connect, layer, journal, free, busy
):
    client = await connect(Working.as_asgi(journal=journal, free=free))
    if busy:
        client.says("work")
        await journal.has("work")
    client.task.cancel()
    await client.ended()
    assert client.task.cancelled()
    assert journal == [*(["work", "cancelled"] if busy else []), "disconnect 1001"]
    assert await client.hears_close() == 1001
    assert layer.groups == {}


async def test_a_cancellation_from_outside_wins_over_that_for_a_client_that_left(
    connect, layer, journal, free
):
    client = await connect(Working.as_asgi(journal=journal, free=free, cancel_on_disconnect=True))
    client.says("work")
    await journal.has("work")
    client.leaves()
    await asyncio.sleep(0)
    client.task.cancel()
    await client.ended()
    assert client.task.cancelled()
    assert journal[:2] == ["work", "cancelled"]
    assert [entry[:10] for entry in journal[2:]] == ["disconnect"]

"""Context variables in handlers: a connection's own, whoever started the handler."""

import asyncio
from contextvars import ContextVar

import pytest

from .noted import NOTE, Noted

pytestmark = pytest.mark.timeout(20)


colour: ContextVar[str] = ContextVar("colour", default="none")


async def test_a_variable_set_in_one_handler_is_there_in_every_later_one(connect, tell, journal):
    class Consumer(Noted):
        async def connect(self):
            self.token = colour.set("red")
            await self.accept()

        async def note(self, message):
            journal(colour.get())
            raise RuntimeError("for on_error")

        async def on_error(self, exception, message):
            journal(colour.get())

        async def disconnect(self, code):
            journal(colour.get())
            colour.reset(self.token)  # refused in any other Context
            journal(colour.get())

    client = await connect(Consumer)
    await tell(client)
    await journal.until(lambda: len(journal) == 2)
    await client.end()
    assert journal == ["red", "red", "red", "none"]


async def test_a_variable_set_before_an_await_is_there_after_it(connect, tell, journal):
    class Consumer(Noted):
        async def note(self, message):
            token = colour.set("blue")
            await asyncio.sleep(0)
            journal(colour.get())
            colour.reset(token)
            await asyncio.sleep(0.001)
            journal(colour.get())

    await tell(await connect(Consumer))
    await journal.until(lambda: len(journal) == 2)
    assert journal == ["blue", "none"]


async def test_a_handler_sees_what_its_server_set_and_nothing_of_its_senders(
    connect, tell, journal
):
    class Consumer(Noted):
        async def note(self, message):
            journal(colour.get())
            colour.set("mine")

    async def middleware(scope, receive, send):
        colour.set("the server's")
        await Consumer()(scope, receive, send)

    client = await connect(middleware)
    token = colour.set("the sender's")
    await tell(client)
    await journal.has("the server's")
    assert colour.get() == "the sender's"
    await tell(client)
    await journal.until(lambda: len(journal) == 2)
    assert journal == ["the server's", "mine"]
    colour.reset(token)


async def test_two_consumers_share_no_variable(connect, layer, journal):
    class Consumer(Noted):
        async def note(self, message):
            journal((self.scope["path"], colour.get()))
            colour.set(self.scope["path"])
            await asyncio.sleep(0)
            journal((self.scope["path"], colour.get()))

    await connect(Consumer, "/a")
    await connect(Consumer, "/b")
    await layer.group_send("all", NOTE)
    await journal.until(lambda: len(journal) == 4)
    assert sorted(journal) == [("/a", "/a"), ("/a", "none"), ("/b", "/b"), ("/b", "none")]


async def test_a_task_that_a_handler_makes_inherits_its_variables(connect, tell, journal):
    class Consumer(Noted):
        async def note(self, message):
            colour.set("green")

            async def child():
                journal(colour.get())
                colour.set("the child's")

            async with asyncio.TaskGroup() as group:
                group.create_task(child())
            journal(colour.get())

    await tell(await connect(Consumer))
    await journal.until(lambda: len(journal) == 2)
    assert journal == ["green", "green"]

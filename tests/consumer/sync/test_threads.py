"""Handlers of sync consumers run in threads: those of one consumer one by one, others at once."""

# ruff: noqa: RUF012  consumers are written here as applications write them

import threading
from contextvars import ContextVar

import pytest
from asgiref.sync import async_to_sync

from fast_channels import WebsocketConsumer
from fast_channels.consumer.thread_pool import thread_pool

from .recorded import PATIENCE, Recorded

pytestmark = pytest.mark.timeout(20)


async def test_handlers_of_four_consumers_run_at_the_same_time(connect, layer, note, journal):
    """Each waits for the other three, or all of them fail."""
    together = threading.Barrier(4, timeout=PATIENCE)

    class Consumer(Recorded):
        def receive(self, text_data=None, bytes_data=None):
            together.wait()
            self.send(text_data)

    clients = [await connect(Consumer.as_asgi(note=note)) for _ in range(4)]
    for client in clients:
        client.says("together")
    for client in clients:
        assert await client.hears() == "together"


async def test_handlers_of_one_consumer_run_one_after_the_other_in_order(
    connect, layer, note, journal
):
    class Consumer(Recorded):
        running = 0

        def receive(self, text_data=None, bytes_data=None):
            self.work(text_data)

        def group_note(self, message):
            self.work(message["text"])

        def work(self, what):
            self.running += 1
            threading.Event().wait(0.001)  # another one would have time to begin
            note(what if self.running == 1 else f"{self.running} at once")
            self.running -= 1

    client = await connect(Consumer.as_asgi(note=note))
    for number in range(10):
        client.says(f"frame {number}")
    await client.read()
    for number in range(10):
        await layer.group_send("all", {"type": "group.note", "text": f"message {number}"})
    await journal.until(lambda: len(journal) == 20)
    frames = [f"frame {number}" for number in range(10)]
    messages = [f"message {number}" for number in range(10)]
    assert [entry for entry in journal if entry in frames] == frames
    assert [entry for entry in journal if entry in messages] == messages


async def test_every_handler_runs_outside_the_loops_thread(connect, layer, note, journal):
    class Consumer(WebsocketConsumer):
        groups = ["all"]

        def connect(self):
            note(threading.current_thread().name)
            self.accept()

        def receive(self, text_data=None, bytes_data=None):
            note(threading.current_thread().name)
            raise ValueError

        def on_error(self, exception, message):
            note(threading.current_thread().name)

        def group_note(self, message):
            note(threading.current_thread().name)

        def channels_gap(self, message):
            note(threading.current_thread().name)

        def disconnect(self, code):
            note(threading.current_thread().name)

    client = await connect(Consumer)
    client.says("x")
    await journal.until(lambda: len(journal) == 3)
    await layer.group_send("all", {"type": "group.note"})
    await layer.group_send("all", {"type": "channels.gap", "group": "all"})
    await journal.until(lambda: len(journal) == 5)
    await client.end()
    assert len(journal) == 6
    assert {name.rstrip("0123456789") for name in journal} == {"fast-channels-"}


async def test_threads_are_used_again(connect, layer, note, journal):
    client = await connect(Recorded.as_asgi(note=note))
    client.says("first")
    await journal.has("first")
    threads = len(thread_pool().threads)
    for number in range(50):
        client.says(str(number))
        await journal.has(str(number))
    assert len(thread_pool().threads) == threads <= thread_pool().size


REQUEST: ContextVar[str] = ContextVar("REQUEST", default="nothing")


async def test_context_variables_go_into_the_thread_and_come_back(connect, layer, note, journal):
    class Consumer(Recorded):
        def connect(self):
            note(REQUEST.get())
            REQUEST.set(self.scope["path"])
            self.accept()

        def receive(self, text_data=None, bytes_data=None):
            note(REQUEST.get())
            async_to_sync(self.look)()

        async def look(self):
            note(f"{REQUEST.get()} in the loop")

        def disconnect(self, code):
            note(f"{REQUEST.get()} at the end")

    REQUEST.set("server")
    one, two = [await connect(Consumer.as_asgi(note=note), path) for path in ("/1", "/2")]
    one.says("x")
    await journal.has("/1 in the loop")
    two.says("x")
    await journal.has("/2 in the loop")
    await one.end()
    assert REQUEST.get() == "server"
    seen = ["server", "server", "/1", "/1 in the loop", "/2", "/2 in the loop", "/1 at the end"]
    assert journal == seen

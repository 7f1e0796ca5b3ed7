"""Handlers that start in place act as if the connection's own task had run them.

Each test runs with handlers started in place and not: what it says holds both ways.
"""

# ruff: noqa: RUF012  consumers are written here as applications write them

import asyncio
import subprocess
import sys
from contextvars import ContextVar

import anyio
import anyio.lowlevel
import pytest

from fast_channels import (
    AsyncWebsocketConsumer,
    BaseChannelLayer,
    InMemoryChannelLayer,
    get_channel_layer,
    register_channel_layer,
)
from fast_channels.layers.backend import Backend

pytestmark = pytest.mark.timeout(20)

NOTE = {"type": "note"}
colour: ContextVar[str] = ContextVar("colour", default="none")


def callers():
    """Names of the functions that the calling handler runs inside of."""
    frame = sys._getframe(1)
    names = []
    while frame is not None:
        names.append(frame.f_code.co_name)
        frame = frame.f_back
    return names


class Noted(AsyncWebsocketConsumer):
    """In the group "all"; a message of the layer reaches ``note``, a frame ``receive``."""

    groups = ["all"]

    async def receive(self, text_data=None, bytes_data=None):
        await self.note({"type": "note"})

    async def note(self, message):
        raise NotImplementedError


@pytest.fixture(params=["layer", "client"])
def tell(request, layer):
    """Brings an event to a client's consumer: a message of the layer, or a frame."""

    async def tell(client):
        if request.param == "client":
            client.says("note")
        else:
            await layer.group_send("all", NOTE)

    return tell


async def test_a_handler_starts_in_place_exactly_where_that_is_on(connect, tell, journal, in_place):
    class Consumer(Noted):
        async def note(self, message):
            journal("start" in callers())

    await tell(await connect(Consumer))
    await journal.has(in_place)
    assert journal == [in_place]


async def test_a_handler_that_starts_in_place_has_ended_before_its_sender_goes_on(
    connect, layer, journal, in_place
):
    class Consumer(Noted):
        async def note(self, message):
            journal("handled")

    await connect(Consumer)
    await layer.group_send("all", NOTE)
    assert journal == (["handled"] if in_place else [])
    await journal.has("handled")


async def test_the_current_task_is_the_servers_before_and_after_an_await(connect, tell, journal):
    class Consumer(Noted):
        async def connect(self):
            journal(asyncio.current_task())
            await self.accept()

        async def note(self, message):
            journal(asyncio.current_task())
            await asyncio.sleep(0)
            journal(asyncio.current_task())

        async def disconnect(self, code):
            journal(asyncio.current_task())

    client = await connect(Consumer)
    await tell(client)
    await journal.until(lambda: len(journal) == 3)
    await client.end()
    assert journal == [client.task] * 4


async def test_the_sender_is_its_own_task_again_after_a_handler_ran_in_place(connect, layer):
    class Consumer(Noted):
        async def note(self, message):
            raise RuntimeError("even after this")

        async def on_error(self, exception, message):
            pass

    client = await connect(Consumer)
    me = asyncio.current_task()
    await layer.group_send("all", NOTE)
    assert asyncio.current_task() is me
    client.says("x")
    await client.read()
    assert asyncio.current_task() is me


# --- context --------------------------------------------------------------------------------------


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


# --- suspending -----------------------------------------------------------------------------------


async def test_a_handler_that_only_yields_to_the_loop_goes_on_in_the_next_turn(
    connect, tell, journal
):
    class Consumer(Noted):
        async def note(self, message):
            for step in range(3):
                journal(step)
                await asyncio.sleep(0)
            journal("done")

    await tell(await connect(Consumer))
    await journal.has("done")
    assert journal == [0, 1, 2, "done"]


async def test_a_handler_gets_the_result_or_the_exception_of_what_it_awaits(connect, tell, journal):
    class Consumer(Noted):
        async def note(self, message):
            loop = asyncio.get_running_loop()
            first, second = loop.create_future(), loop.create_future()
            loop.call_soon(first.set_result, "result")
            journal(await first)
            loop.call_soon(second.set_exception, ValueError("broken"))
            try:
                await second
            except ValueError as error:
                journal(str(error))

    await tell(await connect(Consumer))
    await journal.has("result", "broken")


async def test_a_handler_may_await_what_is_there_already(connect, tell, journal):
    class Consumer(Noted):
        async def note(self, message):
            future = asyncio.get_running_loop().create_future()
            future.set_result("at once")
            journal(await future)

    await tell(await connect(Consumer))
    await journal.has("at once")


# --- cancellation ---------------------------------------------------------------------------------


@pytest.mark.parametrize("waits", ["future", "turn", "task"])
async def test_a_cancellation_before_main_wakes_reaches_the_handler_and_what_it_awaits(
    connect, tell, journal, waits
):
    class Consumer(Noted):
        async def note(self, message):
            loop = asyncio.get_running_loop()
            self.future = loop.create_future()
            # This callback comes before the one that wakes main to take the handler over.
            loop.call_soon(asyncio.current_task().cancel, "shutdown")
            try:
                if waits == "future":
                    await self.future
                elif waits == "task":
                    self.future = loop.create_task(asyncio.sleep(3600))
                    await self.future
                else:
                    await asyncio.sleep(0)
                journal("went on")
            except asyncio.CancelledError as error:
                journal(f"cancelled: {error}")
                raise

        async def disconnect(self, code):
            journal(f"disconnect, awaited was cancelled: {self.future.cancelled()}")

    client = await connect(Consumer)
    await tell(client)
    assert isinstance(await client.ended(), asyncio.CancelledError)
    assert client.task.cancelled()
    assert journal == [
        "cancelled: shutdown",
        f"disconnect, awaited was cancelled: {waits != 'turn'}",
    ]


async def test_a_handler_may_swallow_a_cancellation_before_main_wakes(connect, tell, journal):
    class Consumer(Noted):
        async def note(self, message):
            loop = asyncio.get_running_loop()
            loop.call_soon(asyncio.current_task().cancel)
            try:
                await loop.create_future()
            except asyncio.CancelledError:
                journal(f"cancelling: {asyncio.current_task().uncancel()}")
            await asyncio.sleep(0)
            journal("went on")

    client = await connect(Consumer)
    await tell(client)
    await journal.has("went on")
    assert journal == ["cancelling: 0", "went on"]
    await client.end()


async def test_a_handler_can_cancel_its_own_task(connect, tell, journal):
    class Consumer(Noted):
        async def note(self, message):
            asyncio.current_task().cancel()
            journal("not yet")
            try:
                await asyncio.sleep(0)
                journal("went on")
            except asyncio.CancelledError:
                journal("cancelled")
                raise

        async def disconnect(self, code):
            journal(f"disconnect {code}")

    client = await connect(Consumer)
    await tell(client)
    assert isinstance(await client.ended(), asyncio.CancelledError)
    assert journal == ["not yet", "cancelled", "disconnect 1001"]


async def test_a_handler_that_cancels_its_own_task_and_returns_ends_its_connection(
    connect, tell, journal
):
    class Consumer(Noted):
        async def note(self, message):
            asyncio.current_task().cancel()

        async def disconnect(self, code):
            journal(f"disconnect {code}")

    client = await connect(Consumer)
    await tell(client)
    assert isinstance(await client.ended(), asyncio.CancelledError)
    assert journal == ["disconnect 1001"]


async def test_no_handler_starts_once_its_task_was_cancelled(connect, layer, journal):
    class Consumer(Noted):
        async def note(self, message):
            journal("started")

        async def disconnect(self, code):
            journal(f"disconnect {code}")

    client = await connect(Consumer)
    # The cancellation comes in the turn in which the message does, and before it.
    asyncio.get_running_loop().call_soon(client.task.cancel)
    await layer.group_send("all", NOTE)
    assert isinstance(await client.ended(), asyncio.CancelledError)
    assert journal == ["disconnect 1001"]


async def test_an_idle_consumer_that_is_cancelled_ends(connect, layer, journal):
    class Consumer(Noted):
        async def disconnect(self, code):
            journal(f"disconnect {code}")

    client = await connect(Consumer)
    client.task.cancel()
    assert isinstance(await client.ended(), asyncio.CancelledError)
    assert journal == ["disconnect 1001"]
    assert await client.hears_close() == 1001


# --- timeouts and task groups ---------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [-1, 0, 0.001])
@pytest.mark.parametrize("timeout", [asyncio.timeout, anyio.fail_after])
async def test_a_timeout_in_a_handler_cancels_what_it_waits_for_and_nothing_else(
    connect, tell, journal, timeout, seconds
):
    class Consumer(Noted):
        async def note(self, message):
            future = asyncio.get_running_loop().create_future()
            try:
                async with _async(timeout(seconds)):
                    await future
            except TimeoutError:
                journal("timeout")
            await asyncio.sleep(0)
            task = asyncio.current_task()
            journal((future.cancelled(), task.cancelling()))

    client = await connect(Consumer)
    await tell(client)
    await journal.has((True, 0))
    assert journal == ["timeout", (True, 0)]
    await client.end()


@pytest.mark.parametrize("timeout", [asyncio.timeout, anyio.fail_after, anyio.move_on_after])
async def test_a_timeout_that_does_not_expire_changes_nothing(connect, tell, journal, timeout):
    class Consumer(Noted):
        async def note(self, message):
            async with _async(timeout(60)):
                await asyncio.sleep(0)
            async with _async(timeout(60)):
                pass
            await asyncio.sleep(0)
            journal(asyncio.current_task().cancelling())

    client = await connect(Consumer)
    await tell(client)
    await journal.has(0)
    await client.end()


@pytest.mark.parametrize("seconds", [0, 0.001])
async def test_anyio_moves_on_in_a_handler(connect, tell, journal, seconds):
    class Consumer(Noted):
        async def note(self, message):
            with anyio.move_on_after(seconds) as scope:
                await anyio.sleep_forever()
            await anyio.lowlevel.checkpoint()
            journal((scope.cancelled_caught, asyncio.current_task().cancelling()))

    client = await connect(Consumer)
    await tell(client)
    await journal.has((True, 0))
    await client.end()


async def test_an_anyio_scope_that_its_own_handler_cancels_ends_there(connect, tell, journal):
    class Consumer(Noted):
        async def note(self, message):
            with anyio.CancelScope() as scope:
                scope.cancel()
                await anyio.lowlevel.checkpoint()
                journal("went on")
            journal(scope.cancelled_caught)
            await anyio.lowlevel.checkpoint()
            journal("after")

    client = await connect(Consumer)
    await tell(client)
    await journal.has("after")
    assert journal == [True, "after"]
    await client.end()


@pytest.mark.parametrize("kind", ["asyncio", "anyio"])
async def test_a_task_group_in_a_handler_waits_for_its_children(connect, tell, journal, kind):
    class Consumer(Noted):
        async def note(self, message):
            async def child(number):
                await asyncio.sleep(0.001 * number)
                journal(number)

            async with _task_group(kind) as start:
                start(child, 2)
                start(child, 1)
            journal("all")

    client = await connect(Consumer)
    await tell(client)
    await journal.has("all")
    assert set(journal[:-1]) == {1, 2}
    assert journal[-1] == "all"
    await client.end()


@pytest.mark.parametrize("kind", ["asyncio", "anyio"])
@pytest.mark.parametrize("late", [False, True])
async def test_a_child_that_fails_cancels_its_siblings_and_the_handler_gets_the_group(
    connect, tell, journal, kind, late
):
    class Consumer(Noted):
        async def note(self, message):
            async def fails():
                if late:
                    await asyncio.sleep(0.001)
                raise ValueError("child")

            async def sibling():
                try:
                    await asyncio.sleep(3600)
                except asyncio.CancelledError:
                    journal("sibling cancelled")
                    raise

            try:
                async with _task_group(kind) as start:
                    start(sibling)
                    start(fails)
                    await asyncio.sleep(3600)
            except* ValueError as group:
                journal([str(error) for error in group.exceptions])
            await asyncio.sleep(0)
            journal(asyncio.current_task().cancelling())

    client = await connect(Consumer)
    await tell(client)
    await journal.has(0)
    assert journal[-2:] == [["child"], 0]
    assert journal[:-2] in (["sibling cancelled"], [])  # a sibling that had not begun says nothing
    await client.end()


if sys.version_info >= (3, 12):  # eager tasks came with it

    async def test_a_child_that_starts_eagerly_inside_a_handler_is_its_own_task(
        connect, tell, journal
    ):
        class Consumer(Noted):
            async def note(self, message):
                async def child():
                    journal(asyncio.current_task() is task)
                    await asyncio.sleep(0)
                    journal(asyncio.current_task() is task)

                task = asyncio.current_task()
                started = asyncio.Task(child(), eager_start=True, loop=asyncio.get_running_loop())
                journal(asyncio.current_task() is task)
                await started
                journal("done")

        client = await connect(Consumer)
        await tell(client)
        await journal.has("done")
        assert journal == [False, True, False, "done"]


# --- sending --------------------------------------------------------------------------------------


class Loopback(Backend):
    """Delivers inside ``publish``, in the task that sends: as early as a backend can."""

    async def open(self, inbox):
        self.inbox = inbox
        self.topics = set()

    async def close(self):
        self.topics.clear()

    async def subscribe(self, topics):
        self.topics.update(topics)

    async def unsubscribe(self, topics):
        self.topics.difference_update(topics)

    async def publish(self, publications):
        for publication in publications:
            if publication.topic in self.topics:
                self.inbox.deliver(publication.topic, publication.payload)


class LoopbackLayer(BaseChannelLayer):
    def create_backend(self):
        return Loopback()


@pytest.fixture(params=[InMemoryChannelLayer, LoopbackLayer])
async def any_layer(request):
    layer = register_channel_layer("default", request.param())
    yield layer
    await layer.close()


async def test_a_relay_of_400_consumers_does_not_recurse(connect, any_layer, journal):
    class Consumer(AsyncWebsocketConsumer):
        async def hop(self, message):
            journal(len(callers()))
            names = message["names"]
            if names:
                await self.channel_layer.send(names[0], {"type": "hop", "names": names[1:]})

        async def receive(self, text_data=None, bytes_data=None):
            await self.send(self.channel_name)

    clients = [await connect(Consumer) for _ in range(400)]
    names = []
    for client in clients:
        client.says("name?")
        names.append(await client.hears())
    await any_layer.send(names[0], {"type": "hop", "names": names[1:]})
    await journal.until(lambda: len(journal) == 400)
    assert max(journal) <= min(journal[1:]) + 5


async def test_no_handler_starts_inside_a_send(connect, any_layer, journal):
    class Consumer(AsyncWebsocketConsumer):
        groups = ["all"]

        async def receive(self, text_data=None, bytes_data=None):
            journal("sends")
            await self.channel_layer.group_send("all", {"type": "note"})
            journal("sent")

        async def note(self, message):
            journal("send" in callers() or "group_send" in callers())

    clients = [await connect(Consumer) for _ in range(3)]
    clients[0].says("x")
    await journal.has("sent")
    await journal.until(lambda: journal.count(False) == 3)
    assert True not in journal


# --- what must not be caught ----------------------------------------------------------------------

PROGRAM = """
import asyncio, sys
import uvloop
from fast_channels import AsyncWebsocketConsumer, InMemoryChannelLayer, register_channel_layer

exception, source, loop = sys.argv[1:]

class Consumer(AsyncWebsocketConsumer):
    groups = ["all"]
    async def receive(self, text_data=None, bytes_data=None):
        await self.note({})
    async def note(self, message):
        raise {"exit": SystemExit(3), "interrupt": KeyboardInterrupt()}[exception]
    async def disconnect(self, code):
        print("disconnect", code, flush=True)

async def main():
    global task
    layer = register_channel_layer("default", InMemoryChannelLayer())
    events = asyncio.Queue()
    events.put_nowait({"type": "websocket.connect"})
    sent = asyncio.Queue()
    task = asyncio.create_task(Consumer.as_asgi()({"type": "websocket"}, events.get, sent.put))
    await sent.get()
    for _ in range(5):
        await asyncio.sleep(0)
    if source == "client":
        events.put_nowait({"type": "websocket.receive", "text": "x"})
    else:
        await layer.group_send("all", {"type": "note"})
    await asyncio.sleep(5)
    print("went on")

factory = {"asyncio": None, "uvloop": uvloop.new_event_loop}[loop]
try:
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())
finally:
    task.cancelled() or task.exception()  # seen, as by a server
"""


@pytest.mark.parametrize(("source", "loop"), [("client", "asyncio"), ("layer", "uvloop")])
@pytest.mark.parametrize("exception", ["exit", "interrupt"])
def test_an_exit_and_an_interrupt_end_the_process(exception, source, loop):
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM, exception, source, loop],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert "went on" not in ended.stdout
    if exception == "exit":
        assert (ended.returncode, ended.stderr) == (3, "")
    else:
        assert ended.returncode != 0
        assert ended.stderr.rstrip().endswith("KeyboardInterrupt")
    assert ended.stdout.count("disconnect") == 1


# --- inside these tests ---------------------------------------------------------------------------


class _async:
    """Makes anyio's plain context managers look like asyncio's."""

    def __init__(self, manager):
        self.manager = manager

    async def __aenter__(self):
        if hasattr(self.manager, "__aenter__"):
            return await self.manager.__aenter__()
        return self.manager.__enter__()

    async def __aexit__(self, *exception):
        if hasattr(self.manager, "__aexit__"):
            return await self.manager.__aexit__(*exception)
        return self.manager.__exit__(*exception)


class _task_group:
    """A task group of asyncio or anyio; entering gives a function that starts a child."""

    def __init__(self, kind):
        self.group = asyncio.TaskGroup() if kind == "asyncio" else anyio.create_task_group()

    async def __aenter__(self):
        group = await self.group.__aenter__()
        if isinstance(group, asyncio.TaskGroup):
            return lambda function, *args: group.create_task(function(*args))
        return group.start_soon

    async def __aexit__(self, *exception):
        return await self.group.__aexit__(*exception)


def test_these_tests_leave_no_layer_behind():
    assert get_channel_layer() is None

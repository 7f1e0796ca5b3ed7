"""``layer.sync``: what its calls return, raise and refuse, and what they share."""

import asyncio
import contextvars
import inspect
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
from tests.tcp_broker import TCPBroker, TCPLayer

from fast_channels.exceptions import (
    BackendUnavailable,
    ChannelFull,
    ChannelNotFound,
    LayerClosed,
    MessageTooLarge,
)
from fast_channels.layers import BaseChannelLayer, InMemoryChannelLayer
from fast_channels.layers.sync import SyncLayer

PATIENCE = 10.0
METHODS = ["send", "receive", "new_channel", "group_add", "group_discard", "group_send", "flush"]
LIFE = ["open", "close"]


def message(n: object) -> dict[str, Any]:
    return {"type": "test.message", "n": n}


def threads() -> int:
    """Return how many background loops run."""
    return [thread.name for thread in threading.enumerate()].count("fast-channels-sync")


@pytest.fixture
def layer(broker: TCPBroker) -> Iterator[TCPLayer]:
    layer = TCPLayer(broker.url)
    yield layer
    layer.sync.close()
    broker.wait_for(lambda: broker.connections == 0)
    assert broker.dropped == 0


# --- what calls do ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", METHODS + LIFE)
def test_a_method_is_called_as_the_coroutine_method_of_that_name(name: str) -> None:
    expected = inspect.signature(getattr(BaseChannelLayer, name))
    actual = inspect.signature(getattr(SyncLayer, name))
    extra = {"timeout"} if name == "receive" else set()
    parameters = [each for each in actual.parameters.values() if each.name not in extra]
    assert actual.replace(parameters=parameters) == expected


def test_sent_messages_are_delivered_without_any_further_action(layer: TCPLayer) -> None:
    async def listen(ready: threading.Event) -> list[int]:
        async with layer.channel() as member, layer.channel() as other:
            await layer.group_add("group", member.name)
            await layer.group_add("group", other.name)
            names.extend([member.name, other.name])
            ready.set()
            async with asyncio.timeout(PATIENCE):
                return [(await member.receive())["n"] for _ in range(2)] + [
                    (await other.receive())["n"]
                ]

    names: list[str] = []
    ready = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        listening = pool.submit(asyncio.run, listen(ready))
        assert ready.wait(PATIENCE)
        layer.sync.group_send("group", message(1), exclude=names[1])
        layer.sync.send(names[0], message(2))
        layer.sync.group_discard("group", names[0])
        layer.sync.group_send("group", message(3))
        assert listening.result(PATIENCE) == [1, 2, 3]


def test_a_channel_made_here_can_be_read_here(layer: TCPLayer) -> None:
    name = layer.sync.new_channel("mine.")
    assert name.startswith("mine.")
    layer.sync.group_add("group", name)
    layer.sync.group_send("group", message(1))
    assert layer.sync.receive(name) == message(1)
    layer.sync.send(name, message(2))
    layer.sync.flush()
    layer.sync.group_send("group", message(3))
    layer.sync.send(name, message(4))
    assert layer.sync.receive(name) == message(4)


def test_a_receive_that_takes_too_long_raises_and_loses_nothing(layer: TCPLayer) -> None:
    name = layer.sync.new_channel()
    with pytest.raises(TimeoutError):
        layer.sync.receive(name, timeout=0.01)
    layer.sync.send(name, message(1))
    assert layer.sync.receive(name, timeout=PATIENCE) == message(1)


def test_a_thread_takes_jobs_from_a_queue() -> None:
    layer = InMemoryChannelLayer()
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(layer.sync.receive, "jobs")
        layer.sync.send("jobs", message(1))
        assert job.result(PATIENCE) == message(1)
    layer.sync.close()


def test_each_call_runs_in_the_context_of_its_caller() -> None:
    user = contextvars.ContextVar[str]("user")
    seen: set[tuple[str, str]] = set()
    blocked, called = threading.Event(), threading.Barrier(4, timeout=PATIENCE)

    class Layer(InMemoryChannelLayer):
        async def group_send(self, group: str, message: Any, *, exclude: Any = None) -> None:
            if group == "block":
                blocked.wait(PATIENCE)  # so that the others are started together
            seen.add((group, user.get("nobody")))

    def call(name: str) -> None:
        user.set(name)
        called.wait()
        layer.sync.group_send(name, message(1))

    layer = Layer()
    with ThreadPoolExecutor(4) as pool:
        pool.submit(layer.sync.group_send, "block", message(1))
        calls = [pool.submit(contextvars.Context().run, call, name) for name in ("a", "b", "c")]
        called.wait()
        blocked.set()
        for each in calls:
            each.result(PATIENCE)
    assert seen == {("block", "nobody"), ("a", "a"), ("b", "b"), ("c", "c")}


# --- what is refused --------------------------------------------------------------------------

ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "send": ("specific.0!1", message(1)),
    "receive": ("specific.0!1",),
    "group_add": ("group", "specific.0!1"),
    "group_discard": ("group", "specific.0!1"),
    "group_send": ("group", message(1)),
}


@pytest.mark.parametrize("name", METHODS + LIFE)
async def test_where_an_event_loop_runs_the_call_names_the_method_to_await(name: str) -> None:
    layer = InMemoryChannelLayer()
    with pytest.raises(RuntimeError) as caught:
        getattr(layer.sync, name)(*ARGUMENTS.get(name, ()))
    assert str(caught.value) == (
        f"layer.sync.{name}() would block the event loop that runs in this thread; "
        f"use: await layer.{name}(...)"
    )
    assert layer.stats()["sessions"] == 0


def test_the_background_loop_refuses_calls_from_its_own_thread() -> None:
    class Layer(InMemoryChannelLayer):
        async def group_send(self, group: str, message: Any, *, exclude: Any = None) -> None:
            self.sync.send(group, message)

    with pytest.raises(RuntimeError, match=r"use: await layer\.send"):
        Layer().sync.group_send("group", message(1))


def test_errors_reach_the_caller_as_they_were_raised(broker: TCPBroker) -> None:
    layer = InMemoryChannelLayer(capacity=1, max_message_size=1_000)
    name = layer.sync.new_channel()
    layer.sync.send(name, message(1))
    with pytest.raises(ChannelFull, match=r"1 unread messages"):
        layer.sync.send(name, message(2))
    with pytest.raises(TypeError, match="group name"):
        layer.sync.group_send("a group", message(1))
    with pytest.raises(MessageTooLarge):
        layer.sync.group_send("group", message("x" * 1_000))
    with pytest.raises(ChannelNotFound, match="belongs to another process"):
        layer.sync.receive("specific.0!1")
    layer.sync.close()
    with pytest.raises(BackendUnavailable, match="no broker at"):
        TCPLayer("tcp://127.0.0.1:1").sync.group_send("group", message(1))


def test_whatever_a_call_raises_the_loop_goes_on() -> None:
    class Layer(InMemoryChannelLayer):
        async def group_send(self, group: str, message: Any, *, exclude: Any = None) -> None:
            raise {"exit": SystemExit, "interrupt": KeyboardInterrupt}[group](3)

    layer = Layer()
    with pytest.raises(SystemExit):
        layer.sync.group_send("exit", message(1))
    with pytest.raises(KeyboardInterrupt):
        layer.sync.group_send("interrupt", message(1))
    name = layer.sync.new_channel()
    layer.sync.send(name, message(1))
    assert layer.sync.receive(name) == message(1)
    layer.sync.close()


# --- life -------------------------------------------------------------------------------------


def test_all_layers_share_one_thread_and_each_has_one_connection(broker: TCPBroker) -> None:
    layers = [TCPLayer(broker.url) for _ in range(3)]
    with ThreadPoolExecutor(10) as pool:
        for layer in layers:
            assert layer.sync is layer.sync
            sent = [pool.submit(layer.sync.group_send, "group", message(n)) for n in range(50)]
            for each in sent:
                each.result(PATIENCE)
    assert threads() == 1
    assert (broker.total, broker.connections) == (3, 3)
    for layer in layers:
        layer.sync.close()
    broker.wait_for(lambda: broker.connections == 0)
    assert broker.dropped == 0


def test_a_layer_closed_in_a_thread_is_closed_in_every_loop(
    layer: TCPLayer, broker: TCPBroker
) -> None:
    layer.sync.open()
    asyncio.run(layer.close())
    broker.wait_for(lambda: broker.connections == 0)
    with pytest.raises(LayerClosed, match=r"call await layer\.open"):
        layer.sync.group_send("group", message(1))

    async def listen(opened: threading.Event) -> None:
        await layer.open()
        name = await layer.new_channel()
        opened.set()
        with pytest.raises(LayerClosed):
            await layer.receive(name)

    opened = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        listening = pool.submit(asyncio.run, listen(opened))
        assert opened.wait(PATIENCE)
        layer.sync.group_send("group", message(1))
        layer.sync.close()
        broker.wait_for(lambda: broker.connections == 0)
        listening.result(PATIENCE)


def test_a_layer_closed_while_another_loop_opens_it_ends_up_closed(
    layer: TCPLayer, broker: TCPBroker
) -> None:
    broker.freeze()
    with ThreadPoolExecutor(1) as pool:
        using = pool.submit(asyncio.run, layer.group_send("group", message(1)))
        broker.wait_for(lambda: broker.held)  # it waits for its first subscription
        layer.sync.close()
        broker.thaw()
        with pytest.raises(LayerClosed):
            using.result(PATIENCE)
    assert layer.stats()["sessions"] == 0


def test_readers_learn_that_their_layer_is_closed(layer: TCPLayer) -> None:
    name = layer.sync.new_channel()
    with ThreadPoolExecutor(2) as pool:
        reading = pool.submit(layer.sync.receive, name)
        layer.sync.send(name, message(1))
        assert reading.result(PATIENCE) == message(1)
        reading = pool.submit(layer.sync.receive, name)
        pool.submit(layer.sync.close)
        with pytest.raises(LayerClosed):
            reading.result(PATIENCE)


def test_a_layer_may_be_closed_while_the_loops_that_use_it_come_and_go(
    layer: TCPLayer, broker: TCPBroker
) -> None:
    """Whoever closes is not told of a loop's end, and nobody waits for what will not happen."""
    stop = threading.Event()

    def come_and_go() -> None:
        while not stop.is_set():
            with suppress(LayerClosed, BackendUnavailable):
                asyncio.run(layer.group_send("group", message(1)))

    with ThreadPoolExecutor(4) as pool:
        going = [pool.submit(come_and_go) for _ in range(4)]
        for _ in range(40):
            layer.sync.open()
            layer.sync.close()
        stop.set()
        for each in going:
            each.result(PATIENCE)
    layer.sync.close()
    broker.wait_for(lambda: broker.connections == 0)
    assert layer.stats()["sessions"] == 0

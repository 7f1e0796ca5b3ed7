"""Sessions: one for each event loop, opened once, ended with the loop, the layer or the process."""

import asyncio
import gc
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import async_to_sync

from fast_channels.exceptions import (
    BackendUnavailable,
    ChannelNotFound,
    InvalidChannelLayerError,
    LayerClosed,
)
from fast_channels.layers import BaseChannelLayer, Inbox, InMemoryChannelLayer

from .backends import (
    DownBackend,
    Layer,
    Make,
    SteppedBackend,
    UnansweringBackend,
    WatchedBackend,
    layers,
)
from .clock import virtual_time
from .waiting import message, numbers, receive, soon, turns, until


async def round_trip(layer: BaseChannelLayer) -> int:
    """Send to a group and receive from it; return how many sessions the layer has."""
    async with layer.channel() as channel:
        await layer.group_add("group", channel.name)
        await layer.group_send("group", message(1))
        assert await soon(channel.receive()) == message(1)
    return layer.stats()["sessions"]


# --- opening ----------------------------------------------------------------------------------


async def test_a_layer_opens_at_first_use_and_once(make: Make) -> None:
    layer = make()
    assert layer.backends == []
    await asyncio.gather(*(layer.group_send("group", message(n)) for n in range(10)))
    assert len(layer.backends) == 1
    assert layer.backend.calls.count("open") == 1
    await layer.open()
    assert layer.backend.calls.count("open") == 1


async def test_first_uses_at_once_go_on_in_the_order_in_which_they_came(make: Make) -> None:
    reader = make(capacity=1_000)
    channel = await reader.new_channel()
    await reader.group_add("group", channel)
    for pause in range(8):
        layer = make(broker=reader.broker)
        sends = []
        for n in range(50):
            sends.append(asyncio.create_task(layer.group_send("group", message(n))))
            if n == 25:
                await turns(pause)
        await soon(asyncio.gather(*sends))
        assert numbers(await receive(reader, channel, 50)) == list(range(50)), pause


async def test_a_cancelled_first_use_does_not_end_the_opening_for_others(make: Make) -> None:
    layer = make()
    uses = [asyncio.create_task(layer.group_send("group", message(n))) for n in range(3)]
    await asyncio.sleep(0)
    uses[0].cancel()
    await asyncio.wait(uses)
    assert [use.cancelled() for use in uses] == [True, False, False]
    assert len(layer.backends) == 1


async def test_a_broker_that_is_down_is_an_error_for_everybody_and_tried_anew_later(
    make: Make,
) -> None:
    down = True

    class Backend(DownBackend):
        async def open(self, inbox: Inbox, /) -> None:
            await asyncio.sleep(0)
            if down:
                await super().open(inbox)
            await WatchedBackend.open(self, inbox)

    layer = make(Backend)
    results = await asyncio.gather(
        *(layer.group_send("group", message(n)) for n in range(3)), return_exceptions=True
    )
    assert [str(result) for result in results] == ["no broker at memory://nowhere"] * 3
    assert layer.stats()["sessions"] == 0
    assert [backend.calls for backend in layer.backends] == [["open", "close"]]
    down = False
    await layer.group_send("group", message(0))
    assert len(layer.backends) == 2


@virtual_time
async def test_a_broker_that_does_not_answer_is_an_error_in_time() -> None:
    async with layers() as make:
        layer = make(UnansweringBackend, send_timeout=3.0)
        start = asyncio.get_running_loop().time()
        with pytest.raises(BackendUnavailable) as caught:
            await layer.send("specific.0!1", message(0))
        assert asyncio.get_running_loop().time() - start < 3.5
        assert str(caught.value) == f"{layer} could not be opened: no answer within 3 s"
        assert layer.backend.calls == ["open", "close"]


async def test_a_backend_that_cannot_subscribe_is_closed_again(make: Make) -> None:
    class Backend(WatchedBackend):
        async def subscribe(self, topics: Any, /) -> None:
            raise BackendUnavailable("no subscriptions today")

    layer = make(Backend)
    with pytest.raises(BackendUnavailable, match="no subscriptions today"):
        await layer.open()
    assert layer.backend.calls == ["open", "close"]


async def test_a_layer_without_a_backend_says_what_to_override() -> None:
    class Bare(BaseChannelLayer):
        pass

    with pytest.raises(InvalidChannelLayerError) as caught:
        await Bare().send("specific.0!1", message(0))
    assert str(caught.value) == (
        "Bare has no backend: override create_backend(), or all of send, receive, new_channel, "
        "group_add, group_discard, group_send and flush"
    )


# --- closing ----------------------------------------------------------------------------------


async def test_a_closed_layer_refuses_and_says_what_to_do(make: Make) -> None:
    layer = make()
    channel = await layer.new_channel()
    await layer.close()
    text = "<Layer prefix='fc'> is closed; call await layer.open() to use it again"
    for call in (
        lambda: layer.send(channel, message(0)),
        lambda: layer.receive(channel),
        lambda: layer.new_channel(),
        lambda: layer.group_add("group", channel),
        lambda: layer.group_discard("group", channel),
        lambda: layer.group_send("group", message(0)),
        lambda: layer.flush(),
        lambda: layer.channel().__aenter__(),
    ):
        with pytest.raises(LayerClosed) as caught:
            await call()
        assert str(caught.value) == text


async def test_a_closed_layer_works_again_when_it_is_opened(make: Make) -> None:
    layer = make()
    for _ in range(3):
        assert await round_trip(layer) == 1
        await layer.close()
        assert layer.stats()["sessions"] == 0
        await layer.open()
    assert len(layer.backends) == 4


async def test_a_channel_from_before_is_gone_when_the_layer_is_opened_again(make: Make) -> None:
    layer = make()
    channel = await layer.new_channel()
    await layer.close()
    await layer.open()
    with pytest.raises(ChannelNotFound, match="belongs to another process or event loop"):
        await layer.receive(channel)


async def test_closing_twice_or_unopened_is_no_error(make: Make) -> None:
    layer = make()
    await layer.close()
    await layer.open()
    await asyncio.gather(*(layer.close() for _ in range(3)))
    await layer.close()
    assert layer.backend.calls.count("close") == 1


async def test_readers_that_wait_learn_that_the_layer_is_closed(make: Make) -> None:
    layer = make()
    channel = await layer.new_channel()
    async with layer.channel() as other:
        reading = [
            asyncio.create_task(layer.receive(channel)),
            asyncio.create_task(layer.receive(channel)),
            asyncio.create_task(other.receive()),
        ]
        await turns()
        await layer.close()
        for each in reading:
            with pytest.raises(LayerClosed, match=r"<Layer prefix='fc'> was closed"):
                await soon(each)


async def test_a_layer_closed_while_it_opens_ends_up_closed(make: Make) -> None:
    layer = make()
    using = [asyncio.create_task(layer.group_send("group", message(n))) for n in range(3)]
    await asyncio.sleep(0)
    await layer.close()
    results = await soon(asyncio.gather(*using, return_exceptions=True))
    assert all(result is None or isinstance(result, LayerClosed) for result in results)
    assert layer.stats()["sessions"] == 0
    assert layer.backend.calls[-1] == "close"
    await layer.open()
    assert await round_trip(layer) == 1


async def test_a_cancelled_close_still_closes(make: Make) -> None:
    layer = make()
    await layer.open()
    layer.backend.may_publish.clear()
    sending = asyncio.create_task(layer.group_send("group", message(0)))
    await until(lambda: layer.backend.published)
    closing = asyncio.create_task(layer.close())
    await turns()
    closing.cancel()
    await asyncio.wait([closing])
    layer.backend.may_publish.set()
    await asyncio.wait([sending])
    await layer.close()
    assert layer.backend.calls.count("close") == 1
    assert layer.backend.calls[-1] == "close"


async def test_a_backend_that_fails_to_close_does_not_keep_the_layer_open(make: Make) -> None:
    class Backend(WatchedBackend):
        async def close(self) -> None:
            self.calls.append("close")
            raise OSError("could not say goodbye")

    layer = make(Backend)
    channel = await layer.new_channel()
    reading = asyncio.create_task(layer.receive(channel))
    await turns()
    with pytest.raises(OSError, match="could not say goodbye"):
        await layer.close()
    with pytest.raises(LayerClosed):
        await soon(reading)
    assert layer.stats()["sessions"] == 0


# --- loops and threads ------------------------------------------------------------------------


def test_one_layer_works_in_one_loop_after_another() -> None:
    layer = Layer()
    for n in range(1, 6):
        assert asyncio.run(round_trip(layer)) == 1
        assert len(layer.backends) == n
        assert layer.backend.calls[-1] == "close"
    assert layer.stats()["sent"] == 5


def test_a_session_sends_what_gathered_before_its_loop_ends() -> None:
    """Its last act; that it must not hang in it is tested with the outbox."""
    layer = Layer(SteppedBackend)

    async def main() -> None:
        await layer.open()
        first = asyncio.create_task(layer.group_send("group", message(0)))
        await until(lambda: layer.backend.published)
        asyncio.get_running_loop().call_soon(layer.backend.steps.release)
        await first

    asyncio.run(main())
    assert layer.backend.calls == ["open", "subscribe", "publish", "close"]


def test_layers_in_several_threads_speak_to_each_other() -> None:
    layer = InMemoryChannelLayer()
    names: dict[int, str] = {}
    ready = threading.Barrier(4, timeout=20)
    failures: list[BaseException] = []

    async def talk(number: int) -> None:
        async with layer.channel() as channel:
            names[number] = channel.name
            await channel.join("all")
            await asyncio.to_thread(ready.wait)
            await layer.group_send("all", message(number))
            await layer.send(names[(number + 1) % 4], message(10 + number))
            got = [(await soon(channel.receive()))["n"] for _ in range(5)]
            assert sorted(got) == [0, 1, 2, 3, 10 + (number - 1) % 4]
            await asyncio.to_thread(ready.wait)

    def run(number: int) -> None:
        try:
            asyncio.run(talk(number))
        except BaseException as failure:
            failures.append(failure)
            ready.abort()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert failures == []
    assert len({name.partition("!")[0] for name in names.values()}) == 4


def test_a_channel_of_another_loop_is_reached_and_not_read() -> None:
    layer = InMemoryChannelLayer()
    with asyncio.Runner() as first, asyncio.Runner() as second:
        channel = first.run(layer.new_channel())
        second.run(layer.send(channel, message(1)))
        second.run(layer.group_send("group", message(2)))
        with pytest.raises(ChannelNotFound, match="belongs to another process or event loop"):
            second.run(layer.receive(channel))
        assert first.run(soon(layer.receive(channel))) == message(1)
        assert layer.stats()["sessions"] == 2
    assert layer.stats()["sessions"] == 0


def test_a_channel_is_read_in_its_own_loop_only_whoever_read_last() -> None:
    layer = InMemoryChannelLayer()

    async def reads(channel: str, n: int) -> None:
        await layer.send(channel, message(n))
        assert await soon(layer.receive(channel)) == message(n)

    async def does_not_read(channel: str) -> None:
        with pytest.raises(ChannelNotFound, match="belongs to another process or event loop"):
            await layer.receive(channel)

    async def asks_elsewhere(channel: str) -> None:
        await reads(channel, 1)
        await asyncio.to_thread(asyncio.run, does_not_read(channel))
        await reads(channel, 2)

    with asyncio.Runner() as first, asyncio.Runner() as second:
        mine, yours = first.run(layer.new_channel()), second.run(layer.new_channel())
        for n in range(3):
            first.run(reads(mine, n))
            second.run(does_not_read(mine))
            second.run(reads(yours, n))
            first.run(does_not_read(yours))
        first.run(asks_elsewhere(mine))
    with asyncio.Runner() as third:
        third.run(does_not_read(mine))


def test_each_loop_sends_by_its_own_session_whichever_sent_last() -> None:
    layer = Layer()

    async def sends(n: int) -> None:
        await layer.group_send("group", message(n))

    async def sends_elsewhere(n: int) -> None:
        await sends(n)
        await asyncio.to_thread(other.run, sends(n))
        await sends(n)

    with asyncio.Runner() as first, asyncio.Runner() as second, asyncio.Runner() as other:
        for n in range(3):
            first.run(sends(n))
            second.run(sends(n))
            first.run(sends_elsewhere(n))
        sent = [len(backend.published) for backend in layer.backends]
        assert sent == [9, 3, 3]


def test_the_session_of_a_loop_that_was_just_closed_is_let_go() -> None:
    """Closed without ``asyncio.run``, so nobody told the session."""
    layer = Layer()
    loop = asyncio.new_event_loop()
    channel = loop.run_until_complete(layer.new_channel())
    loop.run_until_complete(layer.send(channel, message(1)))
    loop.run_until_complete(layer.receive(channel))
    backend = weakref.ref(layer.backends.pop())
    loop.close()
    assert asyncio.run(round_trip(layer)) == 1
    del loop
    gc.collect()
    assert layer.stats()["sessions"] == 0
    assert backend() is None


def test_publishing_to_a_loop_that_was_just_closed_harms_nobody() -> None:
    layer = InMemoryChannelLayer()
    loop = asyncio.new_event_loop()

    async def join() -> None:
        await layer.group_add("group", await layer.new_channel())

    loop.run_until_complete(join())
    loop.close()
    for _ in range(3):
        asyncio.run(round_trip(layer))


def test_async_to_sync_works_from_any_thread_any_number_of_times() -> None:
    layer = InMemoryChannelLayer()
    with asyncio.Runner() as runner:
        channel = runner.run(layer.new_channel())
        runner.run(layer.group_add("group", channel))
        for n in range(5):
            async_to_sync(layer.group_send)("group", message(n))
        thread = threading.Thread(target=async_to_sync(layer.send), args=(channel, message(5)))
        thread.start()
        thread.join(20)
        got = [runner.run(soon(layer.receive(channel))) for _ in range(6)]
        assert numbers(got) == list(range(6))
        assert layer.stats()["sessions"] == 1


def test_closing_in_one_loop_closes_the_sessions_of_running_ones() -> None:
    layer = Layer()
    opened, ended = threading.Event(), threading.Event()

    async def wait_for_the_end() -> None:
        reading = asyncio.create_task(layer.receive(await layer.new_channel()))
        opened.set()
        with pytest.raises(LayerClosed):
            await soon(reading)

    def run() -> None:
        asyncio.run(wait_for_the_end())
        ended.set()

    thread = threading.Thread(target=run)
    thread.start()
    assert opened.wait(20)

    async def close() -> None:
        await layer.open()
        await layer.close()

    asyncio.run(close())
    assert ended.wait(20)
    thread.join(20)
    assert layer.stats()["sessions"] == 0
    assert [backend.calls[-1] for backend in layer.backends] == ["close", "close"]


def test_a_loop_that_rests_while_its_layer_is_closed_finds_it_closed() -> None:
    layer = Layer()
    with asyncio.Runner() as resting:
        resting.run(layer.open())
        asyncio.run(layer.close())
        with pytest.raises(LayerClosed, match=r"call await layer\.open"):
            resting.run(layer.group_send("group", message(0)))


# --- processes --------------------------------------------------------------------------------

HEAD = """
import asyncio, logging, os, sys
logging.getLogger("asyncio").setLevel(logging.ERROR)  # not: "executing a callback took 0.1 s"
from fast_channels.layers import InMemoryChannelLayer, register_channel_layer
layer = register_channel_layer("default", "memory://")

async def use():
    channel = await layer.new_channel()
    group = channel.replace("!", ".")
    await layer.group_add(group, channel)
    await layer.group_send(group, {"type": "x"})
    await layer.send(channel, {"type": "y"})
    assert [(await layer.receive(channel))["type"] for _ in range(2)] == ["x", "y"]
    await layer.group_discard(group, channel)
    await layer.send("jobs", {"type": "job"})
    await layer.group_add(group, "jobs")
"""

ENDINGS: dict[str, str] = {
    "asyncio.run": "asyncio.run(use())",
    "asyncio.run again and again": "for _ in range(3): asyncio.run(use())",
    "closed by hand": """
async def main():
    await use()
    await layer.close()
asyncio.run(main())""",
    "with readers and senders under way": """
async def main():
    await use()
    tasks = [asyncio.create_task(layer.receive(await layer.new_channel())) for _ in range(3)]
    tasks += [asyncio.create_task(layer.receive("jobs2"))]
    tasks += [asyncio.create_task(layer.group_send("group", {"type": "x"})) for _ in range(10)]
    await asyncio.sleep(0)
asyncio.run(main())""",
    "while it opens": """
async def main():
    asyncio.get_running_loop().create_task(layer.open())
    await asyncio.sleep(0)
asyncio.run(main())""",
    "by an exception": """
async def main():
    await use()
    raise KeyError("end")
try:
    asyncio.run(main())
except KeyError:
    pass""",
    "by SystemExit": """
async def main():
    await use()
    sys.exit(0)
asyncio.run(main())""",
    "async_to_sync": """
from asgiref.sync import async_to_sync
for _ in range(5):
    async_to_sync(use)()""",
    "a loop closed by hand": """
loop = asyncio.new_event_loop()
loop.run_until_complete(use())
loop.run_until_complete(loop.shutdown_asyncgens())
loop.close()""",
    "threads": """
import threading
threads = [threading.Thread(target=lambda: asyncio.run(use())) for _ in range(3)]
for thread in threads: thread.start()
for thread in threads: thread.join()""",
    "losses that wait to be reported": """
logging.disable()
async def main():
    channel = await layer.new_channel()
    await layer.group_add("group", channel)
    for _ in range(150): await layer.group_send("group", {"type": "x"})
asyncio.run(main())""",
    "no use at all": "",
    "uvloop": """
try:
    import uvloop
except ImportError:
    uvloop = asyncio
for _ in range(3): uvloop.run(use())""",
}


@pytest.mark.parametrize("ending", ENDINGS.values(), ids=ENDINGS.keys())
def test_a_process_that_used_a_layer_ends_without_a_warning(ending: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-X", "dev", "-c", HEAD + ending],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


FORK = """
loop = asyncio.new_event_loop()
channel = loop.run_until_complete(layer.new_channel())
assert layer.stats()["sessions"] == 1
child = os.fork()
if child == 0:
    try:
        assert layer.stats()["sessions"] == 0
        asyncio.run(use())
        asyncio.run(layer.close())
    except BaseException as failure:
        print(repr(failure), flush=True)
        os._exit(1)
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
loop.run_until_complete(layer.send(channel, {"type": "x"}))
assert loop.run_until_complete(layer.receive(channel)) == {"type": "x"}
loop.run_until_complete(loop.shutdown_asyncgens())
loop.close()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_opens_a_session_of_its_own_and_leaves_its_parent_s_alone() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-X", "dev", "-c", HEAD + FORK],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_every_session_has_a_node_of_its_own() -> None:
    layer = InMemoryChannelLayer()
    make: Callable[[], str] = lambda: asyncio.run(layer.new_channel())  # noqa: E731  # short
    assert len({make().partition("!")[0] for _ in range(5)}) == 5

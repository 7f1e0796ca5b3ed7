"""Programs that use one layer in every way that loops, threads and processes allow.

``python scenarios.py <name> <url of a TCPBroker> [argument ...]`` runs one of them. Each asserts
that what was sent arrived, and ends as programs do. Its test looks at what it left behind.
"""

# ruff: noqa: T201  what it prints is for its test

import asyncio
import atexit
import gc
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import psutil
from asgiref.sync import async_to_sync
from tcp_broker import TCPLayer

from fast_channels import plugins
from fast_channels.exceptions import BackendUnavailable, LayerClosed
from fast_channels.layers import BaseChannelLayer, InMemoryChannelLayer

PATIENCE = 20.0

logging.getLogger("asyncio").setLevel(logging.ERROR)  # not: "executing ... took 0.1 s"

layer: BaseChannelLayer


def message(n: object) -> dict[str, Any]:
    return {"type": "test.message", "n": n}


def sockets() -> list[Any]:
    """This process's TCP connections."""
    return list(psutil.Process().net_connections("tcp"))


def pending() -> list[str]:
    """What every task that is not done runs, on whichever loop, but for the background loop's."""
    gc.collect()
    tasks = [each for each in gc.get_objects() if isinstance(each, asyncio.Task)]
    names = [repr(task.get_coro()) for task in tasks if not task.done()]
    return [name for name in names if "_Background._main" not in name]


def nothing_is_left() -> None:
    """No socket is open, and no task under way."""
    layer.sync.close()
    assert sockets() == []
    assert pending() == []
    assert layer.stats()["sessions"] == 0


def in_threads(count: int, function: Callable[[int], object]) -> None:
    """Run the function in that many threads at once, with their numbers; raise what one raised."""
    with ThreadPoolExecutor(count) as threads:
        for done in [threads.submit(function, number) for number in range(count)]:
            done.result(PATIENCE)


async def collect(receive: Callable[[], Coroutine[Any, Any, Any]], count: int) -> list[Any]:
    """Return the numbers of the next messages."""
    async with asyncio.timeout(PATIENCE):
        return [(await receive())["n"] for _ in range(count)]


async def talk(n: object) -> None:
    """Send to a group, and to the channel that is in it, and read both."""
    async with layer.channel() as channel:
        group = channel.name.replace("!", ".")
        await layer.group_add(group, channel.name)
        await layer.group_send(group, message(n))
        await layer.send(channel.name, message("direct"))
        assert await collect(channel.receive, 2) == [n, "direct"]


def talk_in_sync(n: object) -> str:
    """Do the same through ``layer.sync``; return the channel, which is still a member."""
    name = layer.sync.new_channel()
    group = name.replace("!", ".")
    layer.sync.group_add(group, name)
    layer.sync.group_send(group, message(n))
    layer.sync.send(name, message("direct"))
    assert [layer.sync.receive(name, timeout=PATIENCE)["n"] for _ in range(2)] == [n, "direct"]
    return name


@contextmanager
def members(loops: int, count: int, channels: int = 2) -> Any:
    """So many loops, each in a thread of its own with that many members of the group ``all``.

    Yields what each member got, which at the end of the block is ``count`` messages.
    """
    got: list[list[Any]] = []
    ready = threading.Barrier(loops + 1, timeout=PATIENCE)

    async def listen() -> None:
        async with asyncio.TaskGroup() as readers:
            for _ in range(channels):
                name = await layer.new_channel()
                await layer.group_add("all", name)
                readers.create_task(read(name))
            await asyncio.to_thread(ready.wait)

    async def read(name: str) -> None:
        got.append(await collect(lambda: layer.receive(name), count))

    with ThreadPoolExecutor(loops) as threads:
        listening = [threads.submit(asyncio.run, listen()) for _ in range(loops)]
        ready.wait()
        yield got
        for each in listening:
            each.result(PATIENCE)


# --- loops and threads ------------------------------------------------------------------------


def loops_and_threads() -> None:
    """Three loops listen; five threads send by ``async_to_sync`` and five by ``layer.sync``."""

    def send(thread: int) -> None:
        group_send = layer.sync.group_send if thread % 2 else async_to_sync(layer.group_send)
        for n in range(20):
            group_send("all", message([thread, n]))

    with members(3, 200) as got:
        in_threads(10, send)
    assert len(got) == 6
    for numbers in got:
        for thread in range(10):
            assert [n for sender, n in numbers if sender == thread] == list(range(20))
    assert layer.stats()["sessions"] == 1
    nothing_is_left()


def one_layer_everywhere() -> None:
    """Three loops and ten threads make, use and discard channels and groups, all at once."""

    def use(number: int) -> None:
        for n in range(5):
            if number < 3:
                asyncio.run(talk(n))
            elif number % 2:
                async_to_sync(talk)(n)
            else:
                name = layer.sync.new_channel()
                layer.sync.group_add(f"own.{number}", name)
                layer.sync.group_send(f"own.{number}", message(n), exclude="somebody!else")
                assert layer.sync.receive(name, timeout=PATIENCE)["n"] == n
                layer.sync.group_discard(f"own.{number}", name)

    in_threads(13, use)
    assert layer.stats()["sessions"] == 1
    assert layer.stats()["sent"] == 5 * (3 * 2 + 5 * 2 + 5)
    nothing_is_left()


def async_to_sync_a_thousand_times() -> None:
    def send(thread: int) -> None:
        for n in range(100):
            async_to_sync(layer.group_send)("all", message([thread, n]))

    with members(1, 1_000, channels=1) as got:
        in_threads(10, send)
    assert sorted(got[0]) == [[thread, n] for thread in range(10) for n in range(100)]
    assert layer.stats()["sent"] == 1_000
    nothing_is_left()


def sync_a_thousand_times() -> None:
    def send(thread: int) -> None:
        for n in range(100):
            layer.sync.group_send("all", message([thread, n]))

    with members(1, 1_000, channels=1) as got:
        in_threads(10, send)
    assert sorted(got[0]) == [[thread, n] for thread in range(10) for n in range(100)]
    assert layer.stats()["published"] < 1_000, "concurrent sends share no frames"
    nothing_is_left()


def run_after_run() -> None:
    for n in range(50):
        asyncio.run(talk(n))
        assert sockets() == [], n
        assert layer.stats()["sessions"] == 0
    assert layer.stats()["sent"] == 100
    nothing_is_left()


def plugins_are_loaded_once() -> None:
    """Ten loops tell at the same moment, each for the first time, that a session was opened."""
    ready = threading.Barrier(10, timeout=PATIENCE)
    managers: list[object] = []

    def load(_: int) -> None:
        ready.wait()
        managers.append(plugins.manager())

    in_threads(10, load)
    assert [each for each in managers if each is not managers[0]] == []


# --- the end of a process ---------------------------------------------------------------------


def ends_normally() -> None:
    talk_in_sync(1)


def ends_by_exit() -> None:
    talk_in_sync(1)
    sys.exit(0)


def ends_after_use_from_atexit() -> None:
    """What was registered before the first call still runs before the loop is stopped."""
    atexit.register(lambda: print(talk_in_sync("late") and "arrived"))
    talk_in_sync(1)


def ends_under_a_receiver() -> None:
    """A daemon thread waits for a message that never comes."""
    name = talk_in_sync(1)
    threading.Thread(target=layer.sync.receive, args=(name,), daemon=True).start()
    talk_in_sync(2)


def ends_under_senders() -> None:
    """Daemon threads send for as long as there is a process."""
    name = talk_in_sync(1)
    first = threading.Barrier(4, timeout=PATIENCE)

    def send() -> None:
        layer.sync.group_send("somebody", message(0))
        first.wait()
        while True:
            layer.sync.group_send("somebody", message(0))

    for _ in range(3):
        threading.Thread(target=send, daemon=True).start()
    first.wait()
    layer.sync.send(name, message(2))


def ends_while_the_broker_is_frozen() -> None:
    """Its test freezes the broker when it reads the line; one send is under way then."""
    global layer
    layer = TCPLayer(sys.argv[2], send_timeout=2.0)
    talk_in_sync(1)
    print("freeze", flush=True)
    sys.stdin.readline()
    published = layer.stats()["published"]

    def send() -> None:
        with suppress(BackendUnavailable, LayerClosed):
            layer.sync.group_send("all", message(0))

    threading.Thread(target=send, daemon=True).start()
    while layer.stats()["published"] == published:
        time.sleep(0.001)  # until that thread has come so far


def ends_with_sends_under_way() -> None:
    """The main thread ends; one send of a daemon thread is in flight, and two wait for it."""
    talk_in_sync(1)
    print("freeze", flush=True)
    sys.stdin.readline()
    for number in range(3):
        arguments = (f"group.{number}", message(number))
        threading.Thread(target=layer.sync.group_send, args=arguments, daemon=True).start()
    (session,) = layer._sessions.live
    while len(session.outbox._waiting) < 2:
        time.sleep(0.001)  # until the threads have come so far
    print("ending", flush=True)


def ends_while_it_opens() -> None:
    """The main thread ends while a daemon thread's send, the first, waits for the connection."""
    print("freeze", flush=True)
    sys.stdin.readline()
    arguments = ("group", message(1))
    threading.Thread(target=layer.sync.group_send, args=arguments, daemon=True).start()
    while not layer._sessions._opening:
        time.sleep(0.001)  # until the thread has come so far
    print("ending", flush=True)


def is_interrupted() -> None:
    """Ctrl-C ends a call and not the loop."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
    name = layer.sync.new_channel()
    main = threading.main_thread().ident
    assert main is not None
    for n in range(5):
        ready = threading.Event()

        def interrupt(ready: threading.Event = ready) -> None:
            ready.wait(PATIENCE)
            layer.sync.send("some!channel", message(0))  # meanwhile the main thread waits
            signal.pthread_kill(main, signal.SIGINT)

        thread = threading.Thread(target=interrupt)
        thread.start()
        try:
            ready.set()
            layer.sync.receive(name)
        except KeyboardInterrupt:
            pass
        else:
            raise AssertionError("was not interrupted")
        thread.join()
        layer.sync.send(name, message(n))
        assert layer.sync.receive(name, timeout=PATIENCE)["n"] == n
    assert pending() == []


# --- forks ------------------------------------------------------------------------------------


def _fork(how: str) -> None:
    """Fork a child that talks in every way and ends ``how``; it must succeed."""
    child = os.fork()
    if child == 0:
        assert layer.stats()["sessions"] == 0
        talk_in_sync(1)
        asyncio.run(talk(2))
        async_to_sync(talk)(3)
        talk_in_sync(4)
        if how == "os._exit":
            layer.sync.close()
            os._exit(0)
        sys.exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def fork_after_sync(how: str) -> None:
    name = talk_in_sync(1)
    for n in range(3):
        _fork(how)
        layer.sync.group_send(name.replace("!", "."), message(n))
        assert layer.sync.receive(name, timeout=PATIENCE)["n"] == n


def fork_in_a_running_loop(how: str) -> None:
    async def main() -> None:
        await talk(1)
        _fork(how)
        await talk(2)

    asyncio.run(main())


def fork_beside_a_running_loop(how: str) -> None:
    talked, forked = threading.Event(), threading.Event()

    async def main() -> None:
        await talk(1)
        talked.set()
        await asyncio.to_thread(forked.wait, PATIENCE)
        await talk(2)

    thread = threading.Thread(target=asyncio.run, args=(main(),))
    thread.start()
    talked.wait(PATIENCE)
    try:
        _fork(how)
    finally:
        forked.set()
        if threading.current_thread() is threading.main_thread() and thread.is_alive():
            thread.join()


def fork_while_a_loop_rests(how: str) -> None:
    loop = asyncio.new_event_loop()
    loop.run_until_complete(talk(1))
    _fork(how)
    loop.run_until_complete(talk(2))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


def fork_with_jobs() -> None:
    """Jobs and members stay the parent's."""
    layer.sync.send("jobs", message(1))
    name = layer.sync.new_channel()
    layer.sync.group_add("all", name)
    child = os.fork()
    if child == 0:
        try:
            layer.sync.receive("jobs", timeout=0.01)
        except TimeoutError:
            layer.sync.group_send("all", message(2))
            os._exit(0)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert layer.sync.receive("jobs", timeout=PATIENCE)["n"] == 1
    layer.sync.send(name, message(3))
    assert layer.sync.receive(name, timeout=PATIENCE)["n"] == 3


def fork_under_load(how: str) -> None:
    """Ten threads send while children are forked: whatever they hold then, nobody hangs."""
    stop = threading.Event()

    def send(_: int) -> None:
        while not stop.is_set():
            layer.sync.group_send("all", message(0))
            layer.stats()

    with ThreadPoolExecutor(10) as threads:
        sending = [threads.submit(send, n) for n in range(10)]
        children = []
        for _ in range(5):
            child = os.fork()
            if child == 0:
                talk_in_sync(1)
                layer.sync.close()
                os._exit(0)
            children.append(child)
        for child in children:
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        stop.set()
        for each in sending:
            each.result(PATIENCE)


def processes(method: str) -> None:
    """multiprocessing, after the layer was used."""
    talk_in_sync(1)
    context = multiprocessing.get_context(method)
    children = [context.Process(target=_child, args=(sys.argv[2],)) for _ in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join(PATIENCE)
    assert [child.exitcode for child in children] == [0, 0]
    talk_in_sync(2)


def _child(url: str) -> None:
    global layer
    if "layer" not in globals():  # spawned: this module was imported anew
        layer = make(url)
    talk_in_sync(1)
    asyncio.run(talk(2))
    talk_in_sync(3)


def prefork_worker() -> None:
    """As Celery: the parent uses the layer, and its children take jobs, in two generations."""
    with members(1, 40, channels=1) as got:
        layer.sync.group_send("other", message(0))
        context = multiprocessing.get_context("fork")
        for generation in range(2):
            children = [
                context.Process(target=_work, args=(2 * generation + number,)) for number in (0, 1)
            ]
            for child in children:
                child.start()
            layer.sync.group_send("other", message(0))
            for child in children:
                child.join(PATIENCE)
                assert child.exitcode == 0
    expected = Counter((child, n) for child in range(4) for n in range(10))
    assert Counter(map(tuple, got[0])) == expected


def _work(child: int) -> None:
    for n in range(10):
        layer.sync.group_send("all", message([child, n]))


def make(url: str) -> BaseChannelLayer:
    capacity = 10_000  # a member that does not get its turn for a while loses nothing
    if url.startswith("memory"):
        return InMemoryChannelLayer(url=url, capacity=capacity)
    return TCPLayer(url, capacity=capacity)


if __name__ == "__main__":
    layer = make(sys.argv[2])
    globals()[sys.argv[1]](*sys.argv[3:])

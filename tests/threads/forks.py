"""Programs that fork, or start other processes, after they used a layer."""

import asyncio
import multiprocessing
import os
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from asgiref.sync import async_to_sync
from talking import PATIENCE, make, members, message, talk, talk_in_sync

from fast_channels.layers import BaseChannelLayer


def _fork(layer: BaseChannelLayer, how: str) -> None:
    """Fork a child that talks in every way and ends ``how``; it must succeed."""
    child = os.fork()
    if child == 0:
        assert layer.stats()["sessions"] == 0
        talk_in_sync(layer, 1)
        asyncio.run(talk(layer, 2))
        async_to_sync(talk)(layer, 3)
        talk_in_sync(layer, 4)
        if how == "os._exit":
            layer.sync.close()
            os._exit(0)
        sys.exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def fork_after_sync(layer: BaseChannelLayer, how: str) -> None:
    name = talk_in_sync(layer, 1)
    for n in range(3):
        _fork(layer, how)
        layer.sync.group_send(name.replace("!", "."), message(n))
        assert layer.sync.receive(name, timeout=PATIENCE)["n"] == n


def fork_in_a_running_loop(layer: BaseChannelLayer, how: str) -> None:
    async def main() -> None:
        await talk(layer, 1)
        _fork(layer, how)
        await talk(layer, 2)

    asyncio.run(main())


def fork_beside_a_running_loop(layer: BaseChannelLayer, how: str) -> None:
    talked, forked = threading.Event(), threading.Event()

    async def main() -> None:
        await talk(layer, 1)
        talked.set()
        await asyncio.to_thread(forked.wait, PATIENCE)
        await talk(layer, 2)

    thread = threading.Thread(target=asyncio.run, args=(main(),))
    thread.start()
    talked.wait(PATIENCE)
    try:
        _fork(layer, how)
    finally:
        forked.set()
        if threading.current_thread() is threading.main_thread() and thread.is_alive():
            thread.join()


def fork_while_a_loop_rests(layer: BaseChannelLayer, how: str) -> None:
    loop = asyncio.new_event_loop()
    loop.run_until_complete(talk(layer, 1))
    _fork(layer, how)
    loop.run_until_complete(talk(layer, 2))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


def fork_with_jobs(layer: BaseChannelLayer) -> None:
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


def fork_under_load(layer: BaseChannelLayer, how: str) -> None:
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
                talk_in_sync(layer, 1)
                layer.sync.close()
                os._exit(0)
            children.append(child)
        for child in children:
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        stop.set()
        for each in sending:
            each.result(PATIENCE)


def processes(layer: BaseChannelLayer, method: str) -> None:
    """multiprocessing, after the layer was used."""
    talk_in_sync(layer, 1)
    context = multiprocessing.get_context(method)
    given = layer if method == "fork" else sys.argv[2]
    children = [context.Process(target=_child, args=(given,)) for _ in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join(PATIENCE)
    assert [child.exitcode for child in children] == [0, 0]
    talk_in_sync(layer, 2)


def _child(given: BaseChannelLayer | str) -> None:
    layer = make(given) if isinstance(given, str) else given
    talk_in_sync(layer, 1)
    asyncio.run(talk(layer, 2))
    talk_in_sync(layer, 3)


def prefork_worker(layer: BaseChannelLayer) -> None:
    """As Celery: the parent uses the layer, and its children take jobs, in two generations."""
    with members(layer, 1, 40, channels=1) as got:
        layer.sync.group_send("other", message(0))
        context = multiprocessing.get_context("fork")
        for generation in range(2):
            children = [
                context.Process(target=_work, args=(layer, 2 * generation + number))
                for number in (0, 1)
            ]
            for child in children:
                child.start()
            layer.sync.group_send("other", message(0))
            for child in children:
                child.join(PATIENCE)
                assert child.exitcode == 0
    expected = Counter((child, n) for child in range(4) for n in range(10))
    assert Counter(map(tuple, got[0])) == expected


def _work(layer: BaseChannelLayer, child: int) -> None:
    for n in range(10):
        layer.sync.group_send("all", message([child, n]))

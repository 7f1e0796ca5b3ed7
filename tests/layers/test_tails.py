"""Topics that went quiet: told once, after the time, without keeping the loop from other work."""

import asyncio

from fast_channels.layers.sequence import TOPICS_REMEMBERED
from fast_channels.layers.tails import AT_A_TURN, Tails

from .clock import virtual_time


@virtual_time
async def test_a_topic_is_told_once_after_its_last_frame() -> None:
    told: list[tuple[float, list[str]]] = []
    loop = asyncio.get_running_loop()
    start = loop.time()
    tails = Tails(loop, lambda topics: told.append((round(loop.time() - start, 1), topics)), 5.0)
    tails.touch("a")
    await asyncio.sleep(3)
    tails.touch("b")
    tails.touch("a")
    await asyncio.sleep(3)
    tails.touch("c")
    await asyncio.sleep(100)
    assert told == [(8.0, ["b", "a"]), (11.0, ["c"])]
    tails.touch("a")
    await asyncio.sleep(100)
    assert [topics for _, topics in told][2:] == [["a"]]


@virtual_time
async def test_nothing_is_told_after_close() -> None:
    told: list[list[str]] = []
    tails = Tails(asyncio.get_running_loop(), told.append, 5.0)
    tails.touch("a")
    tails.close()
    await asyncio.sleep(100)
    assert told == []


@virtual_time
async def test_very_many_topics_are_told_a_few_at_a_time_and_in_order() -> None:
    told: list[list[str]] = []
    tails = Tails(asyncio.get_running_loop(), told.append, 5.0)
    topics = [str(n) for n in range(TOPICS_REMEMBERED + 10)]
    for topic in topics:
        tails.touch(topic)
    await asyncio.sleep(10)
    assert [topic for some in told for topic in some] == topics[10:]
    assert max(map(len, told)) == AT_A_TURN

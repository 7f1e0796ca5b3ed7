"""Appends to many topics by one statement: each has what a statement of its own would do."""

import asyncio
import random

from tests.waiting import read_until, soon

from fast_channels.layers import Append, Entry, HistoryPolicy
from fast_channels_postgres.history import PostgresHistory

from .conftest import Make
from .servers import Server
from .test_history import history

__all__ = ["history"]

KEEPS = (1, 2, 5, 1_000)
WRONG = """
SELECT topic FROM fast_channels.topics AS here WHERE starts_with(topic, $1) AND NOT (
    SELECT count(*) = kept AND coalesce(min(number) > gone AND max(number) <= last, true)
    FROM fast_channels.entries WHERE topic_id = here.id)
"""
"""Topics whose row does not fit their entries."""


async def test_topics_of_one_batch_keep_what_each_would_keep_alone(
    server: Server, history: PostgresHistory, prefix: str
) -> None:
    dice = random.Random(prefix)

    def entry() -> Entry:
        name = dice.choice([None, None, f"id-{dice.randrange(6)}"])
        return Entry(b"%d" % dice.randrange(10_000), name)

    for _ in range(40):
        batch = [
            (n, [entry() for _ in range(dice.randint(1, 4))], KEEPS[n % 4])
            for n in dice.sample(range(12), dice.randint(2, 12))
        ]
        await history.publish(
            [Append(f"{prefix}:h.one-{n}", entries, keep, 60.0) for n, entries, keep in batch]
        )
        for n, entries, keep in batch:
            await history.publish([Append(f"{prefix}:h.own-{n}", entries, keep, 60.0)])
    for n in range(12):
        together, alone = [
            [each.payload for each in (await history.last(f"{prefix}:h.{kind}-{n}", 200)).entries]
            for kind in ("one", "own")
        ]
        assert together == alone, f"with the seed {prefix}"
    assert await server.run(WRONG, prefix) == []


async def test_what_expired_in_some_topics_of_a_batch_is_dropped(
    server: Server, history: PostgresHistory, prefix: str
) -> None:
    topics = [f"{prefix}:h.{n}" for n in range(6)]
    short = [0.01 if n % 2 else 60.0 for n in range(6)]

    async def publish(entry: Entry, lives: list[float]) -> None:
        each = zip(topics, lives, strict=True)
        await history.publish([Append(topic, [entry], 100, life) for topic, life in each])
        await asyncio.sleep(0.02)  # it is time that has to pass

    async def kept() -> list[int]:
        assert await server.run(WRONG, prefix) == []
        query = "SELECT kept FROM fast_channels.topics WHERE starts_with(topic, $1) ORDER BY topic"
        return [row["kept"] for row in await server.run(query, prefix)]

    await publish(Entry(b"first"), short)
    await publish(Entry(b"second"), [60.0] * 6)
    assert await kept() == [2, 1, 2, 1, 2, 1]
    await publish(Entry(b"named", "name"), short)
    await publish(Entry(b"again", "name"), [60.0] * 6)  # behind what has not expired
    assert await kept() == [3, 2, 3, 2, 3, 2]
    for topic, last in zip(topics, [b"named", b"again"] * 3, strict=True):
        assert (await history.last(topic, 1)).entries[0].payload == last


async def test_messages_to_many_durable_groups_at_once_come_in_order_with_their_positions(
    server: Server, make: Make
) -> None:
    kept = {"kept*": HistoryPolicy(keep=1_000, ttl=60.0)}
    here, there = make(server.url, history=kept), make(server.url, history=kept)
    groups = [f"kept-{n}" for n in range(20)]
    channels = [await there.new_channel() for _ in groups]
    for group, channel in zip(groups, channels, strict=True):
        await there.group_add(group, channel)

    messages = [{"type": "hello", "n": n, "data": b"x" * 4_000 * n} for n in range(6)]
    sends = [here.group_send(group, message) for message in messages for group in groups]
    await soon(asyncio.gather(*sends))
    for group, channel in zip(groups, channels, strict=True):
        await here.group_send(group, {"type": "last"})
        came = await read_until(there, channel, {"type": "last"})
        assert [message["n"] for message in came] == list(range(6))
        again = await here.group_history(group, since=came[2].position)
        assert [message.get("n") for message in again] == [3, 4, 5, None]
        assert [message.position for message in again[:3]] == [m.position for m in came[3:]]

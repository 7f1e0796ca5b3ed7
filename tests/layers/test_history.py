"""Durable groups: what core does with a backend's history, looked at closely."""

import asyncio
from typing import Any

import pytest

from fast_channels.exceptions import BackendUnavailable, HistoryLost, InvalidChannelLayerError
from fast_channels.layers import Append, Entry, HistoryPolicy, Message, Page, Position
from fast_channels.layers.history import decode_position, decode_since, encode_position
from fast_channels.layers.history.replay import READS
from fast_channels.layers.in_memory import MemoryBackend, MemoryBroker
from fast_channels.layers.in_memory.history import MemoryHistory
from fast_channels.layers.messages import encode_message

from .backends import Make, WatchedBackend, frame
from .waiting import message, numbers, read_to_fence, receive, soon, turns, until

KEPT = {"room*": HistoryPolicy(keep=5_000, ttl=60.0)}


class SlowHistory(MemoryHistory):
    """Reads when it may; notes how many read at once, and fails as often as it is told."""

    def __init__(self, broker: MemoryBroker) -> None:
        super().__init__(broker)
        self.may_read = asyncio.Event()
        self.may_read.set()
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.reading = self.most = self.reads = self.failures = 0
        self.was_set_back = False
        """Another epoch is no sign that nothing of it is known."""

    async def read(self, topic: str, after: Position | None, limit: int, /) -> Page:
        self.reads += 1
        self.reading += 1
        self.most = max(self.most, self.reading)
        try:
            await self.may_read.wait()
            if self.failures:
                self.failures -= 1
                raise BackendUnavailable("not now")
            page = await self._read(topic, after, limit)
            await self.may_answer.wait()
            return page
        finally:
            self.reading -= 1

    async def _read(self, topic: str, after: Position | None, limit: int) -> Page:
        try:
            return await super().read(topic, after, limit)
        except HistoryLost as error:
            if self.was_set_back:
                error.anew = ""
            raise


class KeepingBackend(WatchedBackend):
    """A watched backend with a history, which may lose what comes live."""

    history: SlowHistory

    def __init__(self, broker: MemoryBroker) -> None:
        super().__init__(broker)
        self.history = SlowHistory(broker)
        self.loses = False

    def arrive(self, publication: Any) -> None:
        if not self.loses:
            super().arrive(publication)


def test_a_position_is_of_one_topic() -> None:
    text = encode_position("fc:h.room", Position("abc-1_Z", 1 << 70))
    assert decode_position("fc:h.room", text) == Position("abc-1_Z", 1 << 70)
    with pytest.raises(ValueError, match="another group"):
        decode_position("fc:h.hall", text)
    assert decode_since("fc:h.room", "last:20") == 20
    with pytest.raises(ValueError, match="1000"):
        decode_since("fc:h.room", "last:1001")


@pytest.mark.parametrize("bad", [{"keep": 0}, {"keep": 1.5}, {"ttl": 0}, {"ttl": float("nan")}])
def test_a_policy_that_keeps_nothing_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"keep|ttl"):
        HistoryPolicy(**bad)


async def test_history_of_a_backend_that_has_none_is_refused_before_any_io(make: Make) -> None:
    layer = make(history=KEPT)
    with pytest.raises(InvalidChannelLayerError, match="WatchedBackend, has none"):
        await layer.open()
    assert layer.backend.calls == []


async def test_what_is_no_policy_is_refused(make: Make) -> None:
    with pytest.raises(TypeError, match="HistoryPolicy"):
        make(history={"room": 1000})


async def test_sealed_messages_are_read_again(make: Make) -> None:
    broker, keys = MemoryBroker(), ["k" * 32]
    here, there = [
        make(KeepingBackend, broker=broker, history=KEPT, encryption_keys=keys) for _ in range(2)
    ]
    await here.group_send("room", message(1))
    channel = await there.new_channel()
    await there.group_add("room", channel, since="last:5")
    await here.group_send("room", message(2))
    assert numbers(await receive(there, channel, 2)) == [1, 2]
    stranger = make(KeepingBackend, broker=broker, history=KEPT)
    assert await stranger.group_history("room") == []
    assert stranger.stats()["refused"] == 2


async def test_plain_json_reaches_members_and_is_not_kept(make: Make) -> None:
    layer = make(KeepingBackend, history=KEPT)
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    await layer.group_send("room", message(1))
    layer.backend.inbox.deliver("fc:g.room", b'{"type": "test.message", "n": 2}')
    layer.backend.inbox.deliver("fc:g.room", frame(message(3)))
    got = await receive(layer, channel, 3)
    assert numbers(got) == [1, 2, 3]
    assert isinstance(got[0], Message)
    assert len(await layer.group_history("room")) == 1


async def test_who_asks_for_some_hundred_messages_waits_for_few_reads(make: Make) -> None:
    layer = make(KeepingBackend, history=KEPT)
    await asyncio.gather(*(layer.group_send("room", message(n)) for n in range(600)))
    history = layer.backend.history
    assert numbers(await layer.group_history("room", limit=200)) == list(range(200))
    assert history.reads == 1
    assert numbers(await layer.group_history("room", limit=1_000)) == list(range(600))
    assert history.reads == 1 + 3, "and none of them is endless"


async def test_members_at_one_place_share_a_read(make: Make) -> None:
    layer = make(KeepingBackend, history=KEPT)
    channels = [await layer.new_channel() for _ in range(100)]
    for channel in channels:
        await layer.group_add("room", channel)
    await layer.group_send("room", message(0))
    for channel in channels:
        await receive(layer, channel, 1)
    layer.backend.loses = True
    for n in range(1, 4):
        await layer.group_send("room", message(n))
    layer.backend.loses = False
    layer.backend.inbox.gap(OSError("lost"))
    for channel in channels:
        assert numbers(await receive(layer, channel, 3)) == [1, 2, 3]
    assert layer.backend.history.reads <= 2


async def test_few_reads_run_at_once(make: Make) -> None:
    layer = make(KeepingBackend, history=KEPT)
    start: dict[str, str] = {}
    for n in range(50):
        start[f"room{n}"] = await layer.group_position(f"room{n}")
        await layer.group_send(f"room{n}", message(n))
    layer.backend.history.may_read.clear()
    channel = await layer.new_channel()
    joining = [
        asyncio.create_task(layer.group_add(group, channel, since=since))
        for group, since in start.items()
    ]
    await until(lambda: layer.backend.history.reading == READS)
    layer.backend.history.may_read.set()
    await soon(asyncio.gather(*joining))
    assert sorted(numbers(await receive(layer, channel, 50))) == list(range(50))
    assert layer.backend.history.most == READS


async def test_a_read_that_fails_is_tried_again(make: Make) -> None:
    layer = make(KeepingBackend, history=KEPT, gaps=True)
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    layer.backend.loses = True
    await layer.group_send("room", message(1))
    layer.backend.loses = False
    layer.backend.history.failures = 2
    layer.backend.inbox.gap(OSError("lost"))
    await layer.group_send("room", message(2))
    assert numbers(await receive(layer, channel, 2)) == [1, 2]


async def test_a_jump_in_the_numbers_of_frames_is_healed(make: Make) -> None:
    layer = make(KeepingBackend, history=KEPT, gaps=True)
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    await layer.group_send("room", message(0))
    layer.backend.loses = True
    await layer.group_send("room", message(1))
    layer.backend.loses = False
    await layer.group_send("room", message(2))
    assert numbers(await receive(layer, channel, 3)) == [0, 1, 2]
    assert await read_to_fence(layer, channel) == []


async def test_an_entry_that_comes_again_is_dropped(make: Make) -> None:
    layer = make(KeepingBackend, history=KEPT)
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    for n in range(2):
        await layer.group_send("room", message(n))
    assert numbers(await receive(layer, channel, 2)) == [0, 1]
    for kept in (await layer.backend.history.last("fc:h.room", 2)).entries:
        layer.backend.inbox.deliver("fc:h.room", kept.payload, kept.position)
    assert await read_to_fence(layer, channel) == []
    assert layer.stats()["repeated"] == 2


async def test_a_loss_while_a_page_is_read_is_not_taken_for_the_end(make: Make) -> None:
    """What the read did not see any more, and what was lost live, is read after it."""
    layer = make(KeepingBackend, history=KEPT)
    channel = await layer.new_channel()
    start = await layer.group_position("room")
    layer.backend.history.may_answer.clear()
    joining = asyncio.create_task(layer.group_add("room", channel, since=start))
    await until(lambda: layer.backend.history.reading)
    await turns()
    layer.backend.loses = True
    await layer.group_send("room", message(1))
    layer.backend.loses = False
    layer.backend.inbox.gap(OSError("lost"))
    layer.backend.history.may_answer.set()
    await soon(joining)
    await layer.group_send("room", message(2))
    assert numbers(await receive(layer, channel, 2)) == [1, 2]


async def test_all_of_a_history_that_began_anew_reaches_who_missed_its_beginning(
    make: Make,
) -> None:
    """It went out while nothing came live, and has more than a page by then."""
    layer = make(KeepingBackend, history=KEPT, gaps=True)
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    await layer.group_send("room", message(-1))
    assert numbers(await receive(layer, channel, 1)) == [-1]
    layer.backend.loses = True
    await layer.backend.history.clear("fc:h.")
    for n in range(200):
        await layer.group_send("room", message(n))
    layer.backend.loses = False
    layer.backend.inbox.gap(OSError("lost"))
    await layer.group_send("room", message(200))
    told, *rest = await receive(layer, channel, 202)
    assert told == {"type": "channels.gap", "group": "room"}
    assert numbers(rest) == list(range(201))
    assert await read_to_fence(layer, channel) == []


async def test_what_a_history_that_was_set_back_has_does_not_come_again(make: Make) -> None:
    """Nobody can tell what of it had come before, so who missed something goes on behind it."""
    layer = make(KeepingBackend, history=KEPT, gaps=True)
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    for n in range(3):
        await layer.group_send("room", message(n))
    assert numbers(await receive(layer, channel, 3)) == [0, 1, 2]
    history, topic = layer.backend.history, "fc:h.room"
    old = [Entry(kept.payload) for kept in (await history.last(topic, 3)).entries[:2]]
    history.was_set_back = layer.backend.loses = True
    await history.clear(topic)
    await history.publish([Append(topic, old, 5_000, 60.0)])
    layer.backend.loses = False
    layer.backend.inbox.gap(OSError("lost"))
    assert await receive(layer, channel, 1) == [{"type": "channels.gap", "group": "room"}]
    await layer.group_send("room", message(3))
    assert numbers(await receive(layer, channel, 1)) == [3]


async def test_who_leaves_while_its_past_is_read_is_no_member(make: Make) -> None:
    layer = make(KeepingBackend, history=KEPT)
    start = await layer.group_position("room")
    await layer.group_send("room", message(1))
    channel = await layer.new_channel()
    layer.backend.history.may_read.clear()
    joining = asyncio.create_task(layer.group_add("room", channel, since=start))
    await until(lambda: layer.backend.history.reading)
    await layer.group_discard("room", channel)
    layer.backend.history.may_read.set()
    await soon(joining)
    await layer.group_send("room", message(2))
    assert await read_to_fence(layer, channel) == []
    assert layer.stats()["groups"] == 0


async def test_a_cancelled_join_leaves_no_member(make: Make) -> None:
    layer = make(KeepingBackend, history=KEPT)
    start = await layer.group_position("room")
    channel = await layer.new_channel()
    layer.backend.history.may_read.clear()
    joining = asyncio.create_task(layer.group_add("room", channel, since=start))
    await until(lambda: layer.backend.history.reading)
    joining.cancel()
    await asyncio.wait([joining])
    layer.backend.history.may_read.set()
    assert layer.stats()["groups"] == 0
    await layer.group_send("room", message(1))
    await layer.group_add("room", channel, since=start)
    assert numbers(await receive(layer, channel, 1)) == [1]


async def test_a_lost_position_makes_no_member(make: Make) -> None:
    layer = make(KeepingBackend, history=KEPT)
    channel = await layer.new_channel()
    start = await layer.group_position("room")
    await layer.flush()
    with pytest.raises(HistoryLost):
        await layer.group_add("room", channel, since=start)
    assert layer.stats()["groups"] == 0


async def test_a_worker_queue_in_a_durable_group_gets_its_past(make: Make) -> None:
    layer = make(KeepingBackend, queues=True, history=KEPT)
    await layer.group_send("room", message(1))
    await layer.group_add("room", "jobs", since="last:1")
    await layer.group_send("room", message(2))
    assert numbers(await receive(layer, "jobs", 2)) == [1, 2]


def test_a_message_is_a_dict_that_can_be_sent_on() -> None:
    kept = Message(message(1), "room", "fc:h.room", Position("e", 7))
    assert kept == message(1)
    assert encode_message(kept, 1_000) == encode_message(message(1), 1_000)
    assert kept.position == encode_position("fc:h.room", Position("e", 7))


def test_layers_without_history_have_backends_without_history() -> None:
    assert MemoryBackend(MemoryBroker()).history is None

"""Clauses about durable groups, where the layer has history: nothing missed, nothing twice."""

import asyncio
import time
from typing import Any, Final, cast

import pytest

from fast_channels.exceptions import BackendUnavailable, HistoryLost
from fast_channels.layers import ChannelLayer, HistoryLayer, HistoryPolicy
from fast_channels.layers import Message as KeptMessage
from fast_channels.testing.conformance.broker import no_outage
from fast_channels.testing.conformance.clause import clause_unless
from fast_channels.testing.conformance.layer_suite import (
    LayerSuite,
    Message,
    message,
    messages,
    numbers,
)

KEPT: Final = {
    "kept*": HistoryPolicy(keep=20_000, ttl=60.0),
    "few*": HistoryPolicy(keep=20, ttl=60.0),
}
"""What is kept in these clauses, of which groups."""

TIMEOUT: Final = 1.0
"""The send timeout of layers in an outage."""


def no_history(suite: LayerSuite) -> str | None:
    """Return why the layer needs no history; None: it has it."""
    if "history" in suite.capabilities:
        return None
    return f'{type(suite).__name__}.capabilities has no "history"'


def _not_exact(suite: LayerSuite) -> str | None:
    if no_history(suite) is None and not suite.exact_history:
        return "exact_history is False: the broker drops old entries when it suits it"
    return no_history(suite)


def _no_outage(suite: LayerSuite) -> str | None:
    return no_history(suite) or no_outage(suite)


class HistoryClauses(LayerSuite):
    """Every message of a durable group reaches each member once, in order, sooner or later."""

    @clause_unless(no_history)
    async def test_messages_of_a_durable_group_know_their_place(self) -> None:
        """``Message`` has the group, and a position after which the next one comes; other groups'
        messages are plain dicts. Usual cause: the position is that of a whole frame."""
        here, there = await self._keeper(), await self._keeper()
        member = await self.member(there, "kept", "other")
        for each in messages(3):
            await here.group_send("kept", each)
        got = await self.receive(there, member, 3)
        assert got == messages(3)
        for number, each in enumerate(got):
            assert isinstance(each, KeptMessage)
            assert each.group == "kept"
            after = await here.group_history("kept", since=each.position)
            assert after == messages(2 - number, number + 1)
        await here.group_send("other", message(4))
        assert type((await self.receive(there, member))[0]) is dict

    @clause_unless(no_history)
    async def test_a_member_gets_what_came_after_its_position_and_goes_on_live(self) -> None:
        """Whichever node adds it. Usual cause: what is published between the read and the
        subscription is nobody's, or both's."""
        here, there = await self._keeper(), await self._keeper()
        for each in messages(10):
            await here.group_send("kept", each)
        third = (await there.group_history("kept", limit=3))[2]
        for number, asker in enumerate((here, there)):
            member = await self.member(there)
            await self.soon(asker.group_add("kept", member, since=third.position), "group_add")
            await here.group_send("kept", message(10 + number))
            got = await self.receive(there, member, 8 + number)
            assert numbers(got) == list(range(3, 11 + number))
            assert await self.fenced(there, member, here) == []

    @clause_unless(no_history)
    async def test_a_member_gets_the_newest_messages_that_it_asks_for(self) -> None:
        """``last:n``, as many as there are, oldest first, then live ones. Usual cause: the newest
        comes first, or once more live."""
        here, there = await self._keeper(), await self._keeper()
        for each in messages(30):
            await here.group_send("kept", each)
        for since, first in (("last:20", 10), ("last:1", 29), ("last:0", 30), ("last:99", 0)):
            member = await self.member(there)
            await there.group_add("kept", member, since=since)
            await here.group_send("kept-not", message(99))
            got = await self.receive(there, member, 30 - first)
            assert numbers(got) == list(range(first, 30))
            assert await self.fenced(there, member, here) == []
        assert await here.group_history("kept", since="last:2") == messages(2, 28)

    @clause_unless(no_history)
    async def test_who_joins_at_full_speed_misses_nothing_and_sees_nothing_twice(self) -> None:
        """Three senders on two nodes, who do not wait; members come all the time. Usual cause: a
        live message passes by while the last page is read."""
        nodes = [await self._keeper() for _ in range(2)]
        start = await nodes[0].group_position("kept")
        count = 200

        async def send(sender: int) -> None:
            for n in range(count):
                await nodes[sender % 2].group_send("kept", message(n, sender=sender))

        async def follow(number: int) -> None:
            await asyncio.sleep(number * 0.01)
            node = nodes[number % 2]
            member = await self.member(node)
            await node.group_add("kept", member, since=start)
            expected = [0, 0, 0]
            for _ in range(3 * count):
                [got] = await self.receive(node, member)
                assert got["n"] == expected[got["sender"]], (got, expected)
                expected[got["sender"]] += 1

        sending = [asyncio.create_task(send(sender)) for sender in range(3)]
        following = [asyncio.create_task(follow(number)) for number in range(6)]
        try:
            await asyncio.gather(*sending, *following)
        finally:
            for task in sending + following:
                task.cancel()
            await asyncio.wait(sending + following)

    @clause_unless(no_history)
    async def test_who_is_a_thousand_behind_loses_nothing_and_blocks_nobody(self) -> None:
        """With a capacity of 100: other members get live messages at once, and the channel itself
        is not full. Usual cause: the replay is pushed into the mailbox, or read by one task for
        all members in turn."""
        here, there = await self._keeper(), await self._keeper(capacity=100)
        start = await here.group_position("kept")
        await asyncio.gather(*(here.group_send("kept", each) for each in messages(1_000)))
        slow, quick = await self.member(there), await self.member(there, "kept")
        await there.group_add("kept", slow, since=start)
        for number in range(3):
            await here.group_send("kept", message(1_000 + number))
            assert numbers(await self.receive(there, quick)) == [1_000 + number]
            await there.send(slow, message(-1))
        got = numbers(await self.receive(there, slow, 1_006))
        assert sorted(n for n in got if n >= 0) == list(range(1_003))
        tail = [n for n in got if n >= 0]
        assert tail[1_000:] == [1_000, 1_001, 1_002]

    @clause_unless(no_history)
    async def test_a_full_member_falls_behind_and_catches_up(self) -> None:
        """Whatever its overflow policy. Usual cause: overflow is handled before history is."""
        here = await self._keeper()
        for policy in ("drop_newest", "drop_oldest", "disconnect"):
            there = await self._keeper(capacity=10, overflow=policy)
            member = await self.member(there, "kept")
            start = len(await here.group_history("kept", limit=1_000))
            for each in messages(100, start):
                await here.group_send("kept", each)
            got = numbers(await self.receive(there, member, 100))
            assert got == list(range(start, start + 100)), policy
            assert there.stats()["overflowed"] == 0

    @clause_unless(no_history)
    async def test_a_durable_message_is_never_dropped_for_another(self) -> None:
        """A mailbox that drops its oldest message drops one that is not kept. Usual cause: the
        policy looks at ages alone."""
        here, there = await self._keeper(), await self._keeper(capacity=10, overflow="drop_oldest")
        member = await self.member(there, "kept", "other")
        for each in messages(8):
            await here.group_send("kept", each)
        for each in messages(50, 100):
            await here.group_send("other", each)
        await here.group_send("kept", message(8))
        got: list[int] = []
        while 8 not in got:
            got += numbers(await self.receive(there, member))
        assert [n for n in got if n < 100] == list(range(9))

    @clause_unless(no_history)
    async def test_an_unread_durable_message_does_not_expire(self) -> None:
        """Live or replayed. Usual cause: its age counts from its arrival, as every other's."""
        here, there = await self._keeper(), await self._keeper(expiry=0.02)
        member = await self.member(there, "kept", "other")
        await here.group_send("kept", message(1))
        await here.group_send("other", message(2))
        await self.until(lambda: there.stats()["unread"] == 2, "the arrival of two messages")
        await self.passing(0.03)
        await here.group_send("kept", message(3))
        assert numbers(await self.receive(there, member, 2)) == [1, 3]

    @clause_unless(no_history)
    async def test_a_message_of_one_id_is_sent_once(self) -> None:
        """From whichever node; in each group for itself. Usual cause: the id is that of the node,
        or compared on the way out."""
        here, there = await self._keeper(), await self._keeper()
        member = await self.member(there, "kept")
        for node in (here, there, here):
            await node.group_send("kept", message(1), id="order-17")
        await here.group_send("kept.other", message(2), id="order-17")
        await here.group_send("kept", message(3), id="order-18")
        assert numbers(await self.receive(there, member, 2)) == [1, 3]
        assert await self.fenced(there, member, here) == []
        assert numbers(await here.group_history("kept.other")) == [2]

    @clause_unless(no_history)
    async def test_a_member_that_was_excluded_is_left_out_of_its_past_too(self) -> None:
        """``exclude`` counts live, in a replay, and for a member that was full. Usual cause: it is
        looked at where messages come live, and is not kept."""
        here, there = await self._keeper(), await self._keeper(capacity=10)
        member, other = await self.member(there), await self.member(here, "kept")
        start = await here.group_position("kept")
        for n in range(60):
            if n == 20:
                await there.group_add("kept", member, since=start)
            await here.group_send("kept", message(n), exclude=member if n % 2 else None)
        assert numbers(await self._until(there, member, 58)) == list(range(0, 60, 2))
        assert await self.fenced(there, member, here) == []
        assert numbers(await self._until(here, other, 59)) == list(range(60))

    @clause_unless(no_history)
    async def test_flush_clears_history(self) -> None:
        """Older positions are lost then, and members on other nodes go on with what comes. Usual
        cause: only the queues are cleared."""
        here, there = await self._keeper(), await self._keeper(gaps=True)
        member = await self.member(there, "kept")
        for each in messages(3):
            await here.group_send("kept", each)
        got = cast("list[KeptMessage]", await self.receive(there, member, 3))
        await self.soon(here.flush(), "flush")
        assert await here.group_history("kept") == []
        with pytest.raises(HistoryLost):
            await here.group_history("kept", since=got[0].position)
        with pytest.raises(HistoryLost):
            await here.group_add("kept", await self.member(here), since=got[0].position)
        await here.group_send("kept", message(3))
        await here.group_send("kept", message(4))
        told, *after = await self._until(there, member, 4)
        assert told == {"type": "channels.gap", "group": "kept"}
        assert numbers(after) == [3, 4]

    @clause_unless(no_history)
    async def test_a_bad_position_is_refused_before_anything_is_done(self) -> None:
        """Malformed, of another group, of another prefix; and history asked of a group that has
        none. Usual cause: the text is taken apart by who reads, and taken for what it may be."""
        node = await self._keeper()
        other = await self._keeper(prefix=self.prefix() + "-other")
        await node.group_send("kept", message(1))
        await other.group_send("kept", message(1))
        await node.group_send("kept.b", message(1))
        good = await node.group_position("kept")
        of_group, of_prefix = [
            await each.group_position(group) for each, group in ((node, "kept.b"), (other, "kept"))
        ]
        member = await self.member(node)
        for bad in ("", "x", "last:", "last:-1", "last:9999", good + "x", good[:-1]):
            await self._refused(node, "kept", member, bad, ValueError)
        await self._refused(node, "kept", member, of_group, ValueError)
        await self._refused(node, "kept", member, of_prefix, ValueError)
        await self._refused(node, "other", member, good, ValueError)
        await self._refused(node, "kept", member, cast("Any", 7), TypeError)
        with pytest.raises(ValueError, match="other"):
            await node.group_send("other", message(1), id="x")
        with pytest.raises(ValueError, match="id"):
            await node.group_send("kept", message(1), id="")
        with pytest.raises(ValueError, match="limit"):
            await node.group_history("kept", limit=0)
        await node.group_send("kept", message(2))
        assert await self.fenced(node, member) == []

    @clause_unless(_not_exact)
    async def test_where_the_history_ends_a_member_is_told_once(self) -> None:
        """A member that fell behind further than is kept gets one ``channels.gap``, then what is
        left, in order. Usual cause: it waits for what will not come, or is told for each page."""
        here, there = await self._keeper(), await self._keeper(capacity=10, gaps=True)
        member = await self.member(there, "few")
        for each in messages(600):
            await here.group_send("few", each)
        got = await self._until(there, member, 599)
        gaps = [number for number, each in enumerate(got) if each["type"] == "channels.gap"]
        assert len(gaps) == 1
        assert got[gaps[0]]["group"] == "few"
        assert numbers(got[: gaps[0]]) == list(range(gaps[0]))
        rest = numbers(got[gaps[0] + 1 :])
        assert rest == list(range(600 - len(rest), 600))
        assert len(rest) >= 20
        assert there.stats()["gaps"] == 1

    @clause_unless(_no_outage)
    async def test_members_catch_up_after_an_outage(self) -> None:
        """Durable groups' members get what was sent meanwhile, or since, in order and once, and no
        gap message. Usual cause: the loss is told before history is asked."""
        here, there = await self._keeper(), await self._keeper(gaps=True)
        member = await self.member(there, "kept", "other")
        sent = 0

        async def send(over: asyncio.Event) -> None:
            nonlocal sent
            for _ in range(10):
                await self._sent_once(here, "kept", message(sent), over)
                sent += 1

        for _ in range(3):
            over = asyncio.Event()
            sending = asyncio.create_task(send(over))
            await asyncio.sleep(0)
            async with self.outage():
                await asyncio.sleep(self.quiet)
            over.set()
            await sending
        got = await self._until(there, member, sent - 1)
        assert numbers([each for each in got if "n" in each]) == list(range(sent))
        gaps = {each["group"] for each in got if each["type"] == "channels.gap"}
        assert gaps <= {"other"}

    @clause_unless(_no_outage)
    async def test_a_durable_channel_catches_up_after_an_outage(self) -> None:
        """What the broker took for it comes, in order and once. Usual cause: ``durable_channels``
        is ignored, or the loss is told before history is asked."""
        here, there = [await self._keeper(durable_channels=True, gaps=True) for _ in range(2)]
        member = await self.member(there)
        taken: list[int] = []

        async def send(first: int) -> None:
            for n in range(first, first + 10):
                try:
                    await self.soon(here.send(member, message(n)), "send", self.unavailable_within)
                    taken.append(n)
                except BackendUnavailable:
                    await asyncio.sleep(0.02)

        for first in (0, 10, 20):
            sending = asyncio.create_task(send(first))
            await asyncio.sleep(0)
            async with self.outage():
                await asyncio.sleep(self.quiet)
            await sending
        limit = time.monotonic() + self.recovers_within
        while 30 not in taken:
            assert time.monotonic() < limit, "sends fail long after an outage"
            await send(30)
        got = numbers(await self._until(there, member, taken[-1]))
        assert sorted(set(got)) == got, "in order, and once"
        assert set(taken) <= set(got)

    # --- inside -------------------------------------------------------------------------------

    async def _keeper(self, **options: Any) -> Any:
        node: ChannelLayer = await self.node(**{"history": KEPT, "send_timeout": 5.0, **options})
        assert isinstance(node, HistoryLayer)
        return node

    async def _sent_once(self, node: Any, group: str, each: Message, over: asyncio.Event) -> None:
        """The broker has the message, once, however often it could not be reached."""
        limit: float | None = None
        while True:
            if over.is_set() and limit is None:
                limit = time.monotonic() + self.recovers_within
            try:
                send = node.group_send(group, each, id=f"kit-{each['n']}")
                return await self.soon(send, "a send after an outage", self.unavailable_within)
            except BackendUnavailable:
                assert limit is None or time.monotonic() < limit, "sends fail long after an outage"
                await asyncio.sleep(0.02)

    async def _until(self, node: ChannelLayer, member: str, last: int) -> list[Message]:
        """Return what comes up to the message of that number."""
        got: list[Message] = []
        while not got or got[-1].get("n") != last:
            got += await self.receive(node, member)
        return got

    async def _refused(
        self, node: Any, group: str, member: str, since: str, error: type[Exception]
    ) -> None:
        with pytest.raises(error):
            await node.group_history(group, since=since)
        with pytest.raises(error):
            await node.group_add(group, member, since=since)

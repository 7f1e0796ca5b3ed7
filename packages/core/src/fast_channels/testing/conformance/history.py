"""The suite for history: topics whose messages are kept, and can be read again."""

import asyncio
import re
import sys
import time

import pytest

from fast_channels.exceptions import BackendUnavailable, HistoryLost
from fast_channels.layers import Append, Entry, Position
from fast_channels.testing.conformance.broker import no_outage
from fast_channels.testing.conformance.clause import clause, clause_unless
from fast_channels.testing.conformance.history_suite import HistorySuite


def _not_exact(suite: HistorySuite) -> str | None:
    if suite.exact_history:
        return None
    return "exact_history is False: the broker drops old entries when it suits it"


class HistoryTests(HistorySuite, power="history"):
    """Add it to the bases of your test class, and ``"history"`` to its ``capabilities``."""

    @clause
    async def test_the_history_is_as_exact_as_it_is_declared(self) -> None:
        """Usual cause: ``exact_history`` was set to skip a clause, and not the history's own
        ``exact``, or the other way round."""
        keeper = await self.keeper()
        assert keeper.history.exact is self.exact_history

    @clause
    async def test_entries_are_read_in_the_order_in_which_they_were_published(self) -> None:
        """Page by page; positions rise, and ``more`` is False at the end. Usual cause: ids that
        are handed out before the commit, or compared as text."""
        one, two = await self.keeper(), await self.keeper()
        for number in range(0, 60, 3):
            await one.publish(self.kept(), *self.numbered(3, number))
        pages = [await two.history.read(self.kept(), None, 7)]
        while pages[-1].more:
            pages.append(await two.history.read(self.kept(), pages[-1].position, 7))
        entries = [each for page in pages for each in page.entries]
        assert [each.payload for each in entries] == self.numbered(60)
        assert all(len(page.entries) <= 7 for page in pages)
        offsets = [each.position.offset for each in entries]
        assert offsets == sorted(set(offsets))
        [epoch] = {each.position.epoch for each in entries}
        assert re.fullmatch("[A-Za-z0-9_-]{1,64}", epoch), "an epoch is part of a text"
        again = await two.history.read(self.kept(), entries[29].position, 1_000)
        assert [each.payload for each in again.entries] == self.numbered(30, 30)

    @clause
    async def test_an_entry_is_delivered_with_the_position_at_which_it_is_read(self) -> None:
        """To every subscriber, the publisher too, in order. Usual cause: the position is counted
        by the receiver, or is that of the batch."""
        one, two = await self.keeper(), await self.keeper()
        for each in (one, two):
            await each.process.subscribe(self.kept())
        await asyncio.gather(
            one.publish(self.kept(), *self.numbered(20)),
            two.publish(self.kept(), *self.numbered(20, 20)),
        )
        kept = await one.all(self.kept())
        assert sorted(each.payload for each in kept) == sorted(self.numbered(40))
        for each in (one, two):
            await each.process.expect(self.kept(), 40)
            assert each.delivered(self.kept()) == kept

    @clause
    async def test_nothing_falls_between_a_subscription_and_a_read(self) -> None:
        """While two processes publish without a pause, who subscribes and then reads to the end
        has everything, once, by position. Usual cause: append and publish are two steps, or
        ``more`` is False before the end."""
        writers = [await self.keeper() for _ in range(2)]
        stop = asyncio.Event()
        counts = [0, 0]

        async def write(number: int) -> None:
            while not stop.is_set():
                await writers[number].publish(self.kept(), b"%d.%d" % (number, counts[number]))
                counts[number] += 1

        writing = [asyncio.create_task(write(number)) for number in range(2)]
        try:
            for _ in range(5):
                reader = await self.keeper()
                await reader.process.subscribe(self.kept())
                read = await reader.all(self.kept())
                begun = len(reader.delivered(self.kept()))
                await reader.process.expect(self.kept(), begun + 20)
                live = reader.delivered(self.kept())
                had = {each.position.offset for each in read} | {
                    each.position.offset for each in live
                }
                last = live[-1].position
                there = [each for each in await reader.all(self.kept()) if each.position <= last]
                assert [each.payload for each in there if each.position.offset not in had] == []
        finally:
            stop.set()
            await asyncio.wait(writing)
        payloads = [each.payload for each in await writers[0].all(self.kept())]
        for number in range(2):
            mine = [each for each in payloads if each.startswith(b"%d." % number)]
            assert mine == [b"%d.%d" % (number, n) for n in range(counts[number])]

    @clause
    async def test_every_entry_is_kept_as_it_was(self) -> None:
        """Any bytes, none, and more than ``max_payload``, live and read. Usual cause: a codec for
        text, or the live message that is sent along does not fit."""
        one, two = await self.keeper(), await self.keeper()
        await two.process.subscribe(self.kept())
        payloads = [bytes(range(256)), b"", b"{}", b"x" * (1_048_576 + 4_096), b"end"]
        for payload in payloads:
            await one.publish(self.kept(), payload)
        assert await two.process.expect(self.kept(), len(payloads)) == payloads
        assert [each.payload for each in await one.all(self.kept())] == payloads

    @clause
    async def test_histories_with_similar_names_stay_apart(self) -> None:
        """Usual cause: names are folded, or the group is a pattern."""
        keeper = await self.keeper()
        names = ["room", "Room", "room.1", "room_1", "room-1", "r", "room.", "!0123456789abcdef"]
        await keeper.history.publish(
            [self.append(self.kept(name), name.encode()) for name in names]
        )
        for name in names:
            assert [each.payload for each in await keeper.all(self.kept(name))] == [name.encode()]

    @clause
    async def test_last_gives_the_newest_and_the_end(self) -> None:
        """Oldest first; as many as there are; none of none. Usual cause: the newest comes first,
        or the end of an empty topic is nothing."""
        keeper = await self.keeper()
        empty = await keeper.history.last(self.kept(), 5)
        assert (list(empty.entries), empty.more) == ([], False)
        await keeper.publish(self.kept(), *self.numbered(10))
        kept = await keeper.all(self.kept())
        for count in (0, 1, 4, 10, 50):
            page = await keeper.history.last(self.kept(), count)
            assert list(page.entries) == kept[len(kept) - count if count < 10 else 0 :]
            assert page.position == kept[-1].position
        after = await keeper.history.read(self.kept(), empty.position, 50)
        assert list(after.entries) == kept, "after the end of the empty topic"

    @clause
    async def test_the_end_is_a_position_after_which_nothing_is(self) -> None:
        """Reading on from there is no loss, whoever asks. Usual cause: what has no entry is taken
        for what lost them."""
        one, two = await self.keeper(), await self.keeper()
        await one.publish(self.kept(), *self.numbered(3))
        end = (await one.history.last(self.kept(), 0)).position
        page = await two.history.read(self.kept(), end, 10)
        assert (list(page.entries), page.more, page.position) == ([], False, end)

    @clause_unless(_not_exact)
    async def test_only_the_newest_entries_are_kept(self) -> None:
        """And a position before them is lost, but not the one right before. Usual cause: trimming
        is approximate (declare it), or a position is compared with the oldest entry alone."""
        keeper = await self.keeper()
        for number in range(20):
            await keeper.publish(self.kept(), *self.numbered(1, number), keep=10)
        early, right_before = [each.position for each in (await keeper.all(self.kept()))[-2:]]
        for number in range(20, 30):
            await keeper.publish(self.kept(), *self.numbered(1, number), keep=10)
        assert [each.payload for each in await keeper.all(self.kept())] == self.numbered(10, 20)
        page = await keeper.history.read(self.kept(), right_before, 50)
        assert [each.payload for each in page.entries] == self.numbered(10, 20)
        with pytest.raises(HistoryLost):
            await keeper.history.read(self.kept(), early, 50)

    @clause
    async def test_as_much_may_be_kept_as_anybody_writes(self) -> None:
        """And for as long. Usual cause: the broker counts in integers of 64 bits, and time in
        nanoseconds."""
        keeper = await self.keeper()
        most = (sys.maxsize, 60.0), (10**30, 60.0), (10, 1e12), (10, sys.float_info.max)
        for keep, ttl in most:
            await keeper.history.publish([Append(self.kept(), [Entry(b"kept")], keep, ttl)])
        assert [each.payload for each in await keeper.all(self.kept())] == [b"kept"] * 4

    @clause_unless(_not_exact)
    async def test_old_entries_are_gone_and_newer_ones_are_not(self) -> None:
        """Each by its own age. A position before what expired is lost; the end is not. Usual
        cause: the whole topic expires at once, and its end with it."""
        keeper = await self.keeper()
        ttl = self.short_ttl
        start = (await keeper.history.last(self.kept(), 0)).position
        began = time.monotonic()
        await keeper.publish(self.kept(), b"old", ttl=ttl)
        old = [each.payload for each in await keeper.all(self.kept())]
        assert old == [b"old"] or time.monotonic() > began + ttl
        await asyncio.sleep(ttl * 0.6)
        renewed = time.monotonic()
        await keeper.publish(self.kept(), b"new", ttl=ttl)
        end = (await keeper.history.last(self.kept(), 0)).position
        await self.gone(keeper, self.kept(), 1, began + ttl)
        assert [each.payload for each in await keeper.all(self.kept())] in ([b"new"], [])
        with pytest.raises(HistoryLost):
            await keeper.history.read(self.kept(), start, 10)
        await self.gone(keeper, self.kept(), 0, renewed + ttl)
        page = await keeper.history.read(self.kept(), end, 10)
        assert (list(page.entries), page.more) == ([], False), "after all of it expired"

    @clause
    async def test_an_id_is_published_once_while_it_is_kept(self) -> None:
        """From any process, also at once; on each topic for itself. The second time is no error.
        Usual cause: looking for the id and appending are two steps."""
        one, two = await self.keeper(), await self.keeper()
        await two.process.subscribe(self.kept())
        appends = [
            Append(self.kept(), [Entry(b"%d" % n, f"order {n % 5} ü")], 100, 60.0)
            for n in range(20)
        ]
        await asyncio.gather(
            *(keeper.history.publish([each]) for each in appends for keeper in (one, two))
        )
        await one.history.publish([appends[0]._replace(topic=self.kept("other"))])
        await one.publish(self.kept(), b"end")
        kept = await one.all(self.kept())
        assert len(kept) == 6
        assert sorted(int(each.payload) % 5 for each in kept[:5]) == [0, 1, 2, 3, 4]
        assert await two.process.expect(self.kept(), 6) == [each.payload for each in kept]
        assert len(await one.all(self.kept("other"))) == 1

    @clause
    async def test_clear_ends_the_histories_of_a_prefix_alone(self) -> None:
        """They are empty, and older positions are lost, also when there is something again. Usual
        cause: the prefix is a pattern, or the new history counts from 1 in the old epoch."""
        keeper = await self.keeper()
        inside, outside = self.kept("a_1.x"), self.kept("ab1.x")
        for topic in (inside, outside):
            await keeper.publish(topic, *self.numbered(3))
        position = (await keeper.all(inside))[0].position
        await keeper.history.clear(self.kept("a_1"))
        assert await keeper.all(inside) == []
        assert len(await keeper.all(outside)) == 3
        for _ in range(2):
            with pytest.raises(HistoryLost) as lost:
                await keeper.history.read(inside, position, 10)
            await keeper.publish(inside, *self.numbered(5))
            here = (await keeper.all(inside))[0].position
            assert lost.value.anew in ("", here.epoch)

    @clause
    async def test_a_position_of_another_history_is_lost(self) -> None:
        """Of another epoch, and beyond the end. Usual cause: an offset alone is compared."""
        keeper = await self.keeper()
        await keeper.publish(self.kept(), *self.numbered(5))
        here = (await keeper.all(self.kept()))[2].position
        for position in (
            Position("another", here.offset),
            Position(here.epoch, here.offset + (1 << 80)),
        ):
            with pytest.raises(HistoryLost):
                await keeper.history.read(self.kept(), position, 10)

    @clause_unless(no_outage)
    async def test_history_fails_in_time_during_an_outage(self) -> None:
        """With ``BackendUnavailable``, every method; afterwards all work. Usual cause: another
        connection than the one for publishing, without a time limit."""
        keeper = await self.keeper()
        await keeper.publish(self.kept(), b"1")
        async with self.outage():
            for name, call in (
                ("publish", keeper.history.publish([self.append(self.kept(), b"2")])),
                ("read", keeper.history.read(self.kept(), None, 10)),
                ("last", keeper.history.last(self.kept(), 1)),
                ("clear", keeper.history.clear(self.kept())),
            ):
                with pytest.raises(BackendUnavailable):
                    await keeper.process.soon(call, name, self.unavailable_within)
        await self.works(keeper)

    @clause_unless(no_outage)
    async def test_after_an_outage_a_position_is_good_or_lost(self) -> None:
        """Reading from before it gives everything that was published since, or ``HistoryLost``:
        never a part. Usual cause: the broker's new history is taken for the old one."""
        keeper, other = await self.keeper(), await self.keeper()
        await keeper.publish(self.kept(), b"before")
        position = (await keeper.all(self.kept()))[-1].position
        async with self.outage():
            pass
        await self.works(other)
        await self.works(keeper)
        await other.publish(self.kept(), *self.numbered(3))
        try:
            page = await keeper.history.read(self.kept(), position, 10)
        except HistoryLost:
            end = (await keeper.history.last(self.kept(), 0)).position
            assert end.epoch != position.epoch
        else:
            assert [each.payload for each in page.entries] == self.numbered(3)

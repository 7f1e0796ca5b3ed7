"""Clauses: the broker cannot be reached for a while, and is back.

They need ``outage()``, and are skipped where the class says ``no_outage = "the reason"``.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from time import monotonic
from typing import Any

import pytest

from fast_channels.exceptions import BackendUnavailable
from fast_channels.layers import Publication
from fast_channels.testing.conformance.backend_life import as_printed, refuse_secret, shown_in_logs
from fast_channels.testing.conformance.broker import no_outage
from fast_channels.testing.conformance.cancelling import cancelled_everywhere
from fast_channels.testing.conformance.clause import clause_unless
from fast_channels.testing.conformance.holdings import Holdings
from fast_channels.testing.conformance.process import Process, soon
from fast_channels.testing.conformance.sealed import sealed
from fast_channels.testing.conformance.suite import BackendSuite, no_secret


class OutageSuite(BackendSuite):
    """What the outage clauses share."""

    @sealed
    @asynccontextmanager
    async def repaired(self, *processes: Process) -> AsyncGenerator[None]:
        """The broker cannot be reached inside; after it, each process has been told of the gap."""
        told = {process: len(process.gaps) for process in processes}
        async with self.outage():
            yield
        for process in processes:
            await process.gap_after(told[process], self.recovers_within)

    @sealed
    async def refused(self, call: Coroutine[Any, Any, object], what: str) -> BackendUnavailable:
        """Return the ``BackendUnavailable`` that the call raises in time."""
        with pytest.raises(BackendUnavailable) as raised:
            await soon(call, what, self.unavailable_within)
        return raised.value


class OutageClauses(OutageSuite):
    """Law 4, and law 5 while the broker is gone."""

    @clause_unless(no_outage)
    async def test_publish_and_subscribe_fail_in_time_during_an_outage(self) -> None:
        """Law 4: ``BackendUnavailable`` within ``unavailable_within`` seconds. Usual cause: the
        driver retries for ever or buffers; its own error comes through; there is no time limit."""
        process = await self.process()
        await process.subscribe(self.topic())
        backend = process.backend
        async with self.repaired(process):
            for number in range(3):
                batch = [Publication(self.topic(), b"lost %d" % number)]
                await self.refused(backend.publish(batch), "publish")
                await self.refused(backend.subscribe([self.topic(f"n-{number}")]), "subscribe")

    @clause_unless(no_outage)
    async def test_calls_under_way_end_when_an_outage_begins(self) -> None:
        """Law 4: nothing hangs. Usual cause: who waits for the answer of a broken connection is
        not told that it will not come; fail all that wait when the connection is lost."""
        process = await self.process()
        await process.subscribe(self.topic())
        stop = asyncio.Event()

        async def go_on(call: Callable[[int], Coroutine[Any, Any, object]]) -> None:
            number = 0
            while not stop.is_set():
                number += 1
                try:
                    await soon(call(number), "a call", self.unavailable_within)
                except BackendUnavailable:
                    await asyncio.sleep(0.01)
                await asyncio.sleep(0)  # a call that never waits would keep the loop for itself

        calls: list[Callable[[int], Coroutine[Any, Any, object]]] = [
            lambda n: process.backend.publish([Publication(self.topic(), b"%d" % n)]),
            lambda n: process.backend.subscribe([self.topic(f"new-{n % 10}")]),
        ]
        async with asyncio.TaskGroup() as busy:
            for pause in (self.quiet, 0):  # some have gone on for a while, some just begin
                for call in calls * 3:
                    busy.create_task(go_on(call))
                await asyncio.sleep(pause)
            async with self.repaired(process):
                await asyncio.sleep(self.quiet)
            stop.set()

    @clause_unless(no_outage)
    async def test_subscriptions_are_restored_after_an_outage(self) -> None:
        """Law 4: without a call, and confirmed when ``gap`` is called. Usual cause: the driver
        reconnects and forgets; or ``gap`` is called before the broker has confirmed."""
        there = await self.process()
        topics = [self.topic(f"restored-{number}") for number in range(50)]
        await there.subscribe(*topics)
        async with self.repaired(there):
            pass
        here = await self.process()
        for topic in topics:
            await here.publish(topic, b"after")
        for topic in topics:
            assert await there.expect(topic) == [b"after"]
        await self.silence(here, there)
        assert [there.payloads(topic) for topic in topics] == [[b"after"]] * 50

    @clause_unless(no_outage)
    async def test_a_process_that_was_told_of_the_gap_can_publish(self) -> None:
        """Law 4. Usual cause: the connection that publishes is another one and is repaired later,
        or the first call finds a stale one in the pool."""
        processes = [await self.process() for _ in range(2)]
        for process in processes:
            await process.subscribe(self.topic())
        async with self.repaired(*processes):
            pass
        for number, process in enumerate(processes):
            await process.publish(self.topic(), b"%d" % number)
        for process in processes:
            assert sorted(await process.expect(self.topic(), 2)) == self.numbered(2)

    @clause_unless(no_outage)
    async def test_an_outage_is_one_gap(self) -> None:
        """Law 4. Usual cause: each attempt, each connection or each topic calls ``gap``."""
        here, there = await self.process(), await self.process()
        for process in (here, there):
            await process.subscribe(*(self.topic(f"one-{number}") for number in range(5)))
        async with self.repaired(here, there):
            await asyncio.sleep(self.quiet)
        await self.silence(here, here, there)
        assert [len(process.gaps) for process in (here, there)] == [1, 1]

    @clause_unless(no_outage)
    async def test_a_gap_names_all_that_was_subscribed(self) -> None:
        """Its topics are None, or have every subscribed topic. Usual cause: only those of which
        something is known to be lost are named; nobody knows."""
        process = await self.process()
        topics = {self.topic("a"), self.topic("b")}
        await process.subscribe(*topics)
        async with self.repaired(process):
            pass
        [(_, named)] = process.gaps
        assert named is None or named >= topics

    @clause_unless(no_outage)
    async def test_the_gap_comes_before_what_the_new_connection_delivers(self) -> None:
        """Law 4. Usual cause: the broker sends as soon as the first topic is restored, and that
        is delivered while others are not yet; hold it until all are confirmed and gap was
        called."""
        there = await self.process()
        topics = [self.topic(f"early-{number}") for number in range(50)]
        await there.subscribe(*topics)
        seen = len(there.events)
        async with self.outage():
            pass
        here = await self.process()
        number = 0
        until = monotonic() + self.recovers_within
        while len(there.events) < seen + 2 and monotonic() < until:
            number += 1
            await here.publish_all(Publication(topic, b"%d" % number) for topic in topics)
            await asyncio.sleep(0.001)
        await there.until(
            lambda: len(there.events) > seen + 1, "the gap and a payload", self.recovers_within
        )
        assert there.events[seen] == "gap"
        assert "gap" not in there.events[seen + 1 :]

    @clause_unless(no_outage)
    async def test_order_holds_after_an_outage(self) -> None:
        """Laws 3 and 4. Usual cause: what is held until the gap is delivered after what came
        later, or the old connection's reader still lives beside the new one's."""
        there = await self.process()
        await there.subscribe(self.topic())
        async with self.outage():
            pass
        here = await self.process()
        sent: list[bytes] = []
        until = monotonic() + self.recovers_within
        while len(sent) < 100 or (not there.gaps and monotonic() < until):
            sent.append(b"%d" % len(sent))
            await here.publish(self.topic(), sent[-1])
        await there.until(lambda: there.gaps, "the gap", self.recovers_within)
        await here.publish(self.topic(), b"last")
        await there.until(lambda: b"last" in there.payloads(self.topic()), "the last payload")
        came = there.payloads(self.topic())[:-1]
        assert came == sent[len(sent) - len(came) :], "from the first on, in order, each once"

    @clause_unless(no_outage)
    async def test_several_outages_in_a_row_are_repaired(self) -> None:
        """Law 4, five times. Usual cause: the repairing task ends after its first success, its
        pauses grow for ever, or each repair adds another subscription."""
        there = await self.process()
        await there.subscribe(self.topic())
        for number in range(5):
            async with self.repaired(there):
                pass
            async with self.opened() as here:
                await here.publish(self.topic(), b"%d" % number)
                await there.expect(self.topic(), number + 1)
        await asyncio.sleep(self.quiet)
        assert (there.payloads(self.topic()), len(there.gaps)) == (self.numbered(5), 5)

    @clause_unless(no_outage)
    async def test_an_unsubscribe_during_an_outage_holds_after_it(self) -> None:
        """Laws 2 and 4; where it raises ``BackendUnavailable``, it holds when repeated. Usual
        cause: what is restored was noted when the connection was lost."""
        there = await self.process()
        await there.subscribe(self.topic(), self.topic("left"))
        repeat = False
        async with self.repaired(there):
            try:
                call = there.backend.unsubscribe([self.topic("left")])
                await soon(call, "unsubscribe", self.unavailable_within)
            except BackendUnavailable:
                repeat = True
        if repeat:
            await there.unsubscribe(self.topic("left"))
        here = await self.process()
        await here.publish(self.topic("left"), b"unwanted")
        await here.publish(self.topic(), b"wanted")
        await self.silence(here, there)
        assert there.payloads(self.topic("left")) == []
        assert there.payloads(self.topic()) == [b"wanted"]

    @clause_unless(no_outage)
    async def test_a_subscribe_that_failed_in_an_outage_works_after_it(self) -> None:
        """Laws 1 and 4. Usual cause: the topic of the failed call counts as subscribed, so that
        the next call returns at once and the broker never hears of it."""
        there = await self.process()
        await there.subscribe(self.topic())
        async with self.repaired(there):
            await self.refused(there.backend.subscribe([self.topic("new")]), "subscribe")
        await there.subscribe(self.topic("new"))
        here = await self.process()
        await here.publish(self.topic("new"), b"once")
        await here.publish(self.topic(), b"old")
        await self.silence(here, there)
        assert there.payloads(self.topic("new")) == [b"once"]
        assert there.payloads(self.topic()) == [b"old"]

    @clause_unless(no_outage)
    async def test_calls_cancelled_during_an_outage_leave_a_backend_that_works(self) -> None:
        """Laws 4 and 5. Usual cause: a lock stays taken, or the repairing task ran inside the
        call that was cancelled; it must be the backend's own."""
        there = await self.process()
        await there.subscribe(self.topic())

        async def nothing(_: bool) -> None:
            await asyncio.sleep(0)

        async def call(topic: str, payload: bytes | None = None) -> None:
            with suppress(BackendUnavailable):
                if payload is None:
                    await there.backend.subscribe([topic])
                else:
                    await there.backend.publish([Publication(topic, payload)])

        within = self.unavailable_within
        async with self.repaired(there):
            await cancelled_everywhere(lambda: call(self.topic("new")), nothing, within)
            await cancelled_everywhere(lambda: call(self.topic(), b"lost"), nothing, within)
        await there.subscribe(self.topic("new"))
        here = await self.process()
        await here.publish_all([Publication(self.topic(n), b"after") for n in ("new", "room")])
        assert await there.expect(self.topic("new")) == [b"after"]
        await there.until(lambda: b"after" in there.payloads(self.topic()), "what came after")

    @clause_unless(no_outage)
    async def test_closing_during_an_outage_leaves_nothing(self) -> None:
        """Law 5. Usual cause: close waits for the broker (a goodbye that nobody answers), or the
        task that repairs is not cancelled."""
        before = Holdings.now()
        process = await self.process()
        await process.subscribe(self.topic())
        async with self.outage():
            await soon(process.backend.close(), "close", self.unavailable_within)
            before.refuse_more()
            came = list(process.events)
        await asyncio.sleep(self.quiet)
        assert process.events == came
        before.refuse_more()

    @clause_unless(no_outage)
    async def test_closing_while_it_is_repaired_leaves_nothing(self) -> None:
        """Law 5. Usual cause: the repairing task stores the new connection after close has looked
        for one."""
        for turns in (0, 1, 2, 5, 20, 100):
            before = Holdings.now()
            process = await self.process()
            await process.subscribe(self.topic())
            async with self.outage():
                pass
            for _ in range(turns):
                await asyncio.sleep(0)
            await process.close()
            before.refuse_more()

    @clause_unless(no_outage)
    async def test_opening_during_an_outage_fails_in_time_and_leaves_nothing(self) -> None:
        """``BackendUnavailable``; a new backend opens when the broker is back. Usual cause: open
        retries for ever, or its first connection stays when the second fails."""
        async with self.outage():
            before = Holdings.now()
            process = Process(self.build(), self.patience)
            await self.refused(process.backend.open(process), "open")
            await process.close()
            before.refuse_more()
        here = await self.process()
        await here.subscribe(self.topic())
        await here.publish(self.topic(), b"back")
        assert await here.expect(self.topic()) == [b"back"]

    @clause_unless(lambda suite: no_outage(suite) or no_secret(suite))
    async def test_no_password_is_shown_in_an_outage(self) -> None:
        """Law 4: not in logs, nor in errors and what they were raised from. Usual cause: the
        driver's error has the URL in it and is logged or chained; raise it ``from None``, or
        cut the password out."""
        with shown_in_logs() as shown:
            process = await self.process()
            await process.subscribe(self.topic())
            other = Process(self.build(), self.patience)
            async with self.repaired(process):
                publish = process.backend.publish([Publication(self.topic(), b"lost")])
                shown.append(as_printed(await self.refused(publish, "publish")))
                subscribe = process.backend.subscribe([self.topic("new")])
                shown.append(as_printed(await self.refused(subscribe, "subscribe")))
                opening = other.backend.open(other)
                shown.append(as_printed(await self.refused(opening, "open")))
                shown += [repr(process.backend), repr(other.backend)]
                await other.close()
            shown += [as_printed(cause) for cause, _ in process.gaps]
        refuse_secret(self.secret, shown)

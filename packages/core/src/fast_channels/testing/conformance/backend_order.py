"""Clauses: what one process publishes is received in that order."""

import asyncio

from fast_channels.layers import Publication
from fast_channels.testing.conformance.broker import no_order_across
from fast_channels.testing.conformance.cancelling import cancelled_everywhere
from fast_channels.testing.conformance.clause import clause, clause_unless
from fast_channels.testing.conformance.suite import BackendSuite


class OrderClauses(BackendSuite):
    """Law 3, for when; law 5, for ``publish``."""

    @clause_unless(no_order_across)
    async def test_one_call_arrives_in_its_order_across_topics(self) -> None:
        """Law 3. Usual cause: the publications of a call are sent concurrently, or each topic has
        a queue or connection of its own."""
        here, there = await self.process(), await self.process()
        batch = self._across_topics()
        await there.subscribe(*{publication.topic for publication in batch})
        await here.publish_all(batch)
        await there.until(lambda: len(there.received) >= len(batch), "the whole batch")
        assert there.received == batch

    @clause_unless(no_order_across)
    async def test_separate_calls_arrive_in_their_order_across_topics(self) -> None:
        """Law 3. Usual cause: publishing connections are taken from a pool, or the receiver starts
        a task for each message."""
        here, there = await self.process(), await self.process()
        batch = self._across_topics()
        await there.subscribe(*{publication.topic for publication in batch})
        for publication in batch:
            await here.publish_all([publication])
        await there.until(lambda: len(there.received) >= len(batch), "all publications")
        assert there.received == batch

    @clause
    async def test_concurrent_callers_each_keep_their_order(self) -> None:
        """Law 3. Usual cause: concurrent calls share a buffer or a connection without a lock."""
        here, there = await self.process(), await self.process()
        await there.subscribe(self.topic())

        async def publish(caller: int) -> None:
            for number in range(50):
                await here.publish(self.topic(), b"%d %d" % (caller, number))

        await asyncio.gather(*map(publish, range(4)))
        came = await there.expect(self.topic(), 200)
        for caller in range(4):
            own = [payload for payload in came if payload.startswith(b"%d " % caller)]
            assert own == [b"%d %d" % (caller, number) for number in range(50)]

    @clause
    async def test_small_payloads_do_not_overtake_large_ones(self) -> None:
        """Law 3. Usual cause: large payloads take another way (cut into pieces, through a table or
        a store), and small ones are faster."""
        here, there = await self.process(), await self.process()
        size = min(here.backend.max_payload or 262_144, 262_144)
        payloads = [b"%d" % n if n % 2 else b"%d" % (n % 10) * size for n in range(10)]
        await there.subscribe(self.topic())
        for payload in payloads:
            await here.publish(self.topic(), payload)
        came = await there.expect(self.topic(), 10)
        assert [each[:1] for each in came] == self.numbered(10)
        assert came == payloads

    @clause
    async def test_a_cancelled_publish_leaves_a_backend_that_works(self) -> None:
        """Law 5: it was sent or not, whole, and what follows arrives in order. Usual cause: the
        rest of a half-written command stays in the connection, a lock stays taken, or the answer
        that nobody waits for is taken for that of the next call."""
        here, there = await self.process(), await self.process()
        await there.subscribe(self.topic())
        sent: list[bytes] = []
        published: list[bytes] = []

        def cancelled() -> bytes:
            sent.append(b"cancelled %d" % len(sent))
            return sent[-1]

        async def check(over: bool) -> None:
            if over:
                published.append(sent[-1])
            sent.append(b"after %d" % len(sent))
            published.append(sent[-1])
            await here.publish(self.topic(), sent[-1])
            await there.until(lambda: sent[-1] in there.payloads(self.topic()), f"{sent[-1]!r}")

        await cancelled_everywhere(
            lambda: here.publish(self.topic(), cancelled()), check, self.patience
        )
        await self.silence(here, there)
        came = there.payloads(self.topic())
        assert came == [payload for payload in sent if payload in came], "in order, each once"
        assert not set(published) - set(came)

    def _across_topics(self) -> list[Publication]:
        topics = [self.topic(f"lane-{number}") for number in range(4)]
        return [
            Publication(topics[number % 4 if number % 7 else 0], payload)
            for number, payload in enumerate(self.numbered(200))
        ]

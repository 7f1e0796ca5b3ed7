"""Clauses: subscribing and unsubscribing are complete when they return."""

import asyncio
import os

from fast_channels.testing.conformance.cancelling import cancelled_everywhere
from fast_channels.testing.conformance.clause import clause
from fast_channels.testing.conformance.suite import BackendSuite


class SubscriptionClauses(BackendSuite):
    """Laws 1, 2 and 5."""

    @clause
    async def test_after_subscribe_returns_every_publish_arrives(self) -> None:
        """Law 1, a hundred times. Usual cause: subscribe does not wait for the broker's
        confirmation."""
        here, there = await self.process(), await self.process()
        for number in range(100):
            topic = self.topic(f"fresh-{number}")
            await there.subscribe(topic)
            await here.publish(topic, b"first")
            assert await there.expect(topic) == [b"first"]

    @clause
    async def test_after_subscribe_returns_all_its_topics_are_live(self) -> None:
        """Law 1. Usual cause: subscribe waits for the confirmation of its first topic only."""
        here, there = await self.process(), await self.process()
        topics = [self.topic(f"together-{number}") for number in range(50)]
        await there.subscribe(*topics)
        for topic in reversed(topics):
            await here.publish(topic, b"first")
        for topic in topics:
            assert await there.expect(topic) == [b"first"]

    @clause
    async def test_a_topic_is_subscribed_at_once_or_not_at_all(self) -> None:
        """Law 1, and of ``subscribe_at_once``. Usual cause: it asks the broker and does not wait,
        or asks and returns False."""
        here, there = await self.process(), await self.process()
        topics = [self.topic(f"at-once-{number}") for number in range(20)]
        taken = [topic for topic in topics if there.backend.subscribe_at_once(topic)]
        for topic in topics:
            await here.publish(topic, b"first")
        for topic in taken:
            assert await there.expect(topic) == [b"first"]
        await self.silence(here, there)
        assert [topic for topic in topics if there.payloads(topic)] == taken

    @clause
    async def test_subscribing_twice_delivers_once(self) -> None:
        """Usual cause: the second subscribe makes a second subscription at the broker, or
        registers a second callback in the driver. Keep a set of the topics."""
        here, there = await self.process(), await self.process()
        await there.subscribe(self.topic(), self.topic())
        await there.subscribe(self.topic(), self.topic("other"))
        await here.publish(self.topic(), b"once")
        await there.expect(self.topic())
        await self.silence(here, there)
        assert there.payloads(self.topic()) == [b"once"]

    @clause
    async def test_concurrent_subscribes_to_one_topic_all_wait_for_the_broker(self) -> None:
        """Law 1. Usual cause: the topic is put into a set before the broker has confirmed it, so
        that the second caller finds it there and returns at once."""
        here, there = await self.process(), await self.process()
        for number in range(20):
            topic = self.topic(f"shared-{number}")

            async def subscribe_and_publish(caller: bytes, topic: str = topic) -> None:
                await there.subscribe(topic)
                await here.publish(topic, caller)

            callers = [b"a", b"b", b"c"]
            await asyncio.gather(*map(subscribe_and_publish, callers))
            assert sorted(await there.expect(topic, 3)) == callers

    @clause
    async def test_concurrent_calls_for_different_topics_do_not_disturb_each_other(self) -> None:
        """Usual cause: two calls use one connection at the same time, or one takes the other's
        confirmation for its own."""
        here, there = await self.process(), await self.process()
        leaving = [self.topic(f"leaving-{number}") for number in range(10)]
        coming = [self.topic(f"coming-{number}") for number in range(10)]
        staying = [self.topic(f"staying-{number}") for number in range(10)]
        await there.subscribe(*leaving, *staying)
        calls = [there.unsubscribe(topic) for topic in leaving]
        calls += [there.subscribe(topic) for topic in coming]
        calls += [here.publish(topic, b"meanwhile") for topic in staying]
        await asyncio.gather(*calls)
        for topic in [*leaving, *coming, *staying]:
            await here.publish(topic, b"after")
        await self.fence(here, there)
        assert [there.payloads(topic) for topic in leaving] == [[]] * 10
        assert [there.payloads(topic) for topic in coming] == [[b"after"]] * 10
        assert [there.payloads(topic) for topic in staying] == [[b"meanwhile", b"after"]] * 10

    @clause
    async def test_after_unsubscribe_returns_nothing_is_delivered(self) -> None:
        """Law 2, also for what was published before and is under way. Usual cause: unsubscribe
        does not wait for the broker, or what it had sent already is delivered later; look the
        topic up in the subscribed ones just before ``deliver``."""
        here, there = await self.process(), await self.process()
        topics = [self.topic(f"left-{number}") for number in range(20)]
        for topic in topics:
            await there.subscribe(topic)
            await here.publish(topic, *self.numbered(5))
            await there.unsubscribe(topic)
            came = len(there.payloads(topic))
            await here.publish(topic, b"after")
            await self.fence(here, there)
            assert len(there.payloads(topic)) == came
        await asyncio.sleep(self.quiet)
        assert b"after" not in [payload for topic in topics for payload in there.payloads(topic)]

    @clause
    async def test_unsubscribing_what_is_not_subscribed_does_nothing(self) -> None:
        """Usual cause: a ``KeyError``, or an error of the broker, which ends the call before the
        topics after it."""
        here, there = await self.process(), await self.process()
        await there.unsubscribe(self.topic("unknown"))
        await there.subscribe(self.topic(), self.topic("left"))
        await there.unsubscribe(self.topic("unknown"), self.topic("left"), self.topic("left"))
        await there.unsubscribe(self.topic("left"))
        await here.publish(self.topic("left"), b"unwanted")
        await here.publish(self.topic(), b"wanted")
        await self.fence(here, there)
        assert there.payloads(self.topic("left")) == []
        assert there.payloads(self.topic()) == [b"wanted"]

    @clause
    async def test_subscribing_again_after_unsubscribing_delivers(self) -> None:
        """Law 1, twenty times there and back. Usual cause: the unsubscribe is still under way and
        takes the new subscription with it; or the old one was kept, and all comes twice."""
        here, there = await self.process(), await self.process()
        for number in range(20):
            await there.subscribe(self.topic())
            await here.publish(self.topic(), b"%d" % number)
            await there.expect(self.topic(), number + 1)
            await there.unsubscribe(self.topic())
        await self.silence(here, there)
        assert there.payloads(self.topic()) == self.numbered(20)

    @clause
    async def test_unsubscribing_leaves_other_topics_and_processes_alone(self) -> None:
        """Usual cause: the broker object behind the topic is deleted for everybody, or all the
        topics of the connection are left."""
        here, one, two = [await self.process() for _ in range(3)]
        for process in (one, two):
            await process.subscribe(self.topic(), self.topic("other"))
        await one.unsubscribe(self.topic())
        await here.publish(self.topic(), b"news")
        await here.publish(self.topic("other"), b"more")
        await self.fence(here, one, two)
        assert (one.payloads(self.topic()), one.payloads(self.topic("other"))) == ([], [b"more"])
        assert two.payloads(self.topic()) == [b"news"]
        assert two.payloads(self.topic("other")) == [b"more"]

    @clause
    async def test_a_cancelled_subscribe_leaves_a_backend_that_works(self) -> None:
        """Law 5. Usual cause: the topic counts as subscribed, so the next subscribe returns at
        once; or the answer that nobody waits for is taken for that of the next call."""
        here, there = await self.process(), await self.process()
        await there.subscribe(self.topic("before"))

        async def check(_: bool) -> None:
            came = len(there.payloads(self.topic()))
            await there.subscribe(self.topic())
            await here.publish(self.topic(), b"after")
            assert len(await there.expect(self.topic(), came + 1)) == came + 1
            await there.unsubscribe(self.topic())
            await here.publish(self.topic(), b"unwanted")
            await here.publish(self.topic("before"), b"still here")
            await self.fence(here, there)
            assert there.payloads(self.topic())[came:] == [b"after"]
            assert b"still here" in there.payloads(self.topic("before"))

        await cancelled_everywhere(lambda: there.subscribe(self.topic()), check, self.patience)

    @clause
    async def test_a_cancelled_subscribe_takes_nothing_from_another_caller(self) -> None:
        """Laws 1 and 5. Usual cause: callers for one topic share a future, and who is cancelled
        cancels it for all; or undoes the subscription that the other has. Shield it."""
        here, there = await self.process(), await self.process()

        stayers: list[tuple[str, asyncio.Task[None]]] = []

        async def leave() -> None:
            topic = self.topic(os.urandom(6).hex())
            stayers.append((topic, asyncio.create_task(there.subscribe(topic))))
            await there.subscribe(topic)

        async def check(_: bool) -> None:
            while stayers:
                topic, stayer = stayers.pop()
                await stayer
                await here.publish(topic, b"for who stayed")
                assert await there.expect(topic) == [b"for who stayed"]

        await cancelled_everywhere(leave, check, self.patience)

    @clause
    async def test_a_cancelled_unsubscribe_leaves_a_backend_that_works(self) -> None:
        """Law 5. Usual cause: the topic counts as left while the broker still sends it, so that
        the next unsubscribe does nothing; or it counts as subscribed and is not."""
        here, there = await self.process(), await self.process()

        async def check(_: bool) -> None:
            await there.unsubscribe(self.topic())
            came = len(there.payloads(self.topic()))
            await here.publish(self.topic(), b"unwanted")
            await self.fence(here, there)
            assert len(there.payloads(self.topic())) == came
            await there.subscribe(self.topic())
            await here.publish(self.topic(), b"wanted")
            assert len(await there.expect(self.topic(), came + 1)) == came + 1

        await there.subscribe(self.topic())
        await cancelled_everywhere(lambda: there.unsubscribe(self.topic()), check, self.patience)

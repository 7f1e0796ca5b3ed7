"""Mutants that subscribe or unsubscribe wrongly: too early, too late, for others."""

import asyncio
from collections.abc import Collection

from fast_channels.layers import Publication

from .breakable import BreakableBackend, BreakableBroker
from .subject import caught_by, later


@caught_by("test_after_subscribe_returns_every_publish_arrives")
class LateSubscribe(BreakableBackend):
    """Does not wait until the broker has confirmed."""

    async def subscribe(self, topics: Collection[str], /) -> None:
        await self.round_trip()
        self.topics.update(topics)
        later(0.002, self.broker.subscribe, self, topics)


@caught_by("test_after_subscribe_returns_all_its_topics_are_live")
class FirstConfirmed(BreakableBackend):
    """Waits for the confirmation of the first topic."""

    async def subscribe(self, topics: Collection[str], /) -> None:
        first, *others = [*topics, ""]
        await super().subscribe([first])
        self.topics.update(others)
        later(0.002, self.broker.subscribe, self, others)


@caught_by("test_a_topic_is_subscribed_at_once_or_not_at_all")
class AsksAndDoesNotWait(BreakableBackend):
    """Says that it has subscribed when the broker has only been asked."""

    def subscribe_at_once(self, topic: str, /) -> bool:
        self.topics.add(topic)
        later(0.002, self.broker.subscribe, self, [topic])
        return True


@caught_by("test_a_topic_is_subscribed_at_once_or_not_at_all")
class AsksAndDenies(BreakableBackend):
    """Subscribes, and says that it has not."""

    def subscribe_at_once(self, topic: str, /) -> bool:
        self.topics.add(topic)
        self.broker.subscribe(self, [topic])
        return False


@caught_by("test_subscribing_twice_delivers_once")
class Twice(BreakableBackend):
    """Delivers once for each time that it was subscribed."""

    def __init__(self, broker: BreakableBroker) -> None:
        super().__init__(broker)
        self.times: dict[str, int] = {}

    async def subscribe(self, topics: Collection[str], /) -> None:
        await super().subscribe(topics)
        for topic in topics:
            self.times[topic] = self.times.get(topic, 0) + 1

    async def unsubscribe(self, topics: Collection[str], /) -> None:
        await super().unsubscribe(topics)
        for topic in topics:
            self.times.pop(topic, None)

    def arrive(self, publication: Publication) -> None:
        for _ in range(self.times.get(publication.topic, 0)):
            super().arrive(publication)


@caught_by("test_concurrent_subscribes_to_one_topic_all_wait_for_the_broker")
class SecondDoesNotWait(BreakableBackend):
    """Who finds the topic in the set returns at once."""

    def __init__(self, broker: BreakableBroker) -> None:
        super().__init__(broker)
        self.known: set[str] = set()

    async def subscribe(self, topics: Collection[str], /) -> None:
        new = [topic for topic in topics if topic not in self.known]
        self.known.update(new)
        if not new:
            return
        try:
            for _ in range(10):
                await self.round_trip()
            await super().subscribe(new)
        except BaseException:
            self.known.difference_update(new)
            raise

    async def unsubscribe(self, topics: Collection[str], /) -> None:
        self.known.difference_update(topics)
        await super().unsubscribe(topics)


@caught_by("test_concurrent_calls_for_different_topics_do_not_disturb_each_other")
class OneSlot(BreakableBackend):
    """Concurrent subscribes overwrite what the others want."""

    wanted: Collection[str] = ()

    async def subscribe(self, topics: Collection[str], /) -> None:
        self.wanted = topics
        await self.round_trip()
        await super().subscribe(self.wanted)


@caught_by("test_after_unsubscribe_returns_nothing_is_delivered")
class StickyUnsubscribe(BreakableBackend):
    """Tells the broker, and does not wait."""

    async def unsubscribe(self, topics: Collection[str], /) -> None:
        await asyncio.sleep(0)
        later(0.002, self.left, topics)

    def left(self, topics: Collection[str]) -> None:
        self.topics.difference_update(topics)
        self.broker.unsubscribe(self, topics)


@caught_by("test_unsubscribing_what_is_not_subscribed_does_nothing")
class UnknownTopic(BreakableBackend):
    """Stops at the first topic that it does not know."""

    async def unsubscribe(self, topics: Collection[str], /) -> None:
        for topic in topics:
            if topic not in self.topics:
                raise KeyError(topic)
            await super().unsubscribe([topic])


@caught_by("test_subscribing_again_after_unsubscribing_delivers")
class TakenAlong(BreakableBackend):
    """The broker hears of the unsubscribe after the next subscribe."""

    async def unsubscribe(self, topics: Collection[str], /) -> None:
        await asyncio.sleep(0)
        self.topics.difference_update(topics)
        later(0, later, 0, self.broker.unsubscribe, self, topics)


@caught_by("test_unsubscribing_leaves_other_topics_and_processes_alone")
class LeavesForAll(BreakableBackend):
    """Deletes the topic at the broker."""

    async def unsubscribe(self, topics: Collection[str], /) -> None:
        await super().unsubscribe(topics)
        for backend in self.broker.connections:
            self.broker.unsubscribe(backend, topics)


@caught_by("test_a_cancelled_subscribe_leaves_a_backend_that_works")
class NotedTooEarly(BreakableBackend):
    """A topic whose subscribe was cancelled counts as subscribed."""

    def __init__(self, broker: BreakableBroker) -> None:
        super().__init__(broker)
        self.known: dict[str, asyncio.Event] = {}

    async def subscribe(self, topics: Collection[str], /) -> None:
        new = [topic for topic in topics if topic not in self.known]
        waiting = [self.known[topic] for topic in topics if topic in self.known]
        confirmed = asyncio.Event()
        self.known.update(dict.fromkeys(new, confirmed))
        try:
            await super().subscribe(new)
        finally:
            confirmed.set()
        for other in waiting:
            await other.wait()

    async def unsubscribe(self, topics: Collection[str], /) -> None:
        for topic in topics:
            self.known.pop(topic, None)
        await super().unsubscribe(topics)


@caught_by("test_a_cancelled_subscribe_takes_nothing_from_another_caller")
class SharedFuture(BreakableBackend):
    """Callers for one topic await one task, unshielded."""

    def __init__(self, broker: BreakableBroker) -> None:
        super().__init__(broker)
        self.calls: dict[str, asyncio.Task[None]] = {}

    async def subscribe(self, topics: Collection[str], /) -> None:
        for topic in topics:
            if topic not in self.calls:
                task = asyncio.create_task(super().subscribe([topic]))
                self.calls[topic] = task
                task.add_done_callback(lambda _, topic=topic: self.calls.pop(topic, None))
        for call in [self.calls[topic] for topic in topics]:
            await call


@caught_by("test_a_cancelled_unsubscribe_leaves_a_backend_that_works")
class LeftTooEarly(BreakableBackend):
    """A topic whose unsubscribe was cancelled counts as left."""

    def __init__(self, broker: BreakableBroker) -> None:
        super().__init__(broker)
        self.known: set[str] = set()

    async def subscribe(self, topics: Collection[str], /) -> None:
        await super().subscribe(topics)
        self.known.update(topics)

    async def unsubscribe(self, topics: Collection[str], /) -> None:
        known = self.known.intersection(topics)
        self.known -= known
        await super().unsubscribe(known)

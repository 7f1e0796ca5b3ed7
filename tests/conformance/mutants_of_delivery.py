"""Mutants whose messages do not arrive as, where, when or as often as they should."""

import asyncio
import json
from collections.abc import Collection, Sequence

from fast_channels.exceptions import PublishFailed
from fast_channels.layers import Inbox, Publication

from .breakable import BreakableBackend, BreakableBroker
from .subject import Subject, caught_by


@caught_by("test_what_one_process_publishes_reaches_another")
class Deaf(BreakableBackend):
    """Hears only itself."""

    async def publish(self, publications: Sequence[Publication], /) -> None:
        await self.round_trip()
        for publication in publications:
            if publication.topic in self.topics:
                self.arrive(publication)
        await asyncio.sleep(0)


@caught_by("test_a_process_receives_once_what_it_publishes_itself")
class NoEcho(BreakableBackend):
    """Does not hear itself."""

    async def publish(self, publications: Sequence[Publication], /) -> None:
        topics = {publication.topic for publication in publications} & self.topics
        self.broker.unsubscribe(self, topics)
        await super().publish(publications)
        self.broker.subscribe(self, topics)


@caught_by("test_a_process_receives_once_what_it_publishes_itself")
class DoubleEcho(BreakableBackend):
    """Delivers to itself, and so does the broker."""

    async def publish(self, publications: Sequence[Publication], /) -> None:
        await super().publish(publications)
        for publication in publications:
            if publication.topic in self.topics and not self.broker.down:
                self.arrive(publication)


@caught_by("test_each_of_several_processes_receives_each_publication_once")
class Competing(BreakableBackend):
    """Processes share one queue for each topic: every publication goes to one of them."""

    async def publish(self, publications: Sequence[Publication], /) -> None:
        await self.round_trip()
        for number, publication in enumerate(publications):
            takers = [b for b in self.broker.connections if publication.topic in b.topics]
            if takers:
                takers[number % len(takers)].arrive(publication)
        await asyncio.sleep(0)


@caught_by("test_each_of_several_processes_receives_each_publication_once")
class Doubling(BreakableBackend):
    """The broker sends everything twice."""

    async def publish(self, publications: Sequence[Publication], /) -> None:
        await super().publish([each for each in publications for _ in range(2)])


@caught_by("test_every_process_reaches_every_other")
class OneSpeaker(BreakableBackend):
    """Only the two processes that opened first can publish."""

    async def open(self, inbox: Inbox, /) -> None:
        await super().open(inbox)
        self.mute = len(self.broker.connections) > 2

    async def publish(self, publications: Sequence[Publication], /) -> None:
        await super().publish([] if self.mute else publications)


@caught_by("test_every_byte_survives")
class TextMangling(BreakableBackend):
    """Payloads travel as text."""

    async def publish(self, publications: Sequence[Publication], /) -> None:
        mangled = [(topic, payload.decode("utf-8", "replace")) for topic, payload in publications]
        await super().publish([Publication(topic, text.encode()) for topic, text in mangled])


@caught_by("test_an_empty_payload_arrives")
class NothingIsNothing(BreakableBackend):
    """Skips empty payloads."""

    async def publish(self, publications: Sequence[Publication], /) -> None:
        await super().publish([each for each in publications if each.payload])


@caught_by("test_a_payload_that_looks_like_json_arrives_as_it_was")
class ReadingJson(BreakableBackend):
    """Reads JSON, and writes it again."""

    async def publish(self, publications: Sequence[Publication], /) -> None:
        await super().publish([Publication(t, self.written(p)) for t, p in publications])

    def written(self, payload: bytes) -> bytes:
        try:
            return json.dumps(json.loads(payload)).encode()
        except ValueError:
            return payload


@caught_by("test_the_largest_payload_arrives")
class Truncating(BreakableBackend):
    """Forgot that its own encoding takes a byte."""

    async def publish(self, publications: Sequence[Publication], /) -> None:
        limit = self.max_payload - 1
        cut = [
            Publication(t, p if len(p) > self.max_payload else p[:limit]) for t, p in publications
        ]
        await super().publish(cut)


@caught_by("test_only_the_publications_that_cannot_be_sent_are_refused")
class OneSpoilsAll(BreakableBackend):
    """The first error ends the batch, and stands for the whole of it."""

    async def publish(self, publications: Sequence[Publication], /) -> None:
        for index, publication in enumerate(publications):
            try:
                await super().publish([publication])
            except PublishFailed as error:
                rest = range(index, len(publications))
                raise PublishFailed(dict.fromkeys(rest, error.errors[0])) from None


@caught_by("test_only_the_publications_that_cannot_be_sent_are_refused")
class WrongIndex(BreakableBackend):
    """Counts the refused ones among themselves."""

    async def publish(self, publications: Sequence[Publication], /) -> None:
        try:
            await super().publish(publications)
        except PublishFailed as error:
            raise PublishFailed(dict(enumerate(error.errors.values()))) from None


@caught_by("test_publishing_to_a_topic_without_subscribers_succeeds")
class Unroutable(BreakableBackend):
    """Takes a topic without subscribers for an error."""

    async def publish(self, publications: Sequence[Publication], /) -> None:
        topics = {topic for backend in self.broker.connections for topic in backend.topics}
        for publication in publications:
            if publication.topic not in topics:
                raise RuntimeError(f"no route for {publication.topic}")
        await super().publish(publications)


@caught_by("test_an_empty_call_does_nothing")
class EmptyMeansAll(BreakableBackend):
    """Unsubscribing no topic is unsubscribing all of them."""

    async def unsubscribe(self, topics: Collection[str], /) -> None:
        await super().unsubscribe(topics or tuple(self.topics))


@caught_by("test_an_empty_call_does_nothing")
class EmptyIsAnError(BreakableBackend):
    """The broker refuses a command without arguments."""

    async def publish(self, publications: Sequence[Publication], /) -> None:
        if not publications:
            raise ValueError("wrong number of arguments for 'publish'")
        await super().publish(publications)


@caught_by("test_a_thousand_topics_are_subscribed_and_published_in_one_call_each")
class SmallCommands(BreakableBackend):
    """One command takes 512 topics, and nobody looks whether there are more."""

    async def subscribe(self, topics: Collection[str], /) -> None:
        await super().subscribe(list(topics)[:512])


class MappedTopics(BreakableBackend):
    """Topics have another name at the broker."""

    def mapped(self, topic: str) -> str:
        raise NotImplementedError

    def __init__(self, broker: BreakableBroker) -> None:
        super().__init__(broker)
        self.own: dict[str, list[str]] = {}

    async def subscribe(self, topics: Collection[str], /) -> None:
        for topic in topics:
            names = self.own.setdefault(self.mapped(topic), [])
            if topic not in names:
                names.append(topic)
        await super().subscribe([self.mapped(topic) for topic in topics])

    async def unsubscribe(self, topics: Collection[str], /) -> None:
        for topic in topics:
            names = self.own.get(self.mapped(topic), [])
            if topic in names:
                names.remove(topic)
        gone = [topic for topic in topics if not self.own.get(self.mapped(topic))]
        await super().unsubscribe([self.mapped(topic) for topic in gone])

    async def open(self, inbox: Inbox, /) -> None:
        await super().open(Unmapping(inbox, self))

    async def publish(self, publications: Sequence[Publication], /) -> None:
        await super().publish([Publication(self.mapped(t), p) for t, p in publications])


class Unmapping:
    """Delivers under every topic that has the name at the broker."""

    def __init__(self, inbox: Inbox, backend: MappedTopics) -> None:
        self.inbox = inbox
        self.backend = backend

    def deliver(self, topic: str, payload: bytes, /) -> None:
        for own in self.backend.own.get(topic, []):
            self.inbox.deliver(own, payload)

    def gap(self, cause: Exception, topics: Collection[str] | None = None, /) -> None:
        self.inbox.gap(cause, None)


@caught_by("test_topics_with_similar_names_stay_apart")
class OneCase(MappedTopics):
    """The broker does not tell capitals from small letters."""

    def mapped(self, topic: str) -> str:
        return topic.lower()


@caught_by("test_topics_with_similar_names_stay_apart")
class Escaped(MappedTopics):
    """Dots are replaced by what is legal, too."""

    def mapped(self, topic: str) -> str:
        return topic.replace(".", "-")


@caught_by("test_topics_with_similar_names_stay_apart")
class EmptyTokens(MappedTopics):
    """The broker knows no empty token between dots."""

    def mapped(self, topic: str) -> str:
        return ".".join(token for token in topic.split(".") if token)


@caught_by("test_topics_with_similar_names_stay_apart")
class WrongTopic(BreakableBackend):
    """Whoever subscribes to ``chat`` gets ``chat.1``, too."""

    async def publish(self, publications: Sequence[Publication], /) -> None:
        above = [(t.rpartition(".")[0], p) for t, p in publications if t.endswith("t.1")]
        await super().publish([*publications, *(Publication(t, p) for t, p in above)])


@caught_by("test_the_longest_topics_work_and_stay_apart")
class Cut(MappedTopics):
    """The broker cuts names at 160 characters."""

    def mapped(self, topic: str) -> str:
        return topic[:160]


@caught_by("test_one_call_arrives_in_its_order_across_topics")
class TopicByTopic(BreakableBackend):
    """Sends a batch topic by topic."""

    async def publish(self, publications: Sequence[Publication], /) -> None:
        await super().publish(sorted(publications, key=lambda publication: publication.topic))


@caught_by("test_separate_calls_arrive_in_their_order_across_topics")
class Reordering(BreakableBackend):
    """Two connections take turns, and one is slower."""

    def __init__(self, broker: BreakableBroker) -> None:
        super().__init__(broker)
        self.calls = 0

    async def publish(self, publications: Sequence[Publication], /) -> None:
        self.calls += 1
        if self.calls % 2:
            await super().publish(publications)
            return
        await self.round_trip()
        loop = asyncio.get_running_loop()
        loop.call_later(0.002, self.broker.publish, publications)


@caught_by("test_concurrent_callers_each_keep_their_order")
class SharedBuffer(BreakableBackend):
    """Concurrent calls write into one buffer."""

    buffer: Sequence[Publication] = ()

    async def publish(self, publications: Sequence[Publication], /) -> None:
        self.buffer = publications
        await self.round_trip()
        await super().publish(self.buffer)


@caught_by("test_small_payloads_do_not_overtake_large_ones")
class SlowWay(BreakableBackend):
    """Large payloads go another way, which takes longer."""

    async def publish(self, publications: Sequence[Publication], /) -> None:
        small = [each for each in publications if len(each.payload) < 65_536]
        large = [each for each in publications if 65_536 <= len(each.payload) <= self.max_payload]
        if len(small) + len(large) < len(publications):
            await super().publish(publications)
            return
        await super().publish(small)
        if large:
            asyncio.get_running_loop().call_later(0.002, self.broker.publish, large)


@caught_by("test_a_cancelled_publish_leaves_a_backend_that_works")
class LockedForEver(BreakableBackend):
    """A publish that is cancelled keeps the lock."""

    def __init__(self, broker: BreakableBroker) -> None:
        super().__init__(broker)
        self.lock = asyncio.Lock()

    async def publish(self, publications: Sequence[Publication], /) -> None:
        await self.lock.acquire()
        try:
            await super().publish(publications)
        except Exception:
            self.lock.release()
            raise
        self.lock.release()


@caught_by("test_a_cancelled_publish_leaves_a_backend_that_works")
class SentAgain(BreakableBackend):
    """A publish that is cancelled is sent again with the next."""

    left: tuple[Publication, ...] = ()

    async def publish(self, publications: Sequence[Publication], /) -> None:
        try:
            await super().publish([*publications, *self.left])
        except asyncio.CancelledError:
            self.left = tuple(publications)
            raise
        self.left = ()


@caught_by("test_the_declared_capabilities_are_the_real_ones")
class LostItsQueues(BreakableBackend):
    """Has queues only when it is open."""

    def __init__(self, broker: BreakableBroker) -> None:
        super().__init__(broker)
        self.queues = None

    async def open(self, inbox: Inbox, /) -> None:
        await super().open(inbox)
        self.queues = self.jobs


@caught_by("test_the_declared_sizes_are_ones_that_core_can_use")
class AsksTheBroker(BreakableBackend):
    """Learns its limit when it opens."""

    async def open(self, inbox: Inbox, /) -> None:
        await super().open(inbox)
        self.max_payload = 200_000


@caught_by("test_no_clause_of_the_kit_was_replaced")
class Replaced(Subject):
    """A clause was set to something else after the class was made."""


setattr(Replaced, "test_every_byte_survives", lambda suite: None)  # noqa: B010  # typed as a clause

"""The outbox: each sender learns what became of its own message, and each topic keeps its order.

Sends, cancellations and the broker's answers come in any order. A send that succeeded was published
exactly once, one that was refused never, and one that was cancelled at most once.
"""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from fast_channels.exceptions import BackendUnavailable, PublishFailed
from fast_channels.layers import Publication
from fast_channels.layers.codec import (
    FRAGMENT,
    Entry,
    OpenFrames,
    decode_entries,
    decode_fragment,
    decode_frame,
)
from fast_channels.layers.counters import Counters
from fast_channels.layers.in_memory import MemoryBackend, MemoryBroker
from fast_channels.layers.outbox import Outbox

from .budget import examples
from .stepping import SteppedLoop

TOPICS = ("fc:g.red", "fc:g.green", "fc:n.node")
TURNS = st.sampled_from([None, 0, 1, 2])


class Publishing:
    """One publish call, which lasts until the broker's answer."""

    def __init__(self, publications: Sequence[Publication]) -> None:
        self.publications = list(publications)
        self.answer: asyncio.Future[dict[int, Exception]] = (
            asyncio.get_running_loop().create_future()
        )


class ScriptedBackend(MemoryBackend):
    """Publishes nothing; each call gets the answer that the script gives it."""

    frame_bytes = 2_000

    def __init__(self, max_payload: int | None) -> None:
        super().__init__(MemoryBroker())
        self.max_payload = max_payload
        self.under_way: Publishing | None = None
        self.accepted: dict[str, list[int]] = {topic: [] for topic in TOPICS}
        """Messages whose every piece the broker has."""

    async def publish(self, publications: Sequence[Publication], /) -> None:
        assert self.under_way is None, "two publish calls at a time"
        call = self.under_way = Publishing(publications)
        try:
            refused = await call.answer
        finally:
            self.under_way = None
        for topic, indices, numbers in bodies(publications):
            if not indices & refused.keys():
                self.accepted[topic] += numbers
        if refused:
            raise PublishFailed(refused)


@dataclass(eq=False)
class Sending:
    """One sender."""

    n: int
    topic: str
    task: "asyncio.Task[None]"
    cancelled: bool = False
    """Whether it was cancelled before it knew what became of its message."""
    withdrawn: bool = False
    """Whether its message was not in flight then."""

    @property
    def error(self) -> BaseException | None:
        return None if self.task.cancelled() else self.task.exception()


class Sendings(RuleBasedStateMachine):
    """One outbox, many senders."""

    @initialize(max_payload=st.sampled_from([None, 512]))
    def begin(self, max_payload: int | None) -> None:
        self.loop = SteppedLoop()
        self.backend = ScriptedBackend(max_payload)
        self.counters = Counters()
        self.outbox = Outbox(self.loop, self.backend, "0" * 16, 5.0, self.counters, OpenFrames())
        self.sendings: list[Sending] = []
        self.due: dict[int, set[str]] = {}
        """The errors that a sender may get: the broker's, about a publication of its own."""

    @rule(
        topics=st.lists(st.sampled_from(TOPICS), min_size=1, max_size=5),
        size=st.sampled_from([4, 4, 300, 1_500]),
        turns=TURNS,
    )
    def send(self, topics: list[str], size: int, turns: int | None) -> None:
        for topic in topics:
            n = len(self.sendings)
            payload = n.to_bytes(4, "big") + bytes(size - 4)
            task = self.loop.create_task(sent(self.outbox, topic, Entry(payload)))
            self.sendings.append(Sending(n, topic, task))
        self.loop.run(turns)

    @precondition(lambda self: any(not each.task.done() for each in self.sendings))
    @rule(which=st.sets(st.integers(0, 9), min_size=1, max_size=3), turns=TURNS)
    def cancel(self, which: set[int], turns: int | None) -> None:
        pending = [each for each in self.sendings if not each.task.done()]
        in_flight = {n for numbers in self.backend.accepted.values() for n in numbers}
        if self.backend.under_way:
            for _, _, numbers in bodies(self.backend.under_way.publications):
                in_flight.update(numbers)
        for i in which:
            sending = pending[i % len(pending)]
            sending.task.cancel()
            sending.cancelled = True
            sending.withdrawn = sending.n not in in_flight
        self.loop.run(turns)

    @precondition(lambda self: self.backend.under_way)
    @rule(turns=TURNS)
    def accept(self, turns: int | None) -> None:
        assert self.backend.under_way
        if not self.backend.under_way.answer.done():
            self.backend.under_way.answer.set_result({})
        self.loop.run(turns)

    @precondition(lambda self: self.backend.under_way)
    @rule(some=st.none() | st.sets(st.integers(0, 7), min_size=1, max_size=4), turns=TURNS)
    def refuse(self, some: set[int] | None, turns: int | None) -> None:
        call = self.backend.under_way
        assert call
        if not call.answer.done():
            whole = BackendUnavailable(f"all of {id(call)} is refused")
            refused: dict[int, Exception] = {
                i: BackendUnavailable(f"publication {i} of {id(call)} is refused")
                for i in some or ()
                if i < len(call.publications)
            }
            for _, indices, numbers in bodies(call.publications):
                own = (
                    [str(whole)]
                    if some is None
                    else [str(refused[i]) for i in indices if i in refused]
                )
                for n in numbers:
                    self.due.setdefault(n, set()).update(own)
            if some is None:
                call.answer.set_exception(whole)
            else:
                call.answer.set_result(dict(refused))
        self.loop.run(turns)

    @rule()
    def wait_for_the_time_out(self) -> None:
        unanswered = [each for each in self.sendings if not each.task.done()]
        self.loop.run()
        for each in unanswered:
            texts = self.due.setdefault(each.n, set())
            texts.add("the broker did not answer within")
            texts.add("the broker took nothing for 5 s; the message was not sent")
        self.loop.advance(6.0)
        assert all(each.task.done() for each in unanswered), "a send outlived its time-out"

    def teardown(self) -> None:
        if not hasattr(self, "loop"):
            return
        try:
            self.loop.run()
            while self.backend.under_way:
                if not self.backend.under_way.answer.done():
                    self.backend.under_way.answer.set_result({})
                self.loop.run()
            self.loop.finish(self.outbox.drain())
            self.check()
        finally:
            for each in self.sendings:
                each.task.cancel()
            self.loop.finish(self.outbox.close())
            self.loop.end()

    def check(self) -> None:
        arrived = self.backend.accepted
        for topic, numbers in arrived.items():
            assert numbers == sorted(set(numbers)), f"twice or out of order on {topic}: {numbers}"
        for each in self.sendings:
            assert each.task.done(), f"sender {each.n} never heard of its message"
            if each.task.cancelled():
                assert each.cancelled
                assert not each.withdrawn or each.n not in arrived[each.topic]
            elif each.error is None:
                assert each.n in arrived[each.topic], f"{each.n} was accepted and did not arrive"
            else:
                assert str(each.error).startswith(tuple(self.due.get(each.n, ()))), (
                    f"{each.n} got the error of another: {each.error}"
                )
                assert each.n not in arrived[each.topic]
        succeeded = sum(1 for each in self.sendings if not each.task.cancelled() and not each.error)
        failed = sum(1 for each in self.sendings if each.error)
        cancelled = len(self.sendings) - succeeded - failed
        assert succeeded <= self.counters.sent <= succeeded + cancelled
        assert failed <= self.counters.failed <= failed + cancelled


async def sent(outbox: Outbox, topic: str, entry: Entry) -> None:
    await outbox.send(topic, entry)


def bodies(publications: Sequence[Publication]) -> Iterator[tuple[str, set[int], list[int]]]:
    """Yield each body's topic, the publications that carry it, and its messages' numbers.

    Fragments of one body follow each other directly.
    """
    pieces: list[bytes] = []
    for index, (topic, payload) in enumerate(publications):
        flags, frame = decode_frame(payload)
        if flags & FRAGMENT:
            fragment = decode_fragment(frame.body)
            assert fragment.index == len(pieces), "another frame is between the fragments"
            pieces.append(fragment.chunk)
            if fragment.total > len(pieces):
                continue
        else:
            assert not pieces, "another frame is between the fragments"
            pieces.append(frame.body)
        entries = decode_entries(b"".join(pieces))
        numbers = [int.from_bytes(entry.payload[:4], "big") for entry in entries]
        yield topic, set(range(index + 1 - len(pieces), index + 1)), numbers
        pieces.clear()


@pytest.mark.hypothesis
def test_each_sender_gets_its_own_outcome_and_each_topic_keeps_its_order() -> None:
    run_state_machine_as_test(Sendings, settings=examples(100, stateful_step_count=40))

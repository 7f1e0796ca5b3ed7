"""Worker queues: each job has exactly one taker, none is lost, and one taker gets them in order."""

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from fast_channels.exceptions import ChannelFull
from fast_channels.layers import InMemoryChannelLayer, Job
from fast_channels.layers.codec import decode_entries, decode_frame
from fast_channels.layers.in_memory import MemoryBroker
from fast_channels.layers.messages import decode_message

from .budget import examples
from .stepping import SteppedLoop

QUEUE = "jobs"
CAPACITY = 6
NODES = st.integers(0, 2)
TURNS = st.sampled_from([None, 0, 1, 2, 3])


class Worker(InMemoryChannelLayer):
    """A node of the broker."""

    def __init__(self, broker: MemoryBroker) -> None:
        super().__init__(queue_capacity=CAPACITY, expiry=1e9)
        self._broker = broker


@dataclass(eq=False)
class Taking:
    """A taker that waits: for a message, or for a job that it will finish or release."""

    task: "asyncio.Task[Any]"
    order: int
    by_hand: bool


class Queues(RuleBasedStateMachine):
    """Three nodes put into, and take from, one queue."""

    @initialize()
    def begin(self) -> None:
        self.loop = SteppedLoop()
        broker = MemoryBroker()
        self.nodes = [Worker(broker) for _ in range(3)]
        for node in self.nodes:
            self.loop.finish(node.open())
        self.put_so_far = 0
        self.putting: dict[int, asyncio.Task[None]] = {}
        self.waiting: list[int] = []
        """Jobs in the queue, as far as nobody took them."""
        self.taking: list[Taking] = []
        self.held: list[tuple[int, Job]] = []
        """Jobs taken by hand."""
        self.done: list[int] = []
        self.takers = 0
        self.contended = False
        """More than one taker waited, or a job came back: the order is not certain any more."""

    @rule(nodes=st.lists(NODES, min_size=1, max_size=4), turns=TURNS)
    def put(self, nodes: list[int], turns: int | None) -> None:
        self.settle()
        for node in nodes:
            self.put_so_far += 1
            call = self.nodes[node].send(QUEUE, {"type": "test.job", "n": self.put_so_far})
            self.putting[self.put_so_far] = self.loop.create_task(call)
        self.loop.run(turns)

    @rule(node=NODES, by_hand=st.booleans(), turns=TURNS)
    def take(self, node: int, by_hand: bool, turns: int | None) -> None:
        layer = self.nodes[node]
        self.takers += 1
        if by_hand:
            (session,) = layer._sessions.live
            queues = session.backend.queues
            assert queues is not None
            task: asyncio.Task[Any] = self.loop.create_task(queues.take(f"fc:q.{QUEUE}"))
        else:
            task = self.loop.create_task(layer.receive(QUEUE))
        self.taking.append(Taking(task, self.takers, by_hand))
        self.contended = self.contended or len(self.taking) > 1
        self.loop.run(turns)

    @precondition(lambda self: self.taking)
    @rule(which=st.sets(st.integers(0, 5), min_size=1, max_size=3), turns=TURNS)
    def cancel_takes(self, which: set[int], turns: int | None) -> None:
        for i in which:
            self.taking[i % len(self.taking)].task.cancel()
        self.loop.run(turns)

    @rule(takers=st.integers(2, 3), jobs=st.integers(1, 2), turns=st.integers(0, 4))
    def cancel_a_take_as_jobs_come(self, takers: int, jobs: int, turns: int) -> None:
        self.settle()
        for node in range(takers):
            self.take(node, True, None)
        self.put([0] * jobs, turns)
        if self.taking:
            self.cancel_takes({0}, None)

    @precondition(lambda self: self.held)
    @rule(which=st.integers(0, 5), turns=TURNS)
    def release(self, which: int, turns: int | None) -> None:
        self.settle()
        n, job = self.held.pop(which % len(self.held))
        self.waiting.insert(0, n)
        self.contended = True
        self.loop.start(job.release(), turns)

    @precondition(lambda self: self.held)
    @rule(which=st.integers(0, 5))
    def finish(self, which: int) -> None:
        n, job = self.held.pop(which % len(self.held))
        self.loop.finish(job.done())
        self.done.append(n)

    @rule()
    def flush(self) -> None:
        self.settle()
        self.loop.finish(self.nodes[0].flush())
        self.waiting.clear()

    @rule()
    def settle(self) -> None:
        """Let everything run, and see who has what."""
        self.loop.run()
        finished = [each for each in self.taking if each.task.done()]
        self.taking = [each for each in self.taking if not each.task.done()]
        took = [self.number(each) for each in finished if not each.task.cancelled()]
        for n, putting in self.putting.items():
            if putting.exception() is None:
                assert len(self.waiting) - len(took) < CAPACITY
                self.waiting.append(n)
            else:
                assert isinstance(putting.exception(), ChannelFull)
                assert len(self.waiting) >= CAPACITY
        self.putting.clear()
        first = self.waiting[: len(took)]
        assert sorted(took) == sorted(first), f"{took} were taken, the queue began with {first}"
        if not self.contended:
            assert took == first
        for n in took:
            self.waiting.remove(n)
        assert not (self.waiting and self.taking), f"takers wait, and so do the jobs {self.waiting}"
        if not self.taking:
            self.contended = self.waiting != sorted(self.waiting)

    def number(self, taking: Taking) -> int:
        """Return the number of the job that the taker got."""
        if not taking.by_hand:
            n = taking.task.result()["n"]
            self.done.append(n)
            return int(n)
        job: Job = taking.task.result()
        (entry,) = decode_entries(decode_frame(job.payload)[1].body)
        n = int(decode_message(entry.payload)["n"])
        self.held.append((n, job))
        return n

    @invariant()
    def nothing_is_done_twice(self) -> None:
        held = [n for n, _ in self.held]
        assert len({*self.done, *held}) == len(self.done) + len(held)

    def teardown(self) -> None:
        if not hasattr(self, "loop"):
            return
        try:
            self.settle()
            while self.held and self.taking:
                self.release(0, None)
                self.settle()
            for taking in self.taking:
                taking.task.cancel()
            self.settle()
            while self.held:
                self.release(0, None)
            for n in list(self.waiting):
                assert self.loop.finish(self.nodes[0].receive(QUEUE))["n"] == n
        finally:
            for taking in self.taking:
                taking.task.cancel()
            for node in self.nodes:
                self.loop.finish(node.close())
            self.loop.end()


@pytest.mark.hypothesis
def test_each_job_has_exactly_one_taker_and_none_is_lost() -> None:
    run_state_machine_as_test(Queues, settings=examples(100, stateful_step_count=40))

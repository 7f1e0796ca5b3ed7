"""Operations that overlap on several nodes, and a model of what has to come of them."""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

from hypothesis.stateful import RuleBasedStateMachine
from tests.layers.backends import Layer

from fast_channels.exceptions import FastChannelsError, LayerClosed
from fast_channels.layers.channel import LocalChannel
from fast_channels.layers.in_memory import MemoryBroker

from .held import Call, HeldBackend
from .intervals import Change, Membership, Sent, misplaced
from .stepping import SteppedLoop

GROUPS = ("red", "green")


@dataclass(eq=False)
class Node:
    """One layer."""

    layer: Layer
    number: int
    epoch: int = 0
    closing: "asyncio.Task[None] | None" = None

    @property
    def backend(self) -> HeldBackend:
        backend = self.layer.backend
        assert isinstance(backend, HeldBackend)
        return backend


@dataclass(eq=False)
class Box:
    """One channel, and what was read from it."""

    home: Node
    channel: LocalChannel
    epoch: int
    open: bool = True
    cleared: int = -1
    """The step at which its node was flushed last."""
    memberships: dict[str, Membership] = field(
        default_factory=lambda: {group: Membership() for group in GROUPS}
    )
    left: dict[str, set[int]] = field(default_factory=dict)
    """What was unread when the channel left a group, for good until now."""
    reading: bool = False
    received: list[Sent] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.channel.name

    def __repr__(self) -> str:
        return f"<{self.name}>"


@dataclass(eq=False)
class Operation:
    """A call that is under way, and what it is about."""

    task: "asyncio.Task[Any]"
    node: Node
    box: Box | None = None
    sent: Sent | None = None
    change: tuple[Membership, Change] | None = None


class Overlapping(RuleBasedStateMachine):
    """The operations and the model; subclasses choose what happens next."""

    backend: type[HeldBackend] = HeldBackend

    def set_up(self, count: int, *, lasting: bool, peaceful: bool) -> None:
        """So many nodes share a broker, and nothing is under way."""
        self.lasting = lasting
        """No channel and no node ends."""
        self.peaceful = peaceful
        """Nothing is refused, runs into a time-out or is cancelled in flight."""
        self.loop = SteppedLoop()
        self.step = 0
        self.boxes: list[Box] = []
        self.sent: dict[int, Sent] = {}
        self.under_way: list[Operation] = []
        self.unsettled: list[Sent] = []
        self.refusals = 0
        self.lost_at = -1
        self.closed = False
        broker = MemoryBroker()
        self.nodes = [
            Node(Layer(self.backend, broker=broker, capacity=10_000, expiry=1e9, gaps=True), number)
            for number in range(count)
        ]
        for node in self.nodes:
            self.loop.finish(node.layer.open())

    def node(self, number: int) -> Node:
        return self.nodes[number % len(self.nodes)]

    def of(self, node: Node) -> list[Box]:
        return [box for box in self.boxes if box.home is node and box.epoch == node.epoch]

    def calls(self) -> list[Call]:
        return [call for node in self.nodes for call in node.backend.held]

    def call(self, which: int) -> Call:
        calls = self.calls()
        return calls[which % len(calls)]

    def start(self, call: Coroutine[Any, Any, Any], node: Node, **about: Any) -> None:
        self.under_way.append(Operation(self.loop.create_task(call), node, **about))

    def put_under_way(
        self, sender: Node, target: str | Box, size: int, exclude: Box | None = None
    ) -> None:
        n = len(self.sent) + 1
        message = {"type": "test.message", "n": n, "data": bytes(size)}
        sent = Sent(message, (sender.number, sender.epoch), target, exclude, self.step)
        self.sent[n] = sent
        if isinstance(target, Box):
            call = sender.layer.send(target.name, message)
        else:
            name = exclude.name if exclude else None
            call = sender.layer.group_send(target, message, exclude=name)
        self.start(call, sender, sent=sent)

    def settle(self, turns: int | None = None) -> None:
        """Let the loop run, and note what is over."""
        self.loop.run(turns)
        for operation in list(self.under_way):
            if operation.task.done():
                self.under_way.remove(operation)
                self.finished(operation)
        if turns is None or (turns and self.loop.idle):
            for sent in self.unsettled:
                sent.over = self.step
            self.unsettled.clear()

    def finished(self, operation: Operation) -> None:
        task, sent = operation.task, operation.sent
        error = None if task.cancelled() else task.exception()
        assert error is None or isinstance(error, FastChannelsError), repr(error)
        succeeded = not task.cancelled() and error is None
        if sent is not None:
            sent.done = self.step
            sent.succeeded = succeeded
            if succeeded:
                self.unsettled.append(sent)
            else:
                closed = self.closed and isinstance(error, LayerClosed)
                assert not self.peaceful or closed, f"message {sent.n} failed: {error!r}"
        if operation.change is not None:
            membership, change = operation.change
            membership.end(self.step, change, succeeded=succeeded)
        if operation.box is not None:
            operation.box.reading = False
            if succeeded:
                self.read(operation.box, task.result())

    def read(self, box: Box, message: dict[str, Any]) -> None:
        """Note, and check, what a reader got."""
        if message["type"] == "channels.gap":
            assert not self.peaceful, f"{box} was told of a loss, and nothing was lost"
            return
        sent = self.sent[message["n"]]
        assert message == sent.message
        box.received.append(sent)
        assert not misplaced(box.received), f"{box} got {[each.n for each in box.received]}"
        if isinstance(sent.target, Box):
            assert sent.target is box
        else:
            over = sent.over if sent.succeeded else None
            assert sent.exclude is not box
            assert sent.n in box.left.get(str(sent.target), {sent.n}), (
                f"message {sent.n} came to {box} after it had left"
            )
            assert box.memberships[str(sent.target)].during(sent.start, over) != {"out"}, (
                f"{box} was no member of {sent.target!r}, and got message {sent.n}"
            )

    def must_have(self, box: Box, sent: Sent) -> bool:
        if not sent.succeeded or sent.over is None or sent.start <= max(box.cleared, self.lost_at):
            return False
        if isinstance(sent.target, Box):
            return sent.target is box
        states = box.memberships[str(sent.target)].during(sent.start, sent.over)
        return states == {"in"} and sent.exclude is not box

    def teardown(self) -> None:
        if not hasattr(self, "loop"):
            return
        try:
            self.check_at_the_end()
        finally:
            for operation in self.under_way:
                operation.task.cancel()
            for node in self.nodes:
                node.backend.let_go()
                self.loop.finish(node.layer.close())
            self.loop.end()

    def check_at_the_end(self) -> None:
        """When all is answered, whoever must have a message has it, and nothing is left behind."""
        self.step += 1
        for node in self.nodes:
            node.backend.let_go()
        self.settle()
        for node in self.nodes:  # the memberships as they are now
            self.step += 1
            for group in GROUPS:
                self.put_under_way(node, group, 0)
            self.settle()
        hanging = [each for each in self.under_way if not each.box and not each.change]
        assert not hanging, "a send never ended"
        self.loop.advance(6.0)  # until questions to nodes that are gone are over
        self.settle()
        assert all(each.box for each in self.under_way), "a join or leave never ended"
        for box in [box for box in self.boxes if box.open]:
            while not box.reading:
                box.reading = True
                self.start(box.channel.receive(), box.home, box=box)
                self.settle()
            missing = {
                sent.n
                for sent in self.sent.values()
                if self.must_have(box, sent) and sent not in box.received
            }
            assert not missing, f"{box} did not get {missing}"
        for box in self.boxes:
            box.channel.end()
        self.loop.run()
        for node in self.nodes:
            stats = node.layer.stats()
            assert (stats["channels"], stats["groups"], stats["unread"]) == (0, 0, 0)
            assert stats["overflowed"] == stats["expired"] == stats["backlogged"] == 0
            assert stats["repeated"] == 0
            if self.peaceful:
                assert stats["malformed"] == stats["gaps"] == 0

"""However operations overlap, are answered late, refused or cancelled: no message is lost that was
accepted, none comes twice, none out of order, and none to anyone who is no member.
"""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    initialize,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)
from tests.layers.backends import Layer

from fast_channels.exceptions import FastChannelsError, LayerClosed
from fast_channels.layers.channel import LocalChannel
from fast_channels.layers.in_memory import MemoryBroker

from .budget import examples
from .held import Call, HeldBackend, SmallHeldBackend, refusal
from .intervals import Change, Membership, Sent, misplaced
from .stepping import SteppedLoop

GROUPS = ("red", "green")
GROUP = st.sampled_from(GROUPS)
NODES = st.integers(0, 3)
SIZES = st.sampled_from([0, 0, 0, 300, 1_000])
TURNS = st.sampled_from([None, None, 0, 1, 2, 3])
"""How far the loop runs after a step; None: until nothing is ready."""


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


class Interleaving(RuleBasedStateMachine):
    """Overlapping operations on two to four nodes, answered by the broker as the rules choose."""

    channels = Bundle("channels")
    backend: type[HeldBackend] = HeldBackend

    @initialize(
        target=channels,
        count=st.integers(2, 4),
        members=st.lists(NODES, min_size=1, max_size=4),
        holding=st.sets(NODES),
        lasting=st.booleans(),
        peaceful=st.booleans(),
    )
    def begin(
        self, count: int, members: list[int], holding: set[int], lasting: bool, peaceful: bool
    ) -> MultipleResults[Box]:
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
        for number in members:
            self.join(number, "red", self.open_channel(number), None, itself=True)
        for number in holding:
            self.node(number).backend.holding = True
        return multiple(*self.boxes)

    # --- operations ---------------------------------------------------------------------------

    @rule(target=channels, node=NODES)
    def open_channel(self, node: int) -> Box:
        self.step += 1
        home = self.node(node)
        channel = home.layer.channel()
        self.loop.finish(channel.__aenter__())
        self.boxes.append(Box(home, channel, home.epoch))
        self.settle()
        return self.boxes[-1]

    @precondition(lambda self: not self.lasting)
    @rule(box=channels, turns=TURNS)
    def close_channel(self, box: Box, turns: int | None) -> None:
        self.step += 1
        box.open = False
        box.channel.end()
        self.settle(turns)

    @rule(node=NODES, group=GROUP, box=channels, turns=TURNS, itself=st.booleans())
    def join(self, node: int, group: str, box: Box, turns: int | None, itself: bool) -> None:
        self.step += 1
        if itself and box.open:
            call, home = box.channel.join(group), box.home
        else:
            home = self.node(node)
            call = home.layer.group_add(group, box.name)
        box.left.pop(group, None)
        change = box.memberships[group].begin(self.step, "in", remote=home is not box.home)
        self.start(call, home, change=(box.memberships[group], change))
        self.settle(turns)

    @rule(node=NODES, group=GROUP, box=channels, turns=TURNS, itself=st.booleans())
    def leave(self, node: int, group: str, box: Box, turns: int | None, itself: bool) -> None:
        self.step += 1
        membership = box.memberships[group]
        if itself and box.open:
            change = membership.begin(self.step, "out", remote=False)
            box.channel.leave(group)
            membership.end(self.step, change, succeeded=True)
            if membership.now == "out" and not box.reading:
                unread = box.channel.mailbox.unread
                box.left[group] = {each["n"] for each in unread if "n" in each}
        else:
            home = self.node(node)
            change = membership.begin(self.step, "out", remote=home is not box.home)
            self.start(home.layer.group_discard(group, box.name), home, change=(membership, change))
        self.settle(turns)

    @rule(node=NODES, box=channels, size=SIZES, turns=TURNS)
    def send(self, node: int, box: Box, size: int, turns: int | None) -> None:
        self.step += 1
        self.put_under_way(self.node(node), box, size)
        self.settle(turns)

    @rule(node=NODES, group=GROUP, size=SIZES, exclude=st.none() | channels, turns=TURNS)
    def group_send(
        self, node: int, group: str, size: int, exclude: Box | None, turns: int | None
    ) -> None:
        self.step += 1
        self.put_under_way(self.node(node), group, size, exclude)
        self.settle(turns)

    @rule(
        node=NODES,
        receivers=st.lists(GROUP | channels, min_size=2, max_size=5),
        size=SIZES,
        turns=TURNS,
    )
    def send_at_once(
        self, node: int, receivers: list[str | Box], size: int, turns: int | None
    ) -> None:
        self.step += 1
        for target in receivers:
            self.put_under_way(self.node(node), target, size)
        self.settle(turns)

    @rule(box=channels, turns=TURNS)
    def receive(self, box: Box, turns: int | None) -> None:
        self.step += 1
        if not box.reading:
            box.reading = True
            self.start(box.channel.receive(), box.home, box=box)
        self.settle(turns)

    @precondition(lambda self: self.under_way)
    @rule(which=st.integers(0, 9), turns=TURNS)
    def cancel(self, which: int, turns: int | None) -> None:
        self.step += 1
        operation = self.under_way[which % len(self.under_way)]
        if operation.box is not None or not self.peaceful:
            operation.task.cancel()
        self.settle(turns)

    @precondition(lambda self: any(operation.box for operation in self.under_way))
    @rule(which=st.integers(0, 9), turns=TURNS)
    def cancel_receive(self, which: int, turns: int | None) -> None:
        self.step += 1
        readers = [operation for operation in self.under_way if operation.box]
        readers[which % len(readers)].task.cancel()
        self.settle(turns)

    @rule(node=NODES, box=channels, turns=st.integers(0, 8))
    def cancel_receive_while_a_message_comes(self, node: int, box: Box, turns: int) -> None:
        self.receive(box, None)
        self.send(node, box, 0, turns)
        for operation in self.under_way:
            if operation.box is box:
                operation.task.cancel()
        self.settle()

    # --- the broker ---------------------------------------------------------------------------

    @rule(node=NODES)
    def hold(self, node: int) -> None:
        self.node(node).backend.holding = True

    @rule(node=NODES, turns=TURNS)
    def let_go(self, node: int, turns: int | None) -> None:
        self.step += 1
        self.node(node).backend.let_go()
        self.settle(turns)

    @precondition(lambda self: self.calls())
    @rule(which=st.integers(0, 9), turns=TURNS)
    def answer(self, which: int, turns: int | None) -> None:
        self.step += 1
        self.call(which).answer()
        self.settle(turns)

    @precondition(lambda self: self.calls())
    @rule(which=st.integers(0, 9))
    def take_without_an_answer(self, which: int) -> None:
        self.step += 1
        call = self.call(which)
        if not call.taken and not call.answered.done():
            self.loop.finish(call.take())
        self.settle()

    @precondition(lambda self: not self.peaceful and self.calls())
    @rule(
        which=st.integers(0, 9),
        some=st.none() | st.sets(st.integers(0, 5), min_size=1),
        turns=TURNS,
    )
    def refuse(self, which: int, some: set[int] | None, turns: int | None) -> None:
        self.step += 1
        call = self.call(which)
        self.refusals += 1
        if some is None or not call.size:
            call.answer(refusal(self.refusals))
        elif not call.taken:
            call.refused = {i: refusal(self.refusals) for i in some if i < call.size}
            call.answer()
        self.settle(turns)

    @precondition(lambda self: not self.peaceful and self.calls())
    @rule(which=st.integers(0, 9), some=st.sets(st.integers(0, 5), min_size=1), turns=TURNS)
    def lose(self, which: int, some: set[int], turns: int | None) -> None:
        self.step += 1
        call = self.call(which)
        if call.size and not call.taken and not call.answered.done():
            call.lost = some
            self.lost_at = self.step
            call.answer()
        self.settle(turns)

    @rule(seconds=st.sampled_from([1.0, 2.0, 5.0]))
    def wait(self, seconds: float) -> None:
        self.step += 1
        timed = self.calls() or [each for each in self.under_way if not each.box]
        if not (self.peaceful and timed):
            self.loop.advance(seconds)
        self.settle()

    # --- the life of a node -------------------------------------------------------------------

    @precondition(lambda self: not self.lasting)
    @rule(node=NODES)
    def flush(self, node: int) -> None:
        self.step += 1
        home = self.node(node)
        self.loop.finish(home.layer.flush())
        for box in self.of(home):
            box.cleared = self.step
            for membership in box.memberships.values():
                membership.flush(self.step)
        self.settle()

    @precondition(lambda self: not self.lasting)
    @rule(node=NODES, turns=TURNS)
    def close(self, node: int, turns: int | None) -> None:
        self.step += 1
        home = self.node(node)
        self.closed = True
        for box in self.of(home):
            box.open = False
        home.closing = self.loop.start(home.layer.close(), turns)
        self.settle(turns)
        home.backend.let_go()
        self.loop.run()
        assert home.closing.done()
        home.closing = None
        self.loop.finish(home.layer.open())
        home.epoch += 1
        self.settle()

    # --- the model ----------------------------------------------------------------------------

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


class SmallInterleaving(Interleaving):
    """The same, over a backend that carries 512 bytes: most messages are fragmented."""

    backend = SmallHeldBackend


@pytest.mark.hypothesis
@pytest.mark.parametrize("machine", [Interleaving, SmallInterleaving])
def test_however_operations_overlap_each_message_comes_once_and_in_order(
    machine: type[Interleaving],
) -> None:
    run_state_machine_as_test(machine, settings=examples(150, stateful_step_count=50))

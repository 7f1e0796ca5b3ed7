"""Every message reaches exactly the members, once, in order, and the counters say so.

One operation after the other on several nodes of one broker, each to its end, against a model that
knows every mailbox: what it holds, what it lost, and what each node has counted.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from tests.layers.backends import Layer, SmallBackend, WatchedBackend

from fast_channels.exceptions import ChannelFull, ChannelNotFound, LayerClosed
from fast_channels.layers.channel import LocalChannel
from fast_channels.layers.in_memory import MemoryBroker

from .budget import examples
from .stepping import SteppedLoop

GROUPS = st.sampled_from(["red", "green"])
NODES = st.integers(0, 3)
SIZES = st.sampled_from([0, 0, 300, 1_000])
Message = dict[str, Any]


@dataclass(eq=False)
class Node:
    """One layer, and what its counters should say."""

    layer: Layer
    number: int
    epoch: int = 0
    """How often it was closed and opened again."""
    counts: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(
            ("sent", "delivered", "overflowed", "failed", "undeliverable"), 0
        )
    )


@dataclass(eq=False)
class Box:
    """One channel, and what it should hold."""

    home: Node
    channel: LocalChannel
    name: str
    epoch: int
    open: bool = True
    cut: bool = False
    """Its policy was "disconnect", and it overflowed."""
    queue: list[Message] = field(default_factory=list)
    groups: set[str] = field(default_factory=set)
    reader: "asyncio.Task[Message] | None" = None

    @property
    def reachable(self) -> bool:
        """Whether its node is still the one that made it."""
        return self.epoch == self.home.epoch

    def __repr__(self) -> str:
        return f"<{self.name}>"


class Deliveries(RuleBasedStateMachine):
    """Operations on two to four nodes."""

    channels = Bundle("channels")
    backend: type[WatchedBackend] = WatchedBackend

    @initialize(
        count=st.integers(2, 4),
        capacity=st.integers(1, 3),
        overflow=st.sampled_from(["drop_newest", "drop_oldest", "disconnect"]),
    )
    def begin(self, count: int, capacity: int, overflow: str) -> None:
        self.loop = SteppedLoop()
        self.capacity, self.overflow = capacity, overflow
        self.boxes: list[Box] = []
        self.messages = 0
        broker = MemoryBroker()
        self.nodes = [
            Node(
                Layer(
                    self.backend,
                    broker=broker,
                    capacity=capacity,
                    overflow=overflow,
                    expiry=1e9,
                    gaps=True,
                ),
                number,
            )
            for number in range(count)
        ]
        for node in self.nodes:
            self.loop.finish(node.layer.open())

    # --- channels and groups ------------------------------------------------------------------

    @rule(target=channels, node=NODES)
    def open_channel(self, node: int) -> Box:
        home = self.node(node)
        channel = home.layer.channel()
        self.loop.finish(channel.__aenter__())
        box = Box(home, channel, channel.name, home.epoch)
        self.boxes.append(box)
        return box

    @rule(box=channels)
    def close_channel(self, box: Box) -> None:
        self.loop.finish(box.channel.__aexit__(None, None, None))
        self.ended(box, ChannelNotFound)

    @rule(node=NODES, group=GROUPS, box=channels)
    def join(self, node: int, group: str, box: Box) -> None:
        joining = self.change(self.node(node), box, self.node(node).layer.group_add, group)
        if self.local(self.node(node), box):
            if not box.open:
                box.home.counts["undeliverable"] += 1
        elif not box.open:
            assert isinstance(joining.exception(), ChannelNotFound)
            return
        joining.result()
        if box.open:
            box.groups.add(group)

    @rule(node=NODES, group=GROUPS, box=channels)
    def leave(self, node: int, group: str, box: Box) -> None:
        self.change(self.node(node), box, self.node(node).layer.group_discard, group).result()
        box.groups.discard(group)

    def change(self, node: Node, box: Box, call: Any, group: str) -> "asyncio.Task[None]":
        """Return the finished call, made on the node, that is about the membership."""
        changing = self.loop.start(call(group, box.name))
        if not self.local(node, box) and not box.reachable:
            assert not changing.done()  # nobody answers
            self.loop.advance(5.0)
        assert changing.done()
        return changing

    # --- messages -----------------------------------------------------------------------------

    @rule(node=NODES, box=channels, sizes=st.lists(SIZES, min_size=1, max_size=4))
    def send(self, node: int, box: Box, sizes: list[int]) -> None:
        sender = self.node(node)
        messages = [self.message(sender, size) for size in sizes]
        sends = [self.loop.create_task(sender.layer.send(box.name, each)) for each in messages]
        self.loop.run()
        outstanding = 0
        accepted: list[Message] = []
        for message, sending in zip(messages, sends, strict=True):
            if self.local(sender, box):
                if not box.open:
                    sender.counts["undeliverable"] += 1
                    assert sending.result() is None
                    continue
                if len(box.queue) + outstanding >= self.capacity:
                    sender.counts["failed"] += 1
                    assert isinstance(sending.exception(), ChannelFull)
                    continue
                outstanding += 1
            assert sending.result() is None
            sender.counts["sent"] += 1
            accepted.append(message)
        for message in accepted:
            if box.open:
                self.arrive(box, message)
            elif box.reachable:
                box.home.counts["undeliverable"] += 1

    @rule(
        node=NODES,
        group=GROUPS,
        sizes=st.lists(SIZES, min_size=1, max_size=4),
        exclude=st.none() | channels,
    )
    def group_send(self, node: int, group: str, sizes: list[int], exclude: Box | None) -> None:
        sender = self.node(node)
        name = exclude.name if exclude else None
        messages = [self.message(sender, size) for size in sizes]
        sends = [
            self.loop.create_task(sender.layer.group_send(group, each, exclude=name))
            for each in messages
        ]
        self.loop.run()
        for message, sending in zip(messages, sends, strict=True):
            assert sending.result() is None
            sender.counts["sent"] += 1
            for box in self.boxes:
                if group in box.groups and box is not exclude:
                    self.arrive(box, message)

    @rule(box=channels)
    def receive(self, box: Box) -> None:
        if box.reader is not None:
            return
        reading = self.loop.start(box.channel.receive())
        if box.cut:
            assert isinstance(reading.exception(), ChannelFull)
        elif not box.open:
            assert isinstance(reading.exception(), ChannelNotFound | LayerClosed)
        elif box.queue:
            assert reading.result() == box.queue.pop(0)
        else:
            assert not reading.done()
            box.reader = reading

    @rule(box=channels)
    def cancel_receive(self, box: Box) -> None:
        if box.reader is not None:
            box.reader.cancel()
            self.loop.run()
            assert box.reader.cancelled()
            box.reader = None

    # --- the life of a node -------------------------------------------------------------------

    @rule(node=NODES)
    def flush(self, node: int) -> None:
        self.loop.finish(self.node(node).layer.flush())
        for box in self.of(self.node(node)):
            box.queue.clear()
            box.groups.clear()

    @rule(node=NODES)
    def close_and_open(self, node: int) -> None:
        home = self.node(node)
        self.loop.finish(home.layer.close())
        for box in self.of(home):
            self.ended(box, LayerClosed)
        refused = self.loop.start(home.layer.group_send("red", {"type": "test.message"}))
        assert isinstance(refused.exception(), LayerClosed)
        self.loop.finish(home.layer.open())
        home.epoch += 1

    @rule(seconds=st.sampled_from([1.0, 2.0, 5.0]))
    def wait(self, seconds: float) -> None:
        self.loop.advance(seconds)

    # --- the model ----------------------------------------------------------------------------

    def node(self, number: int) -> Node:
        return self.nodes[number % len(self.nodes)]

    def of(self, node: Node) -> list[Box]:
        return [box for box in self.boxes if box.home is node and box.open]

    def local(self, node: Node, box: Box) -> bool:
        return box.home is node and box.reachable

    def message(self, sender: Node, size: int) -> Message:
        self.messages += 1
        return {"type": "test.message", "n": self.messages, "data": [sender.number, bytes(size)]}

    def arrive(self, box: Box, message: Message) -> None:
        """Note that the message comes to the channel."""
        counts = box.home.counts
        if box.reader is not None:
            assert box.reader.result() == message
            box.reader = None
        elif box.cut or len(box.queue) >= self.capacity:
            counts["overflowed"] += 1
            if box.cut or self.overflow == "drop_newest":
                return
            if self.overflow == "disconnect":
                box.cut = True
                box.queue.clear()
                return
            box.queue.pop(0)
            box.queue.append(message)
        else:
            box.queue.append(message)
        counts["delivered"] += 1

    def ended(self, box: Box, reason: type[Exception]) -> None:
        """Note that the channel is no more."""
        if box.reader is not None:
            assert isinstance(box.reader.exception(), reason)
            box.reader = None
        box.open = False
        box.queue.clear()
        box.groups.clear()

    @invariant()
    def counters_agree(self) -> None:
        for node in self.nodes:
            boxes = self.of(node)
            expected = {
                **node.counts,
                "sessions": 1,
                "channels": len(boxes),
                "groups": len({group for box in boxes for group in box.groups}),
                "unread": sum(len(box.queue) for box in boxes),
                **dict.fromkeys(("expired", "backlogged", "malformed", "repeated", "gaps"), 0),
            }
            stats = node.layer.stats()
            assert {name: stats[name] for name in expected} == expected, f"node {node.number}"

    @invariant()
    def nobody_reads_what_did_not_come(self) -> None:
        assert not [box for box in self.boxes if box.reader is not None and box.reader.done()]

    def teardown(self) -> None:
        if not hasattr(self, "loop"):
            return
        try:
            for box in self.boxes:
                while box.open and box.queue:
                    assert self.loop.finish(box.channel.receive()) == box.queue.pop(0)
        finally:
            for box in self.boxes:
                if box.reader is not None:
                    box.reader.cancel()
            for node in self.nodes:
                self.loop.finish(node.layer.close())
            self.loop.end()


class SmallDeliveries(Deliveries):
    """The same, over a backend that carries 512 bytes: most messages are fragmented."""

    backend = SmallBackend


@pytest.mark.hypothesis
@pytest.mark.parametrize("machine", [Deliveries, SmallDeliveries])
def test_every_message_reaches_exactly_the_members_once_and_in_order(
    machine: type[Deliveries],
) -> None:
    run_state_machine_as_test(machine, settings=examples(60, stateful_step_count=40))

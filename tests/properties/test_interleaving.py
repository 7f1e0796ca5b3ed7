"""However operations overlap, are answered late, refused or cancelled: no message is lost that was
accepted, none comes twice, none out of order, and none to anyone who is no member.
"""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    initialize,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from .budget import examples
from .held import SmallHeldBackend, refusal
from .overlapping import GROUPS, Box, Overlapping

GROUP = st.sampled_from(GROUPS)
NODES = st.integers(0, 3)
SIZES = st.sampled_from([0, 0, 0, 300, 1_000])
TURNS = st.sampled_from([None, None, 0, 1, 2, 3])
"""How far the loop runs after a step; None: until nothing is ready."""


class Interleaving(Overlapping):
    """Overlapping operations on two to four nodes, answered by the broker as the rules choose."""

    channels = Bundle("channels")

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
        self.set_up(count, lasting=lasting, peaceful=peaceful)
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


class SmallInterleaving(Interleaving):
    """The same, over a backend that carries 512 bytes: most messages are fragmented."""

    backend = SmallHeldBackend


@pytest.mark.hypothesis
@pytest.mark.parametrize("machine", [Interleaving, SmallInterleaving])
def test_however_operations_overlap_each_message_comes_once_and_in_order(
    machine: type[Interleaving],
) -> None:
    run_state_machine_as_test(machine, settings=examples(150, stateful_step_count=50))

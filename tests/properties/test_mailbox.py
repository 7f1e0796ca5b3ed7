"""A mailbox against a list: what it takes, gives, refuses and loses, whoever reads and gives up."""

import asyncio
import time
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

from fast_channels.exceptions import ChannelFull, ChannelNotFound
from fast_channels.layers import LayerOptions
from fast_channels.layers.counters import Counters, LossReport
from fast_channels.layers.mailbox import Mailbox

from .budget import examples
from .stepping import SteppedLoop

EXPIRY = 1_000.0
SIZES = st.sampled_from([10, 10, 90, 120, 240, 300])
POLICIES = ("drop_newest", "drop_oldest", "disconnect")


@dataclass(eq=False)
class Item:
    """What the model's list holds."""

    message: dict[str, Any]
    size: int
    stale: bool = False
    free: bool = False
    """It takes no capacity and does not expire."""
    given_back: bool = False


class Boxed(RuleBasedStateMachine):
    """One mailbox, several readers."""

    @initialize(
        capacity=st.integers(1, 4),
        capacity_bytes=st.sampled_from([100, 250, 10_000]),
        overflow=st.sampled_from(POLICIES),
    )
    def begin(self, capacity: int, capacity_bytes: int, overflow: Any) -> None:
        self.loop = SteppedLoop()
        self.counters = Counters()
        options = LayerOptions(
            capacity=capacity, capacity_bytes=capacity_bytes, overflow=overflow, expiry=EXPIRY
        )
        self.capacity, self.capacity_bytes, self.overflow = capacity, capacity_bytes, overflow
        losses = LossReport(self.loop, None, self.counters)
        self.box = Mailbox("specific.node!1", options, losses)
        self.losses = losses
        self.items: list[Item] = []
        self.waiting: list[asyncio.Task[dict[str, Any]]] = []
        """Readers that wait, and have been given nothing."""
        self.given: list[tuple[asyncio.Task[dict[str, Any]], Item]] = []
        """Readers that have been given something, and did not run since."""
        self.closed: type[Exception] | None = None
        self.expected = {"overflowed": 0, "expired": 0}
        self.count = 0
        self.expecting: list[int] = []

    # --- operations ---------------------------------------------------------------------------

    @rule(sizes=st.lists(SIZES, min_size=1, max_size=5), stale=st.booleans())
    def put_several(self, sizes: list[int], stale: bool) -> None:
        for size in sizes:
            self.put(size, stale)

    def put(self, size: int, stale: bool) -> None:
        self.count += 1
        item = Item({"type": "test.message", "n": self.count}, size, stale)
        now = time.monotonic() - (2 * EXPIRY if stale else 0)
        assert self.box.put((item.message.copy, now, size)) is self.arrives(item)

    @rule()
    def put_gap(self) -> None:
        self.count += 1
        item = Item({"type": "channels.gap", "n": self.count}, 0, free=True)
        self.box.put_gap(item.message)
        if not self.hand_over(item):
            self.items.append(item)

    @rule(readers=st.integers(1, 4))
    def get_several(self, readers: int) -> None:
        for _ in range(readers):
            self.get()

    def get(self) -> None:
        self.run()  # one who got something has it before the next one asks
        reading = self.loop.start(self.box.get())
        while self.items:
            item = self.items.pop(0)
            if not item.stale or item.free:
                assert reading.result() == item.message
                return
            self.expected["expired"] += 1
        if self.closed:
            assert isinstance(reading.exception(), self.closed)
        else:
            assert not reading.done()
            self.waiting.append(reading)

    @precondition(lambda self: self.waiting or self.given)
    @rule(which=st.sets(st.integers(0, 5), min_size=1))
    def cancel(self, which: set[int]) -> None:
        """Several readers are cancelled before any of them, or of the others, runs again."""
        readers = [reader for reader, _ in self.given] + self.waiting
        cancelled = [reader for i, reader in enumerate(readers) if i in which]
        for reader in cancelled:
            reader.cancel()
        self.waiting = [reader for reader in self.waiting if reader not in cancelled]
        back = [item for reader, item in self.given if reader in cancelled]
        self.given = [(reader, item) for reader, item in self.given if reader not in cancelled]
        self.loop.run()
        for item in back:
            if not self.hand_over(item):
                item.free = item.given_back = True
                place = sum(1 for each in self.items if each.given_back)
                self.items.insert(place, item)
        self.run()

    @precondition(lambda self: self.waiting)
    @rule(sizes=st.lists(SIZES, min_size=1, max_size=5), which=st.sets(st.integers(0, 5)))
    def cancel_as_messages_come(self, sizes: list[int], which: set[int]) -> None:
        self.put_several(sizes, stale=False)
        self.cancel(which)

    @rule()
    def run(self) -> None:
        self.loop.run()
        for reader, item in self.given:
            assert reader.result() == item.message
        self.given.clear()
        assert not any(reader.done() for reader in self.waiting)

    @rule(size=st.sampled_from([10, 90, 240]))
    def expect(self, size: int) -> None:
        assert self.box.full(size) is self.is_full(size, outstanding=self.expecting)
        if not self.is_full(size, outstanding=self.expecting):
            self.box.expect(size)
            self.expecting.append(size)

    @precondition(lambda self: self.expecting)
    @rule()
    def comes_back(self) -> None:
        self.box.expected(self.expecting.pop(0))

    @rule()
    def clear(self) -> None:
        self.box.clear()
        self.items.clear()
        self.expecting.clear()

    @precondition(lambda self: self.count > 20)  # nothing happens after it
    @rule(reason=st.sampled_from([None, ChannelFull("it is over")]))
    def close(self, reason: Exception | None) -> None:
        self.run()
        self.box.close(reason)
        self.closes(type(reason) if reason else ChannelNotFound)

    # --- the model ----------------------------------------------------------------------------

    def hand_over(self, item: Item) -> bool:
        if not self.waiting:
            return False
        self.given.append((self.waiting.pop(0), item))
        return True

    def is_full(self, size: int, outstanding: list[int] | None = None) -> bool:
        sizes = [item.size for item in self.items if not item.free] + (outstanding or [])
        return len(sizes) >= self.capacity or (
            bool(sizes) and sum(sizes) + size > self.capacity_bytes
        )

    def arrives(self, item: Item) -> bool:
        """Return whether the mailbox takes the message."""
        if self.hand_over(item):
            return True
        if self.closed:
            self.expected["overflowed"] += 1
            return False
        while self.is_full(item.size):
            self.expected["overflowed"] += 1
            if self.overflow == "disconnect":
                self.closes(ChannelFull)
            if self.overflow != "drop_oldest":
                return False
            self.items.remove(next(each for each in self.items if not each.free))
        self.items.append(item)
        return True

    def closes(self, reason: type[Exception]) -> None:
        self.items.clear()
        self.expecting.clear()
        self.closed = self.closed or reason
        readers, self.waiting = self.waiting, []
        self.run()
        for reader in readers:
            assert isinstance(reader.exception(), self.closed)

    @invariant()
    def it_holds_what_the_model_holds(self) -> None:
        assert self.box.unread == [i.message for i in self.items]
        assert {name: getattr(self.counters, name) for name in self.expected} == self.expected
        assert self.box.full(1) is self.is_full(1, outstanding=self.expecting)
        assert self.box.awaited is bool(self.waiting)

    def teardown(self) -> None:
        if hasattr(self, "loop"):
            try:
                self.run()
            finally:
                self.box.close()
                self.losses.flush()
                self.loop.run()
                for reader in self.waiting:
                    reader.exception()
                self.loop.end()


@pytest.mark.hypothesis
def test_a_mailbox_holds_gives_and_loses_what_a_list_would() -> None:
    run_state_machine_as_test(Boxed, settings=examples(120, stateful_step_count=40))

"""Clauses: the broker cannot be reached for a while, and is back.

They need ``outage()``, and are skipped where the class says ``no_outage = "the reason"``.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from fast_channels.exceptions import BackendUnavailable
from fast_channels.layers import ChannelLayer
from fast_channels.testing.conformance.broker import no_outage
from fast_channels.testing.conformance.clause import clause_unless
from fast_channels.testing.conformance.layer_suite import LayerSuite, Message, holdings, message

TIMEOUT = 1.0
"""The send timeout of layers in an outage."""


class LayerOutageClauses(LayerSuite):
    """What is lost is told, and nothing else is."""

    @clause_unless(no_outage)
    async def test_messages_flow_again_after_every_outage(self) -> None:
        """Three of them: to groups and to channels, and ``stats()`` counts them. Usual cause: the
        task that listens has died, and the process sends and is deaf."""
        here, there = await self._node(), await self._node()
        member = await self.member(there, "room")
        for outages in (1, 2, 3):
            async with self.outage():
                pass
            await self._flows(here, there, member, "room")
            assert there.stats()["gaps"] >= outages
        assert there.stats()["groups"] == 1

    @clause_unless(no_outage)
    async def test_every_member_is_told_once_of_each_outage(self) -> None:
        """One ``channels.gap`` for each of its groups, before anything that comes after it; with
        None to a channel in no group. Usual cause: one for each topic, or for each reconnect
        attempt, or none."""
        here, there = await self._node(), await self._node(gaps=True)
        one = await self.member(there, "room")
        two = await self.member(there, "room", "hall")
        loner = await self.member(there)
        expected: dict[str, set[str | None]] = {one: {"room"}, two: {"room", "hall"}, loner: {None}}
        for number in range(2):
            async with self.outage():
                pass
            for channel, groups in expected.items():
                got = await self._flows(here, there, channel)
                gaps = [each["group"] for each in got if each["type"] == "channels.gap"]
                assert len(gaps) == len(groups), f"outage {number}: {gaps}"
                assert set(gaps) == groups
                assert [each["type"] for each in got[: len(gaps)]] == ["channels.gap"] * len(gaps)

    @clause_unless(no_outage)
    async def test_nobody_is_told_where_gaps_are_off(self) -> None:
        """As for layers that Django makes, whose consumers end on an unknown type. Usual cause:
        the option is ignored."""
        here, there = await self._node(), await self._node(gaps=False)
        member = await self.member(there, "room")
        async with self.outage():
            pass
        got = await self._flows(here, there, member, "room")
        assert {each["type"] for each in got} <= {"kit.message"}

    @clause_unless(no_outage)
    async def test_sending_and_joining_fail_in_time_during_an_outage(self) -> None:
        """With ``BackendUnavailable``, within the send timeout; a join that failed leaves no
        member, and works later. Usual cause: the driver waits or retries for as long as it
        likes."""
        here, there = await self._node(), await self._node()
        member = await self.member(there, "room")
        own = await self.member(here)
        before = holdings(here)
        async with self.outage():
            calls: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {
                "send": lambda: here.send(member, message(-1)),
                "group_send": lambda: here.group_send("room", message(-1)),
                "group_add": lambda: here.group_add("new", own),
            }
            for name, call in calls.items():
                began = time.monotonic()
                with pytest.raises(BackendUnavailable):
                    await self.soon(call(), f"{name} in an outage", self.unavailable_within)
                assert time.monotonic() - began < TIMEOUT + self.unavailable_within / 2, name
            assert holdings(here) == before
        await self._flows(here, there, member, "room")
        await self.soon(here.group_add("new", own), "group_add")
        await self._flows(there, here, own, "new")

    @clause_unless(no_outage)
    async def test_a_bad_message_is_a_mistake_during_an_outage_too(self) -> None:
        """``TypeError``, not ``BackendUnavailable``. Usual cause: what is sent is looked at after
        the connection."""
        node = await self._node()
        async with self.outage():
            with pytest.raises(TypeError):
                await self.soon(node.group_send("room", message(1, bad=object())), "group_send")
            with pytest.raises(TypeError):
                await self.soon(node.group_send("a b", message(1)), "group_send")
        await self._flows(node, node, await self.member(node, "room"), "room")

    @clause_unless(no_outage)
    async def test_readers_wait_through_an_outage(self) -> None:
        """Of channels, and of queues where there are any. Usual cause: the driver's exception
        reaches the reader, and the consumer ends."""
        here, there = await self._node(), await self._node()
        member = await self.member(there, "room")
        async with there.channel() as channel:
            await there.group_add("room", channel.name)
            readers = [
                asyncio.create_task(there.receive(member)),
                asyncio.create_task(channel.receive()),
            ]
            if "queues" in self.capabilities:
                readers.append(asyncio.create_task(there.receive("jobs")))
            await asyncio.sleep(0)
            async with self.outage():
                await asyncio.sleep(0)
            if "queues" in self.capabilities:
                await self._sent(lambda: here.send("jobs", message(1)))
            while not all(reader.done() for reader in readers[:2]):
                await self._sent(lambda: here.group_send("room", message(1)))
                await asyncio.wait(readers[:2], timeout=0.05)
            for reader in readers:
                assert await self.soon(reader, "a reader", self.recovers_within) == message(1)

    @clause_unless(no_outage)
    async def test_a_layer_closes_during_an_outage(self) -> None:
        """In time, and so does one that cannot open, which raises ``BackendUnavailable``. Usual
        cause: close says goodbye to a broker that does not answer, or the task that reconnects
        is not ended."""
        node, unopened = await self._node(), self.unopened(send_timeout=TIMEOUT)
        await self.member(node, "room")
        async with self.outage():
            with pytest.raises(BackendUnavailable):
                await self.soon(unopened.open(), "open in an outage", self.unavailable_within)
            await self.soon(unopened.close(), "close of an unopened layer", self.unavailable_within)
            await self.soon(node.close(), "close in an outage", self.unavailable_within)
        await self.soon(unopened.open(), "open after an outage", self.recovers_within)
        await self._flows(unopened, unopened, await self.member(unopened, "room"), "room")

    async def _node(self, **options: Any) -> ChannelLayer:
        return await self.node(send_timeout=TIMEOUT, **options)

    async def _sent(self, send: Any) -> None:
        """Send until the broker takes it."""
        limit = time.monotonic() + self.recovers_within
        while True:
            try:
                return await self.soon(send(), "a send after an outage", self.unavailable_within)
            except BackendUnavailable:
                if time.monotonic() > limit:
                    raise
                await asyncio.sleep(0.02)

    async def _flows(
        self, sender: ChannelLayer, reader: ChannelLayer, channel: str, *groups: str
    ) -> list[Message]:
        """Send to the channel until it gets it, and then to the groups; return what came."""
        limit = time.monotonic() + self.recovers_within
        got: list[Message] = []
        tried = 0
        while not any(each["type"] == "kit.message" for each in got):
            assert time.monotonic() < limit, f"nothing came {self.recovers_within:g} s after it"
            tried += 1
            await self._sent(lambda number=tried: sender.send(channel, message(number)))
            try:
                async with asyncio.timeout(self.quiet):
                    while True:
                        got.append(await reader.receive(channel))
            except TimeoutError:
                pass
        for number, group in enumerate(groups):
            await self.soon(sender.group_send(group, message(1_000 + number)), "group_send")
            assert await self.receive(reader, channel) == [message(1_000 + number)]
        return got

"""The suite about presence: who is in a group, on every node, whatever broker is below."""

import asyncio
import threading
from typing import Any, ClassVar, Final

import pytest

from fast_channels.exceptions import MessageTooLarge
from fast_channels.layers import PresenceLayer
from fast_channels.testing.conformance.broker import no_outage
from fast_channels.testing.conformance.clause import clause, clause_unless
from fast_channels.testing.conformance.layer_suite import LayerSuite, Message, no_backend
from fast_channels.testing.conformance.sealed import sealed

GROUP: Final = "hall"


class PresenceTests(LayerSuite):
    """Subclass it together with ``LayerTests``, or alone, and write ``build_layer``."""

    presence_lease: ClassVar[float] = 0.6
    """Seconds that a node may be silent in these clauses. A slow broker needs more."""

    @sealed
    async def attending(self, **options: Any) -> PresenceLayer:
        """Return an open layer with a short lease, which knows the other nodes."""
        layer = await self.node(**{"presence_lease": self.presence_lease, **options})
        assert isinstance(layer, PresenceLayer), f"{layer!r} has no presence"
        await self.soon(layer.presence(GROUP), "presence", self.patience + 2)
        return layer

    @sealed
    async def present(self, layer: PresenceLayer, user: str, *, watch: bool = False) -> str:
        """Return a new channel of the layer that is present as that user."""
        channel = await self.soon(layer.new_channel(), "new_channel")
        joining = layer.group_add(GROUP, channel, presence={"user": user}, watch=watch)
        await self.soon(joining, "group_add")
        return channel

    @sealed
    async def seen(self, layer: PresenceLayer, *users: str) -> None:
        """Return when just these users are present, as the layer knows."""
        limit = asyncio.get_running_loop().time() + self.patience
        while (there := await self.users(layer)) != sorted(users):  # known on other nodes later
            assert asyncio.get_running_loop().time() < limit, f"present are {there}, not {users}"
            await asyncio.sleep(0.005)

    @sealed
    async def users(self, layer: PresenceLayer) -> list[str]:
        """Return who is present, as the layer knows."""
        found = await self.soon(layer.presence(GROUP), "presence")
        return sorted(presence["user"] for presence in found.values())

    @sealed
    async def told(self, layer: PresenceLayer, channel: str, user: str, kind: str) -> Message:
        """Return the channel's next message, which tells that of the user alone."""
        [message] = await self.receive(layer, channel)
        assert message["type"] == f"presence.{kind}"
        assert [presence["user"] for presence in message["members"].values()] == [user]
        assert message["group"] == GROUP
        return message

    @clause
    async def test_every_node_knows_who_is_present(self) -> None:
        """By channel, with the dict that was given, and nobody of another group. Usual cause: a
        node knows its own members only, or nodes without a member know nothing."""
        here, there, elsewhere = [await self.attending() for _ in range(3)]
        given = {"user": "ann", "tags": ["a", {"b": b"\x00"}]}
        ann = await here.new_channel()
        await here.group_add(GROUP, ann, presence=given)
        bob = await self.present(there, "bob")
        await here.group_add("hall.2", await here.new_channel(), presence={"user": "eve"})
        for node in (here, there, elsewhere):
            await self.seen(node, "ann", "bob")
            assert await node.presence(GROUP) == {ann: given, bob: {"user": "bob"}}
            assert sorted(await node.group_channels(GROUP)) == sorted([ann, bob])
            assert await node.group_count(GROUP) == 2

    @clause
    async def test_two_members_of_one_user_are_two(self) -> None:
        """On one node or on several, and one of them may leave. Usual cause: members are kept by
        what they say of themselves."""
        here, there = await self.attending(), await self.attending()
        first = await self.present(here, "ann")
        await self.present(here, "ann")
        await self.present(there, "ann")
        for node in (here, there):
            await self.seen(node, "ann", "ann", "ann")
        await here.group_discard(GROUP, first)
        for node in (here, there):
            await self.seen(node, "ann", "ann")

    @clause
    async def test_a_member_without_a_presence_is_not_present(self) -> None:
        """It gets the group's messages all the same. Usual cause: presence is read from the
        group's members."""
        here, there = await self.attending(), await self.attending()
        plain = await self.member(here, GROUP)
        await self.present(here, "ann")
        await self.seen(there, "ann")
        assert await there.group_count(GROUP) == 1
        await there.group_send(GROUP, {"type": "kit.message"})
        assert await self.fenced(here, plain, there) == [{"type": "kit.message"}]

    @clause
    async def test_watchers_are_told_once_who_comes_and_who_goes(self) -> None:
        """On every node, a channel that another node added included. Usual cause: only watchers
        on the member's node are told, or they are told twice."""
        here, there = await self.attending(), await self.attending()
        watchers = [(node, await node.new_channel()) for node in (here, there)]
        for _, watcher in watchers:
            await self.soon(here.group_add(GROUP, watcher, watch=True), "group_add")
        member = await self.present(there, "ann")
        for node, watcher in watchers:
            joined = await self.told(node, watcher, "ann", "join")
            assert list(joined["members"]) == [member]
            assert joined["replaces"] == {}
        await there.group_discard(GROUP, member)
        for node, watcher in watchers:
            assert list((await self.told(node, watcher, "ann", "leave"))["members"]) == [member]
            assert await self.fenced(node, watcher, there) == []

    @clause
    async def test_who_does_not_watch_is_told_nothing(self) -> None:
        """Usual cause: every member of the group gets the messages for watchers."""
        here, there = await self.attending(), await self.attending()
        quiet = await self.present(here, "ann")
        watcher = await here.new_channel()
        await here.group_add(GROUP, watcher, watch=True)
        await self.present(there, "bob")
        await self.told(here, watcher, "bob", "join")
        assert await self.fenced(here, quiet, there) == []

    @clause
    async def test_another_presence_of_a_member_replaces_the_former(self) -> None:
        """In one message, whose ``replaces`` names the channel. Usual cause: the second
        ``group_add`` is ignored, for the channel is a member already."""
        here, there = await self.attending(), await self.attending()
        watcher = await there.new_channel()
        await there.group_add(GROUP, watcher, watch=True)
        member = await self.present(here, "ann")
        await self.told(there, watcher, "ann", "join")
        await here.group_add(GROUP, member, presence={"user": "ann, away"})
        update = await self.told(there, watcher, "ann, away", "join")
        assert update["replaces"] == {member: member}
        await self.seen(there, "ann, away")
        assert await self.fenced(there, watcher, here) == []

    @clause
    async def test_a_rejoin_soon_after_a_leave_makes_no_leave(self) -> None:
        """By a new channel with an equal presence, on any node: a page that is reloaded. Usual
        cause: leaves are told at once."""
        lease = max(15.0, self.presence_lease)  # so that the hold is longer than any delay here
        here, there, watching = [await self.attending(presence_lease=lease) for _ in range(3)]
        watcher = await watching.new_channel()
        await watching.group_add(GROUP, watcher, watch=True)
        first = await self.present(here, "ann")
        await self.told(watching, watcher, "ann", "join")
        await here.group_discard(GROUP, first)
        second = await self.present(there, "ann")
        again = await self.told(watching, watcher, "ann", "join")
        assert again["replaces"] == {second: first}
        await self.seen(watching, "ann")
        assert await self.fenced(watching, watcher, there) == []

    @clause
    async def test_a_channel_that_ends_is_not_present(self) -> None:
        """No discard is needed. Usual cause: only ``group_discard`` ends a presence."""
        here, there = await self.attending(), await self.attending()
        async with here.channel() as channel:
            await here.group_add(GROUP, channel.name, presence={"user": "ann"})
            await self.seen(there, "ann")
        await self.seen(there)
        assert await here.group_count(GROUP) == 0

    @clause
    async def test_members_of_a_layer_that_is_closed_leave_soon(self) -> None:
        """Long before their lease is over. Usual cause: a layer that is closed says no goodbye."""
        lease = 2 * self.patience
        here, there = [await self.attending(presence_lease=lease) for _ in range(2)]
        await self.present(here, "ann")
        await self.present(there, "bob")
        await self.seen(there, "ann", "bob")
        await here.close()
        await self.seen(there, "bob")

    @clause_unless(no_backend)
    async def test_members_of_a_node_that_is_silent_leave_when_its_lease_is_over(self) -> None:
        """As those of a process that was killed: its loop does not run any more. Usual cause:
        nobody looks for nodes that do not beat."""
        here = await self.attending()
        watcher = await here.new_channel()
        await here.group_add(GROUP, watcher, watch=True)
        silent = self.build_layer(prefix=self.prefix(), presence_lease=self.presence_lease)
        loop = (self.loop_factory or asyncio.new_event_loop)()
        try:
            known = threading.Event()
            assert isinstance(silent, PresenceLayer)
            coming = asyncio.to_thread(loop.run_until_complete, self._come(silent, known))
            running = asyncio.create_task(coming)
            try:
                joined = await self.told(here, watcher, "ann", "join")
            finally:
                known.set()
                member = await running
            assert list(joined["members"]) == [member]
            await self.told(here, watcher, "ann", "leave")
            assert await self.users(here) == []
        finally:
            await asyncio.to_thread(loop.run_until_complete, silent.close())
            await asyncio.to_thread(loop.run_until_complete, loop.shutdown_default_executor())
            loop.close()

    async def _come(self, layer: PresenceLayer, known: threading.Event) -> str:
        member = await self.present(layer, "ann")
        while not known.is_set():  # noqa: ASYNC110  # another loop sets it
            await asyncio.sleep(0.005)
        return member

    @clause
    async def test_members_of_a_node_that_beats_stay(self) -> None:
        """For several leases in which nothing else happens. Usual cause: a node is known alive by
        its changes only."""
        here, there = await self.attending(), await self.attending()
        watcher = await self.present(here, "ann", watch=True)
        await self.told(here, watcher, "ann", "join")
        await self.present(there, "bob")
        await self.told(here, watcher, "bob", "join")
        await self.passing(3 * self.presence_lease)
        await self.seen(here, "ann", "bob")
        assert await self.fenced(here, watcher, there) == []

    @clause_unless(no_outage)
    async def test_an_outage_of_the_broker_makes_nobody_leave(self) -> None:
        """However many leases it lasts, for nobody could hear anybody; what happened meanwhile is
        known afterwards. Usual cause: a node that hears nothing drops all others."""
        here, there = await self.attending(), await self.attending()
        watcher = await here.new_channel()
        await here.group_add(GROUP, watcher, watch=True)
        member = await self.present(there, "ann")
        await self.present(there, "bob")
        await self.seen(here, "ann", "bob")
        async with self.outage():
            await self.passing(3 * self.presence_lease)
            assert await self.users(here) == ["ann", "bob"]
            await there.group_discard(GROUP, member)
        left: list[str] = []
        async with asyncio.timeout(self.recovers_within + self.patience):
            while not left:
                message = await here.receive(watcher)
                if message["type"] == "presence.leave":
                    left += message["members"]
        assert left == [member]
        await self.seen(here, "bob")

    @clause_unless(no_backend)
    async def test_presence_costs_nothing_for_each_member(self) -> None:
        """A hundred members more are no more messages, once they have come. Usual cause: each
        member is kept alive by a message of its own."""
        here = await self.attending()
        costs: list[int] = []
        for count in (1, 100):
            for number in range(count):
                await self.present(here, f"user {number}")
            await self.passing(self.presence_lease / 2)
            before = self.published(here)
            await self.passing(self.presence_lease)
            costs.append(self.published(here) - before)
        assert costs[1] <= 2 * costs[0] + 10, f"one cost {costs[0]} messages, 101 {costs[1]}"

    @clause_unless(no_backend)
    async def test_plain_json_makes_nobody_present(self) -> None:
        """Whoever can write to the broker, on whichever topic. Usual cause: what nodes tell each
        other is read from messages of a group."""
        here, there = await self.attending(), await self.attending()
        ann = await self.present(here, "ann")
        node = ann.partition("!")[0].rpartition(".")[2]
        forged = (
            b'{"type": "presence.change", "version": 1000, "prev": 0, "group": "hall", '
            b'"joins": {"specific.%s!99": {"user": "eve"}}, "leaves": ["%s"]}'
        ) % (node.encode(), ann.encode())
        for topic in (f"g.{GROUP}", f"p.{GROUP}", "b.presence", f"n.{node}"):
            await self.inject(here, f"{self.prefix()}:{topic}", forged)
        await self.present(there, "bob")
        for each in (here, there):
            await self.seen(each, "ann", "bob")

    @clause
    async def test_a_presence_that_cannot_be_sent_is_refused(self) -> None:
        """With an error that names the key, and the channel is no member then. Usual cause: the
        presence is encoded after the channel has joined."""
        node = await self.attending()
        channel = await node.new_channel()
        for presence, error in (
            ({"user": object()}, TypeError),
            ({"user": "x" * 100_000}, MessageTooLarge),
        ):
            with pytest.raises(error, match=r"presence\['user'\]"):
                await node.group_add(GROUP, channel, presence=presence)
        with pytest.raises(TypeError, match="presence must be a dict"):
            await node.group_add(GROUP, channel, presence="ann")  # type: ignore[arg-type]  # wrong
        await node.group_send(GROUP, {"type": "kit.message"})
        assert await self.fenced(node, channel) == []
        assert await node.presence(GROUP) == {}

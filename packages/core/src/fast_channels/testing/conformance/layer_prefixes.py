"""Clauses about prefixes: applications that share a broker do not meet."""

from fast_channels.testing.conformance.clause import clause
from fast_channels.testing.conformance.layer_suite import LayerSuite, message, numbers


class PrefixClauses(LayerSuite):
    """Same names, same broker, another prefix."""

    @clause
    async def test_applications_with_other_prefixes_hear_nothing(self) -> None:
        """Groups, channels and queues, and one prefix may begin with the other. Usual cause: the
        prefix is not part of every name in the broker."""
        prefixes = [self.prefix(), f"{self.prefix()}2", f"{self.prefix()}.a", f"x-{self.prefix()}"]
        nodes = [await self.node(prefix=prefix) for prefix in prefixes]
        members = [await self.member(node, "room") for node in nodes]
        for number, node in enumerate(nodes):
            await node.group_send("room", message(number))
            if "queues" in self.capabilities:
                await node.send("jobs", message(number))
        for number, node in enumerate(nodes):
            assert numbers(await self.fenced(node, members[number])) == [number]
            if "queues" in self.capabilities:
                await node.send("jobs", message(-1))
                assert numbers(await self.receive(node, "jobs", 2)) == [number, -1]
        for number, node in enumerate(nodes):
            for member in members[:number] + members[number + 1 :]:
                await node.send(member, message(-1))
        for number, node in enumerate(nodes):
            assert await self.fenced(node, members[number]) == []

    @clause
    async def test_flush_touches_its_own_prefix_only(self) -> None:
        """Usual cause: it clears the whole broker, or what begins with the prefix."""
        flushing = await self.node()
        others = [await self.node(prefix=f"{self.prefix()}{end}") for end in ("2", ".a", "-")]
        members = [await self.member(node, "room") for node in others]
        for node in others:
            await node.group_send("room", message(1))
            if "queues" in self.capabilities:
                await node.send("jobs", message(1))
        await self.soon(flushing.flush(), "flush")
        for node, member in zip(others, members, strict=True):
            await node.group_send("room", message(2))
            assert numbers(await self.receive(node, member, 2)) == [1, 2]
            if "queues" in self.capabilities:
                assert await self.receive(node, "jobs") == [message(1)]

"""A move from one broker to another, process by process, while messages flow."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from fast_channels.layers import (
    ChannelLayer,
    ChannelLayerRegistry,
    InMemoryChannelLayer,
    register_channel_layer,
    unregister_channel_layer,
)

from fast_channels_moving import MovingChannelLayer

STAGES: dict[str, Callable[[], ChannelLayer]] = {
    "old": lambda: InMemoryChannelLayer(url="memory://left"),
    "read old": lambda: MovingChannelLayer(old="memory://left", new="memory://right"),
    "read new": lambda: MovingChannelLayer(old="memory://left", new="memory://right", read="new"),
    "new": lambda: InMemoryChannelLayer(url="memory://right"),
}


@pytest.mark.parametrize(
    "pair", [("old", "read old"), ("read old", "read new"), ("read new", "new")]
)
def test_processes_of_neighbouring_stages_reach_each_other_once(pair: tuple[str, str]) -> None:
    async def main() -> None:
        layers = [STAGES[stage]() for stage in pair]
        channels = [await layer.new_channel() for layer in layers]
        for layer, channel in zip(layers, channels, strict=True):
            await layer.group_add("room", channel)
        expected: list[str] = []
        for sender in layers:
            for channel in channels:
                await sender.send(channel, {"type": "direct", "n": len(expected)})
            await sender.group_send("room", {"type": "group", "n": len(expected)})
            expected += ["direct", "group"]
        for layer, channel in zip(layers, channels, strict=True):
            await layer.send(channel, {"type": "last"})
            got = []
            while (message := await asyncio.wait_for(layer.receive(channel), 5))["type"] != "last":
                got.append(message["type"])
            assert got == expected
        for layer in layers:
            await layer.close()

    asyncio.run(main())


def test_a_whole_move_loses_nothing_and_doubles_nothing() -> None:
    async def main() -> None:
        sent = 0

        async def send(*senders: ChannelLayer) -> None:
            nonlocal sent
            for sender in senders:
                await sender.group_send("room", {"type": "tick", "n": sent})
                sent += 1

        processes = [STAGES["old"](), STAGES["old"]()]
        members = [await layer.new_channel() for layer in processes]
        for layer, member in zip(processes, members, strict=True):
            await layer.group_add("room", member)
        for stage in list(STAGES)[1:]:
            for index in range(2):  # one after the other is replaced by one of the next stage
                begin = sent
                fresh = STAGES[stage]()
                member = await fresh.new_channel()
                await fresh.group_add("room", member)
                await send(*processes, fresh)
                for layer, channel in [*zip(processes, members, strict=True), (fresh, member)]:
                    got = [(await asyncio.wait_for(layer.receive(channel), 5))["n"] for _ in "123"]
                    assert got == list(range(begin, begin + 3))
                await processes[index].close()
                processes[index], members[index] = fresh, member
        for layer in processes:
            await layer.close()

    asyncio.run(main())


def test_a_job_is_put_on_the_broker_that_is_read() -> None:
    async def main() -> None:
        moving, old, new = STAGES["read new"](), STAGES["old"](), STAGES["new"]()
        await moving.send("jobs", {"type": "job"})
        assert await asyncio.wait_for(new.receive("jobs"), 5) == {"type": "job"}
        await old.send("jobs", {"type": "left behind"})
        assert await asyncio.wait_for(old.receive("jobs"), 5) == {"type": "left behind"}
        for layer in (moving, old, new):
            await layer.close()

    asyncio.run(main())


def test_it_is_registered_by_its_name() -> None:
    layer: Any = register_channel_layer("moving", "moving", old="memory://a", new="memory://b")
    assert isinstance(layer, MovingChannelLayer)
    unregister_channel_layer("moving")


@pytest.mark.parametrize("read", ["both", ""])
def test_what_cannot_be_read_is_an_error(read: str) -> None:
    with pytest.raises(ValueError, match="read must be 'old' or 'new'"):
        ChannelLayerRegistry().register("x", "moving", old="memory://", new="memory://", read=read)

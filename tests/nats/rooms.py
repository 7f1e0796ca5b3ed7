"""Members of a group, and what history a server has of it."""

from typing import Any

from nats.aio.client import Client

from fast_channels_nats import NatsChannelLayer

GAP = {"type": "channels.gap", "group": "room"}
LAST = {"type": "last"}


async def member(layer: NatsChannelLayer, group: str = "room") -> str:
    """Return a channel of the layer that is in the group."""
    channel = await layer.new_channel()
    await layer.group_add(group, channel)
    return channel


async def history_streams(operator: Client, prefix: str) -> dict[str, Any]:
    """Return the streams that hold the history of the prefix, by name."""
    found = {str(each.config.name): each for each in await operator.jetstream().streams_info()}
    return {name: each for name, each in found.items() if name.startswith(f"{prefix}=h+")}

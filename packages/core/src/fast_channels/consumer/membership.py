"""The groups that a consumer names: joined before its first handler, left after its last."""

from typing import Any

from fast_channels.exceptions import InvalidChannelLayerError, LayerClosed


async def join(consumer: Any) -> None:
    """The consumer is in each of its ``groups``; ``InvalidChannelLayerError`` without a layer."""
    if consumer.groups and consumer.channel_layer is None:
        raise InvalidChannelLayerError(
            f"{type(consumer).__name__} has groups, but no channel layer is registered as "
            f"{consumer.channel_layer_alias!r}; call register_channel_layer() at start-up"
        )
    for group in consumer.groups:
        await consumer.channel_layer.group_add(group, consumer.channel_name)


async def leave(consumer: Any) -> None:
    """The consumer is in none of its ``groups``, in a layer of others' making either."""
    if consumer.channel_layer is None:
        return
    try:
        for group in consumer.groups:
            await consumer.channel_layer.group_discard(group, consumer.channel_name)
    except LayerClosed:
        pass  # it has ended every membership

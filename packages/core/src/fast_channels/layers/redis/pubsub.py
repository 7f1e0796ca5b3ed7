"""Where Fast Channels 1.1 had the second of its Redis layers."""

from typing import TYPE_CHECKING

from fast_channels.layers.redis import hand_on

if TYPE_CHECKING:
    from fast_channels_redis import RedisPubSubChannelLayer

__all__ = ["RedisPubSubChannelLayer"]

__getattr__ = hand_on(
    __name__,
    __all__,
    gone=("RedisPubSubLoopLayer", "RedisSingleShardConnection"),
    instead="a RedisPubSubChannelLayer works from every event loop, and on every host, by itself",
)

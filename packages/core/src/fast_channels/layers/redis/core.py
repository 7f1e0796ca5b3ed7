"""Where Fast Channels 1.1 had the first of its Redis layers."""

from typing import TYPE_CHECKING

from fast_channels.exceptions import ChannelFull as ChannelFull
from fast_channels.layers.redis import hand_on

if TYPE_CHECKING:
    from fast_channels_redis import RedisChannelLayer

__all__ = ["ChannelFull", "RedisChannelLayer"]

__getattr__ = hand_on(
    __name__,
    ["RedisChannelLayer"],
    gone=("ChannelLock", "BoundedQueue", "RedisLoopLayer"),
    instead="a RedisChannelLayer works from every event loop, and bounds its channels, by itself",
)

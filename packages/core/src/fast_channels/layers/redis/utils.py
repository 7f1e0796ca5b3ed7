"""Where Fast Channels 1.1 had what its two Redis layers shared."""

from typing import TYPE_CHECKING

from fast_channels.layers.redis import hand_on

if TYPE_CHECKING:
    from fast_channels_redis import consistent_hash

__all__ = ["consistent_hash"]

__getattr__ = hand_on(
    __name__,
    __all__,
    gone=("wrap_close", "close_redis", "decode_hosts", "create_pool"),
    instead=(
        "hosts=[...] of a layer takes the same forms, and close() lets go of every connection; "
        "for a connection of your own, use redis.asyncio.Redis.from_url"
    ),
)

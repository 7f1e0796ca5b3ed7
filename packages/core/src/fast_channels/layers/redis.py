"""Where Fast Channels 1.1 had its Redis layers: the names of ``fast_channels_redis``.

That package is imported when the first name is asked for.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fast_channels_redis import RedisChannelLayer, RedisPubSubChannelLayer

__all__ = ["RedisChannelLayer", "RedisPubSubChannelLayer"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        import fast_channels_redis
    except ModuleNotFoundError as error:
        if error.name != "fast_channels_redis":
            raise
        raise ImportError(
            "the Redis layers are a package of their own; run: pip install 'fast-channels[redis]'"
        ) from error
    return getattr(fast_channels_redis, name)

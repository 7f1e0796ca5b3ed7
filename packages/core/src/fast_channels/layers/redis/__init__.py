"""Where Fast Channels 1.1 had its Redis layers: the names of ``fast_channels_redis``.

That package is imported when the first name is asked for.
"""

from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fast_channels_redis import RedisChannelLayer, RedisPubSubChannelLayer

__all__ = ["RedisChannelLayer", "RedisPubSubChannelLayer"]


def hand_on(
    module: str, names: Collection[str], gone: Iterable[str] = (), instead: str = ""
) -> Callable[[str], Any]:
    """Return a module's ``__getattr__``, which hands on those names of ``fast_channels_redis``.

    A name in ``gone`` is an ``ImportError`` that says what there is ``instead``.
    """
    gone = frozenset(gone)

    def __getattr__(name: str) -> Any:
        if name in gone:
            raise ImportError(f"{module}.{name} went with the old Redis layer; {instead}")
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        try:
            import fast_channels_redis
        except ModuleNotFoundError as error:
            if error.name != "fast_channels_redis":
                raise
            raise ImportError(
                "the Redis layers are a package of their own; "
                "run: pip install 'fast-channels[redis]'"
            ) from error
        return getattr(fast_channels_redis, name)

    return __getattr__


__getattr__ = hand_on(__name__, __all__)

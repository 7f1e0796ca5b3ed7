"""Opens every registered layer when an application starts, and drains them when it ends."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from fast_channels.consumer.drain import Drain
from fast_channels.exceptions import BackendUnavailable, InvalidChannelLayerError
from fast_channels.layers.registry import ChannelLayerRegistry, channel_layers


@asynccontextmanager
async def lifespan(
    app: object = None,
    *,
    registry: ChannelLayerRegistry = channel_layers,
    drain: Drain | None = None,
) -> AsyncGenerator[None]:
    """Every registered layer is open inside, and closed after.

    A broker that is down or misspelt fails here, with ``BackendUnavailable`` that names the layer,
    rather than at the first message. Use it as it is, ``FastAPI(lifespan=lifespan)``, or inside a
    lifespan function of your own, ``async with lifespan():``. With ``drain``, SIGTERM ends the
    connections a few at a time before the server stops; layers are closed after that.
    """
    async with AsyncExitStack() as opened:
        for alias in registry.list_aliases():
            layer: Any = registry[alias]
            if not hasattr(layer, "open"):
                continue  # a layer of the upstream kind connects when it is first used
            try:
                await layer.open()
            except BackendUnavailable as error:
                raise BackendUnavailable(f"channel layer {alias!r} ({layer}): {error}") from error
            except OSError as error:
                raise InvalidChannelLayerError(
                    f"channel layer {alias!r} ({layer}) could not be opened: {error}"
                ) from error
            opened.push_async_callback(layer.close)
        if drain is not None:
            await opened.enter_async_context(drain.armed())
        yield

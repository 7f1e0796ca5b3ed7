"""What most middleware starts from: one object that serves every connection."""

from typing import Any

from fast_channels.type_defs import (
    ASGIReceiveCallable,
    ASGISendCallable,
    ChannelApplication,
    ChannelScope,
)
from fast_channels.utils import require_application


class BaseMiddleware:
    """Passes each connection on to ``inner``, with a scope of its own.

    A subclass overrides ``__call__``, adds to a copy of the scope, and calls ``self.inner`` or
    ``super().__call__``. One instance serves all connections at once: what belongs to one of them
    goes into its scope, never on ``self``.
    """

    def __init__(self, inner: ChannelApplication) -> None:
        require_application(inner)
        self.inner = inner

    async def __call__(
        self, scope: ChannelScope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> Any:
        """Serve one connection; keys that ``inner`` adds to its scope do not reach the caller's."""
        return await self.inner(dict(scope), receive, send)

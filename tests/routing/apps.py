"""Applications that tell with which scope they were called."""

from typing import Any


class Answer:
    """Returns its name; keeps the last scope that it got."""

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.scope: dict[str, Any] = {}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> str:
        self.scope = scope
        return self.name


async def get(router: Any, path: str, **scope: Any) -> Any:
    """Return what the application for the path returned."""
    return await router({"type": "websocket", "path": path, **scope}, None, None)

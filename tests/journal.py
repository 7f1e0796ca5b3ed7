"""What happens in consumers and workers, to be waited for."""

import asyncio
from collections.abc import Callable
from typing import Any

from .waiting import PATIENCE


class Journal(list[Any]):
    """What happened, in order; can be waited on."""

    def __init__(self) -> None:
        super().__init__()
        self._news = asyncio.Event()

    def __call__(self, entry: Any) -> None:
        self.append(entry)
        self._news.set()

    async def until(self, met: Callable[[], bool]) -> None:
        """Wait until an entry makes the condition true."""
        try:
            async with asyncio.timeout(PATIENCE):
                while not met():
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"this is all that happened: {list(self)[-20:]}") from None

    async def has(self, *entries: Any) -> None:
        """Wait until all the entries are there."""
        await self.until(lambda: all(entry in self for entry in entries))

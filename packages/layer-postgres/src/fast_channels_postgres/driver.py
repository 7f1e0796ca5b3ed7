"""asyncpg, which has no types of its own, as far as it is used here."""

from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol, cast

import asyncpg  # type: ignore[import-untyped]  # pyright: ignore[reportMissingTypeStubs]

_asyncpg: Final = cast("Any", asyncpg)

PostgresError: Final[type[Exception]] = _asyncpg.PostgresError
"""What the server says no with, and some losses of the connection."""
InterfaceError: Final[type[Exception]] = _asyncpg.InterfaceError
"""What asyncpg says no with."""
InternalClientError: Final[type[Exception]] = _asyncpg.InternalClientError
"""What it says, too, where the server says goodbye between two steps of its own."""
NotPrimary: Final[type[Exception]] = _asyncpg.TargetServerAttributeNotMatched

FATAL_STATES: Final = ("08", "57P")
"""How the codes of errors begin after which a connection is of no use."""

DENIED: Final = "42501"
READ_ONLY: Final = "25006"
NO_TABLE: Final = ("42P01", "3F000")

Heard = Callable[[Any, int, str, str], None]


class Raw(Protocol):
    """One connection of asyncpg, or a pool's proxy of one."""

    async def execute(self, query: str, *args: object) -> str:
        """Run the statements; without ``args`` in one round trip, and nothing is prepared."""
        ...

    async def fetch(self, query: str, *args: object) -> list[Any]:
        """Return the rows."""
        ...

    async def executemany(self, command: str, args: Sequence[Sequence[object]], /) -> None:
        """Run the statement with each of the arguments, in order, in one transaction."""
        ...

    async def fetchval(self, query: str, *args: object) -> Any:
        """Return the first column of the first row; None without a row."""
        ...

    async def add_listener(self, channel: str, callback: Heard, /) -> None:
        """LISTEN, and call back for each notification."""
        ...

    async def remove_listener(self, channel: str, callback: Heard, /) -> None:
        """UNLISTEN, unless another callback is left."""
        ...

    def add_termination_listener(self, callback: Callable[[Any], None], /) -> None:
        """Call back when the connection has ended, whatever ended it."""
        ...

    def remove_termination_listener(self, callback: Callable[[Any], None], /) -> None:
        """Do not call back."""
        ...

    def is_closed(self) -> bool:
        """True when it has ended."""
        ...

    def terminate(self) -> None:
        """End it at once."""
        ...

    async def close(self, *, timeout: float | None = None) -> None:
        """Say goodbye and end it."""
        ...


class Pool(Protocol):
    """A pool of asyncpg that belongs to the application."""

    async def acquire(self, *, timeout: float | None = None) -> Raw:
        """Return a connection that nobody else uses."""
        ...

    async def release(self, connection: Raw, /) -> None:
        """Take the connection back."""
        ...


async def connect(**options: Any) -> Raw:
    """Return a new connection."""
    return cast("Raw", await _asyncpg.connect(**options))


def sqlstate(error: BaseException) -> str:
    """Return the server's code of the error; empty for others."""
    return getattr(error, "sqlstate", None) or ""

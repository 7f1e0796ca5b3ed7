"""uvicorn on a free port, in this process."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
import uvicorn

Serve = Callable[..., Awaitable[str]]


class Server(uvicorn.Server):
    """Tells when it listens, and leaves the signals to pytest."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listens = asyncio.Event()

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        self.listens.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    @property
    def address(self) -> str:
        """``host:port``."""
        port: int = self.servers[0].sockets[0].getsockname()[1]
        return f"127.0.0.1:{port}"


@contextlib.asynccontextmanager
async def serving(**always: Any) -> AsyncIterator[Serve]:
    """Yields what serves an application until the end, with these settings and those given to it,
    and returns ``host:port``.
    """
    async with asyncio.TaskGroup() as running:
        servers: list[Server] = []

        async def serve(application: Any, **settings: Any) -> str:
            settings = {"port": 0, "timeout_graceful_shutdown": 5, **always, **settings}
            server = Server(uvicorn.Config(application, **settings))
            servers.append(server)
            running.create_task(server.serve())
            async with asyncio.timeout(10):
                await server.listens.wait()
            return server.address

        yield serve
        for server in servers:
            server.should_exit = True


@pytest.fixture
def server_log(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What uvicorn logs, whatever an earlier server has set up; serve with ``log_config=None``."""
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        monkeypatch.setattr(logging.getLogger(name), "propagate", True)
        caplog.set_level(logging.INFO, name)
    return caplog

"""What the tests under real servers share: uvicorn on a free port, in this process."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
import uvicorn
import uvloop

from fast_channels.layers import InMemoryChannelLayer
from fast_channels.layers.registry import channel_layers


def pytest_asyncio_loop_factories(config: Any, item: Any) -> dict[str, Callable[[], Any]]:
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(autouse=True, params=[True, False], ids=["in-place", "woken"])
def in_place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether handlers are started in place."""
    monkeypatch.setenv("FAST_CHANNELS_IN_PLACE", "1" if request.param else "0")
    return bool(request.param)


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


Serve = Callable[..., Awaitable[str]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Serves an application until the test ends; returns ``host:port``."""
    async with asyncio.TaskGroup() as running:
        servers: list[Server] = []

        async def serve(application: Any, **settings: Any) -> str:
            config = uvicorn.Config(
                application, port=0, log_level="warning", timeout_graceful_shutdown=5, **settings
            )
            server = Server(config)
            servers.append(server)
            running.create_task(server.serve())
            async with asyncio.timeout(10):
                await server.listens.wait()
            return server.address

        yield serve
        for server in servers:
            server.should_exit = True


@pytest.fixture
async def layer() -> AsyncIterator[InMemoryChannelLayer]:
    """A memory layer, registered as "default"."""
    layer = InMemoryChannelLayer()
    channel_layers.register("default", layer)
    yield layer
    await layer.close()
    channel_layers.clear()


@pytest.fixture
def server_log(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What uvicorn logs, whatever an earlier server has set up; serve with ``log_config=None``."""
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        monkeypatch.setattr(logging.getLogger(name), "propagate", True)
        caplog.set_level(logging.INFO, name)
    return caplog

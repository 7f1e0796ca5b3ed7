"""What the tests of docs/authentication.md share: its examples, and uvicorn on a free port."""

import asyncio
import contextlib
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn

PAGE = (Path(__file__).parents[2] / "docs/authentication.md").read_text(encoding="utf-8")

Example = Callable[..., dict[str, Any]]
Serve = Callable[..., Awaitable[str]]


@pytest.fixture
def example() -> Example:
    """Runs the first block of code below a heading of the page; returns its names."""

    def example(heading: str) -> dict[str, Any]:
        _, _, section = PAGE.partition(f"\n## {heading}")
        assert section, f"the page has no heading that begins with {heading!r}"
        block = re.search(r"^```python\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
        assert block is not None
        names: dict[str, Any] = {"__name__": "example"}
        exec(compile(block[1], heading, "exec"), names)
        return names

    return example


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


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Serves an application until the test ends; returns ``host:port``."""
    async with asyncio.TaskGroup() as running:
        servers: list[Server] = []

        async def serve(application: Any, **settings: Any) -> str:
            config = uvicorn.Config(
                application,
                port=0,
                log_config=None,
                timeout_graceful_shutdown=5,
                **settings,
            )
            server = Server(config)
            servers.append(server)
            running.create_task(server.serve())
            async with asyncio.timeout(10):
                await server.listens.wait()
            port = server.servers[0].sockets[0].getsockname()[1]
            return f"127.0.0.1:{port}"

        yield serve
        for server in servers:
            server.should_exit = True


@pytest.fixture
def server_log(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What uvicorn logs, whatever an earlier server has set up."""
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        monkeypatch.setattr(logging.getLogger(name), "propagate", True)
        caplog.set_level(logging.INFO, name)
    return caplog

"""What the tests of the browser's clients share: a server that may be killed, and its page."""

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page
from tests.browsers import browser
from tests.clients.served import make_layer
from tests.killable import KillableServer
from tests.proxy import Proxy

__all__ = ["browser"]

ROOT = Path(__file__).parents[2]


class Server(KillableServer):
    """``served.py`` in a process of its own."""

    def __init__(self, history: Path | str) -> None:
        super().__init__("tests.clients.served:application", ROOT, HISTORY=str(history))
        self.history = history

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def send(self, group: str, *messages: Any) -> None:
        """The group has the messages, or numbers."""
        whole = [m if isinstance(m, dict) else {"type": "news.item", "n": m} for m in messages]
        assert httpx.post(self.url + group, json=whole).status_code == 204

    def send_while_it_is_down(self, group: str, *numbers: int) -> None:
        """Another process has sent to the group."""

        async def publish() -> None:
            layer = make_layer(self.history)
            for n in numbers:
                await layer.group_send(group, {"type": "news.item", "n": n})
            await layer.close()

        assert self.process is None
        asyncio_run(publish)


def asyncio_run(main: Callable[[], Any]) -> None:
    """Run the coroutine in a thread: Playwright's own loop runs in this one."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            asyncio.run(main())
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(20)
    assert not thread.is_alive()
    assert not failures, failures


class Road:
    """The way to the server, which can be cut."""

    def __init__(self, port: int) -> None:
        self._loop = asyncio.new_event_loop()
        self._proxy = Proxy(port, "http")
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._call(self._open())

    def _call(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _open(self) -> None:
        self._server = await asyncio.start_server(self._proxy.serve, "127.0.0.1", 0)
        self._proxy.port = self._server.sockets[0].getsockname()[1]

    @property
    def url(self) -> str:
        return self._proxy.url + "/"

    def cut(self) -> None:
        """Every connection of now is broken off."""
        self._call(self._cut())

    async def _cut(self) -> None:
        for writer in list(self._proxy._writers):
            writer.transport.abort()

    def close(self) -> None:
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _close(self) -> None:
        self._server.close()
        await self._proxy.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """The server, whose log names no failure in the end."""
    server = Server(tmp_path / "history")
    server.start()
    yield server
    assert "Traceback" not in server.kill()


@pytest.fixture
def road(server: Server) -> Iterator[Road]:
    """A way to the server."""
    road = Road(server.port)
    yield road
    road.close()


@pytest.fixture
def page(browser: Browser, server: Server) -> Iterator[Callable[..., Page]]:
    """Opens pages, each in a browser context of its own; none may have had an error."""
    contexts: list[Any] = []
    problems: list[str] = []

    def open_page(url: str = "") -> Page:
        contexts.append(browser.new_context())
        page: Page = contexts[-1].new_page()
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: problems.append(str(error)))
        visit(page, url or server.url)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert problems == []


def visit(page: Page, url: str) -> None:
    """The page is there, and its module has run."""
    page.goto(url)
    page.wait_for_function("window.ready")

"""What the page about one database says is done, in a browser, too."""

import asyncio
import json
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import uvicorn
from playwright.async_api import async_playwright
from tests.browsers import BROWSERS, FLAGS
from tests.ports import Port
from tests.waiting import PATIENCE, soon, until
from websockets.asyncio.client import connect

from fast_channels.layers import BaseChannelLayer, channel_layers, unregister_channel_layer

from .conftest import Make
from .servers import Server

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "postgres-database.md").read_text(encoding="utf-8")
URL = "postgresql://app:secret@localhost/app"


def block(language: str, holds: str) -> str:
    """Return the one block of the page that holds this."""
    [found] = [
        code
        for code in re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
        if holds in code
    ]
    return str(found)


@asynccontextmanager
async def served(app: Any) -> AsyncGenerator[str]:
    """Serve the application on a free port; yields the address."""
    port = Port()
    config = uvicorn.Config(app, port=port.number, log_level="error", ws="websockets-sansio")
    serving = uvicorn.Server(config)
    task = asyncio.create_task(serving.serve())
    try:
        await until(lambda: serving.started)
        yield f"localhost:{port.number}"
    finally:
        serving.should_exit = True
        await soon(task)


@pytest.fixture
async def orders(server: Server, make: Make) -> AsyncGenerator[asyncpg.Connection]:
    """A connection to a database with the page's table and trigger."""
    await make(server.url).migrate()
    connection = await asyncpg.connect(server.url)
    await connection.execute("CREATE TABLE orders (id int, status text)")
    await connection.execute(block("sql", "TRIGGER"))
    yield connection
    await connection.execute("DROP TABLE orders; DROP FUNCTION push_order")
    await connection.close()


@pytest.fixture
async def address(server: Server, orders: asyncpg.Connection) -> AsyncGenerator[str]:
    """Where the page's application is served."""
    names: dict[str, Any] = {}
    exec(block("python", "class Orders").replace(URL, server.url), names)
    try:
        async with served(names["app"]) as address:
            yield address
    finally:
        unregister_channel_layer("default")


async def change(orders: asyncpg.Connection) -> None:
    """Two rows come, one changes, and a third is rolled back."""
    await orders.execute("INSERT INTO orders VALUES (1, 'new'), (2, 'new')")
    with pytest.raises(asyncpg.PostgresError):
        await orders.execute("INSERT INTO orders VALUES (3, 'never'); SELECT 1/0")
    await orders.execute("UPDATE orders SET status = 'paid' WHERE id = 2")


async def test_row_changes_reach_a_websocket(orders: asyncpg.Connection, address: str) -> None:
    async with connect(f"ws://{address}/") as socket:
        await change(orders)
        for number, status in ((1, "new"), (2, "new"), (2, "paid")):
            assert json.loads(await soon(socket.recv())) == {"id": number, "status": status}


@pytest.mark.browser
async def test_row_changes_reach_a_page_in_a_browser(
    orders: asyncpg.Connection, address: str
) -> None:
    html = block("html", "WebSocket").replace("localhost:8000", address)
    async with async_playwright() as playwright:
        program = next(filter(None, map(shutil.which, BROWSERS)), None)
        browser = await playwright.chromium.launch(executable_path=program, args=FLAGS)
        page = await browser.new_page()
        await page.set_content(html)
        layer = channel_layers["default"]
        assert isinstance(layer, BaseChannelLayer)
        async with asyncio.timeout(PATIENCE):
            while not await page.get_by_text("order 0").count():  # it has not joined yet
                first = {"type": "order.changed", "id": 0, "status": "first"}
                await layer.group_send("orders", first)
        await change(orders)
        await page.get_by_text("order 2: paid").wait_for()
        shown = await page.locator("li").all_text_contents()
        assert shown == ["order 0: first", "order 1: new", "order 2: paid"]
        await browser.close()


@pytest.mark.parametrize("holds", ["import asyncpg", "import create_engine"])
async def test_the_programs_of_the_page_send_when_they_commit(
    server: Server, make: Make, orders: asyncpg.Connection, holds: str
) -> None:
    layer = make(server.url, prefix="fc")
    channel = await layer.new_channel()
    await layer.group_add("mail", channel)
    program = block("python", holds).replace("app:secret@localhost/app", "{}")
    program = program.replace("{}", server.url.partition("//")[2])
    await asyncio.to_thread(subprocess.run, [sys.executable, "-c", program], check=True)
    assert (await soon(layer.receive(channel)))["id"] == 2


async def test_the_sql_of_every_page_runs(server: Server, make: Make) -> None:
    await make(server.url).migrate()
    pages = [path.read_text(encoding="utf-8") for path in sorted(DOCS.rglob("*.md"))]
    blocks = [
        sql for page in pages for sql in re.findall(r"^```sql\n(.*?)^```$", page, re.M | re.S)
    ]
    assert len(blocks) > 3
    connection = await asyncpg.connect(server.url)
    if not await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = 'app'"):
        await connection.execute("CREATE ROLE app")
    for sql in blocks:
        async with connection.transaction():
            await connection.execute("CREATE TABLE orders (id int, status text)")
            await connection.execute(sql)
            await connection.execute(
                "DROP TABLE orders CASCADE; DROP FUNCTION IF EXISTS push_order"
            )
    await connection.close()

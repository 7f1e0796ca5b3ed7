"""The JavaScript blocks of the documentation, run in a browser by a page of a real server."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page
from tests.workspace.pages import Block, blocks_in

from .conftest import Server

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]

PARTS = ("show", "add", "reload", "list")
"""What the blocks leave to the page."""

AROUND = """
const calls = {};
for (const name of %s) {
    calls[name] = [];
    window[name] = (...given) => calls[name].push(given);
}
%s
client.on("message", (content) => calls.heard = content);
Object.assign(window, { calls, client, room });
"""


@pytest.mark.parametrize("block", [pytest.param(b, id=place) for place, b in blocks_in("js")])
def test_a_javascript_block_follows_a_group_and_comes_back(
    block: Block, server: Server, page: Callable[..., Page]
) -> None:
    code = block.code.replace('"./fast-channels.js"', '"/fast-channels.js"')
    code = code.replace("wss://example.org/ws", f"ws{server.url[4:]}ws")
    assert code != block.code
    window = page()
    window.add_script_tag(type="module", content=AROUND % (list(PARTS), code))
    window.wait_for_function("window.room?.state === 'subscribed' && calls.heard")
    assert window.evaluate("calls.heard") == {"heard": {"text": "hello"}}
    server.send("room.1", {"type": "room.message", "text": "good morning"})
    window.wait_for_function("calls.add.length && calls.list.length")
    assert window.evaluate("calls.add[0][0]")["text"] == "good morning"
    assert window.evaluate("calls.list.at(-1)") == [[{"user": "ann"}]]
    server.kill()
    window.wait_for_function("calls.show.at(-1)[0] === 'offline'")
    server.start()
    window.wait_for_function("calls.reload.length === 1")  # the group keeps nothing
    assert "online" in window.evaluate("calls.show.flat()")

"""The application that the tests of the browser's clients are served: rooms, news, and a page."""

import json
import os
from pathlib import Path

from tests.clients.file_layer import FileLayer

from fast_channels import (
    AsyncHttpConsumer,
    ResumableEventSourceConsumer,
    ResumableWebsocketConsumer,
    lifespan,
    register_channel_layer,
)
from fast_channels.layers import HistoryPolicy, unregister_channel_layer

CLIENT = Path(__file__).parents[2] / "clients" / "js" / "fast-channels.js"

PAGE = b"""<!doctype html><link rel="icon" href="data:,"><title>A client</title>
<script type="module">
import { FastChannels } from "/fast-channels.js";

// What came outlives a reload, as what a person has read does.
const log = JSON.parse(sessionStorage.log ?? "[]");
const note = (...entry) => {
  log.push(entry);
  sessionStorage.log = JSON.stringify(log);
};
const states = [];

function start(options) {
  const url = "ws" + location.origin.slice(4) + "/ws";
  const client = new FastChannels(url, { minDelay: 50, maxDelay: 300, ...options });
  client.on("state", (state, { code }) => states.push(code ? [state, code] : [state]));
  client.on("message", (content) => note("app", content));
  return Object.assign(window, { client });
}

function follow(name, options) {
  const group = client.subscribe(name, options);
  group.on("message", ({ n }) => note(name, n));
  group.on("gap", () => note(name, "gap"));
  group.on("error", ({ code }) => note(name, code));
  return group;
}

function listen(query) {
  const source = new EventSource("/events?" + query);
  source.onmessage = ({ data }) => note("event", JSON.parse(data).n);
  source.addEventListener("channels.gap", ({ data }) => note("gap", JSON.parse(data).group));
  source.onopen = () => note("open");
}

Object.assign(window, { FastChannels, log, states, start, follow, listen, ready: true });
</script>"""


class Rooms(ResumableWebsocketConsumer):
    async def authorize_group(self, name):
        return None if name == "secret" else name

    async def presence_for(self, name, wanted):
        return wanted

    async def receive_json(self, content, **kwargs):
        await self.send_json({"heard": content})


class News(ResumableEventSourceConsumer):
    retry = 20

    async def stream_groups(self):
        return self.scope["query_string"].decode().split(",")


class Pages(AsyncHttpConsumer):
    """Shows the page, and sends to a group what is posted to its name."""

    async def handle(self, body):
        if self.scope["method"] == "POST":
            for message in json.loads(body):
                await self.channel_layer.group_send(self.scope["path"][1:], message)
            await self.send_response(204, b"")
        elif self.scope["path"] == "/":
            await self.send_response(200, PAGE, headers={"content-type": "text/html"})
        else:
            headers = {"content-type": "text/javascript"}
            await self.send_response(200, CLIENT.read_bytes(), headers=headers)


def make_layer(where):
    """A layer with a history of the groups "chat.*": of the broker at that URL, or in that file."""
    options = {"history": {"chat.*": HistoryPolicy(keep=1000)}, "presence_lease": 1.5}
    if "://" not in str(where):
        return FileLayer(Path(where), **options)
    layer = register_channel_layer("made", where, **options)
    unregister_channel_layer("made")
    return layer


if "HISTORY" in os.environ:
    register_channel_layer("default", make_layer(os.environ["HISTORY"]))


async def application(scope, receive, send):
    """News and pages; the lifespan opens and closes the layer."""
    if scope["type"] == "websocket":
        await Rooms.as_asgi()(scope, receive, send)
    elif scope["type"] == "http":
        consumer = News if scope["path"] == "/events" else Pages
        await consumer.as_asgi()(scope, receive, send)
    else:
        await receive()
        async with lifespan():
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})

"""The application that test_event_source_browser.py serves: a stream of the news, and a page."""

# ruff: noqa: RUF012  written as applications write it

from fast_channels import (
    AsyncEventSourceConsumer,
    AsyncHttpConsumer,
    lifespan,
    register_channel_layer,
)

register_channel_layer("default", "memory://")

PAGE = b"""<!doctype html><link rel="icon" href="data:,"><title>News</title><ol></ol><script>
const show = (text) => {
    document.querySelector("ol").append(Object.assign(document.createElement("li"),
                                                      {textContent: text}));
};
const source = new EventSource("events" + location.search);
source.onopen = () => show("open");
source.onmessage = ({data, lastEventId}) => show(`${lastEventId}: ${data}`);
source.addEventListener("welcome", ({data}) => show(`welcome ${data}`));
source.onerror = () => show(source.readyState === EventSource.CLOSED ? "closed" : "lost");
</script>"""


class News(AsyncEventSourceConsumer):
    groups = ["news"]
    keep_alive = 0.05

    async def connect(self, last_event_id):
        if self.scope["query_string"] == b"none":
            await self.close()
            return
        await self.send_event({"last": last_event_id}, event="welcome", retry=50)

    async def news_item(self, message):
        await self.send_event(message["text"], id=message["id"])

    async def news_over(self, message):
        await self.close()


class Pages(AsyncHttpConsumer):
    async def handle(self, body):
        if self.scope["method"] != "POST":
            await self.send_response(200, PAGE, headers={"content-type": "text/html"})
            return
        kind, _, text = body.decode().partition(" ")
        message = {"type": "news.item", "id": kind, "text": text}
        if kind == "over":
            message = {"type": "news.over"}
        await self.channel_layer.group_send("news", message)
        await self.send_response(204, b"")


async def application(scope, receive, send):
    """News and pages; the lifespan opens and closes the layer."""
    if scope["type"] != "lifespan":
        consumer = News if scope["path"] == "/events" else Pages
        await consumer.as_asgi()(scope, receive, send)
        return
    await receive()
    async with lifespan():
        await send({"type": "lifespan.startup.complete"})
        await receive()
    await send({"type": "lifespan.shutdown.complete"})

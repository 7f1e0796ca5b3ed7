"""Quart, which mounts no ASGI applications: its own entry hands the sockets on."""

from apps.chat import Chat, announce, inside
from quart import Quart, request

from fast_channels import lifespan
from fast_channels.routing import URLRouter, path

application = Quart(__name__)
sockets = URLRouter([path("ws/<str:room>", Chat.as_asgi(greeting="quart"))])
quart_itself = application.asgi_app


async def entry(scope, receive, send):
    """Sockets below /ws/ to the router, everything else to Quart."""
    ours = scope["type"] == "websocket" and scope["path"].startswith("/ws/")
    await (sockets if ours else quart_itself)(scope, receive, send)


application.asgi_app = entry


@application.while_serving
async def life():
    async with lifespan():
        yield


@application.get("/inside")
async def look_inside():
    return inside()


@application.post("/announce/<room>")
async def announce_to_room(room):
    await announce(room, request.args["text"], int(request.args.get("times", 1)))
    return inside()

"""Starlette: the consumer is a route among others."""

from apps.chat import Chat, announce, inside
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute

from fast_channels import lifespan


async def look_inside(request):
    return JSONResponse(inside())


async def announce_to_room(request):
    query = request.query_params
    await announce(request.path_params["room"], query["text"], int(query.get("times", 1)))
    return JSONResponse(inside())


application = Starlette(
    lifespan=lifespan,
    routes=[
        WebSocketRoute("/ws/{room}", Chat.as_asgi(greeting="starlette")),
        Route("/inside", look_inside),
        Route("/announce/{room}", announce_to_room, methods=["POST"]),
    ],
)

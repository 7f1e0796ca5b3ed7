"""FastAPI: the consumer is a route among others."""

from apps.chat import Chat, announce, inside
from fastapi import FastAPI
from starlette.routing import WebSocketRoute

from fast_channels import lifespan

consumer = Chat.as_asgi(greeting="fastapi")
application = FastAPI(lifespan=lifespan, routes=[WebSocketRoute("/ws/{room}", consumer)])


@application.get("/inside")
async def look_inside():
    return inside()


@application.post("/announce/{room}")
async def announce_to_room(room: str, text: str, times: int = 1):
    await announce(room, text, times)
    return inside()

"""A socket that answers."""

from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse
from starlette.routing import WebSocketRoute

from fast_channels import AsyncJsonWebsocketConsumer


class Chat(AsyncJsonWebsocketConsumer):
    async def receive_json(self, content, **kwargs):
        await self.send_json({"text": f"You said: {content['text']}"})


app = FastAPI(routes=[WebSocketRoute("/ws/{room}", Chat.as_asgi())])


@app.get("/")
async def page():
    return FileResponse(Path(__file__).with_name("index.html"))

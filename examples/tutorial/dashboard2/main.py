"""A page that comes later, or comes back, has the last minute, too."""

from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse
from pydantic import BaseModel
from starlette.routing import Route

from fast_channels import (
    ResumableEventSourceConsumer,
    get_channel_layer,
    lifespan,
    register_channel_layer,
)
from fast_channels.layers import HistoryPolicy

register_channel_layer(
    "default", "memory://", history={"readings": HistoryPolicy(keep=300, ttl=3_600)}
)


class Dashboard(ResumableEventSourceConsumer):
    since = resync = "last:60"

    async def stream_groups(self):
        return ["readings"]


class Reading(BaseModel):
    name: str
    value: float


app = FastAPI(lifespan=lifespan, routes=[Route("/events", Dashboard.as_asgi())])


@app.post("/readings", status_code=204)
async def new_reading(reading: Reading):
    await get_channel_layer().group_send(
        "readings", {"type": "reading.new", "name": reading.name, "value": reading.value}
    )


@app.get("/")
async def page():
    return FileResponse(Path(__file__).with_name("index.html"))

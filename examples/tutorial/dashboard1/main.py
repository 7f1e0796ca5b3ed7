"""Readings come by HTTP, and go to every open page as Server-Sent Events."""

from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse
from pydantic import BaseModel
from starlette.routing import Route

from fast_channels import (
    AsyncEventSourceConsumer,
    get_channel_layer,
    lifespan,
    register_channel_layer,
)

register_channel_layer("default", "memory://")


class Dashboard(AsyncEventSourceConsumer):
    groups = ["readings"]

    async def reading_new(self, event):
        await self.send_event({"name": event["name"], "value": event["value"]})


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

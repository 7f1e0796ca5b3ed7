"""The server only passes on what others measure."""

from pathlib import Path

from fastapi import FastAPI, Response
from fastapi.responses import FileResponse
from layer import layer
from starlette.routing import Route

from fast_channels import ResumableEventSourceConsumer, lifespan


class Dashboard(ResumableEventSourceConsumer):
    since = resync = "last:60"

    async def stream_groups(self):
        return ["readings"]


app = FastAPI(lifespan=lifespan, routes=[Route("/events", Dashboard.as_asgi())])


@app.get("/ready")
async def ready(response: Response):
    health = await layer.health()
    response.status_code = 200 if health else 503
    return {"ready": bool(health), "reason": health.reason}


@app.get("/")
async def page():
    return FileResponse(Path(__file__).with_name("index.html"))

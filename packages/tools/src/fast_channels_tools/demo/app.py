"""The demo as an ordinary FastAPI application; this is how a consumer is mounted."""

from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles
from starlette.routing import WebSocketRoute

from fast_channels import lifespan
from fast_channels.layers import BaseChannelLayer, HistoryPolicy, register_channel_layer

from .consumer import ChatConsumer

STATIC = Path(__file__).parent / "static"


def create_app(layer_url: str = "memory://") -> FastAPI:
    """Return the application; the layer ``"default"`` is registered, and opens when it starts.

    Raises ``InvalidChannelLayerError`` if no installed layer goes by that URL.
    """
    layer = register_channel_layer("default", layer_url)
    if isinstance(layer, BaseChannelLayer) and layer.create_backend().history is not None:
        history = {"chat.*": HistoryPolicy(keep=500, ttl=86_400.0)}
        register_channel_layer("default", layer_url, history=history)
    # FastAPI's own documentation page would load scripts from another host.
    app = FastAPI(title="Fast Channels chat", lifespan=lifespan, openapi_url=None)
    app.add_api_route("/", page)
    app.mount("/static", StaticFiles(directory=STATIC))
    # ":path" lets a name with a slash in it reach the consumer, which says what is wrong with it.
    app.router.routes.append(WebSocketRoute("/ws/{room:path}", ChatConsumer.as_asgi()))
    return app


async def page() -> FileResponse:
    """Answer with the page, which asks every time whether a newer one exists."""
    return FileResponse(STATIC / "index.html", headers={"Cache-Control": "no-cache"})

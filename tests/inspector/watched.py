"""The application that the tests in a browser look at: layers, the inspector, and knobs."""

import os

from fastapi import FastAPI, Request

from fast_channels import register_channel_layer
from fast_channels.layers import HistoryPolicy, channel_layers
from fast_channels_tools.inspector import inspector

if os.environ.get("LAYERS") != "none":
    kept = {"kept.*": HistoryPolicy(keep=100, ttl=60.0)}
    register_channel_layer("default", "memory://", history=kept)
    register_channel_layer("small", "memory://small", capacity=5)
    if "REDIS" in os.environ:
        register_channel_layer("other", os.environ["REDIS"], send_timeout=1.0)


async def may_look(scope) -> bool:
    return os.environ.get("ALLOWED") != "no"


app = FastAPI()
app.mount("/inside/channels", inspector(authorize=may_look))


@app.post("/join/{alias}/{group}")
async def join(alias: str, group: str, members: int = 1, name: str | None = None) -> list[str]:
    """Members that never read."""
    layer = channel_layers.require(alias)
    joined = [await layer.new_channel() for _ in range(members)]
    for channel in joined:
        presence = None if name is None else {"name": name}
        await layer.group_add(group, channel, presence=presence)
    return joined


@app.post("/leave/{alias}/{group}/{channel}")
async def leave(alias: str, group: str, channel: str) -> None:
    await channel_layers.require(alias).group_discard(group, channel)


@app.post("/send/{alias}/{group}")
async def send(alias: str, group: str, request: Request, times: int = 1) -> None:
    message = await request.json()
    for _ in range(times):
        await channel_layers.require(alias).group_send(group, message)

"""A chat that talks to itself, with the inspector: what the picture of its page is taken of."""

import asyncio
import random
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

from fastapi import FastAPI

from fast_channels import lifespan, register_channel_layer
from fast_channels.layers import Channel, InMemoryChannelLayer
from fast_channels_tools.inspector import inspector

ROOMS = {"chat.kitchen": 6, "chat.lobby": 9, "chat.support": 4, "orders.eu": 3, "orders.us": 2}
PEOPLE = ("Ann", "Bob", "Cem", "Dora", "Eve", "Finn", "Gil", "Hana", "Ida")
WORDS = ("The soup is ready.", "Coming!", "Who has the keys?", "Two more, please.", "Thanks!")

layer = InMemoryChannelLayer()
register_channel_layer("default", layer)


async def read(channel: Channel) -> None:
    while True:
        await channel.receive()


async def talk() -> None:
    while True:
        room = random.choice(list(ROOMS))
        message = {"type": "chat.message", "author": random.choice(PEOPLE[: ROOMS[room]])}
        await layer.group_send(room, {**message, "text": random.choice(WORDS)})
        await asyncio.sleep(random.random() / 10)


@asynccontextmanager
async def living(app: FastAPI) -> AsyncGenerator[None]:
    async with lifespan(), AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(talk())]
        for room, members in ROOMS.items():
            for name in PEOPLE[:members]:
                channel = await stack.enter_async_context(layer.channel())
                await layer.group_add(room, channel.name, presence={"name": name})
                running.append(tasks.create_task(read(channel)))
        yield
        for task in running:
            task.cancel()


app = FastAPI(lifespan=living)
app.mount("/channels", inspector(authorize=lambda scope: True))

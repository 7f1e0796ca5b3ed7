"""Litestar: an ASGI route hands the sockets to the consumer."""

from apps.chat import Chat, announce, inside
from litestar import Litestar, asgi, get, post
from litestar.logging import LoggingConfig
from litestar.params import FromPath
from litestar.types import Receive, Scope, Send

from fast_channels import lifespan

consumer = Chat.as_asgi(greeting="litestar")


@asgi("/ws/{room:str}", copy_scope=False)
async def chat(scope: Scope, receive: Receive, send: Send) -> None:
    await consumer(scope, receive, send)


@get("/inside")
async def look_inside() -> dict[str, object]:
    return inside()


@post("/announce/{room:str}")
async def announce_to_room(room: FromPath[str], text: str, times: int = 1) -> dict[str, object]:
    await announce(room, text, times)
    return inside()


application = Litestar(
    [chat, look_inside, announce_to_room],
    lifespan=[lifespan],
    logging_config=LoggingConfig(log_exceptions="always"),  # otherwise it tells nobody
)

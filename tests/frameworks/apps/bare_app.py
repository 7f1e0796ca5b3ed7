"""Bare ASGI: the consumer is called by nobody but the server."""

import json
from urllib.parse import parse_qsl

from apps.chat import Chat, Events, announce, inside, serve_lifespan

chat = Chat.as_asgi(greeting="bare")
events = Events.as_asgi()


async def application(scope, receive, send):
    """Sockets and streams to the consumers, and two HTTP routes."""
    match scope["type"]:
        case "websocket":
            await chat(scope, receive, send)
        case "lifespan":
            await serve_lifespan(receive, send)
        case "http" if scope["path"].startswith("/events/"):
            await events(scope, receive, send)
        case "http":
            await respond(send, await answer(scope))


async def answer(scope):
    """Do what the HTTP request asks for, and return the answer."""
    _, _, room = scope["path"].partition("/announce/")
    if room:
        query = dict(parse_qsl(scope["query_string"].decode()))
        await announce(room, query["text"], int(query.get("times", 1)))
    return inside()


async def respond(send, content):
    """Send JSON."""
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(content).encode()})

"""Targets: what clients say to consumers, and what browsers say of the page that asks."""

import asyncio
import json
from collections.abc import Iterable
from typing import Any

from tests.properties.stepping import SteppedLoop

from fast_channels import (
    AsyncJsonWebsocketConsumer,
    ResumableEventSourceConsumer,
    ResumableWebsocketConsumer,
)
from fast_channels.consumer import Refused
from fast_channels.layers import HistoryPolicy, InMemoryChannelLayer, channel_layers
from fast_channels.middleware import OriginValidator
from fast_channels_tools.inspector.access import same_origin

from .choices import Choices, text_of

CODES = {1003, 1007, 1009}
"""What a socket may be closed with because of what its client said."""


class Peer:
    """One connection to a consumer, on a loop of its own, over a layer of its own."""

    def __init__(self, consumer: Any, **scope: Any) -> None:
        self.loop = SteppedLoop()
        kept = {"kept*": HistoryPolicy(keep=5)}
        self.layer = InMemoryChannelLayer(history=kept, max_groups=4)
        channel_layers.register("default", self.layer)
        self.sent: list[Any] = []
        self._events: asyncio.Queue[Any] = asyncio.Queue()
        whole = {"path": "/", "query_string": b"", "headers": [], "subprotocols": [], **scope}
        serving = consumer.as_asgi()(whole, self._events.get, self._send)
        self.task = self.loop.start(serving)

    async def _send(self, message: Any) -> None:
        self.sent.append(message)

    def says(self, event: dict[str, Any]) -> None:
        """The event has reached the consumer."""
        self._events.put_nowait(event)
        self.loop.run()

    def end(self, goodbye: dict[str, Any]) -> None:
        """The consumer has ended without an exception, and nothing of it is left."""
        try:
            self.says(goodbye)
            self.loop.advance(3.0)  # a handler may be asking other processes who is there
            assert self.task.done(), "the consumer goes on after its client has left"
            self.task.result()
            assert self.layer.local_groups() == {}, "memberships are left"
            closing = self.loop.start(self.layer.close())
            self.loop.advance(3.0)
            closing.result()
        finally:
            channel_layers.unregister("default")
            self.loop.end()


def _speak(consumer: Any, said: Iterable[str | bytes]) -> list[Any]:
    """Return what the consumer sends to who says this."""
    peer = Peer(consumer, type="websocket")
    peer.says({"type": "websocket.connect"})
    for frame in said:
        kind = "text" if isinstance(frame, str) else "bytes"
        peer.says({"type": "websocket.receive", kind: frame})
    peer.end({"type": "websocket.disconnect", "code": 1001})
    closed = [each["code"] for each in peer.sent if each["type"] == "websocket.close"]
    assert set(closed) <= CODES, f"closed with {closed}"
    return peer.sent


# --- JSON -------------------------------------------------------------------------------------

FRAMES = (
    b'{"type": "said", "text": "hello", "n": [1, 2.5e300, null]}',
    b"[" * 3_000,
    b'{"a": NaN, "b": -Infinity, "c": "\\ud800"}',
    b"1" * 5_000,
    b"\xff{",
)


class _Echo(AsyncJsonWebsocketConsumer):
    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        await self.send_json({"heard": type(content).__name__})


def json_frames(data: bytes) -> None:
    """A frame is JSON, or it closes the socket with a code that says so."""
    text = data.decode("utf-8", "replace")  # servers hand on no other text
    _speak(_Echo, [data, text] if data[:1] == b"\xff" else [text, data])


# --- the resumable protocol -------------------------------------------------------------------

_WORDS = (
    *("channels", "subscribe", "unsubscribe", "presence", "ping", "group", "since", "watch"),
    *("a", "b", "c", "d", "e", "kept", "kept.b", "refused", "last:2", "last:99999", "x" * 300),
    *("1.e.0123456789ab", "\u00fc", True, None, 7, "data"),
)
_KINDS = ("subscribe", "unsubscribe", "presence", "ping", "launch")
_KEYS = ("group", "since", "presence", "watch", "channels", "other")
QUESTIONS = (
    b'\x00{"channels": "subscribe", "group": "a", "watch": true, "presence": {"name": "Ann"}}',
    b'\x00{"channels": "subscribe", "group": "kept", "since": "last:2"}',
    bytes(range(1, 60)),
    bytes([1, 0, 3, 0, 8, 1, 4, 0, 0, 2, 0, 13, 1, 0, 1, 0, 8, 0]) * 4,
)


class _Rooms(ResumableWebsocketConsumer):
    max_groups = 3

    async def authorize_group(self, name: str) -> str | None:
        if name == "refused":
            raise Refused("not this one")
        return name

    async def presence_for(self, name: str, wanted: Any) -> Any:
        return wanted

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        await self.send_json({"heard": True})


def resumable(data: bytes) -> None:
    """Every frame is answered, or closes the socket with a code that says why."""
    if data[:1] == b"\0":
        frames = data[1:].decode("utf-8", "replace").split("\n")
    else:
        choices = Choices(data[1:])
        frames = []
        while choices and len(frames) < 20:
            frame = {"channels": choices.of(_KINDS)}
            for _ in range(choices.number(4)):
                frame[choices.of(_KEYS)] = choices.value(_WORDS)
            frames.append(text_of(frame))
    answers = [
        json.loads(each["text"])
        for each in _speak(_Rooms, frames)
        if each["type"] == "websocket.send"
    ]
    for answer in answers:
        assert answer.get("heard") or answer["channels"] in {
            *("subscribed", "unsubscribed", "error", "pong", "presence", "message", "gap"),
        }


# --- Server-Sent Events -----------------------------------------------------------------------

EVENT_IDS = (b"1.e.0123456789ab,live", b"live", b"", b"0.x." + b"f" * 12, b"," * 50, b"\xff\x00")


class _Stream(ResumableEventSourceConsumer):
    async def stream_groups(self) -> list[str]:
        return ["a", "kept", "kept.b"]


def events(data: bytes) -> None:
    """Whatever a client says that it saw last, it gets a stream, with gaps if there may be any."""
    peer = Peer(_Stream, type="http", method="GET", headers=[(b"last-event-id", data)])
    peer.says({"type": "http.request", "body": b""})
    assert peer.sent[0]["status"] == 200
    stream = b"".join(each.get("body", b"") for each in peer.sent)
    assert stream.startswith(b":")
    peer.end({"type": "http.disconnect"})


# --- origins ----------------------------------------------------------------------------------

ORIGINS = (
    b"https://example.com",
    b"http://a.example.com:8443",
    b"https://[::1]:1",
    b"null",
    b"https://evil.com\x00.example.com",
    "https://\u2100.example.com".encode(),
    b"https://example.com:99999999999",
)
_ALLOWED = OriginValidator(_Echo.as_asgi(), [".example.com", "https://other.com:8443"])


def origins(data: bytes) -> None:
    """A page of an allowed host may come, and who cannot be read is refused, not an error."""
    first, _, host = data.partition(b"\n")
    scope = {"type": "websocket", "headers": [(b"origin", first), (b"host", host)]}
    if _ALLOWED._admits(scope):
        assert b"example.com" in first.lower() or b"other.com" in first.lower()
    if same_origin(scope):
        assert host.lower().split(b":")[0] in first.lower()

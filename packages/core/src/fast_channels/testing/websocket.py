"""A client that opens one WebSocket."""

import json
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, TypeAlias

from fast_channels.testing.application import ApplicationCommunicator, target, unexpected
from fast_channels.type_defs import ChannelApplication, ChannelHeaders, ChannelMessage

Connected: TypeAlias = bool
CloseCodeOrAcceptSubProtocol: TypeAlias = int | str | None
WebsocketConnectResponse: TypeAlias = tuple[Connected, CloseCodeOrAcceptSubProtocol]


class WebsocketCommunicator(ApplicationCommunicator):
    """One socket, seen from the client.

    Where a frame is expected and something else comes, ``AssertionError`` says what; but where the
    socket was closed with 1011 because the application failed, its own exception is raised.

    ``extensions`` are the ASGI extensions that the application finds in its scope. With
    ``{"websocket.http.response": {}}`` it may refuse the socket with a whole HTTP response.
    """

    _goodbye: ClassVar[ChannelMessage | None] = {"type": "websocket.disconnect", "code": 1000}

    response_headers: list[tuple[bytes, bytes]] | None = None
    """The headers that came with the acceptance; None until then."""

    denial: dict[str, Any] | None = None
    """The ``status``, ``headers`` and ``body`` that the socket was refused with, if it was so."""

    def __init__(
        self,
        application: ChannelApplication,
        path: str,
        headers: ChannelHeaders | None = None,
        subprotocols: Iterable[str] | None = None,
        spec_version: int | str | None = None,
        *,
        extensions: Mapping[str, Any] | None = None,
    ) -> None:
        scope: dict[str, Any] = {
            "type": "websocket",
            "asgi": {"version": "3.0", "spec_version": str(spec_version or "2.4")},
            "http_version": "1.1",
            "scheme": "ws",
            **target(path),
            "headers": list(headers or ()),
            "subprotocols": list(subprotocols or ()),
        }
        if spec_version:
            scope["spec_version"] = spec_version  # where users of Channels look for it
        if extensions is not None:
            scope["extensions"] = dict(extensions)
        super().__init__(application, scope)

    async def connect(self, timeout: float = 1) -> WebsocketConnectResponse:
        """Ask for the socket: ``(True, subprotocol)``, or ``(False, code)`` when it was refused.

        The code is the close code, or the status of the HTTP response that ``denial`` then holds.
        """
        await self.send_input({"type": "websocket.connect"})
        answer = await self.receive_output(timeout)
        if answer["type"] == "websocket.accept":
            self.response_headers = list(answer.get("headers") or ())
            return True, answer.get("subprotocol")
        if answer["type"] == "websocket.close":
            await self._expose_failure(answer, timeout)
            return False, answer.get("code", 1000)
        offered = "websocket.http.response" in self.scope.get("extensions", ())
        if answer["type"] == "websocket.http.response.start" and offered:
            self.denial = await self._read_response(answer, timeout)
            return False, self.denial["status"]
        raise unexpected("the socket to be accepted or refused", answer)

    async def send_to(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Send one frame, which may be empty."""
        if isinstance(text_data, str) and bytes_data is None:
            await self.send_input({"type": "websocket.receive", "text": text_data})
        elif isinstance(bytes_data, bytes) and text_data is None:
            await self.send_input({"type": "websocket.receive", "bytes": bytes_data})
        else:
            raise AssertionError(
                "send_to takes exactly one of text_data (a str) and bytes_data (bytes), "
                f"not {text_data!r} and {bytes_data!r}"
            )

    async def send_json_to(self, data: Any) -> None:
        """Send ``data`` as a text frame of JSON."""
        await self.send_to(text_data=json.dumps(data))

    async def receive_from(self, timeout: float = 1) -> str | bytes:
        """The next frame: ``str`` for text, ``bytes`` for binary."""
        message = await self.receive_output(timeout)
        await self._expose_failure(message, timeout)
        text, data = message.get("text"), message.get("bytes")
        if message["type"] == "websocket.send":
            if isinstance(text, str) and data is None:
                return text
            if isinstance(data, bytes) and text is None:
                return data
        raise unexpected("a websocket.send with either 'text' or 'bytes'", message)

    async def receive_json_from(self, timeout: float = 1) -> Any:
        """The next frame, decoded; it must be a text frame of JSON."""
        frame = await self.receive_from(timeout)
        if isinstance(frame, bytes):
            raise AssertionError(f"expected a text frame of JSON, but it is binary: {frame!r}")
        try:
            return json.loads(frame)
        except ValueError as error:
            error.add_note(f"the frame was {frame!r}")
            raise

    async def disconnect(self, code: int = 1000, timeout: float = 1) -> None:
        """Close the socket; the application has ended when this returns (see ``wait``)."""
        await self.send_input({"type": "websocket.disconnect", "code": code})
        await self.wait(timeout)

    async def _expose_failure(self, message: ChannelMessage, timeout: float) -> None:
        """After a close for an internal error, raise what the application ends with, if it does."""
        if message["type"] == "websocket.close" and message.get("code") == 1011:
            await self._ends(timeout)
            self._raise_failure()

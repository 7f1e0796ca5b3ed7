"""A client that makes one HTTP request."""

from typing import Any, ClassVar, overload

from fast_channels.testing.application import ApplicationCommunicator, target, unexpected
from fast_channels.type_defs import ChannelApplication, ChannelHeaders, ChannelMessage


class HttpCommunicator(ApplicationCommunicator):
    """One request, and the response to it.

    Takes its arguments in the order of Django Channels, ``("GET", "/path")``, or in that of Fast
    Channels 1.1, ``("/path", method="GET")``; a first argument with a ``/`` in it is the path.
    """

    _goodbye: ClassVar[ChannelMessage | None] = {"type": "http.disconnect"}

    @overload
    def __init__(
        self,
        application: ChannelApplication,
        path: str,
        *,
        method: str = "GET",
        body: bytes = b"",
        headers: ChannelHeaders | None = None,
    ) -> None: ...

    @overload
    def __init__(
        self,
        application: ChannelApplication,
        method: str,
        path: str,
        body: bytes = b"",
        headers: ChannelHeaders | None = None,
    ) -> None: ...

    def __init__(self, application: ChannelApplication, *request: Any, **options: Any) -> None:
        path_first = not request or "/" in request[0]
        order = _path_first if path_first else _method_first
        method, path, self.body, headers = order(*request, **options)
        if not isinstance(self.body, bytes):
            raise TypeError(f"body must be bytes, not {self.body!r}")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "scheme": "http",
            "method": method.upper(),
            **target(path),
            "headers": list(headers or ()),
        }
        super().__init__(application, scope)
        self.sent_request = False

    async def send_input(self, message: Any) -> None:
        await super().send_input(message)
        self.sent_request |= message.get("type") == "http.request"

    async def send_request(self, *, more_body: bool = False) -> None:
        """Send ``self.body``; call it again, with another one, after ``more_body=True``."""
        await self.send_input({"type": "http.request", "body": self.body, "more_body": more_body})

    async def get_response(self, timeout: float = 1) -> dict[str, Any]:
        """The whole response: ``status``, ``headers`` and ``body``.

        Sends the request unless that was done. ``timeout`` seconds is the limit for each part.
        """
        if not self.sent_request:
            await self.send_request()
        response = await self.receive_output(timeout)
        if response["type"] != "http.response.start":
            raise unexpected("http.response.start", response)
        return await self._read_response(response, timeout)


_Request = tuple[str, str, Any, ChannelHeaders | None]


def _method_first(
    method: str, path: str, body: Any = b"", headers: ChannelHeaders | None = None
) -> _Request:
    return method, path, body, headers


def _path_first(
    path: str, *, method: str = "GET", body: Any = b"", headers: ChannelHeaders | None = None
) -> _Request:
    return method, path, body, headers

"""A client of HTTP, as a consumer sees it; as strict as servers are."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from .conftest import Client, all_end


class HttpClient(Client):
    """One request: nothing may be sent after the last part of the response's body."""

    def __init__(self, application: Any, method: str = "GET", **scope: Any) -> None:
        headers = scope.pop("headers", [])
        super().__init__(
            application,
            **{
                "type": "http",
                "method": method,
                "http_version": "1.1",
                "headers": [(name.encode(), value.encode()) for name, value in headers],
                **scope,
            },
        )
        self.complete = False

    # --- the server's side --------------------------------------------------------------------

    async def receive(self) -> dict[str, Any]:
        event = await super().receive()
        if event["type"] == "http.disconnect":
            self.told = True
            self.news("told")
        return event

    async def send(self, message: dict[str, Any]) -> None:
        begun = bool(self.sent)
        if self.complete or begun == (message["type"] == "http.response.start"):
            raise RuntimeError(f"{message} was sent after {self.sent}")
        await super().send(message)
        if message["type"] == "http.response.body" and not message["more_body"]:
            self.complete = True
            self.happens("http.disconnect")  # as servers do when the response is complete

    # --- the client's side --------------------------------------------------------------------

    def says(self, data: str | bytes, *, more: bool = False) -> None:
        """The client sends a part of the body; the last one unless ``more``."""
        body = data.encode() if isinstance(data, str) else data
        self.happens("http.request", body=body, more_body=more)

    def leaves(self, code: int = 0) -> None:
        """The client closes its connection."""
        self.happens("http.disconnect")

    @property
    def status(self) -> int:
        status: int = self.sent[0]["status"]
        return status

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.sent[0]["headers"])

    @property
    def body(self) -> bytes:
        return b"".join(sent["body"] for sent in self.sent[1:])

    async def has_body(self, pattern: bytes) -> bytes:
        """Wait until the body so far has it; return the body."""
        await self.news.until(
            lambda: bool(self.sent[1:] and re.search(pattern, self.body)) or self.task.done()
        )
        assert re.search(pattern, self.body), (self.sent, self.task)
        return self.body

    async def answered(self) -> bytes:
        """Wait for the whole response; return its body."""
        await self.news.until(lambda: self.complete or self.task.done())
        if not self.complete:
            self.task.result()
        assert self.complete, self.sent
        return self.body


Request = Callable[..., Awaitable[HttpClient]]


async def requesting() -> AsyncIterator[Request]:
    """Makes requests; at the end every client leaves, and what a consumer raised is raised."""
    clients: list[HttpClient] = []

    async def request(
        application: Any, body: str | bytes | None = b"", method: str = "GET", **scope: Any
    ) -> HttpClient:
        if hasattr(application, "as_asgi"):
            application = application.as_asgi()
        client = HttpClient(application, method, **scope)
        clients.append(client)
        if body is not None:
            client.says(body)
        return client

    yield request
    await all_end(clients)

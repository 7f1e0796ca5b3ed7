"""The files of the page, and what every answer says to the browser about them."""

from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final

from fast_channels.consumer import AsyncHttpConsumer

_HERE: Final = files("fast_channels_tools.inspector").joinpath("static")
_CLIENT: Final = files("fast_channels_tools.demo").joinpath("static")

FILES: Final[dict[str, tuple[Traversable, str]]] = {
    "index.html": (_HERE.joinpath("index.html"), "text/html; charset=utf-8"),
    "inspector.css": (_HERE.joinpath("inspector.css"), "text/css; charset=utf-8"),
    "inspector.js": (_HERE.joinpath("inspector.js"), "text/javascript; charset=utf-8"),
    "plot.js": (_HERE.joinpath("plot.js"), "text/javascript; charset=utf-8"),
    "tail.js": (_HERE.joinpath("tail.js"), "text/javascript; charset=utf-8"),
    "fast-channels.js": (_CLIENT.joinpath("fast-channels.js"), "text/javascript; charset=utf-8"),
    "icon.svg": (_CLIENT.joinpath("icon.svg"), "image/svg+xml"),
}
"""What there is, by its address: where it lies, and what it is."""

HEADERS: Final = {
    # Nothing comes from, or goes to, another host, and no other site has the page in a frame.
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


class Answer(AsyncHttpConsumer):
    """Answers without a channel layer, and always with ``HEADERS``."""

    channel_layer_alias = None
    max_body_size = 65_536

    async def answer(self, status: int, body: bytes, **headers: str) -> None:
        """The client has the answer; a HEAD gets its headers alone."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        length = {"content-length": str(len(body))}
        body = b"" if self.scope["method"] == "HEAD" else body
        await self.send_response(status, body, headers={**HEADERS, **named, **length})


class Page(Answer):
    """One of the files; ``""`` is none of them."""

    name = ""

    async def handle(self, body: bytes) -> None:
        if self.scope["method"] not in ("GET", "HEAD"):
            await self.answer(405, b"ask with GET\n", content_type="text/plain", allow="GET, HEAD")
        elif not self.name:
            await self.answer(404, b"there is no such file\n", content_type="text/plain")
        else:
            file, kind = FILES[self.name]
            await self.answer(200, file.read_bytes(), content_type=kind)


class Turn(Answer):
    """Sends the browser to the same address with a slash: the page's own addresses are relative."""

    last = b""

    async def handle(self, body: bytes) -> None:
        # Relative, so that it is right behind a proxy, too; "./" keeps a ":" from being a scheme.
        await self.answer(307, b"", location=f"./{self.last.decode('latin-1')}/")


class Refusal(Answer):
    """403, for requests and WebSockets."""

    async def handle(self, body: bytes) -> None:
        await self.answer(403, b"you may not look at this\n", content_type="text/plain")

"""Serve the chat; the environment says where and on which layer: ``HOST``, ``PORT``, ``LAYER``."""

import asyncio
import os
import socket
import sys
from collections.abc import Mapping

import uvicorn

from fast_channels import lifespan
from fast_channels.exceptions import FastChannelsError, InvalidChannelLayerError

from .app import create_app


class DemoError(Exception):
    """The demo cannot start; the text says why and what to change.

    ``status`` is the exit status: 2 for settings that are wrong, 1 for everything else.
    """

    def __init__(self, text: str, status: int = 1) -> None:
        super().__init__(text)
        self.status = status


class Server(uvicorn.Server):
    """A server that prints its greeting when the first browser may come."""

    greeting = ""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """The application has started and is being served, and the greeting is on stdout."""
        await super().startup(sockets)
        if self.started:
            print(self.greeting, flush=True)


def main(environ: Mapping[str, str] = os.environ) -> int:
    """Serve until interrupted and return the exit status; an error is one line on stderr."""
    host = environ.get("HOST") or "127.0.0.1"
    port = environ.get("PORT") or "8000"
    layer_url = environ.get("LAYER") or "memory://"
    try:
        with listen(host, port) as listener:
            serve(listener, layer_url)
    except DemoError as error:
        print(f"fast-channels demo: {error}", file=sys.stderr)
        return error.status
    return 0


def listen(host: str, port: str) -> socket.socket:
    """Return a socket that listens there; raise ``DemoError`` if it cannot be had."""
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) < 65_536):
        raise DemoError(f"PORT must be a number from 0 to 65535, got {port!r}", status=2)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, int(port)), family=family)
    except (OSError, UnicodeError) as error:
        # Python appends the address, which is in our sentence already.
        reason = str(getattr(error, "strerror", error)).partition(" (while ")[0]
        raise DemoError(
            f"cannot listen on {host}, port {port}: {reason}; choose another: PORT=8001 make demo"
        ) from error


def serve(listener: socket.socket, layer_url: str) -> None:
    """Serve until interrupted; raise ``DemoError`` if the layer is unknown or does not open."""
    try:
        app = create_app(layer_url)
        asyncio.run(try_layers())
    except (InvalidChannelLayerError, TypeError, ValueError) as error:
        raise DemoError(f"cannot use LAYER: {error}", status=2) from error
    except FastChannelsError as error:
        raise DemoError(f"cannot use LAYER: {error}") from error
    config = uvicorn.Config(
        app, log_level="warning", ws_max_size=65_536, timeout_graceful_shutdown=3
    )
    server = Server(config)
    server.greeting = (
        f"Chat on {url_of(listener)} (stop with Ctrl+C); open it in two windows and talk"
    )
    try:
        server.run(sockets=[listener])
    except KeyboardInterrupt:  # raised again by uvicorn when it has shut down
        pass


async def try_layers() -> None:
    """The layers were open once; uvicorn would report one that does not open by a traceback."""
    async with lifespan():
        pass


def url_of(listener: socket.socket) -> str:
    """Return an address of the listening socket that a browser on this machine can open."""
    host, port = listener.getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        host = "localhost"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


if __name__ == "__main__":
    sys.exit(main())

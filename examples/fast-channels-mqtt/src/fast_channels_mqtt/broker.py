"""Where a broker is, and connections to it."""

import asyncio
import logging
import socket
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from aiomqtt import Client, MqttError

ANSWER_SECONDS: Final = 3.0
KEEPALIVE_SECONDS: Final = 3  # of silence until the broker is asked, and then given up

# What matters of the driver's log is in its exceptions, and becomes ours.
_log = logging.getLogger("fast_channels.mqtt.driver")
_log.setLevel(logging.CRITICAL)


class Broker:
    """A broker, by its URL, which has what it takes to be let in."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._tls = parts.scheme == "mqtts"
        self._host = parts.hostname or ""
        self._port = parts.port or (8883 if self._tls else 1883)
        self._user = unquote(parts.username) if parts.username else None
        self._password = unquote(parts.password) if parts.password else None
        rest = parts.path.strip("/") + parts.query + parts.fragment
        if parts.scheme not in ("mqtt", "mqtts") or not self._host or rest:
            got = f"scheme {parts.scheme!r}, host {self._host!r}, and after the port {rest!r}"
            raise ValueError(f"an MQTT URL is mqtt(s)://user:password@host:port; got {got}")

    def __str__(self) -> str:
        return f"MQTT broker {self._host}:{self._port}"

    @asynccontextmanager
    async def connect(self) -> AsyncGenerator[Client]:
        """A client that is connected inside; raises ``MqttError``. Nothing of it is left after."""
        client = _Client(
            self._host,
            self._port,
            username=self._user,
            password=self._password,
            tls_context=ssl.create_default_context() if self._tls else None,
            timeout=ANSWER_SECONDS,
            keepalive=KEEPALIVE_SECONDS,
            socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
            logger=_log,
        )
        # The driver connects in a thread, which a cancellation would leave behind: wait for it.
        entering = asyncio.create_task(client.__aenter__())
        try:
            await asyncio.shield(entering)
            yield client
        finally:
            await asyncio.wait([entering])
            if entering.exception() is not None:
                client.timeout = 0.0  # nobody is there to answer
            with suppress(MqttError):
                await client.__aexit__(None, None, None)
                async for _ in client.messages:  # ends by why it was disconnected
                    pass
            for _ in range(3):  # turns in which a task of the driver ends that it only cancels
                await asyncio.sleep(0)


class _Client(Client):
    # aiomqtt 2.5 adds the writer in the loop's next turn even if the socket is closed by then.
    def _on_socket_register_write(self, client: Any, userdata: Any, sock: Any) -> None:
        def add() -> None:
            if sock.fileno() != -1:
                self._loop.add_writer(sock.fileno(), client.loop_write)

        self._loop.call_soon_threadsafe(add)

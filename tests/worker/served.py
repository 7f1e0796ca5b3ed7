"""The application that test_processes.py runs in worker processes.

What its handlers do goes to standard output: ``<process> <what> <number>``.
"""

# ruff: noqa: T201  what it prints is its journal

import asyncio
import os

from broker import TcpLayer  # type: ignore[import-not-found]  # it lies beside this file

from fast_channels import AsyncConsumer, register_channel_layer
from fast_channels.routing import ChannelNameRouter, ProtocolTypeRouter

register_channel_layer("default", TcpLayer(int(os.environ["BROKER_PORT"])))


class Jobs(AsyncConsumer):
    async def test_job(self, message):
        self.journal("begun", message)
        try:
            if message.get("waits"):
                await self.channel_layer.receive("permissions")
        except asyncio.CancelledError:
            self.journal("cancelled", message)
            raise
        if "fails" in message:
            raise RuntimeError(message["fails"])
        self.journal("done", message)

    def journal(self, what, message):
        print(os.getpid(), what, message["n"], flush=True)


application = ProtocolTypeRouter({"channel": ChannelNameRouter({"jobs": Jobs.as_asgi()})})

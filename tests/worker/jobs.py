"""A consumer of jobs, which its tests can hold up; and the jobs."""

import asyncio
from collections.abc import Callable
from typing import Any

from tests.journal import Journal

from fast_channels import AsyncConsumer, InMemoryChannelLayer
from fast_channels.worker import Worker

Start = Callable[[Worker], asyncio.Task[None]]


def job(n: int, **more: Any) -> dict[str, Any]:
    return {"type": "test.job", "n": n, **more}


class Jobs(AsyncConsumer):
    """Notes its jobs; one with ``waits`` ends when ``may_end`` is set."""

    journal: Journal = Journal()
    may_end: asyncio.Event = asyncio.Event()

    async def test_job(self, message: dict[str, Any]) -> None:
        n = message["n"]
        self.journal(("begun", n))
        try:
            if message.get("waits"):
                await self.may_end.wait()
            if "fails" in message:
                raise RuntimeError(message["fails"])
            self.journal(("done", n))
        except asyncio.CancelledError:
            self.journal(("cancelled", n))
            raise


def may_end(jobs: Any) -> asyncio.Event:
    event: asyncio.Event = jobs.consumer_initkwargs["may_end"]
    return event


def unread(layer: InMemoryChannelLayer, channel: str = "jobs") -> int:
    """How many jobs are in the queue."""
    return len(layer.channels.get(channel, ()))

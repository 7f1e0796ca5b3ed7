"""A memory layer whose history outlives its process: what a broker would be for one server."""

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from fast_channels.layers import InMemoryChannelLayer
from fast_channels.layers.backend import Append, Entry
from fast_channels.layers.in_memory import MemoryBackend, MemoryQueues
from fast_channels.layers.in_memory.history import MemoryHistory, MemoryStream, MemoryStreams


class FileStreams(MemoryStreams):
    """Histories that are the same after a restart."""

    def _stream(self, topic: str, now: float) -> MemoryStream:
        stream = super()._stream(topic, now)
        stream.epoch = "file"
        return stream


class FileHistory(MemoryHistory):
    """Writes each entry down before anybody gets it."""

    path: Path

    async def publish(self, appends: Sequence[Append], /) -> None:
        lines = b"".join(msgspec.msgpack.encode(each).hex().encode() + b"\n" for each in appends)
        with self.path.open("ab") as file:
            os.write(file.fileno(), lines)
        await super().publish(appends)


class FileLayer(InMemoryChannelLayer):
    """A layer for one process at a time."""

    def __init__(self, path: Path, **options: object) -> None:
        super().__init__(**options)  # type: ignore[arg-type]  # passed on
        self.path = path
        self._broker._streams = streams = FileStreams()
        if path.exists():
            for line in path.read_text().splitlines():
                topic, entries, keep, ttl = msgspec.msgpack.decode(bytes.fromhex(line))
                streams.append(Append(topic, [Entry(*entry) for entry in entries], keep, ttl))

    def create_backend(self) -> MemoryBackend:
        history = FileHistory(self._broker)
        history.path = self.path
        return MemoryBackend(self._broker, MemoryQueues(self, self._broker), history)

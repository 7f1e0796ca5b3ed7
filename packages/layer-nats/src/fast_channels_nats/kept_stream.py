"""The JetStream stream that keeps the history topics of one prefix.

Its name ends in the epoch: a random text of whoever made it. So a stream that was deleted or lost,
and made again, is another one, and everything that comes from it says so by itself.
"""

import asyncio
import base64
import itertools
import math
import os
import time
from typing import Any, Final

from fast_channels.exceptions import BackendUnavailable, InvalidChannelLayerError
from fast_channels.layers import reconnect_delays
from fast_channels_nats.link import LONGEST_DELAY
from fast_channels_nats.places import LONGEST, MOST, keeps_of, offset_of, sequence_of
from fast_channels_nats.refusals import FASTER, HISTORY, NO_MESSAGE, NO_STREAM, explained
from fast_channels_nats.requests import (
    NO_LEADER,
    NO_RESPONDERS,
    Refused,
    Requests,
    answered,
)
from fast_channels_nats.subjects import log_of, parts_of, stream_of, subject_of

SLACK: Final = 256
"""Entries that the stream has of each topic besides those that are kept: positions right before
what is kept are known by them, and a page is read whole while the oldest entries go."""

KNOWN_SECONDS: Final = 3_600.0
"""What the stream adds to ``ttl``, so that an end is known when what came before has expired."""

MADE_SECONDS: Final = 0.25
"""How long before a stream is used others are waited for that were made in the same moment."""

SETTLING_SECONDS: Final = 2.0
"""Servers of a cluster have elected a new stream's first leader by then."""

BEGINS: Final = b"Fast-Channels-Begins"
"""Header: no entry, but the place before a topic's first."""

BEGINNING: Final = (
    b"NATS/1.0\r\n" + BEGINS + b": 1\r\nNats-Expected-Last-Subject-Sequence: 0\r\n\r\n"
)
NOT_FIRST: Final = 10071


class KeptStream:
    """The stream of one prefix."""

    def __init__(self, prefix: str, requests: Requests, replicas: int | None) -> None:
        self.name = ""
        """Empty: not known."""
        self._prefix = prefix
        self._requests = requests
        self._replicas = replicas
        self._most = 0
        self._age = 0
        self._learnt = "", 0.0
        """The name that was learnt last, and when."""
        self._making = asyncio.Lock()

    @property
    def epoch(self) -> str:
        """What positions say of the stream."""
        return epoch_of(self.name)

    @property
    def most(self) -> int:
        """How many entries of a topic the stream has."""
        return self._most

    def settled(self, name: str) -> bool:
        """Whether it is that stream, and has been known for a while."""
        return self._learnt[0] == name and time.monotonic() > self._learnt[1] + SETTLING_SECONDS

    def is_at(self, name: str) -> bool:
        """Whether a stream of that name is one of this prefix."""
        return name.rpartition("+")[0] == stream_of(self._prefix)

    def doubt(self) -> None:
        """The stream is looked for again before its next use."""
        self.name, self._most, self._age = "", 0, 0

    async def end(self, topic: str) -> int:
        """Return the offset of the topic's last entry, by the stream's leader.

        A topic without any has a beginning from now on.
        """
        delays = reconnect_delays(most=LONGEST_DELAY)
        until = time.monotonic() + self._requests.patience
        while True:
            await self.make()
            try:
                return place_of(await self.get(last_by_subj=log_of(topic).decode()))
            except Refused as error:
                if error.code != NO_MESSAGE:
                    await self.again(error, until, next(delays))
                    continue
            try:
                begun = await self._requests.ask(log_of(topic), b"", BEGINNING)
                return offset_of(int(answered(begun)["seq"]), None)
            except Refused as error:
                if error.code != NOT_FIRST:  # or somebody else was faster
                    await self.again(error, until, next(delays))

    async def get(self, **which: Any) -> dict[str, Any]:
        """Return a message, by the stream's leader; ``Refused`` with ``NO_MESSAGE``: none."""
        answer = await self._requests.call(f"STREAM.MSG.GET.{self.name}", **which)
        message: dict[str, Any] = answer["message"]
        return message

    async def again(self, error: Refused, until: float, delay: float) -> None:
        """Wait before what failed is tried again; raises where that is of no use."""
        if error.code not in (NO_RESPONDERS, NO_STREAM, *NO_LEADER) or time.monotonic() > until:
            connection = self._requests.link.connection
            info = {"jetstream": True} if connection is None else connection.info
            raise explained(error, info, HISTORY) from error
        self.doubt()
        await asyncio.sleep(delay)

    async def set_back(self, name: str, offset: int) -> bool:
        """Whether the stream of that name has lost an entry that it had at that place.

        Then it is deleted: another one, of another epoch, takes its place.
        """
        try:
            get = f"STREAM.MSG.GET.{name}"
            found = await self._requests.call(get, seq=sequence_of(offset))
            lost = place_of(found["message"]) != offset
        except Refused as error:
            if error.code != NO_MESSAGE:
                raise
            info = await self._requests.call(f"STREAM.INFO.{name}")
            lost = info["state"]["last_seq"] < sequence_of(offset)
        if lost:
            await self._requests.call(f"STREAM.DELETE.{name}")
            self.doubt()
        return lost

    # --- making -------------------------------------------------------------------------------

    async def make(self, keep: int = 1, ttl: float = 1.0) -> None:
        """There is a stream that keeps as much as that."""
        most, ttl = min(keep, MOST) + SLACK, min(ttl, LONGEST)
        age = math.ceil(ttl + max(ttl, KNOWN_SECONDS))
        if self.name and self._most >= most and self._age >= age:
            return
        async with self._making:
            if self.name and self._most >= most and self._age >= age:
                return
            info = (await self._requests.link.ready()).info
            replicas = self._replicas or (3 if info.get("cluster") else 1)
            delays = reconnect_delays(most=LONGEST_DELAY)
            until = time.monotonic() + self._requests.patience
            while True:
                try:
                    await self._make(max(most, self._most), max(age, self._age), replicas)
                    return
                except Refused as error:
                    # Of two that were made at once, another process has deleted this one.
                    if error.code != NO_STREAM or time.monotonic() > until:
                        raise explained(error, info, HISTORY) from error
                await asyncio.sleep(next(delays))

    async def _make(self, most: int, age: int, replicas: int) -> None:
        nanoseconds = age * 1_000_000_000
        wanted: dict[str, Any] = {
            "max_msgs_per_subject": most,
            "max_age": nanoseconds,
            "duplicate_window": nanoseconds,
        }
        name = await self.find()
        if name is None:
            topic = f"{self._prefix}.*"
            name = f"{stream_of(self._prefix)}+{os.urandom(6).hex()}"
            config = {
                "name": name,
                "subjects": [log_of(topic).decode(), f"{parts_of(topic).decode()}.>"],
                "republish": {"src": log_of(topic).decode(), "dest": _again_as(topic)},
                "retention": "limits",
                "discard": "old",
                "storage": "file",
                "num_replicas": replicas,
                **wanted,
            }
            try:
                await self._requests.call(f"STREAM.CREATE.{name}", **config)
            except Refused as error:
                if error.code not in FASTER:
                    raise
        if name != self._learnt[0]:
            # Servers may let several pass that are made at once; by then all of them are listed.
            await asyncio.sleep(MADE_SECONDS)
            name = await self._one(name)
        found = (await self._requests.call(f"STREAM.INFO.{name}"))["config"]
        if any(found.get(key, 0) < value for key, value in wanted.items()):
            # Never less than others need: what they keep would be gone.
            wanted = {key: max(value, found.get(key, 0)) for key, value in wanted.items()}
            await self._requests.call(f"STREAM.UPDATE.{name}", **{**found, **wanted})
            found = wanted
        self.name = name
        if self._learnt[0] != name:
            self._learnt = name, time.monotonic()
        self._most = found["max_msgs_per_subject"]
        self._age = found["max_age"] // 1_000_000_000

    async def _one(self, made: str) -> str:
        """Return which stream it is, where several processes have made one at once."""
        for delay in itertools.islice(reconnect_delays(), 6):
            names = await self._names()
            if names:
                first = min(names)
                if made in names and made != first:  # servers of a cluster may let both pass
                    await self._requests.call(f"STREAM.DELETE.{made}")
                return first
            await asyncio.sleep(delay)
        raise BackendUnavailable(f"no stream for the history of {self._prefix} can be made")

    async def find(self) -> str | None:
        """Return the name of the stream; None: there is none."""
        return min(await self._names(), default=None)

    async def _names(self) -> list[str]:
        subject = log_of(f"{self._prefix}.*").decode()
        listed = await self._requests.call("STREAM.NAMES", subject=subject)
        names: list[str] = listed.get("streams") or []
        for name in names:
            if name.rpartition("+")[0] != stream_of(self._prefix):
                raise InvalidChannelLayerError(
                    f"the JetStream stream {name!r} takes {subject}, where history is kept; "
                    "take that subject away from it, or register the layer with another prefix"
                )
        return names


def prefix_of(topic: str) -> str:
    """Return what all history topics of a prefix begin with, up to the dot."""
    head, _, rest = topic.rpartition(":")
    return f"{head}:{rest.partition('.')[0]}"


def epoch_of(stream: str) -> str:
    """Return the epoch of the stream."""
    return stream.rpartition("+")[2]


def place_of(message: dict[str, Any]) -> int:
    """Return the offset of a message that JetStream's API gave."""
    head = base64.b64decode(message.get("hdrs", ""))
    return offset_of(int(message["seq"]), keeps_of(head))


def _again_as(topic: str) -> str:
    """Return to which subject a kept entry is published again."""
    return subject_of(topic).decode().replace("*", "{{wildcard(1)}}")

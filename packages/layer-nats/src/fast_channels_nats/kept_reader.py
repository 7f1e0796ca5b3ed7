"""Reading what a stream keeps of a topic: a consumer for each page, which is gone after it.

A consumer's messages say how many come after them. An entry is kept if fewer than its ``keep`` do,
and if it is younger than its ``ttl`` by the servers' clock; what the stream has besides is not
shown. Where the topic ends the stream's leader says, for the consumer's server may be behind.
"""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from fast_channels.exceptions import HistoryLost
from fast_channels.layers import Kept, Page, Position, reconnect_delays
from fast_channels_nats.connection import ConnectionLost, Message
from fast_channels_nats.kept_stream import BEGINS, SLACK, KeptStream, place_of
from fast_channels_nats.link import LONGEST_DELAY
from fast_channels_nats.places import Keeps, keeps_of, offset_of, sequence_of
from fast_channels_nats.refusals import NO_CONSUMER, NO_MESSAGE
from fast_channels_nats.requests import (
    AGAIN_SECONDS,
    ANSWER_SECONDS,
    NO_RESPONDERS,
    NoAnswer,
    Refused,
    Requests,
    status_of,
)
from fast_channels_nats.stream import PIECES, headers_of, joined, seconds_of
from fast_channels_nats.subjects import log_of, parts_of

LARGEST_PAGE: Final = 256
MOST_AT_ONCE: Final = 2_000
WIDER: Final = 4


class Stored(NamedTuple):
    """A message of a topic in its stream."""

    offset: int
    stamped: float
    """When it was stored, in seconds since 1970, by the server's clock."""
    after: int
    """How many of the topic came after it, when it was read."""
    keeps: Keeps | None
    head: bytes
    payload: bytes

    def shown(self, now: float) -> bool:
        """Whether it is an entry that is kept."""
        if self.keeps is None:
            return BEGINS not in self.head
        return self.after < self.keeps.keep and self.stamped + self.keeps.milliseconds / 1000 > now


class _Pull:
    """Messages that were asked for."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.found: list[Stored] = []
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def end(self, error: Exception | None = None) -> None:
        if not self.done.done():
            if error is None:
                self.done.set_result(None)
            else:
                self.done.set_exception(error)
                self.done.exception()


class KeptReader:
    """Reads the streams of one process."""

    def __init__(self, requests: Requests) -> None:
        self.ended: Callable[[str, str, int], None] | None = None
        """Told of a topic, its stream, and the sequence where it ends."""
        self._requests = requests
        self._sid = requests.listen(self._came)
        self._pulls: dict[bytes, _Pull] = {}
        """By the consumer's name, which messages tell, and by the subject for its own words."""

    def lost(self, cause: Exception) -> None:
        """What was asked for does not come any more."""
        for pull in self._pulls.values():
            pull.end(ConnectionLost(f"{cause}; reading was not finished"))

    async def read(
        self, stream: KeptStream, topic: str, after: Position | None, limit: int
    ) -> Page:
        """Return the next entries; raises ``HistoryLost``."""
        end = await self._end(stream, topic)
        if after is not None:
            if after.epoch != stream.epoch:
                lost = f"the history of {topic} is another one than {after.epoch}"
                raise HistoryLost(lost, anew=stream.epoch)
            if after.offset > end:
                raise HistoryLost(f"the history of {topic} ends at {end}, before {after.offset}")
            if after.offset == end:
                return Page([], after, False)
            return await self._after(stream, topic, after, min(limit, LARGEST_PAGE), end)
        return await self._oldest(stream, topic, min(limit, LARGEST_PAGE), end)

    async def _end(self, stream: KeptStream, topic: str) -> int:
        end = await stream.end(topic)
        if self.ended is not None:
            self.ended(topic, stream.name, sequence_of(end))
        return end

    async def _after(
        self, stream: KeptStream, topic: str, after: Position, limit: int, end: int
    ) -> Page:
        """Return what comes after a position that is before the end."""
        lost = HistoryLost(f"the history of {topic} does not reach back to {after.offset}")
        first = after.offset + after.offset % 2
        delays = reconnect_delays(most=LONGEST_DELAY)
        until = time.monotonic() + self._requests.patience
        while True:
            found, now = await self._pull(stream, topic, sequence_of(first), limit + 1)
            # An entry is there as long as nothing after it is gone: the oldest go first.
            if found and found[0].offset == first:
                found = [each for each in found if each.offset > after.offset][:limit]
                if found:
                    break
            elif not await self._there(stream, topic, first):
                raise lost
            if time.monotonic() > until:
                raise NoAnswer(self._requests.patience)
            await asyncio.sleep(next(delays))  # the consumer's server is behind
        here = Position(stream.epoch, found[-1].offset)
        found = [each for each in found if BEGINS not in each.head]
        if not all(each.shown(now) for each in found) or _overrun(found):
            raise lost
        entries = await self._entries(stream, topic, found)
        if len(entries) < len(found):
            raise lost
        return Page(entries, here, here.offset < end)

    async def _oldest(self, stream: KeptStream, topic: str, limit: int, end: int) -> Page:
        """Return the oldest entries that are kept."""
        start, count = 0, limit
        until = time.monotonic() + self._requests.patience
        while start <= sequence_of(end):
            if time.monotonic() > until:
                raise NoAnswer(self._requests.patience)
            found, now = await self._pull(stream, topic, start, count)
            shown = [each for each in found if each.shown(now)][:limit]
            if shown and not _overrun(shown):
                entries = await self._entries(stream, topic, shown)
                here = Position(stream.epoch, shown[-1].offset)
                return Page(entries, here, here.offset < end)
            if found and not shown:
                start = sequence_of(found[-1].offset) + 1
            # The first that was found tells how many have to be passed over.
            keeps = found[0].keeps if found else None
            excess = found[0].after - keeps.keep if found and keeps else 0
            count = min(max(limit + excess, WIDER * count), MOST_AT_ONCE)
            await asyncio.sleep(0 if found else 0.01)
        return Page([], Position(stream.epoch, end), False)

    async def last(self, stream: KeptStream, topic: str, count: int) -> Page:
        """Return the newest entries."""
        delays = reconnect_delays(most=LONGEST_DELAY)
        until = time.monotonic() + self._requests.patience
        while True:
            end = await self._end(stream, topic)
            if count == 0:
                return Page([], Position(stream.epoch, end), False)
            found, now = await self._newest(stream, topic, end, count)
            found = [each for each in found if each.offset <= end]
            shown = [each for each in found if each.shown(now)][-count:]
            if found and found[-1].offset == end and not _overrun(shown):
                entries = await self._entries(stream, topic, shown)
                return Page(entries, Position(stream.epoch, end), False)
            if time.monotonic() > until:
                raise NoAnswer(self._requests.patience)
            await asyncio.sleep(next(delays))

    async def _newest(
        self, stream: KeptStream, topic: str, end: int, count: int
    ) -> tuple[list[Stored], float]:
        """Return at least so many messages up to the end, if there are, and the server's time."""
        span, last = count, sequence_of(end)
        while True:  # the stream tells how many come after an offset, not where the nth lies
            start = max(1, last - span + 1)
            made = await self._consumer(stream, topic, start)
            if made["num_pending"] >= count or start == 1:
                return await self._fetch(stream, made, made["num_pending"])
            self._drop(stream, made)
            span *= WIDER

    async def _there(self, stream: KeptStream, topic: str, offset: int) -> bool:
        """Whether the stream's leader has a message of the topic at that place."""
        if sequence_of(offset) == 0:
            return False  # as a client may make it up; the server would call the question bad
        try:
            there = await stream.get(seq=sequence_of(offset))
        except Refused as error:
            if error.code != NO_MESSAGE:
                raise
            return False
        return place_of(there) == offset and there["subject"] == log_of(topic).decode()

    async def _entries(self, stream: KeptStream, topic: str, shown: list[Stored]) -> list[Kept]:
        entries: list[Kept] = []
        for each in shown:
            payload = each.payload
            pieces = headers_of(each.head).get(PIECES) if PIECES in each.head else None
            if pieces is not None:
                try:
                    payload = await self.whole(stream.name, topic, pieces)
                except Refused as error:
                    if error.code != NO_MESSAGE:
                        raise
                    entries.clear()  # it went with everything before it
                    continue
            entries.append(Kept(Position(stream.epoch, each.offset), payload))
        return entries

    async def whole(self, stream: str, topic: str, pieces: bytes) -> bytes:
        """Return the payload of an entry that lies in pieces; ``Refused``: it is gone."""
        name, count = pieces.split(b".")
        return await joined(self._requests, stream, b"%b.%b" % (parts_of(topic), name), int(count))

    # --- consumers ----------------------------------------------------------------------------

    async def _pull(
        self, stream: KeptStream, topic: str, start: int, count: int
    ) -> tuple[list[Stored], float]:
        made = await self._consumer(stream, topic, start)
        return await self._fetch(stream, made, min(count, made["num_pending"]))

    async def _consumer(self, stream: KeptStream, topic: str, start: int) -> dict[str, Any]:
        return await self._requests.call(
            f"CONSUMER.CREATE.{stream.name}",
            stream_name=stream.name,
            config={
                "deliver_policy": "by_start_sequence" if start else "all",
                **({"opt_start_seq": start} if start else {}),
                "ack_policy": "none",
                "filter_subject": log_of(topic).decode(),
                "mem_storage": True,
                "num_replicas": 1,
                "inactive_threshold": 10_000_000_000,
            },
        )

    async def _fetch(
        self, stream: KeptStream, made: dict[str, Any], count: int
    ) -> tuple[list[Stored], float]:
        """Return the consumer's first messages, and the server's time; the consumer is gone."""
        name = made["name"].encode()
        inbox = self._requests.inbox(self._sid)
        pull = self._pulls[name] = self._pulls[inbox] = _Pull(count)
        try:
            if count:
                subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream.name}.{made['name']}"
                async with asyncio.timeout(ANSWER_SECONDS):
                    await self._ask(pull, subject.encode(), inbox)
        except TimeoutError:
            raise NoAnswer(ANSWER_SECONDS) from None
        finally:
            del self._pulls[name], self._pulls[inbox]
            self._drop(stream, made)
        return pull.found, seconds_of(made["created"])

    async def _ask(self, pull: _Pull, subject: bytes, inbox: bytes) -> None:
        """The messages have come; ``Refused``: the consumer is gone."""
        asked = json.dumps({"batch": pull.count, "expires": 1_000_000_000}).encode()
        delays = reconnect_delays(most=LONGEST_DELAY)
        until = time.monotonic() + AGAIN_SECONDS
        while True:
            await self._requests.send(self._sid, subject, asked, inbox)
            try:
                return await pull.done
            except Refused:
                # Its server tells ours of a new consumer by another road than that it is made
                # (2.10 has several between two servers), which may take longer.
                if time.monotonic() > until:
                    raise
            await asyncio.sleep(next(delays))
            pull.done = asyncio.get_running_loop().create_future()

    def _drop(self, stream: KeptStream, made: dict[str, Any]) -> None:
        connection = self._requests.link.connection
        if connection is not None:
            subject = f"$JS.API.CONSUMER.DELETE.{stream.name}.{made['name']}"
            _ = self._requests.post(connection, subject.encode(), b"")

    def _came(self, message: Message) -> None:
        words = message.reply.split(b".")
        if len(words) < 9:
            pull = self._pulls.get(message.subject)
            if pull is not None:
                status = status_of(message)
                gone = status == NO_RESPONDERS
                pull.end(Refused("the consumer is gone", NO_CONSUMER) if gone else None)
            return
        first = 2 if len(words) == 9 else 4  # newer servers name the domain and the account, too
        pull = self._pulls.get(words[first + 1])
        if pull is None:
            return
        keeps = keeps_of(message.head)
        offset = offset_of(int(words[first + 3]), keeps)
        stamped, after = int(words[first + 5]) / 1e9, int(words[first + 6])
        pull.found.append(Stored(offset, stamped, after, keeps, message.head, message.payload))
        if len(pull.found) == pull.count:
            pull.end()


def _overrun(shown: list[Stored]) -> bool:
    """Whether so much was published meanwhile that something between these may be gone."""
    keeps = shown[0].keeps if shown else None
    return keeps is not None and len(shown) + shown[-1].after >= keeps.keep + SLACK

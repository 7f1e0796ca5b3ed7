"""Appending to what is kept: a batch is one write, and done with the last of its answers."""

import asyncio
import json
import os
import time
from collections import deque
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, Final

from fast_channels.exceptions import BackendUnavailable, PublishFailed
from fast_channels.layers import Append, Entry, reconnect_delays
from fast_channels_nats.connection import Connection, ConnectionLost, Message
from fast_channels_nats.kept_stream import SLACK, KeptStream
from fast_channels_nats.link import LONGEST_DELAY
from fast_channels_nats.places import keeps_line
from fast_channels_nats.refusals import NO_MESSAGE
from fast_channels_nats.requests import (
    ANSWER_SECONDS,
    NoAnswer,
    Refused,
    Requests,
    answered,
    packed,
    status_of,
)
from fast_channels_nats.stream import LARGEST_PIECE, PIECES
from fast_channels_nats.subjects import log_of, parts_of, refused_subject

MOST_COUNTED: Final = 16_384
"""Topics of which this process knows how much it has published since it trimmed them."""


class _Item:
    """One message for a stream."""

    __slots__ = ("answer", "append", "head", "id", "payload", "subject")

    def __init__(self, append: int, subject: bytes, payload: bytes, head: bytes = b"") -> None:
        self.append = append
        """The index of what it belongs to."""
        self.subject = subject
        self.payload = payload
        self.head = head
        self.id: str | None = None
        self.answer: Message | None = None

    def packed(self, reply: bytes) -> bytes:
        lines = self.head
        if self.id is not None:
            lines += b"Nats-Msg-Id: %b\r\n" % self.id.encode()
        head = b"NATS/1.0\r\n" + lines + b"\r\n" if lines else b""
        return packed(self.subject, self.payload, reply, head)


class _Batch:
    """Messages whose answers are awaited."""

    def __init__(self, left: int) -> None:
        self.left = left
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class KeptPublisher:
    """Appends to the streams of one process."""

    def __init__(self, requests: Requests, max_payload: int) -> None:
        self._requests = requests
        self._sid = requests.listen(self._came)
        self._asked: dict[bytes, tuple[_Batch, _Item]] = {}
        self._piece = min(LARGEST_PIECE, max_payload - 1_024)
        self._counts: dict[str, int] = {}
        self._large: dict[str, deque[bytes]] = {}
        """Under what the pieces lie of each topic's last large entries of this process."""

    def lost(self, cause: Exception) -> None:
        """What was appended is not answered any more."""
        for batch, _ in self._asked.values():
            if not batch.done.done():
                batch.done.set_exception(
                    ConnectionLost(f"{cause}; what was sent was perhaps appended")
                )
                batch.done.exception()

    async def publish(self, stream: KeptStream, appends: Sequence[Append]) -> None:
        """The stream has the entries; raises ``PublishFailed``."""
        await stream.make(
            max(append.keep for append in appends), max(append.ttl for append in appends)
        )
        items: list[_Item] = []
        errors: dict[int, Exception] = {}
        large: list[tuple[_Item, bytes]] = []
        for index, append in enumerate(appends):
            subject = log_of(append.topic)
            for entry in append.entries:
                item = _Item(index, subject, entry.payload, keeps_line(append.keep, append.ttl))
                item.id = _id(append.topic, entry)
                if len(entry.payload) > self._piece:
                    try:
                        name = await self._put_pieces(stream, append.topic, entry.payload)
                    except PublishFailed as error:
                        errors[index] = next(iter(error.errors.values()))
                        break
                    item.head += b"%b: %b\r\n" % (PIECES, name)
                    item.payload = b""
                    large.append((item, name.partition(b".")[0]))
                items.append(item)
        if errors:
            items = [item for item in items if item.append not in errors]
        await self._store(stream, items, errors)
        self._trim(stream, appends)
        for item, name in large:
            if item.append not in errors:
                self._trim_pieces(stream, appends[item.append], item, name)
        if errors:
            raise PublishFailed(errors)

    async def _put_pieces(self, stream: KeptStream, topic: str, payload: bytes) -> bytes:
        name = os.urandom(8).hex().encode()
        subject = b"%b.%b" % (parts_of(topic), name)
        starts = range(0, len(payload), self._piece)
        errors: dict[int, Exception] = {}
        items = [
            _Item(0, b"%b.%d" % (subject, number), payload[start : start + self._piece])
            for number, start in enumerate(starts)
        ]
        await self._store(stream, items, errors)
        if errors:
            raise PublishFailed(errors)
        return b"%b.%d" % (name, len(starts))

    async def _store(
        self, stream: KeptStream, items: list[_Item], errors: dict[int, Exception]
    ) -> None:
        """The stream has the messages, but for those of ``errors``.

        Those that it could not take yet are sent again.
        """
        delays = reconnect_delays(most=LONGEST_DELAY)
        until = time.monotonic() + self._requests.patience
        while items:
            await self._send(items, errors)
            again: list[_Item] = []
            for item in items:
                message = item.answer
                if message is None:
                    continue  # refused before it came to a stream
                if not message.head and not message.payload.startswith(b'{"error"'):
                    if b'"duplicate"' in message.payload and await self._forgotten(stream, item):
                        again.append(item)
                        if time.monotonic() > until:
                            errors[item.append] = NoAnswer(self._requests.patience)
                    continue
                try:
                    if status_of(message) is not None:
                        self._requests.missed(item.subject)
                        raise Refused("JetStream does not answer: nobody listens", 503)
                    answered(message)
                except Refused as error:
                    try:
                        await stream.again(error, until, 0)
                        again.append(item)
                    except Exception as explained:
                        errors[item.append] = explained
            if again:
                await asyncio.sleep(next(delays))
                await stream.make()
            items = [item for item in again if item.append not in errors]

    async def _send(self, items: list[_Item], errors: dict[int, Exception]) -> None:
        """Every message has its answer, but for those that the server refuses."""
        connection, _ = await self._requests.listening(self._sid)
        batch, asked = _Batch(len(items)), self._asked
        replies = [self._requests.inbox(self._sid) for _ in items]
        asked.update((reply, (batch, item)) for reply, item in zip(replies, items, strict=True))
        data = b"".join([item.packed(reply) for reply, item in zip(replies, items, strict=True)])
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                for text in await connection.flush(data):
                    subject = refused_subject(text)
                    for reply, item in zip(replies, items, strict=True):
                        if subject in (None, item.subject.decode()) and reply in asked:
                            errors[item.append] = BackendUnavailable(
                                f"{connection.name} refused: {text}"
                            )
                            self._end(reply)
                await batch.done
        except TimeoutError:
            self._requests.missed(items[0].subject, ANSWER_SECONDS)
            raise NoAnswer(ANSWER_SECONDS) from None
        finally:
            for reply in replies:
                asked.pop(reply, None)

    async def _forgotten(self, stream: KeptStream, item: _Item) -> bool:
        """Whether the entry of that id is not kept any more; then it gets another one.

        The stream knows ids for longer than it keeps entries, and in a cluster it knows them
        before: then, too, the entry has to be sent again.
        """
        assert item.answer is not None
        sequence = json.loads(item.answer.payload)["seq"]
        if not sequence:
            return True
        try:
            subject: str = (await stream.get(seq=sequence))["subject"]
            return subject != item.subject.decode()
        except Refused as error:
            if error.code != NO_MESSAGE:
                raise
        item.id = f"{item.id}.{sequence}"  # the same one for whoever else publishes it again now
        return True

    def _trim(self, stream: KeptStream, appends: Sequence[Append]) -> None:
        """Topics that keep less than the stream's most are cut from time to time."""
        counts = self._counts
        for append in appends:
            if append.keep + SLACK < stream.most:
                count = counts[append.topic] = counts.get(append.topic, 0) + len(append.entries)
                connection = self._requests.link.connection
                if count >= SLACK and connection is not None and stream.name:
                    del counts[append.topic]
                    filtered = log_of(append.topic).decode()
                    self._purge(connection, stream, filter=filtered, keep=append.keep + SLACK)
        if len(counts) > MOST_COUNTED:
            counts.clear()

    def _trim_pieces(self, stream: KeptStream, append: Append, item: _Item, name: bytes) -> None:
        """Pieces go when as many large entries as the topic keeps came after theirs."""
        connection = self._requests.link.connection
        if connection is None or not stream.name:
            return
        names = self._large.setdefault(append.topic, deque())
        gone: list[bytes] = []
        if item.answer is not None and b'"duplicate"' in item.answer.payload:
            gone.append(name)
        else:
            names.append(name)
        while len(names) > append.keep:
            gone.append(names.popleft())
        for each in gone:
            what = b"%b.%b.*" % (parts_of(append.topic), each)
            self._purge(connection, stream, filter=what.decode())

    def _purge(self, connection: Connection, stream: KeptStream, **what: Any) -> None:
        subject = f"$JS.API.STREAM.PURGE.{stream.name}"
        _ = self._requests.post(connection, subject.encode(), json.dumps(what).encode())

    def _came(self, message: Message) -> None:
        found = self._asked.get(message.subject)
        if found is not None:
            found[1].answer = message
            self._end(message.subject)

    def _end(self, reply: bytes) -> None:
        batch, _ = self._asked.pop(reply)
        batch.left -= 1
        if not batch.left and not batch.done.done():
            batch.done.set_result(None)


def _id(topic: str, entry: Entry) -> str | None:
    """Return by what the stream, which has many topics, knows the entry's id."""
    if entry.id is None:
        return None
    return blake2b(
        f"{topic}\0{entry.id}".encode(errors="surrogatepass"), digest_size=16
    ).hexdigest()

"""The JetStream stream that holds one worker queue, and the consumer that its workers share.

Jobs lie under the queue's subject, each with what it needs to expire: the server stamps the time,
a header says how long it lasts. What is larger than one message lies in pieces under subjects of
its own; the job then names them.
"""

import asyncio
import base64
import itertools
import math
import os
import time
from datetime import datetime
from typing import Any, Final

from fast_channels.exceptions import ChannelFull
from fast_channels.layers import reconnect_delays
from fast_channels_nats.connection import Message
from fast_channels_nats.link import LONGEST_DELAY
from fast_channels_nats.refusals import (
    FASTER,
    NO_CONSUMER,
    NO_MESSAGE,
    NO_SPACE,
    NO_STREAM,
    QUEUE,
    explained,
)
from fast_channels_nats.requests import (
    ANSWER_SECONDS,
    NO_LEADER,
    NO_RESPONDERS,
    Refused,
    Requests,
    answered,
)
from fast_channels_nats.subjects import parts_of, stream_of, subject_of

WORKERS: Final = "workers"
ACK_SECONDS: Final = 30.0
"""After this long without a sign from its taker, a job goes to another one."""

SETTLING_SECONDS: Final = 2.0
"""In a cluster, the server that answers that a job is done tells it the one with the stream later:
until then that one may say that the queue is full."""

DAY: Final = 86_400
LARGEST_PIECE: Final = 524_288
LASTS: Final = b"Fast-Channels-Lasts"
PIECES: Final = b"Fast-Channels-Pieces"
"""Headers: milliseconds until the job expires; the id and the number of its pieces."""


class QueueStream:
    """One queue in JetStream."""

    def __init__(
        self,
        queue: str,
        requests: Requests,
        capacity: int,
        replicas: int | None,
        max_payload: int,
        turns: asyncio.Semaphore,
    ) -> None:
        self.queue = queue
        self.name = stream_of(queue)
        self.expired = 0
        """Jobs that nobody took in time, as far as this process noticed."""
        self.ended: set[asyncio.Future[Message]] = set()
        """The server's answers, not come yet, that a job is done or released."""
        self._subject = subject_of(queue)
        self._parts = parts_of(queue)
        self._requests = requests
        self._capacity = capacity
        self._replicas = replicas
        self._piece = min(LARGEST_PIECE, max_payload - 1_024)
        self._age = 0
        """Seconds that the stream keeps a message, whatever its header says; 0: not known."""
        self._settling = 0.0
        self._making = asyncio.Lock()
        self._turns = turns
        """Held while what takers need is made."""
        self._consumer = False
        self._ahead: float | None = None
        """The server's clock minus this process's ``time()``; None: not known."""

    # --- jobs ---------------------------------------------------------------------------------

    async def put(self, payload: bytes, expires_in: float) -> None:
        """The stream holds the job; raises ``ChannelFull`` when it holds as many as it may."""
        headers = {LASTS: b"%d" % max(1, round(expires_in * 1000))}
        await self.make(expires_in)
        if len(payload) > self._piece:
            headers[PIECES] = await self._put_pieces(payload)
            payload = b""
        lines = b"".join(b"%b: %b\r\n" % item for item in headers.items())
        head = b"NATS/1.0\r\n" + lines + b"\r\n"
        delays, again = reconnect_delays(most=LONGEST_DELAY), 2
        while True:
            ended, settled = set(self.ended), time.monotonic() > self._settling
            try:
                await self._store(self._subject, payload, head, expires_in)
                return
            except Refused as error:
                if "maximum messages per subject" not in str(error):
                    raise
            if not ended and not settled:
                await asyncio.sleep(next(delays))
                continue
            if ended and again:  # there is room soon after the server has read these
                await asyncio.wait(ended, timeout=ANSWER_SECONDS)
            elif not again or not await self._trim():
                raise ChannelFull(f"queue {self.queue!r} holds {self._capacity} jobs, its capacity")
            again -= 1

    def ending(self, answer: "asyncio.Future[Message]") -> None:
        """Note that a job is done or released when the answer comes, or soon after that."""

        def came(answer: "asyncio.Future[Message]") -> None:
            self.ended.discard(answer)
            self._settling = time.monotonic() + SETTLING_SECONDS

        self.ended.add(answer)
        answer.add_done_callback(came)

    def lasts(self, message: Message, stamped: float) -> bool:
        """Return whether the job, stamped by the server at that time, has not expired."""
        milliseconds = headers_of(message.head).get(LASTS, b"")
        if not milliseconds.isdigit() or self._ahead is None:
            return True
        return stamped + int(milliseconds) / 1000 > self._now()

    async def payload_of(self, message: Message) -> bytes:
        """Return what was put."""
        pieces = headers_of(message.head).get(PIECES)
        if pieces is None:
            return message.payload
        name, count = pieces.split(b".")
        return await joined(self._requests, self.name, b"%b.%b" % (self._parts, name), int(count))

    async def forget_pieces(self, message: Message) -> None:
        """The pieces of a job that nobody needs any more are gone."""
        pieces = headers_of(message.head).get(PIECES)
        if pieces is not None:
            subject = b"%b.%b.*" % (self._parts, pieces.split(b".")[0])
            await self._requests.call(f"STREAM.PURGE.{self.name}", filter=subject.decode())

    async def _store(
        self, subject: bytes, payload: bytes = b"", head: bytes = b"", expires_in: float = 0
    ) -> dict[str, Any]:
        """Return the answer that the stream holds the message.

        A stream that was made just now, or that has lost a server, has no leader for a while.
        """
        delays = reconnect_delays(most=LONGEST_DELAY)
        until = time.monotonic() + self._requests.patience
        while True:
            try:
                return answered(await self._requests.ask(subject, payload, head))
            except Refused as error:
                late = time.monotonic() > until
                if late or error.code not in (NO_RESPONDERS, *NO_LEADER):
                    raise explained(error, {"jetstream": True}, QUEUE) from error
            await asyncio.sleep(next(delays))
            self._age = 0  # or it was deleted
            await self.make(expires_in)

    async def _put_pieces(self, payload: bytes) -> bytes:
        name = os.urandom(8).hex().encode()
        starts = range(0, len(payload), self._piece)
        for number, start in enumerate(starts):
            subject = b"%b.%b.%d" % (self._parts, name, number)
            await self._store(subject, payload[start : start + self._piece])
        return b"%b.%d" % (name, len(starts))

    async def _get(self, **which: Any) -> dict[str, Any]:
        answer = await self._requests.call(f"STREAM.MSG.GET.{self.name}", **which)
        message: dict[str, Any] = answer["message"]
        return message

    async def _trim(self) -> int:
        """Delete what expired before anybody took it, from the oldest on; return how many."""
        if self._ahead is None:
            await self._set_clock()
        try:
            consumer = await self._requests.call(f"CONSUMER.INFO.{self.name}.{WORKERS}")
            taken = int(consumer["delivered"]["stream_seq"])
        except Refused as error:
            if error.code not in (NO_CONSUMER, NO_RESPONDERS):
                raise
            taken = 0
        for count in itertools.count():
            try:
                found = await self._get(seq=taken + 1, next_by_subj=self._subject.decode())
            except Refused as error:
                if error.code == NO_MESSAGE:
                    return count
                raise
            taken = int(found["seq"])
            head = base64.b64decode(found.get("hdrs", ""))
            message = Message(b"", b"", b"", head, b"")
            if self.lasts(message, seconds_of(found["time"])):
                return count
            await self._requests.call(f"STREAM.MSG.DELETE.{self.name}", seq=taken, no_erase=True)
            await self.forget_pieces(message)
            self.expired += 1
        raise AssertionError("itertools.count has no end")

    # --- making -------------------------------------------------------------------------------

    async def make(self, expires_in: float) -> None:
        """There is a stream that keeps jobs that long."""
        age = DAY * max(2, 1 + math.ceil(expires_in / DAY))
        async with self._making:
            if self._age >= age:
                return
            info = (await self._requests.link.ready()).info
            replicas = self._replicas or (3 if info.get("cluster") else 1)
            try:
                self._age = await self._make(age, replicas)
            except Refused as error:
                raise explained(error, info, QUEUE) from error

    async def _make(self, age: int, replicas: int) -> int:
        """Make the stream, or make it fit; return how many seconds it keeps a message."""
        config: dict[str, Any] = {
            "name": self.name,
            "subjects": [self._subject.decode(), f"{self._parts.decode()}.>"],
            "retention": "workqueue",
            "discard": "new",
            "discard_new_per_subject": True,
            "max_msgs_per_subject": self._capacity,
            "max_age": age * 1_000_000_000,
            "storage": "file",
            "num_replicas": replicas,
        }
        # A cluster of 2.9 does not always answer who creates what is there, so look first.
        found = await self._found()
        if found is None:
            try:
                await self._requests.call(f"STREAM.CREATE.{self.name}", **config)
                return age
            except Refused as error:
                if error.code not in FASTER:
                    raise
                for delay in itertools.islice(reconnect_delays(), 4):
                    found = await self._found()
                    if found is not None:
                        break
                    await asyncio.sleep(delay)
                else:
                    raise
        config["max_age"] = max(config["max_age"], found.get("max_age", 0))
        if self._replicas is None:
            config["num_replicas"] = found.get("num_replicas", replicas)
        if any(found.get(name) != value for name, value in config.items()):
            await self._requests.call(f"STREAM.UPDATE.{self.name}", **config)
        return int(config["max_age"] // 1_000_000_000)

    async def _found(self) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = await self._requests.call(f"STREAM.INFO.{self.name}")
        except Refused as error:
            if error.code == NO_STREAM:
                return None
            raise
        config: dict[str, Any] = found["config"]
        return config

    async def make_consumer(self) -> None:
        """There is a consumer to pull jobs from, and the server's time is known."""
        if not (self._age and self._consumer and self._ahead is not None):
            async with self._turns:
                await self._make_consumer()

    async def _make_consumer(self) -> None:
        await self.make(0)
        if not self._consumer:
            config = {
                "durable_name": WORKERS,
                "deliver_policy": "all",
                "ack_policy": "explicit",
                "ack_wait": int(ACK_SECONDS * 1e9),
                "max_deliver": -1,
                "max_ack_pending": -1,
                "max_waiting": 16_384,
                "filter_subject": self._subject.decode(),
            }
            try:
                await self._requests.call(f"CONSUMER.INFO.{self.name}.{WORKERS}")
            except Refused as error:
                if error.code != NO_CONSUMER:
                    raise
                await self._requests.call(
                    f"CONSUMER.DURABLE.CREATE.{self.name}.{WORKERS}",
                    stream_name=self.name,
                    config=config,
                )
            self._consumer = True
        if self._ahead is None:
            await self._set_clock()

    def doubt(self) -> None:
        """Stream and consumer are looked for again before their next use."""
        self._age, self._consumer, self._ahead = 0, False, None

    async def _set_clock(self) -> None:
        """Learn what time the server stamps: its clock alone decides what has expired.

        A server of 2.9 tells it only by storing a message. One that has no space for that lets
        jobs be taken, which makes some, and until then none expires.
        """
        stamp = (await self._requests.call(f"STREAM.INFO.{self.name}")).get("ts")
        now = asyncio.get_running_loop().time()
        if stamp is None:
            subject = b"%b.%b.0" % (self._parts, os.urandom(8).hex().encode())
            try:
                sequence = answered(await self._requests.ask(subject))["seq"]
            except Refused as error:
                if error.code in NO_SPACE:
                    return
                raise
            now = asyncio.get_running_loop().time()
            stamp = (await self._get(seq=sequence))["time"]
            await self._requests.call(f"STREAM.MSG.DELETE.{self.name}", seq=sequence, no_erase=True)
        self._ahead = seconds_of(stamp) - now

    def _now(self) -> float:
        assert self._ahead is not None
        return asyncio.get_running_loop().time() + self._ahead


async def joined(requests: Requests, stream: str, subject: bytes, count: int) -> bytes:
    """Return what lies in so many pieces under the subject."""
    found: list[bytes] = []
    for number in range(count):
        piece = await requests.call(
            f"STREAM.MSG.GET.{stream}", last_by_subj=f"{subject.decode()}.{number}"
        )
        found.append(base64.b64decode(piece["message"].get("data", "")))
    return b"".join(found)


def headers_of(head: bytes) -> dict[bytes, bytes]:
    """Return a message's headers."""
    pairs = (line.partition(b":") for line in head.split(b"\r\n")[1:] if line)
    return {name.strip(): value.strip() for name, _, value in pairs}


def seconds_of(time: str) -> float:
    """Return a server's time, in UTC and with nanoseconds, as seconds since 1970."""
    text = time.rstrip("Z")
    whole, _, fraction = text.partition(".")
    return datetime.fromisoformat(f"{whole}+00:00").timestamp() + float(f"0.{fraction or 0}")

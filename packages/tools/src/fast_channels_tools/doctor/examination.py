"""The checks: each asks one thing, in bounded time, and says what it found.

Two layers play two processes. What is left in the broker is under one name, which every
examination uses again.
"""

import asyncio
import secrets
import statistics
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any, Final

from fast_channels.exceptions import FastChannelsError, InvalidChannelLayerError
from fast_channels.layers import BaseChannelLayer, Channel, ChannelLayer, HistoryPolicy
from fast_channels.layers.names import history_topic
from fast_channels_tools.connecting import Place, closed
from fast_channels_tools.layers import powers_of

from .advice import advice_on
from .places import addresses_of, problem_of
from .report import Check, Status

NAME: Final = "fast-channels-doctor"
"""The group, the durable group and the worker queue that are used."""

ROUNDS: Final = 200
"""Round trips that are measured, if they fit into half of the time of a check."""

SLOW: Final = 0.1
"""Seconds of a round trip above which the broker is called far away."""

SKEW: Final = 1.0
"""Seconds of difference between two clocks that nobody would notice."""

POLICY: Final = HistoryPolicy(keep=10, ttl=60.0)


class Examination:
    """One look at a broker; ``queue`` and ``history``: whether the application uses these."""

    def __init__(self, place: Place, timeout: float, *, queue: bool, history: bool) -> None:
        self._place = place
        self._timeout = timeout
        self._wants = {"queue": queue, "history": history}
        # The layer is to give up first: it knows better why.
        self._options = {"send_timeout": 0.8 * timeout}
        self.here: ChannelLayer = place.layer(**self._options)
        """Raises what ``register_channel_layer`` raises."""
        self.there: ChannelLayer = place.layer(**self._options)
        self._stack = AsyncExitStack()
        self._channel: Channel | None = None
        self._joined = self._published = False
        self._token = ""

    async def checks(self) -> AsyncGenerator[Check]:
        """Yield what each check finds; the first two decide whether there are more."""
        try:
            if addresses := addresses_of(self._place):
                yield (reached := await self._reached(addresses))
                if reached.status == "fail":
                    return
            yield (opened := await self._tried("open", self._opened))
            if opened.status == "fail":
                return
            for name, check in self._all():
                yield await self._tried(name, check)
        finally:
            try:
                async with asyncio.timeout(self._timeout):
                    await self._stack.aclose()
            except (TimeoutError, FastChannelsError):
                pass  # the checks have told of it
            await closed(self.here, self.there, seconds=self._timeout)

    def _all(self) -> list[tuple[str, Callable[[], Awaitable[Check]]]]:
        return [
            ("server", self._server),
            ("limits", self._limits),
            ("clock", self._clock),
            ("join", self._join),
            ("publish", self._publish),
            ("group", self._group),
            ("direct", self._direct),
            ("round trip", self._round_trip),
            ("queue", self._queue),
            ("history", self._history),
            ("health", self._health),
        ]

    async def _tried(self, name: str, check: Callable[[], Awaitable[Check]]) -> Check:
        """Return what the check finds, or what it could not do."""
        status: Status = "fail"
        try:
            async with asyncio.timeout(self._timeout):
                return await check()
        except TimeoutError:
            text = f"no answer within {self._timeout:g} s"
        except InvalidChannelLayerError as error:
            status, text = "warn", str(error)  # the broker is not set up for a power
        except Exception as error:
            text = str(error) or type(error).__name__
        text = self._place.hide(text)
        advice = advice_on(text, self._place)
        if status == "warn":
            advice = f"do that if the application uses it; else give --no-{name}"
        return Check(name, status, text, advice)

    # --- the broker ---------------------------------------------------------------------------

    async def _reached(self, addresses: list[Any]) -> Check:
        """Somebody listens."""
        problems = await asyncio.gather(*(problem_of(each, self._timeout) for each in addresses))
        good = [str(a) for a, problem in zip(addresses, problems, strict=True) if not problem]
        bad = [problem for problem in problems if problem]
        values = {"addresses": [str(each) for each in addresses], "reached": good}
        if not bad:
            return Check("reach", "ok", f"{', '.join(good)} takes connections", values=values)
        found, _, advice = bad[0].partition("; ")
        more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
        status: Status = "warn" if good else "fail"
        return Check("reach", status, f"{found}{more}", advice, values)

    async def _opened(self) -> Check:
        """The broker lets us in, and delivers to us."""
        began = time.monotonic()
        await self.here.open()
        seconds = time.monotonic() - began
        await self.there.open()
        found = f"let in, and listening to itself, in {_ms(seconds)}"
        return Check("open", "ok", found, values={"seconds": round(seconds, 6)})

    async def _described(self) -> dict[str, Any]:
        describe = getattr(self.here, "describe", None)
        return dict(await describe()) if describe is not None else {}

    async def _server(self) -> Check:
        told = await self._described()
        for each in ("time", "time_within"):  # the clock's own line has them
            told.pop(each, None)
        if "server" not in told:
            return Check("server", "ok", "the backend does not tell which server this is")
        name = f"{told['server']} {told.get('version', '')}".strip()
        more = [f"{key} {value}" for key, value in told.items() if key not in _NAMED]
        return Check("server", "ok", ", ".join([name, *more]), values=told)

    async def _limits(self) -> Check:
        """What the layer sends fits."""
        if not isinstance(self.here, BaseChannelLayer):
            return Check("limits", "ok", "the layer does not tell")
        largest = self.here.options.max_message_size
        carried = self.here.open_backends[0].max_payload
        told = (await self._described()).get("max_payload")
        values = {"max_message_size": largest, "max_payload": carried, "server": told}
        found = f"messages of up to {largest:,} bytes"
        if carried is not None and carried < largest:
            found += f", cut into payloads of {carried:,}"
        if isinstance(told, int) and carried is not None and told < carried:
            found += f"; the server takes {told:,} at once"
            advice = f"register the layer with max_payload={told}"
            return Check("limits", "warn", found, advice, values)
        return Check("limits", "ok", found, values=values)

    async def _clock(self) -> Check:
        before = time.time()
        described = await self._described()
        after = time.time()
        told, within = described.get("time"), described.get("time_within", 0.0)
        if not isinstance(told, int | float):
            return Check("clock", "ok", "the broker does not tell its time")
        # Anywhere in between it was asked, so what lies outside of that is skew for certain.
        skew = min(told + within - before, 0.0) + max(told - within - after, 0.0)
        uncertain = after - before + within
        found = f"{skew:+.3f} s from this machine's, within {_ms(uncertain)}"
        values = {"skew": round(skew, 6), "uncertainty": round(uncertain, 6)}
        if abs(skew) < SKEW:
            return Check("clock", "ok", found, values=values)
        advice = "set the clocks of both machines by NTP: jobs and history expire by the broker's"
        return Check("clock", "warn", found, advice, values)

    # --- messages -----------------------------------------------------------------------------

    async def _join(self) -> Check:
        """A channel of the other layer is in the group."""
        self._channel = await self._stack.enter_async_context(self.there.channel())
        await self.there.group_add(NAME, self._channel.name)
        self._joined = True
        return Check("join", "ok", f"a channel joined the group {NAME!r}")

    async def _publish(self) -> Check:
        self._token = secrets.token_hex(8)
        began = time.monotonic()
        await self.here.group_send(NAME, _message(self._token))
        self._published = True
        return Check(
            "publish", "ok", f"the broker took a message in {_ms(time.monotonic() - began)}"
        )

    async def _group(self) -> Check:
        if self._channel is None or not (self._joined and self._published):
            return _not_tried("group")
        await _until(self._channel.receive, self._token)
        return Check("group", "ok", "the group's message reached the member, of another session")

    async def _direct(self) -> Check:
        if self._channel is None:
            return _not_tried("direct")
        token = secrets.token_hex(8)
        await self.here.send(self._channel.name, _message(token))
        await _until(self._channel.receive, token)
        return Check("direct", "ok", "a message to one channel reached it, of another session")

    async def _round_trip(self) -> Check:
        """To the broker and back, again and again."""
        samples: list[float] = []
        until = time.monotonic() + self._timeout / 2
        async with self.here.channel() as channel:
            while len(samples) < ROUNDS and time.monotonic() < until:
                token = str(len(samples))
                began = time.perf_counter()
                await self.here.send(channel.name, _message(token))
                await _until(channel.receive, token)
                samples.append(time.perf_counter() - began)
        median = statistics.median(samples)
        p99 = sorted(samples)[max(0, round(0.99 * len(samples)) - 1)]
        found = f"median {_ms(median)}, p99 {_ms(p99)}, of {len(samples)}"
        values = {"median": round(median, 6), "p99": round(p99, 6), "rounds": len(samples)}
        if median < SLOW:
            return Check("round trip", "ok", found, values=values)
        where = ", ".join(map(str, addresses_of(self._place))) or self._place.shown
        advice = f"bring this machine and {where} closer together, or look how busy each is"
        return Check("round trip", "warn", found, advice, values)

    # --- powers -------------------------------------------------------------------------------

    async def _queue(self) -> Check:
        powers = powers_of(self.here)
        if powers is not None and "queues" not in powers:
            return Check("queue", "ok", "this layer has no worker queues")
        if not self._wants["queue"]:
            return Check("queue", "ok", "not tried, as --no-queue says")
        token = secrets.token_hex(8)
        await self.here.send(NAME, _message(token))
        await _until(lambda: self.there.receive(NAME), token)
        return Check("queue", "ok", "a job waited in a worker queue, and was taken from it")

    async def _history(self) -> Check:
        if "history" not in (powers_of(self.here) or ()):
            return Check("history", "ok", "this layer keeps no history")
        if not self._wants["history"]:
            return Check("history", "ok", "not tried, as --no-history says")
        layer = self._place.layer(history={NAME: POLICY}, **self._options)
        assert isinstance(layer, BaseChannelLayer)
        try:
            token = secrets.token_hex(8)
            position = await layer.group_position(NAME)
            await layer.group_send(NAME, _message(token))
            kept = await layer.group_history(NAME, since=position)
            if token not in [message.get("token") for message in kept]:
                raise FastChannelsError("what was sent to a durable group is not in its history")
            async with layer.channel() as channel:
                await layer.group_add(NAME, channel.name, since=position)
                await _until(channel.receive, token)
            history = layer.open_backends[0].history
            if history is not None:
                await history.clear(history_topic(self._place.prefix, NAME))
        finally:
            await closed(layer, seconds=self._timeout)
        return Check("history", "ok", "a message was kept, read again and replayed to a member")

    async def _health(self) -> Check:
        if not isinstance(self.here, BaseChannelLayer):
            return Check("health", "ok", "the layer has no health()")
        health = await self.here.health(timeout=0.8 * self._timeout)
        if not health:
            raise FastChannelsError(health.reason)
        return Check("health", "ok", f"health() is true, after {_ms(health.seconds)}")


_NAMED: Final = ("server", "version", "max_payload")


def _message(token: str) -> dict[str, Any]:
    return {"type": "fast.channels.doctor", "token": token}


async def _until(receive: Callable[[], Awaitable[dict[str, Any]]], token: str) -> None:
    """The message with the token has come; what another examination left is passed over."""
    while (await receive()).get("token") != token:
        pass


def _not_tried(name: str) -> Check:
    return Check(name, "fail", "not tried, for what it needs failed above", "see above")


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.2f} ms"

"""``fast-channels tail``: what comes to groups, as it comes.

Exit status: 0 ended by Ctrl+C, ``--seconds`` or ``--count``, 1 the broker cannot be reached or
``--count`` was not reached, 2 the command line is wrong.
"""

import asyncio
import os
import sys
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import datetime
from typing import Annotated, Any

from rich.console import Console
from rich.text import Text
from typer import Argument, Option

from fast_channels.layers import BaseChannelLayer, Channel, ChannelLayer, HistoryPolicy

from .connecting import AsJson, Options, Place, Prefix, Url, closed, line, tell_if_alone, used
from .loading import CommandError

ROOM: dict[str, Any] = {"capacity": 10_000, "capacity_bytes": 64 * 1_048_576}
"""Of each group's channel: a terminal is slower than a broker."""


def tail(
    url: Url,
    groups: Annotated[list[str], Argument(metavar="GROUP...", help="The groups to listen to.")],
    prefix: Prefix = "fc",
    options: Options = "{}",
    durable: Annotated[
        bool, Option("--durable", help="The application keeps these groups: its history= has them.")
    ] = False,
    since: Annotated[
        str | None,
        Option(metavar="POSITION", help="Begin after that position of a durable group."),
    ] = None,
    last: Annotated[
        int | None, Option(metavar="N", min=0, help="Begin with the newest of a durable group.")
    ] = None,
    count: Annotated[int | None, Option(metavar="N", min=1, help="End after so many.")] = None,
    seconds: Annotated[float | None, Option(metavar="S", min=0, help="End then.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show the messages of groups as they come, until Ctrl+C.

    Lines are time, group, position (of durable groups) and message; a gap is where some may be
    missing. Exit status: 0 ended, 1 the broker cannot be reached or --count did not come in
    --seconds, 2 the command line is wrong.
    """
    if since is not None and last is not None:
        raise CommandError("--since and --last are two beginnings; give one of them")
    if since is not None and len(groups) > 1:
        raise CommandError(f"--since {since!r} is a position of one group; tail the others apart")
    own = dict(ROOM)
    if durable or since is not None or last is not None:
        # How much is kept is for who sends; here it only says which groups are durable.
        own["history"] = {group: HistoryPolicy() for group in groups}
    place = Place.of(url, prefix, options)
    begin = since if last is None else f"last:{last}"
    console = _Screen(highlight=False)
    printed = _Printed(count, as_json, lambda text: console.print(text, soft_wrap=True))

    async def run() -> bool:
        layer = place.layer(**own)
        try:
            return await _listen(layer, groups, begin, printed, seconds)
        finally:
            await closed(layer, seconds=10.0)

    try:
        enough = used(run, place)
    except KeyboardInterrupt:
        enough = True
    except BrokenPipeError:  # as by "| head": nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        enough = True
    if not enough:
        text = f"{printed.number} of {count} messages came within {seconds:g} s"
        raise CommandError(text, status=1)


class _Screen(Console):
    """A console that leaves it to others what to do when nobody reads on."""

    def on_broken_pipe(self) -> None:
        """Rich would end the process as failed."""
        raise  # the error of the pipe


class _Printed:
    """Shows messages, and counts them; gaps are shown and not counted."""

    def __init__(self, count: int | None, as_json: bool, show: Callable[[Text], None]) -> None:
        self.number = 0
        self.enough = asyncio.Event()
        self.count = count
        self._as_json = as_json
        self._show = show

    async def until_enough(self) -> None:
        """As many are on stdout as were asked for."""
        await self.enough.wait()

    def take(self, group: str, message: dict[str, Any]) -> None:
        """The message is on stdout, unless there were enough."""
        if self.enough.is_set():
            return
        now = time.time()
        gap = message.get("type") == "channels.gap"
        position = getattr(message, "position", None)
        if self._as_json:
            fields = {"at": round(now, 3), "group": group, "position": position}
            print(line({**fields, **({"gap": True} if gap else {"message": message})}), flush=True)
        else:
            text = Text(datetime.fromtimestamp(now).strftime("%H:%M:%S.%f")[:-3], "dim")
            text.append(f" {group} ", "cyan")
            if position is not None:
                text.append(f"{position} ", "dim")
            if gap:
                text.append("gap: messages may be missing here", "bold yellow")
            else:
                text.append(line(message), "default")
            self._show(text)
            sys.stdout.flush()
        self.number += not gap
        if self.number == self.count:
            self.enough.set()


async def _listen(
    layer: ChannelLayer,
    groups: list[str],
    begin: str | None,
    printed: _Printed,
    seconds: float | None,
) -> bool:
    """Return whether as many came as were asked for, if that was asked for."""
    async with AsyncExitStack() as stack:
        channels: dict[str, Channel] = {}
        for group in dict.fromkeys(groups):
            channel = channels[group] = await stack.enter_async_context(layer.channel())
            if begin is None:
                await layer.group_add(group, channel.name)
            else:
                assert isinstance(layer, BaseChannelLayer)
                await layer.group_add(group, channel.name, since=begin)
        tell_if_alone(layer)
        print(f"listening to {', '.join(channels)}", file=sys.stderr, flush=True)

        async def follow(group: str, channel: Channel) -> None:
            while True:
                printed.take(group, await channel.receive())

        tasks = [asyncio.create_task(follow(*each)) for each in channels.items()]
        tasks.append(asyncio.create_task(printed.until_enough()))
        try:
            await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
    for result in ended:
        if isinstance(result, Exception):
            raise result
    return printed.count is None or printed.enough.is_set()

"""``fast-channels send``: messages to a group or channel, from a shell or a script.

Exit status: 0 the broker has them all, 1 it does not, 2 the command line is wrong.
"""

import asyncio
import json
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, cast

from rich.progress import MofNCompleteColumn
from typer import Argument, Option

from fast_channels.exceptions import FastChannelsError
from fast_channels.layers import ChannelLayer, HistoryPolicy

from .connecting import AsJson, Options, Place, Prefix, Url, bar, closed, quiet, tell_if_alone, used
from .loading import CommandError


def send(
    url: Url,
    name: Annotated[
        str, Argument(metavar="GROUP", help="A group; with --channel a channel or worker queue.")
    ],
    message: Annotated[
        str,
        Argument(metavar="JSON", help='{"type": ...}; "-" reads stdin, one object or several.'),
    ],
    prefix: Prefix = "fc",
    options: Options = "{}",
    channel: Annotated[
        bool, Option("--channel", help="GROUP is the name of a channel, or of a worker queue.")
    ] = False,
    keep: Annotated[
        int | None,
        Option(metavar="N", min=1, help="The group is durable; what the application keeps."),
    ] = None,
    ttl: Annotated[
        float | None,
        Option(metavar="SECONDS", min=0.001, help="With --keep: for how long that keeps it."),
    ] = None,
    id_: Annotated[
        str | None,
        Option("--id", metavar="ID", help="In a durable group: not sent again while it is kept."),
    ] = None,
    count: Annotated[int, Option(metavar="N", min=1, help="Send it as often.")] = 1,
    every: Annotated[
        float, Option(metavar="SECONDS", min=0, help="From one to the next; 0: as fast as it goes.")
    ] = 0.0,
    as_json: AsJson = False,
) -> None:
    """Send a message to all members of a group, or to one channel.

    Exit status: 0 the broker has it, 1 the broker cannot be reached or refuses it, 2 the command
    line is wrong.
    """
    if (keep is None) != (ttl is None):
        raise CommandError("--keep and --ttl belong together: they are the application's history=")
    if channel and (keep or id_):
        raise CommandError("--keep and --id are for durable groups, and --channel names no group")
    if id_ is not None and keep is None:
        raise CommandError("--id is for a durable group; give its --keep and --ttl, too")
    messages = list(parsed(sys.stdin.read() if message == "-" else message))
    if id_ is not None and len(messages) * count > 1:
        raise CommandError(f"--id {id_!r} names one message, and there would be more of that id")
    quiet()
    own: dict[str, Any] = {}
    if keep is not None and ttl is not None:
        own["history"] = {name: HistoryPolicy(keep=keep, ttl=ttl)}
    extra = {} if id_ is None else {"id": id_}
    place = Place.of(url, prefix, options)

    async def run() -> dict[str, Any]:
        layer = place.layer(**own)
        try:
            target = layer.send if channel else layer.group_send
            return await _sent(layer, target, name, messages * count, every, extra)
        finally:
            await closed(layer, seconds=10.0)

    report = used(run, place)
    if as_json:
        print(json.dumps({"url": place.shown, "prefix": prefix, "name": name, **report}))
    else:
        what = "message" if report["sent"] == 1 else "messages"
        print(f"{report['sent']} {what} sent to {name!r} in {report['seconds']:.3f} s")


def parsed(text: str) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects of the text; raises ``CommandError`` for anything else."""
    decoder = json.JSONDecoder(parse_constant=_refused)
    at, number = 0, 0
    while text[at:].strip():
        at += len(text[at:]) - len(text[at:].lstrip())
        number += 1
        try:
            value, at = decoder.raw_decode(text, at)
        except ValueError as error:
            raise CommandError(f"message {number} is no JSON: {error}") from error
        except RecursionError as error:
            raise CommandError(f"message {number} is nested too deeply") from error
        if not isinstance(value, dict):
            raise CommandError(
                f"message {number} must be a JSON object such as "
                f'{{"type": "chat.message"}}, got {json.dumps(value):.80}'
            )
        yield cast("dict[str, Any]", value)
    if not number:
        raise CommandError('there is no message; give for example \'{"type": "chat.message"}\'')


def _refused(word: str) -> Any:
    """Python's decoder would take NaN and the infinities, and some of a group's members cannot."""
    raise ValueError(f"{word} is no number of JSON")


async def _sent(
    layer: ChannelLayer,
    target: Any,
    name: str,
    messages: Sequence[dict[str, Any]],
    every: float,
    extra: dict[str, Any],
) -> dict[str, Any]:
    """Return how many were sent, in how many seconds."""
    await layer.open()
    began = time.monotonic()
    with bar(MofNCompleteColumn()) as progress:
        task = progress.add_task("sending", total=len(messages), visible=len(messages) > 1)
        for number, message in enumerate(messages):
            await asyncio.sleep(max(0.0, began + number * every - time.monotonic()))
            try:
                await target(name, message, **extra)
            except FastChannelsError as error:
                if len(messages) == 1:
                    raise
                text = f"{number} of {len(messages)} were sent: {error}"
                raise FastChannelsError(text) from error
            progress.advance(task)
    tell_if_alone(layer)
    return {"sent": len(messages), "seconds": round(time.monotonic() - began, 6)}

"""``fast-channels doctor``: what is wrong between this machine and a broker, and what to do.

Exit status: 0 every check is ok or a warning, 1 a check failed, 2 the command line is wrong.
"""

import asyncio
import json
from collections.abc import Callable
from contextlib import nullcontext
from typing import Annotated

import typer
from rich.console import Console
from typer import Option

from fast_channels.exceptions import InvalidChannelLayerError
from fast_channels.layers.discovery import source_of
from fast_channels_tools.connecting import AsJson, Options, Place, Prefix, Url, quiet
from fast_channels_tools.loading import CommandError

from .examination import Examination
from .report import Check, as_json_object, show, show_sum


def doctor(
    url: Url,
    prefix: Prefix = "fc",
    options: Options = "{}",
    timeout: Annotated[
        float, Option(metavar="SECONDS", min=0.2, help="How long one check may take.")
    ] = 5.0,
    no_queue: Annotated[
        bool, Option("--no-queue", help="The application uses no worker queues.")
    ] = False,
    no_history: Annotated[
        bool, Option("--no-history", help="The application has no durable groups.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Find what is wrong between this machine and a broker.

    Checks who listens, who is let in, limits, clocks, round trips, permissions, and that messages
    come back, and says what to do next; the broker may be in use. Exit status: 0 nothing failed, 1
    a check failed, 2 the command line is wrong.
    """
    place = Place.of(url, prefix, options)
    quiet()
    console = Console(highlight=False, quiet=as_json)
    checks: list[Check] = []

    def note(check: Check) -> None:
        checks.append(check)
        show(console, check)

    try:
        source = source_of(place.name)
        examination = Examination(place, timeout, queue=not no_queue, history=not no_history)
    except InvalidChannelLayerError as error:
        text = place.hide(str(error))
        found, mark, next_ = text.rpartition("; ")
        advice = next_ if mark else "repair that package, or install another release of it"
        note(Check("package", "fail", found or text, advice))
    except (TypeError, ValueError) as error:
        raise CommandError(place.hide(str(error))) from error
    else:
        note(Check("package", "ok", f"the layer is of {source}"))
        # One that prints lines has to know of the spinner, or it would print behind it.
        spinning = console if console.is_terminal and not as_json else Console(stderr=True)
        asyncio.run(_examine(examination, note, spinning))
    if as_json:
        print(json.dumps(as_json_object(place, checks), indent=2))
    else:
        show_sum(console, checks)
    if any(check.status == "fail" for check in checks):
        raise typer.Exit(1)


async def _examine(
    examination: Examination, note: Callable[[Check], None], console: Console
) -> None:
    with console.status("examining") if console.is_terminal else nullcontext():
        async for check in examination.checks():
            note(check)

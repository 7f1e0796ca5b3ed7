"""``fast-channels worker``: a worker as a process of its own."""

import asyncio
import logging
from typing import Annotated

from typer import Argument, Option

from fast_channels import lifespan
from fast_channels.exceptions import FastChannelsError, InvalidChannelLayerError
from fast_channels.layers import InMemoryChannelLayer
from fast_channels.worker import Worker

from .loading import CommandError, find_layer, load_application

logger = logging.getLogger("fast_channels.worker")


def worker(
    application: Annotated[
        str, Argument(metavar="MODULE:APPLICATION", help="What handles the messages.")
    ],
    names: Annotated[list[str], Argument(metavar="NAME", help="The channels to serve.")],
    layer: Annotated[
        str,
        Option(metavar="ALIAS|URL", help="One that the module registers, its URL, or env:NAME."),
    ] = "default",
    concurrency: Annotated[
        int, Option(metavar="N", min=1, help="How many messages are handled at once at most.")
    ] = 1000,
    shutdown_timeout: Annotated[
        float, Option(metavar="SECONDS", min=0, help="How long handlers may finish when stopped.")
    ] = 30.0,
) -> None:
    """Run the handlers of channels: each message reaches one worker.

    SIGTERM or Ctrl+C: takes nothing more, and ends when what runs has finished; again: ends now.
    Exit status: 0 stopped, 1 the broker cannot be reached, 2 the command line is wrong.
    """
    loaded = load_application(application)
    found = find_layer(layer)
    # After the import, so that an application's own settings for the log hold.
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    try:
        made = Worker(loaded, names, found, concurrency, shutdown_timeout=shutdown_timeout)
    except (TypeError, ValueError) as error:
        raise CommandError(str(error)) from error
    if isinstance(found, InMemoryChannelLayer):
        logger.warning("%s ends with this process: nobody else can send to this worker", found)
    try:
        asyncio.run(_serve(made))
    except InvalidChannelLayerError as error:
        raise CommandError(str(error)) from error
    except FastChannelsError as error:
        raise CommandError(str(error), status=1) from error


async def _serve(made: Worker) -> None:
    async with lifespan():
        await made.run(handle_signals=True)

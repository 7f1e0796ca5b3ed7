"""``fast-channels demo``: the chat, without a line of code."""

from typing import Annotated

import typer
from typer import Option

from fast_channels_tools.loading import resolved


def demo(
    layer: Annotated[
        str, Option(metavar="URL", envvar="LAYER", help="The layer; env:NAME takes a variable's.")
    ] = "memory://",
    host: Annotated[
        str, Option(metavar="NAME", envvar="HOST", help="Where it listens.")
    ] = "127.0.0.1",
    port: Annotated[
        int, Option(metavar="N", envvar="PORT", min=0, max=65_535, help="0: any free one.")
    ] = 8000,
) -> None:
    """Serve a chat that shows what the library does, until Ctrl+C.

    Exit status: 0 stopped, 1 it cannot listen there or reach the broker, 2 the command line is
    wrong.
    """
    from .__main__ import main  # servers and frameworks, which no other command loads

    settings = {"LAYER": resolved(layer), "HOST": host, "PORT": str(port)}
    raise typer.Exit(main(settings))

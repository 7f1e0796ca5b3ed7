"""``fast-channels verify``: the conformance kit against a broker that runs already.

Exit status: 0 everything that was tried holds, 1 a clause failed or the broker cannot be reached,
2 the command line is wrong.
"""

import importlib.util
import json
import time
from typing import Annotated

import typer
from rich.console import Console
from typer import Option

from fast_channels_tools.connecting import AsJson, Options, Place, Prefix, Url, used
from fast_channels_tools.loading import CommandError

from .report import as_json_object, show
from .target import Target


def verify(
    url: Url,
    prefix: Prefix = "fc",
    options: Options = "{}",
    only: Annotated[
        str, Option(metavar="TEXT", help="Try only clauses with this in their name.")
    ] = "",
    patience: Annotated[
        float,
        Option(metavar="SECONDS", min=0.1, help="How long a clause waits for what must come."),
    ] = 5.0,
    order_per_topic: Annotated[
        bool,
        Option("--order-per-topic", help="Topics live on several servers: claim no order across."),
    ] = False,
    redelivers: Annotated[
        bool, Option("--redelivers", help="Claim: a job whose worker is gone goes to another.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Try every promise of a layer on a live broker.

    The broker is not stopped, and may be in use: all names have a random prefix that begins with
    the application's. Exit status: 0 all that was tried holds, 1 a clause failed or the broker
    cannot be reached, 2 the command line is wrong.
    """
    if importlib.util.find_spec("pytest") is None:
        raise CommandError(
            "the conformance kit needs pytest; run: pip install 'fast-channels[testing]'", status=1
        )
    place = Place.of(url, prefix, options)
    try:
        target = Target.of(place, patience, order_per_topic, redelivers)
    except (TypeError, ValueError) as error:
        raise CommandError(place.hide(str(error))) from error
    try:
        target = used(target.probed, place)
    except CommandError as error:
        raise CommandError(f"nothing was verified: {error}", error.status) from error
    from .running import run  # pytest is an optional dependency

    began = time.monotonic()
    results = run(target, only, Console(stderr=True))
    seconds = time.monotonic() - began
    if not results:
        raise CommandError(f"no clause has {only!r} in its name")
    if as_json:
        print(json.dumps(as_json_object(target, results, seconds), indent=2))
    else:
        show(Console(highlight=False), target, results, seconds)
    if any(result.outcome == "failed" for result in results):
        raise typer.Exit(1)

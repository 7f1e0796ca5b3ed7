"""The command ``fast-channels``. Each subcommand is a module of its own.

Exit status: 0 done, 1 something failed, 2 the command line is wrong. Errors are one line on stderr.
"""

import sys
from typing import Annotated

import typer

from fast_channels import __version__

from .bench import bench
from .demo.command import demo
from .doctor import doctor
from .layers import layers
from .loading import CommandError
from .new_layer import new_layer
from .send import send
from .tail import tail
from .verify import verify
from .worker import worker

cli = typer.Typer(
    name="fast-channels",
    help="Tools for applications built on Fast Channels.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for each in (layers, doctor, verify, send, tail, bench, worker, demo, new_layer):
    cli.command()(each)


def main() -> None:
    """Run what the command line says, and exit."""
    try:
        cli(prog_name="fast-channels")
    except CommandError as error:
        print(f"fast-channels: {error}", file=sys.stderr)
        sys.exit(error.status)


def _tell_version(asked: bool) -> None:
    if asked:
        print(f"fast-channels {__version__}")
        raise typer.Exit


@cli.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="The version.")
    ] = False,
) -> None:
    """Tools for applications built on Fast Channels."""

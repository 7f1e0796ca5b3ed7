"""The command ``fast-channels``. Each subcommand is a module of its own.

Exit status: 0 done, 1 something failed, 2 the command line is wrong. Errors are one line on stderr,
and with ``--json`` an object on stdout, too.
"""

import json
import os
import sys
from typing import Annotated, Any

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
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for each in (layers, doctor, verify, send, tail, bench, worker, demo, new_layer):
    cli.command()(each)


def main() -> None:
    """Run what the command line says, and exit."""
    try:
        status: Any = cli(prog_name="fast-channels", standalone_mode=False)
    except CommandError as error:
        _tell(str(error))
        status = error.status
    except typer.TyperException as error:  # of the command line, or that its context ended
        _tell(_one_line(error))
        status = getattr(error, "exit_code", 1)
    except BrokenPipeError:  # nobody reads on; what Python has yet to write goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    sys.exit(status or 0)


def _tell(text: str) -> None:
    print(f"fast-channels: {text}", file=sys.stderr)
    if "--json" in sys.argv:
        print(json.dumps({"error": text}), flush=True)


def _one_line(error: typer.TyperException) -> str:
    """Return what is wrong with the command line, and where it says what is right."""
    said: Any = getattr(error, "format_message", error.__str__)()
    context: typer.Context | None = getattr(error, "ctx", None)
    asked = context.command_path if context is not None else "fast-channels"
    said = " ".join(str(said).split()).rstrip(".")
    return f"{said[:1].lower()}{said[1:]}; run: {asked} --help"


def _tell_version(asked: bool) -> None:
    if asked:
        print(f"fast-channels {__version__}")
        raise typer.Exit


@cli.callback()
def options(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="The version.")
    ] = False,
) -> None:
    """Tools for applications built on Fast Channels."""
    if context.invoked_subcommand is None:
        print(context.get_help(), file=sys.stderr)
        raise typer.Exit(2)

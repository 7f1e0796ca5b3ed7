"""``fast-channels-postgres migrate URL`` makes the schema; ``... sql`` prints it."""

import argparse
import asyncio
import sys

from fast_channels.exceptions import FastChannelsError
from fast_channels_postgres.layer import PostgresChannelLayer
from fast_channels_postgres.schema import MIGRATION


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line says, and return the exit status."""
    parser = argparse.ArgumentParser(prog="fast-channels-postgres")
    commands = parser.add_subparsers(dest="command", required=True)
    migrate = commands.add_parser("migrate", help="make the schema fast_channels in a database")
    migrate.add_argument("url", help="postgresql://user:password@host/database")
    commands.add_parser("sql", help="print what migrate runs")
    chosen = parser.parse_args(arguments)
    if chosen.command == "sql":
        sys.stdout.write(MIGRATION)
        return 0
    try:
        asyncio.run(PostgresChannelLayer(chosen.url).migrate())
    except (FastChannelsError, ValueError) as error:
        sys.stderr.write(f"fast-channels-postgres: {error}\n")
        return 1
    sys.stdout.write("fast-channels-postgres: the schema fast_channels is up to date\n")
    return 0

"""The tables and functions that worker channels and SQL senders need, and their version."""

from typing import Any, Final

from fast_channels.exceptions import BackendUnavailable, InvalidChannelLayerError
from fast_channels_postgres.connection import Connection
from fast_channels_postgres.driver import DENIED, NO_TABLE, READ_ONLY, PostgresError, sqlstate
from fast_channels_postgres.history_sql import TABLES

VERSION: Final = 2
"""What this package makes and works with."""

JOBS_SINCE: Final = 1
HISTORY_SINCE: Final = 2
"""The version with which the tables came; later ones leave them usable."""

MIGRATION: Final = f"""\
-- Everything that fast-channels-postgres keeps in a database, version {VERSION}. Run it in one
-- transaction; running it again changes nothing.
SELECT pg_advisory_xact_lock(7310032);
CREATE SCHEMA IF NOT EXISTS fast_channels;
CREATE TABLE IF NOT EXISTS fast_channels.version (version integer NOT NULL);
INSERT INTO fast_channels.version SELECT {VERSION}
    WHERE NOT EXISTS (SELECT FROM fast_channels.version);
UPDATE fast_channels.version SET version = {VERSION} WHERE version < {VERSION};

-- Worker channels. A job is free while taken_until is null or past, and expires at expires_at.
CREATE TABLE IF NOT EXISTS fast_channels.jobs (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    queue text COLLATE "C" NOT NULL,
    payload bytea NOT NULL,
    lifetime interval NOT NULL,
    expires_at timestamptz NOT NULL,
    taken_until timestamptz,
    takes integer NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS jobs_queue ON fast_channels.jobs (queue, id);
CREATE INDEX IF NOT EXISTS jobs_expiry ON fast_channels.jobs (expires_at);

-- SELECT fast_channels.group_send('room', '{{"type": "chat.message", "text": "hello"}}');
-- The message is sent when the transaction commits, and never if it does not.
CREATE OR REPLACE FUNCTION fast_channels.group_send(
    "group" text, message jsonb, prefix text DEFAULT 'fc'
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    topic text := prefix || ':g.' || "group";
    shard integer := get_byte(sha256(convert_to(topic, 'UTF8')), 0) % 128;
    notification text := topic || '#' || gen_random_uuid() || ' ' || message;
BEGIN
    IF "group" !~ '^[A-Za-z0-9_.-]{{1,99}}$' THEN
        RAISE EXCEPTION 'group name % has to be 1 to 99 ASCII letters, digits, -, _ and .',
            quote_literal("group") USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF jsonb_typeof(message -> 'type') IS DISTINCT FROM 'string' THEN
        RAISE EXCEPTION 'the message has to be a JSON object with a text "type"'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF octet_length(notification) > 7999 THEN
        RAISE EXCEPTION 'the message takes % bytes, and a notification has room for 7999',
            octet_length(notification)
            USING ERRCODE = 'program_limit_exceeded',
                  HINT = 'Send the key of a row, and let the receiver read the row.';
    END IF;
    PERFORM pg_notify('fast_channels_' || lpad(shard::text, 3, '0'), notification);
END $$;
{TABLES}"""

_NEEDED_FOR: Final = "worker channels, durable groups and fast_channels.group_send"


async def ensure(connection: Connection, since: int) -> None:
    """The schema is there, at least in the version ``since``; it is made where it is missing.

    Raises as ``migrate``, and ``InvalidChannelLayerError`` where that has to be called first.
    """
    if connection.schema < since:
        version = await _version(connection)
        if version is None:
            version = await _make(connection)
        if version < since:
            raise InvalidChannelLayerError(
                f"the schema fast_channels at {connection.name} has version {version}, and durable "
                f"groups need version {since}: run 'fast-channels-postgres migrate URL', or await "
                "layer.migrate(); everything that is there stays"
            )
        connection.schema = version


async def migrate(connection: Connection) -> None:
    """The schema is there and complete; safe at any time, and for many processes at once.

    Raises ``InvalidChannelLayerError`` for a role that may not make it, and for another version.
    """
    await _version(connection)
    await _make(connection)


async def _make(connection: Connection) -> int:
    try:
        await connection.run(lambda raw: raw.execute(MIGRATION))
    except PostgresError as error:
        raise unfit(error, connection.name) from None
    return await _version(connection) or 0


def unfit(error: Exception, name: str) -> Exception:
    """Return what the server's error means to who set this up."""
    if sqlstate(error) == DENIED:
        return InvalidChannelLayerError(
            f"{name}: {error}; {_NEEDED_FOR} need the schema fast_channels: run "
            "'fast-channels-postgres migrate URL' as a role that has CREATE on the database, then "
            "GRANT USAGE ON SCHEMA fast_channels, and SELECT, INSERT, UPDATE, DELETE ON ALL TABLES "
            "IN SCHEMA fast_channels, to this role"
        )
    if sqlstate(error) == READ_ONLY:
        return InvalidChannelLayerError(f"{name} is read-only: {error}; name the primary")
    return BackendUnavailable(f"{name} refused: {error}")


async def _version(connection: Connection) -> int | None:
    query = "SELECT version FROM fast_channels.version"
    try:
        version: Any = await connection.run(lambda raw: raw.fetchval(query))
    except PostgresError as error:
        if sqlstate(error) in NO_TABLE:
            return None
        raise unfit(error, connection.name) from None
    if version is not None and version > VERSION:
        raise InvalidChannelLayerError(
            f"the schema fast_channels at {connection.name} has version {version}, and this "
            f"fast-channels-postgres works with version {VERSION}; install the release that fits"
        )
    return None if version is None else int(version)

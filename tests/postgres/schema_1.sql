-- Everything that fast-channels-postgres keeps in a database, version 1. Run it in one
-- transaction; running it again changes nothing.
SELECT pg_advisory_xact_lock(7310032);
CREATE SCHEMA IF NOT EXISTS fast_channels;
CREATE TABLE IF NOT EXISTS fast_channels.version (version integer NOT NULL);
INSERT INTO fast_channels.version SELECT 1
    WHERE NOT EXISTS (SELECT FROM fast_channels.version);

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

-- SELECT fast_channels.group_send('room', '{"type": "chat.message", "text": "hello"}');
-- The message is sent when the transaction commits, and never if it does not.
CREATE OR REPLACE FUNCTION fast_channels.group_send(
    "group" text, message jsonb, prefix text DEFAULT 'fc'
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    topic text := prefix || ':g.' || "group";
    shard integer := get_byte(sha256(convert_to(topic, 'UTF8')), 0) % 128;
    notification text := topic || '#' || gen_random_uuid() || ' ' || message;
BEGIN
    IF "group" !~ '^[A-Za-z0-9_.-]{1,99}$' THEN
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

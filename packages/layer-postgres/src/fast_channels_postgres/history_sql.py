"""The tables of durable groups, and what is asked of them, one statement each.

Laws of the tables: whoever has the lock of a topic's row hands out its numbers until the commit, so
they rise in the order in which transactions commit. What is at or before ``gone``, and at the front
has expired, does not exist for readers. Of one ``id`` a topic has one entry that has not expired.
The server's clock alone decides.

A number is the time in microseconds, or one more than the last: so what is handed out after the
data were rolled back is never what had been handed out before.
"""

from typing import Final

TABLES: Final = """
-- Durable groups. The epoch that positions have is made of a topic's seed and of what changes when
-- the data are others: the server's timeline (a replica was promoted, a backup recovered to a point
-- in time), and the table and the version's row (a dump was restored).
CREATE TABLE IF NOT EXISTS fast_channels.topics (
    topic text COLLATE "C" PRIMARY KEY,
    id bigint GENERATED ALWAYS AS IDENTITY,
    seed uuid NOT NULL DEFAULT gen_random_uuid(),
    last bigint NOT NULL DEFAULT 0,                 -- the number of the newest entry
    gone bigint NOT NULL DEFAULT 0,                 -- the number of the newest that was dropped
    kept bigint NOT NULL DEFAULT 0,                 -- how many there are
    expires_at timestamptz NOT NULL DEFAULT now(),  -- when the newest does
    known_until timestamptz NOT NULL DEFAULT now() + interval '1 hour'
) WITH (fillfactor = 50);
CREATE TABLE IF NOT EXISTS fast_channels.entries (
    topic_id bigint NOT NULL,
    number bigint NOT NULL,
    id bytea,
    payload bytea NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (topic_id, number)
);
CREATE UNIQUE INDEX IF NOT EXISTS entries_id ON fast_channels.entries (topic_id, id)
    WHERE id IS NOT NULL;

-- What an epoch is made of besides its topic's seed.
CREATE OR REPLACE FUNCTION fast_channels.place() RETURNS text LANGUAGE plpgsql STABLE AS $$
BEGIN  -- no SQL function, which would be planned at each call
    RETURN (
        SELECT concat_ws(' ', tableoid, xmin, 'fast_channels.topics'::regclass::oid,
            left(pg_walfile_name('0/1'), 8))
        FROM fast_channels.version
    );
END $$;
CREATE OR REPLACE FUNCTION fast_channels.epoch(seed uuid, place text DEFAULT fast_channels.place())
RETURNS text LANGUAGE sql STABLE AS $$
    SELECT left(encode(sha256(convert_to(seed || ' ' || place, 'UTF8')), 'hex'), 16)
$$;

-- Appends to one topic, trims it and notifies. More than a thousand old entries go by and by. Plans
-- for each call would take half of the time.
CREATE OR REPLACE FUNCTION fast_channels.append(
    name text, channel text, most integer, lifetime interval, payloads bytea[], ids bytea[]
) RETURNS void LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    here fast_channels.topics;
    moment timestamptz;
    epoch text;
    base bigint;
    cut bigint;
    newest bigint;
    count bigint;
    sent bigint;
BEGIN
    LOOP
        SELECT * INTO here FROM fast_channels.topics WHERE topic = name FOR UPDATE;
        EXIT WHEN FOUND;
        INSERT INTO fast_channels.topics (topic) VALUES (name) ON CONFLICT DO NOTHING;
    END LOOP;
    moment := clock_timestamp();
    IF (SELECT expires_at <= moment FROM fast_channels.entries
        WHERE topic_id = here.id AND number > here.gone ORDER BY number LIMIT 1)
    THEN
        SELECT max(number) INTO cut FROM (
            SELECT number, bool_and(expires_at <= moment) OVER (ORDER BY number) AS old FROM (
                SELECT number, expires_at FROM fast_channels.entries
                WHERE topic_id = here.id AND number > here.gone ORDER BY number LIMIT 1000
            ) AS front
        ) AS front WHERE old;
        DELETE FROM fast_channels.entries
            WHERE topic_id = here.id AND number > here.gone AND number <= cut;
        GET DIAGNOSTICS count = ROW_COUNT;
        here.kept := here.kept - count;
        here.gone := cut;
    END IF;
    IF ids IS NOT NULL THEN
        DELETE FROM fast_channels.entries
            WHERE topic_id = here.id AND id = ANY (ids) AND expires_at <= moment;
        GET DIAGNOSTICS count = ROW_COUNT;
        here.kept := here.kept - count;
    END IF;
    IF cardinality(payloads) > 0 THEN
        epoch := fast_channels.epoch(here.seed);
        base := greatest(here.last, (extract(epoch FROM moment) * 1000000)::bigint);
        -- Notifications in pieces of 5,700 bytes: one has room for 7,999, in base64.
        WITH new AS (
            INSERT INTO fast_channels.entries (topic_id, number, id, payload, expires_at)
            SELECT here.id, base + n, entry.id, entry.payload, moment + lifetime
            FROM unnest(payloads, ids) WITH ORDINALITY AS entry (payload, id, n)
            ON CONFLICT (topic_id, id) WHERE id IS NOT NULL DO NOTHING
            RETURNING number, payload
        ), piece AS (
            SELECT number, payload, pieces, generate_series(1, pieces) AS n
            FROM (
                SELECT *, greatest(1, (octet_length(payload) + 5699) / 5700) AS pieces
                FROM new ORDER BY number
            ) AS new
        )
        SELECT max(number), count(*) FILTER (WHERE n = 1), count(pg_notify(channel,
            name || '#' || number || '.' || epoch || '.' || n || '.' || pieces || ' ' ||
            translate(encode(substr(payload, n * 5700 - 5699, 5700), 'base64'), E'\\n', '')
        )) INTO newest, count, sent FROM piece;
        IF newest IS NOT NULL THEN
            here.last := newest;
            here.kept := here.kept + count;
            here.expires_at := greatest(here.expires_at, moment + lifetime);
            here.known_until := greatest(here.known_until, here.expires_at + lifetime);
        END IF;
    END IF;
    IF here.kept > most THEN
        SELECT number INTO cut FROM fast_channels.entries
            WHERE topic_id = here.id AND number > here.gone
            ORDER BY number LIMIT 1
            OFFSET least(here.kept - most, cardinality(payloads) + 1000) - 1;
        DELETE FROM fast_channels.entries
            WHERE topic_id = here.id AND number > here.gone AND number <= cut;
        GET DIAGNOSTICS count = ROW_COUNT;
        here.kept := here.kept - count;
        here.gone := coalesce(cut, here.gone);
    END IF;
    UPDATE fast_channels.topics SET last = here.last, gone = here.gone, kept = here.kept,
        expires_at = here.expires_at, known_until = here.known_until WHERE topic = name;
END $$;

-- Appends to many topics, which are in order, by few statements: payloads[i] is for the topic with
-- the number owners[i], and counts says how many each gets. Topics that are new, or have to drop
-- what expired, are left to the function above. Plans that read a whole table are bad: tables grow.
CREATE OR REPLACE FUNCTION fast_channels.append_all(
    names text[], channels text[], most integer[], lifetimes interval[], counts integer[],
    owners integer[], payloads bytea[], ids bytea[]
) RETURNS void LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off AS $$
DECLARE
    moment timestamptz;
    topic_ids bigint[];
    epochs text[];
    lasts bigint[];
    gones bigint[];
    kepts bigint[];
    simple boolean[] := array_fill(false, ARRAY[cardinality(names)]);
    each integer;
BEGIN
    IF (SELECT count(*) FROM fast_channels.topics WHERE topic = ANY (names)) = cardinality(names)
    THEN
        SELECT array_agg(id), array_agg(fast_channels.epoch(seed, place)),
            array_agg(last), array_agg(gone), array_agg(kept)
        INTO topic_ids, epochs, lasts, gones, kepts
        FROM fast_channels.place() AS place, (
            SELECT * FROM fast_channels.topics WHERE topic = ANY (names) ORDER BY topic FOR UPDATE
        ) AS locked;
    END IF;
    moment := clock_timestamp();
    IF cardinality(topic_ids) = cardinality(names) THEN
        SELECT array_agg(counts[n] <= most[n] AND NOT coalesce((
            SELECT expires_at <= moment FROM fast_channels.entries
            WHERE topic_id = topic_ids[n] AND number > gones[n] ORDER BY number LIMIT 1
        ), false) AND (ids IS NULL OR NOT EXISTS (
            SELECT FROM unnest(owners, ids) AS entry (owner, id)
            JOIN fast_channels.entries AS e ON e.topic_id = topic_ids[n] AND e.id = entry.id
            WHERE entry.owner = n AND e.expires_at <= moment
        )) ORDER BY n) INTO simple FROM generate_subscripts(names, 1) AS n;
        WITH new AS (
            INSERT INTO fast_channels.entries (topic_id, number, id, payload, expires_at)
            SELECT topic_ids[owner],
                greatest(lasts[owner], (extract(epoch FROM moment) * 1000000)::bigint) + n,
                entry.id, entry.payload, moment + lifetimes[owner]
            FROM unnest(owners, payloads, ids) WITH ORDINALITY AS entry (owner, payload, id, n)
            WHERE simple[owner]
            ON CONFLICT (topic_id, id) WHERE id IS NOT NULL DO NOTHING
            RETURNING topic_id, number, payload
        ), piece AS (
            SELECT owner, number, payload, pieces, generate_series(1, pieces) AS n
            FROM (
                SELECT array_position(topic_ids, topic_id) AS owner, number, payload,
                    greatest(1, (octet_length(payload) + 5699) / 5700) AS pieces
                FROM new ORDER BY topic_id, number
            ) AS new
        ), told AS MATERIALIZED (
            SELECT owner, max(number) AS newest, count(*) FILTER (WHERE n = 1) AS count,
                count(pg_notify(channels[owner], names[owner] || '#' || number || '.'
                || epochs[owner] || '.' || n || '.' || pieces || ' ' || translate(
                    encode(substr(payload, n * 5700 - 5699, 5700), 'base64'), E'\\n', ''
                ))) AS sent
            FROM piece GROUP BY owner
        ), kept_now AS MATERIALIZED (
            SELECT owner, newest, told.count, excess, (
                SELECT number FROM fast_channels.entries
                WHERE topic_id = topic_ids[owner] AND number > gones[owner] AND excess > 0
                ORDER BY number LIMIT 1 OFFSET greatest(excess, 1) - 1
            ) AS cut
            FROM told, LATERAL (
                SELECT least(kepts[owner] + told.count - most[owner], told.count + 1000) AS excess
            ) AS over
        ), dropped AS (
            DELETE FROM fast_channels.entries USING kept_now
            WHERE topic_id = topic_ids[owner] AND number > gones[owner] AND number <= cut
        )
        UPDATE fast_channels.topics SET last = newest, gone = coalesce(cut, gone),
            kept = kept + kept_now.count - CASE WHEN cut IS NULL THEN 0 ELSE excess END,
            expires_at = greatest(expires_at, moment + lifetimes[owner]),
            known_until = greatest(known_until, expires_at + lifetimes[owner],
                moment + lifetimes[owner] * 2)
        FROM kept_now WHERE topic = names[owner];
    END IF;
    FOR each IN SELECT n FROM generate_subscripts(names, 1) AS n WHERE NOT simple[n] ORDER BY n LOOP
        PERFORM fast_channels.append(
            names[each], channels[each], most[each], lifetimes[each],
            array_agg(payload ORDER BY n), array_agg(id ORDER BY n)
        ) FROM unnest(owners, payloads, ids) WITH ORDINALITY AS entry (owner, payload, id, n)
        WHERE owner = each;
    END LOOP;
END $$;

CREATE OR REPLACE FUNCTION fast_channels.clear(beginning text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    locked bigint[];
BEGIN
    SELECT array_agg(id) INTO locked FROM (
        SELECT id FROM fast_channels.topics WHERE starts_with(topic, beginning)
        ORDER BY topic FOR UPDATE
    ) AS found;
    DELETE FROM fast_channels.entries WHERE topic_id = ANY (locked);
    DELETE FROM fast_channels.topics WHERE id = ANY (locked) AND starts_with(topic, beginning);
END $$;

-- What transactions of the application want to be appended when they commit: not earlier, for then
-- nobody else could append to the same topic until they do.
CREATE TABLE IF NOT EXISTS fast_channels.pending (
    xact xid8 NOT NULL DEFAULT pg_current_xact_id(),
    n bigint GENERATED ALWAYS AS IDENTITY,
    topic text COLLATE "C" NOT NULL,
    channel text NOT NULL,
    most integer NOT NULL,
    lifetime interval NOT NULL,
    payload bytea NOT NULL,
    PRIMARY KEY (xact, n)
);
-- The first row's trigger appends for all of the transaction, its topics in the order in which
-- everybody locks them.
CREATE OR REPLACE FUNCTION fast_channels.append_pending() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    each record;
BEGIN
    FOR each IN
        WITH mine AS (
            DELETE FROM fast_channels.pending WHERE xact = pg_current_xact_id() RETURNING *
        )
        SELECT topic, channel, most, lifetime, array_agg(payload ORDER BY n) AS payloads
        FROM mine GROUP BY topic, channel, most, lifetime ORDER BY topic
    LOOP
        PERFORM fast_channels.append(
            each.topic, each.channel, each.most, each.lifetime, each.payloads, NULL);
    END LOOP;
    RETURN NULL;
END $$;
DO $$ BEGIN
    IF NOT EXISTS (
        SELECT FROM pg_trigger WHERE tgrelid = 'fast_channels.pending'::regclass
        AND tgname = 'append_pending'
    ) THEN
        CREATE CONSTRAINT TRIGGER append_pending AFTER INSERT ON fast_channels.pending
            DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
            EXECUTE FUNCTION fast_channels.append_pending();
    END IF;
END $$;
"""

APPEND: Final = "SELECT fast_channels.append($1, $2, $3, $4, $5, $6)"

APPEND_ALL: Final = "SELECT fast_channels.append_all($1, $2, $3, $4, $5, $6, $7, $8)"
"""For the topics of one transaction, each once, in order."""

MAKE: Final = "INSERT INTO fast_channels.topics (topic) VALUES ($1) ON CONFLICT DO NOTHING"

READ: Final = """
SELECT fast_channels.epoch(here.seed) AS epoch, here.last, here.gone,
    e.number, e.payload, e.expired,
    $2 IN (here.gone, here.last) OR EXISTS (
        SELECT FROM fast_channels.entries WHERE topic_id = here.id AND number IN ($2, $2 + 1)
    ) AS known
FROM fast_channels.topics AS here LEFT JOIN LATERAL (
    SELECT number, payload, expires_at <= now() AS expired FROM fast_channels.entries
    WHERE topic_id = here.id AND number > greatest($2, here.gone)
        AND ($2 >= 0 OR expires_at > now())
    ORDER BY number LIMIT $3
) AS e ON true
WHERE here.topic = $1 ORDER BY e.number
"""
"""``known``: position $2 is after an entry, or right before one. Below 0: before the oldest."""

LAST: Final = """
SELECT fast_channels.epoch(here.seed) AS epoch, here.last, e.number, e.payload
FROM fast_channels.topics AS here LEFT JOIN LATERAL (
    SELECT number, payload FROM fast_channels.entries
    WHERE topic_id = here.id AND number > here.gone AND expires_at > now()
    ORDER BY number DESC LIMIT $2
) AS e ON true
WHERE here.topic = $1 ORDER BY e.number
"""

CLEAR: Final = "SELECT fast_channels.clear($1)"

SWEEP: Final = """
SELECT fast_channels.append(topic, '', 2147483647, interval '0', '{}', NULL) FROM (
    SELECT topic FROM fast_channels.topics WHERE kept > 0 AND expires_at <= now()
    ORDER BY topic LIMIT 20 FOR UPDATE SKIP LOCKED
) AS idle
"""
"""Of topics that nobody appends to any more; run again while it returns rows."""

FORGET: Final = """
DELETE FROM fast_channels.topics WHERE topic IN (
    SELECT topic FROM fast_channels.topics WHERE kept = 0 AND known_until <= now()
    LIMIT 1000 FOR UPDATE SKIP LOCKED
)
"""

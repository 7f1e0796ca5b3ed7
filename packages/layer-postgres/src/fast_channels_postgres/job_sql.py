"""What worker queues do to the table of jobs, one statement each.

A job is free while nobody has taken it, or its lease is over; ``takes`` tells one taking from the
next. The server's clock alone decides.
"""

from typing import Final

FREE: Final = "expires_at > now() AND (taken_until IS NULL OR taken_until <= now())"

PUT: Final = f"""
WITH waiting AS (
    SELECT FROM fast_channels.jobs WHERE queue = $1 AND {FREE} LIMIT $4
), job AS (
    INSERT INTO fast_channels.jobs (queue, payload, lifetime, expires_at)
    SELECT $1, $2, $3, now() + $3 WHERE (SELECT count(*) FROM waiting) < $4
    RETURNING id
)
SELECT id, pg_notify($5, $1 || ' ') FROM job
"""

TAKE: Final = f"""
WITH chosen AS MATERIALIZED (
    SELECT found.id FROM unnest($1::text[], $2::int[]) AS wanted (queue, most), LATERAL (
        SELECT id FROM fast_channels.jobs WHERE queue = wanted.queue AND {FREE}
        ORDER BY id LIMIT wanted.most FOR UPDATE SKIP LOCKED
    ) AS found
)
UPDATE fast_channels.jobs AS job
SET taken_until = now() + $3, expires_at = now() + $3 + lifetime, takes = takes + 1
FROM chosen WHERE job.id = chosen.id
RETURNING job.id, job.queue, job.payload, job.lifetime, job.takes
"""

RENEW: Final = """
UPDATE fast_channels.jobs AS job
SET taken_until = now() + $3, expires_at = now() + $3 + lifetime
FROM unnest($1::bigint[], $2::int[]) AS mine (id, takes)
WHERE job.id = mine.id AND job.takes = mine.takes AND job.taken_until IS NOT NULL
"""
"""Statements run side by side: a job that was released meanwhile stays free."""

DONE: Final = "DELETE FROM fast_channels.jobs WHERE id = $1 AND takes = $2"

RELEASE: Final = """
WITH job AS (
    UPDATE fast_channels.jobs SET taken_until = NULL, expires_at = now() + lifetime
    WHERE id = $1 AND takes = $2 RETURNING queue
)
SELECT pg_notify($3, queue || ' ') FROM job
"""

REVIVE: Final = """
INSERT INTO fast_channels.jobs (id, queue, payload, lifetime, expires_at, takes)
OVERRIDING SYSTEM VALUE VALUES ($1, $2, $3, $4, now() + $4, $5)
ON CONFLICT DO NOTHING RETURNING pg_notify($6, $2 || ' ')
"""

EXPIRE: Final = """
DELETE FROM fast_channels.jobs WHERE id IN (
    SELECT id FROM fast_channels.jobs WHERE expires_at <= now() LIMIT 1000 FOR UPDATE SKIP LOCKED
) RETURNING queue
"""

CLEAR: Final = "DELETE FROM fast_channels.jobs WHERE starts_with(queue, $1)"

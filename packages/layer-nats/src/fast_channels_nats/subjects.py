"""What a topic or queue is called in NATS.

``<prefix>:g.<group>`` is the subject ``<prefix>.g.<group>``. A subject has no empty part between
its dots, and a name may have dots anywhere, so in names they become ``/``, which no name holds.
Case counts in NATS, too.
"""

import re
from typing import Final

_REFUSED: Final = re.compile(r'for (Publish|Subscription) to "([^"]*)"')
_STREAM = str.maketrans({":": "=", ".": "+"})


def subject_of(topic: str) -> bytes:
    """Return the subject of a topic or queue; no two have the same."""
    head, name = _halves(topic)
    return f"{head}.{name}".encode()


def parts_of(queue: str) -> bytes:
    """Return the subject, but for its last part, for what belongs to a queue and is no job."""
    head, name = _halves(queue)
    return f"{head}-parts.{name}".encode()


def log_of(topic: str) -> bytes:
    """Return the subject under which entries of a history topic are kept.

    From there the stream publishes each again to the topic's own subject, with its position.
    """
    head, name = _halves(topic)
    return f"{head}-log.{name}".encode()


def stream_of(queue: str) -> str:
    """Return the name of the stream that holds the queue, or how the names for a prefix begin."""
    return queue.translate(_STREAM)


def refused_subject(text: str) -> str | None:
    """Return the subject that a server's permission error names; None: it is another error."""
    match = _REFUSED.search(text)
    return match[2] if match else None


def _halves(topic: str) -> tuple[str, str]:
    prefix, _, rest = topic.rpartition(":")
    kind, _, name = rest.partition(".")
    # Dots of the prefix stay, where they leave no part empty: operators grant "app.prod.>".
    if not all(prefix.split(".")):
        prefix = prefix.replace(".", "/")
    return f"{prefix}.{kind}", name.replace(".", "/")

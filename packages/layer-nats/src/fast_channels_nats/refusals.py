"""What JetStream's refusals mean, and what to do about them."""

from typing import Any, Final

from fast_channels.exceptions import BackendUnavailable, InvalidChannelLayerError
from fast_channels_nats.requests import NO_RESPONDERS, Refused

NO_STREAM, NO_CONSUMER, NO_MESSAGE = 10059, 10014, 10037
FASTER: Final = (10058, 10065)
"""Another process has made the stream meanwhile, or is at it."""

NO_JETSTREAM: Final = (10039, 10076)
NO_PLACE: Final = (10005, 10074)
NO_SPACE: Final = (10002, 10023, 10028, 10047)

QUEUE: Final = "a channel name without '!' is a worker queue"
HISTORY: Final = "history= and durable_channels= keep messages"
ADVICE: Final = {QUEUE: "let workers finish jobs", HISTORY: "keep less"}


def explained(error: Refused, info: dict[str, Any], what: str) -> Exception:
    """Return what to raise instead, which says what to do; ``what`` needs JetStream."""
    nobody = error.code == NO_RESPONDERS and not info.get("jetstream")
    if nobody or error.code in NO_JETSTREAM:
        return InvalidChannelLayerError(
            f"{what}, which needs JetStream, and this NATS "
            "has none for us; start nats-server with -js, or enable it for the account"
        )
    if error.code in NO_SPACE:
        return BackendUnavailable(
            f"JetStream has no space left: {error}; {ADVICE[what]}, or raise max_file of "
            "the server's jetstream, or the account's limits"
        )
    if error.code in NO_PLACE:
        return BackendUnavailable(f"{error}; register the layer with replicas=1, or another number")
    return error

"""Whether a layer hears: proven by a message to itself, never guessed from silence."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from fast_channels.layers.session import Session


@dataclass(frozen=True, slots=True)
class Health:
    """What a look at a layer found; it counts as true while the layer hears."""

    reason: str = ""
    """Why it is deaf; empty: it hears."""
    seconds: float = 0.0
    """How long the message to itself took, or until it was given up."""

    def __bool__(self) -> bool:
        return not self.reason


async def examine(here: Callable[[], Awaitable[Session]], timeout: float) -> Health:
    """Return, after ``timeout`` seconds at the latest, whether the session hears."""
    if not timeout > 0:
        raise ValueError(f"timeout must be above 0 seconds, got {timeout!r}")
    began = time.monotonic()
    stage = "the layer could not be opened"
    reason = ""
    try:
        async with asyncio.timeout(timeout):
            session = await here()
            if session.backend.deaf is not None:
                raise session.backend.deaf
            stage = "a message of the layer to itself did not come back"
            await session.control.probe()
    except TimeoutError:
        reason = f"{stage} within {timeout:g} s"
    except Exception as error:
        reason = str(error) or repr(error)
    return Health(reason, time.monotonic() - began)

"""What handlers in threads write with, and wait for."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.journal import Journal


@pytest.fixture
async def note(journal: Journal) -> Callable[[Any], object]:
    """Writes into the journal from any thread, in order."""
    loop = asyncio.get_running_loop()
    return lambda entry: loop.call_soon_threadsafe(journal, entry)


@pytest.fixture
def free() -> Iterator[threading.Event]:
    """What handlers wait for; at the end of the test none waits any more."""
    event = threading.Event()
    yield event
    event.set()

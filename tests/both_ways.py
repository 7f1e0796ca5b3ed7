"""Runs every test of a folder whose conftest imports this four times: handlers are started in place
and not, on asyncio and on uvloop.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import uvloop


def pytest_asyncio_loop_factories(config: Any, item: Any) -> dict[str, Callable[[], Any]]:
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(autouse=True, params=[True, False], ids=["in-place", "woken"])
def in_place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether handlers are started in place."""
    monkeypatch.setenv("FAST_CHANNELS_IN_PLACE", "1" if request.param else "0")
    return bool(request.param)

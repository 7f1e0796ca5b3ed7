"""What the tests of docs/authentication.md share: its examples, and uvicorn on a free port."""

import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.serving import Serve, serving
from tests.serving import server_log as server_log

PAGE = (Path(__file__).parents[2] / "docs/authentication.md").read_text(encoding="utf-8")

Example = Callable[..., dict[str, Any]]


@pytest.fixture
def example() -> Example:
    """Runs the first block of code below a heading of the page; returns its names."""

    def example(heading: str) -> dict[str, Any]:
        _, _, section = PAGE.partition(f"\n## {heading}")
        assert section, f"the page has no heading that begins with {heading!r}"
        block = re.search(r"^```python\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
        assert block is not None
        names: dict[str, Any] = {"__name__": "example"}
        exec(compile(block[1], heading, "exec"), names)
        return names

    return example


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Serves an application until the test ends; returns ``host:port``."""
    async with serving(log_config=None) as serve:
        yield serve

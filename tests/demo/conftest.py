"""What the tests in a real browser share: the browser, and the demo in it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser
from tests.browsers import browser as browser
from tests.browsers import windows

from .windows import Demo, Window


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    """The demo, which in the end has written nothing to stderr."""
    demo = Demo(tmp_path / "stderr")
    demo.start()
    yield demo
    demo.kill()
    assert demo.errors.read_text() == ""


@pytest.fixture
def window(browser: Browser, demo: Demo) -> Iterator[Callable[..., Window]]:
    """Opens windows, each of a person of their own unless a context is given."""
    with windows(browser, Window, demo) as open_window:
        yield open_window

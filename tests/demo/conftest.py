"""What the tests in a real browser share: the browser, and the demo in it."""

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser
from tests.browsers import browser as browser
from tests.browsers import windows

from .windows import Demo, Window


@pytest.fixture
def demo() -> Iterator[Demo]:
    """The demo, which runs."""
    with Demo().start() as demo:
        yield demo


@pytest.fixture
def window(browser: Browser, demo: Demo) -> Iterator[Callable[..., Window]]:
    """Opens windows, each of a person of their own unless a context is given."""
    with windows(browser, Window, demo) as open_window:
        yield open_window

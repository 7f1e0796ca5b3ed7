"""What the tests of the inspector share: a memory layer, and the page in a browser."""

from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from playwright.sync_api import Browser
from tests.browsers import browser as browser
from tests.browsers import windows

from fast_channels.layers import (
    BaseChannelLayer,
    ChannelLayerRegistry,
    InMemoryChannelLayer,
    channel_layers,
)

from .windows import Application, Window


@pytest.fixture
async def layer() -> AsyncIterator[BaseChannelLayer]:
    """A memory layer of its own."""
    layer = InMemoryChannelLayer()
    yield layer
    await layer.close()


@pytest.fixture
def layers(layer: BaseChannelLayer) -> Iterator[ChannelLayerRegistry]:
    """The registry, in which the layer is "default" and nothing else is registered."""
    channel_layers.clear()
    channel_layers.register("default", layer)
    yield channel_layers
    channel_layers.clear()


@pytest.fixture(scope="module")
def app() -> Iterator[Application]:
    """The application that tests share, whose log names no failure in the end."""
    app = Application().start()
    yield app
    assert "Traceback" not in app.kill()


@pytest.fixture
def mortal(request: pytest.FixtureRequest) -> Iterator[Application]:
    """An application of the test's own, which it may kill."""
    app = Application(**getattr(request, "param", {})).start()
    yield app
    assert "Traceback" not in app.kill()


@pytest.fixture
def window(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Callable[..., Window]]:
    """Opens windows on the test's own application, or on the shared one."""
    app = request.getfixturevalue("mortal" if "mortal" in request.fixturenames else "app")
    with windows(browser, Window, app) as open_window:
        yield open_window

"""Fixtures of the property tests."""

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="module")
def quiet() -> Iterator[None]:
    """Losses are what many examples are about; their warnings would bury a failure."""
    logging.disable(logging.ERROR)
    yield
    logging.disable(logging.NOTSET)

"""Wheels of this repository, built once for each process that runs tests."""

import faulthandler

import pytest

from .machines import Wheels


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Wheels:
    """All wheels of this repository."""
    return Wheels(tmp_path_factory.mktemp("wheels"))


@pytest.fixture(autouse=True)
def _no_stacks() -> None:
    """What takes long here are other programs, whose stacks this process could not show."""
    faulthandler.cancel_dump_traceback_later()

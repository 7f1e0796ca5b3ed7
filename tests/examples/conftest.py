"""Wheels of this repository, built once for each process that runs tests."""

import pytest

from .machines import Wheels


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Wheels:
    """All wheels of this repository."""
    return Wheels(tmp_path_factory.mktemp("wheels"))

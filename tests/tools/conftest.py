"""Fixtures of the tools' tests: one server of each broker, which nobody breaks."""

from collections.abc import Callable, Generator
from contextlib import ExitStack

import pytest
from tests.nats import servers as nats
from tests.postgres import servers as postgres
from tests.rabbitmq import servers as rabbitmq
from tests.redis import servers as redis

BROKERS = ("redis", "postgres", "rabbitmq", "nats")
Find = Callable[[str], str]


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Generator[redis.Server]:
    with redis.running(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="session")
def postgres_server() -> Generator[postgres.Server]:
    with postgres.running("md5") as server:
        yield server


@pytest.fixture(scope="session")
def rabbitmq_node(tmp_path_factory: pytest.TempPathFactory) -> Generator[rabbitmq.Node]:
    with rabbitmq.running(tmp_path_factory.mktemp("rabbitmq")) as node:
        yield node


@pytest.fixture(scope="session")
def nats_server(tmp_path_factory: pytest.TempPathFactory) -> Generator[nats.Server]:
    config = 'authorization { user: kit, password: "kit-secret" }'
    with nats.running(tmp_path_factory.mktemp("nats"), config) as server:
        yield server


@pytest.fixture(scope="session")
def url_of(request: pytest.FixtureRequest) -> Generator[Find]:
    """Finds the URL of a broker by its name; the broker starts when it is first asked for."""

    def find(name: str) -> str:
        if name == "memory":
            return "memory://"
        kind = {"rabbitmq": "rabbitmq_node"}.get(name, f"{name}_server")
        url: str = request.getfixturevalue(kind).url
        return url.replace("nats://", "nats://kit:kit-secret@")

    with ExitStack():
        yield find

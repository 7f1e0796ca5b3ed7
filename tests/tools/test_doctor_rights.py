"""``fast-channels doctor`` of a broker that lets nobody in, or does not let one do or send all."""

import asyncio
from pathlib import Path

import pytest
from tests.nats import servers as nats
from tests.postgres import servers as postgres
from tests.rabbitmq import servers as rabbitmq
from tests.redis import servers as redis

from .commands import here
from .examined import SECRET, examined, failed

pytestmark = pytest.mark.timeout(90)


def test_a_wrong_password_is_told_with_the_user(
    redis_server: redis.Server,
    postgres_server: postgres.Server,
    rabbitmq_node: rabbitmq.Node,
    nats_server: nats.Server,
) -> None:
    redis_server.command("ACL", "SETUSER", "kit", "on", ">kit-secret", "~*", "&*", "+@all")
    for url in (
        f"redis://kit:{SECRET}@127.0.0.1:{redis_server.port}",
        postgres_server.url.replace("kit-secret", SECRET),
        rabbitmq_node.url.replace("kit-secret", SECRET),
        f"nats://kit:{SECRET}@{nats_server.address}",
    ):
        checks = examined(url)
        assert failed(checks) == ["open"]
        address = url.rpartition("@")[2].removesuffix("/postgres")
        assert checks["open"]["advice"].startswith(
            f"compare user 'kit' and the password in the URL with what the broker at {address} "
        )


def test_a_password_that_is_missing_is_told(nats_server: nats.Server) -> None:
    advice = examined(nats_server.url)["open"]["advice"]
    assert advice.startswith("write user and password into the URL, nats://user:password@")


def test_a_database_that_there_is_not_is_told(postgres_server: postgres.Server) -> None:
    check = examined(postgres_server.url_of("kit", "nowhere"))["open"]
    assert 'database "nowhere" does not exist' in check["found"]
    assert check["advice"].startswith(f"make that at 127.0.0.1:{postgres_server.port}")


def test_what_a_user_of_redis_may_not_do_is_told(redis_server: redis.Server) -> None:
    login = ("ACL", "SETUSER", "bob", "reset", "on", f">{SECRET}", "~*", "&*", "+@all")
    url = f"redis://bob:{SECRET}@127.0.0.1:{redis_server.port}"
    advice = (
        f"let user 'bob' do that at 127.0.0.1:{redis_server.port}, for the prefix 'fc'; "
        "docs/redis.md lists what it needs"
    )
    for denied, checks_failed in (
        (["-subscribe"], ["open"]),
        (["-publish"], ["publish", "group", "direct", "round trip"]),
        (["-@list"], ["queue"]),
        (["-@stream"], ["history"]),
    ):
        redis_server.command(*login, *denied)
        checks = examined(url)
        first, *_ = failed(checks)
        assert failed(checks)[: len(checks_failed)] == checks_failed, denied
        assert "NOPERM" in checks[first]["found"] or "lacks permissions" in checks[first]["found"]
        assert checks[first]["advice"] == advice
    redis_server.command(*login, "-@stream")
    assert failed(examined(url, "--no-history", status=0)) == []


def test_what_a_user_of_rabbitmq_may_not_do_is_told(rabbitmq_node: rabbitmq.Node) -> None:
    examined(rabbitmq_node.url, status=0)  # makes the exchange
    checks = examined(rabbitmq_node.user("doctor-w", ".*", "^fc[.]", ".*"))
    assert failed(checks)[:2] == ["publish", "group"]
    assert "needs the permission to write" in checks["publish"]["found"]
    assert checks["publish"]["advice"].startswith("let user 'doctor-w' do that at 127.0.0.1:")


def test_what_a_user_of_nats_may_not_do_is_told(tmp_path: Path) -> None:
    user = 'user: app, password: "correct-horse-7", permissions: { publish: "fc.n.>", '
    user += 'subscribe: ["fc.>"] }'
    config = f"authorization {{ users: [{{ {user} }}] }}"
    with nats.running(tmp_path, config, jetstream=False) as server:
        checks = examined(f"nats://app:{SECRET}@{server.address}")
    assert failed(checks)[:2] == ["publish", "group"]
    assert checks["publish"]["advice"].startswith(f"let user 'app' do that at {server.address}")


def test_a_power_that_the_broker_is_not_set_up_for_is_a_warning(
    tmp_path: Path, postgres_server: postgres.Server
) -> None:
    with nats.running(tmp_path, jetstream=False) as server:
        checks = examined(server.url, status=0)
        assert failed(examined(server.url, "--no-queue", "--no-history", status=0)) == []
    for name in ("queue", "history"):
        assert checks[name]["status"] == "warn"
        assert "needs JetStream" in checks[name]["found"]
        assert checks[name]["advice"].endswith(f"else give --no-{name}")
    asyncio.run(postgres_server.run("CREATE ROLE nobody LOGIN PASSWORD 'kit-secret'"))
    asyncio.run(postgres_server.run("CREATE DATABASE rights"))
    checks = examined(postgres_server.url_of("nobody", "rights"), status=0)
    assert checks["queue"]["status"] == "warn"
    assert "CREATE on the data" in checks["queue"]["found"]


def test_a_server_that_takes_less_than_the_layer_sends_is_told_with_the_option(
    tmp_path: Path,
) -> None:
    with nats.running(tmp_path, "max_payload: 100000") as server:
        opened = examined(server.url)["open"]
        assert opened["status"] == "fail"
        assert opened["advice"] == "register the layer with max_payload=100000"
        options = ("--options", '{"max_payload": 100000}')
        checks = examined(server.url, *options, status=0)
        sent = here("send", server.url, "room", '{"type": "x"}', *options)
        assert (sent.returncode, sent.stderr) == (0, "")
    assert checks["limits"]["status"] == "ok"
    assert checks["limits"]["values"]["server"] == 100_000

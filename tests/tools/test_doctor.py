"""``fast-channels doctor``: what is right is told, and what is wrong with what to do about it."""

import asyncio
import contextlib
import json
import re
import socketserver
import subprocess
import threading
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from tests.nats import servers as nats
from tests.postgres import servers as postgres
from tests.rabbitmq import servers as rabbitmq
from tests.redis import servers as redis

from .commands import Done, here, on_a_terminal, run
from .conftest import BROKERS, Find
from .strangers import install

pytestmark = pytest.mark.timeout(90)
SECRET = "correct-horse-7"
NAMES = [
    "package",
    "reach",
    "open",
    "server",
    "limits",
    "clock",
    "join",
    "publish",
    "group",
    "direct",
    "round trip",
    "queue",
    "history",
    "health",
]

LAYERS = """
import asyncio, time
from fast_channels.exceptions import BackendUnavailable
from fast_channels.layers import BaseChannelLayer
from fast_channels.layers.in_memory import MemoryBackend, MemoryBroker

BROKER = MemoryBroker()

class Backend(MemoryBackend):
    max_payload = 100_000
    async def describe(self):
        return {"server": "Odd", "version": "7", "max_payload": 50_000, "time": time.time() - 90}
    async def publish(self, publications):
        await asyncio.sleep(0.12)
        await super().publish(publications)

class Odd(BaseChannelLayer):
    def __init__(self, url=None, **options):
        super().__init__(**options)
    def create_backend(self):
        return Backend(BROKER)

class DeafBackend(MemoryBackend):
    async def subscribe(self, topics):
        pass
    async def describe(self):
        raise BackendUnavailable("asked ann:correct-horse-7 in vain")

class Deaf(Odd):
    def create_backend(self):
        return DeafBackend(BROKER)

class BareBackend(MemoryBackend):
    describe = Backend.__mro__[2].describe  # what every backend has

class Bare(Odd):
    def create_backend(self):
        return BareBackend(BROKER)

def broken(url=None, **options):
    raise ValueError(f"a host is not enough in {url}")
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with layers of strangers."""
    folder = tmp_path_factory.mktemp("site")
    install(
        folder,
        "fc_odd",
        {"odd": "Odd", "deaf": "Deaf", "bare": "Bare", "broken": "broken"},
        module=LAYERS,
    )
    install(folder, "fc_lame", {"lame": "Layer"}, module="import a_driver_that_is_not_there")
    return folder


def examined(*arguments: str, status: int = 1) -> dict[str, Any]:
    """Return the checks by name, after the command has ended so."""
    patient = () if "--timeout" in arguments else ("--timeout", "15")
    done = here("doctor", "--json", *arguments, *patient)
    assert SECRET not in done.stdout + done.stderr
    assert "kit-secret" not in done.stdout + done.stderr
    assert (done.returncode, done.stderr) == (status, ""), done
    report = json.loads(done.stdout)
    checks = {check["name"]: check for check in report["checks"]}
    counts = [check["status"] for check in checks.values()]
    assert [report[each] for each in ("ok", "warn", "fail")] == [
        counts.count(each) for each in ("ok", "warn", "fail")
    ]
    for check in checks.values():
        assert bool(check["advice"]) == (check["status"] != "ok"), check
    return checks


def failed(checks: dict[str, Any]) -> list[str]:
    return [name for name, check in checks.items() if check["status"] == "fail"]


# --- good brokers -----------------------------------------------------------------------------


@pytest.mark.parametrize("broker", ["memory", *BROKERS])
def test_a_good_broker_passes_every_check(broker: str, url_of: Find) -> None:
    checks = examined(url_of(broker), status=0)
    assert list(checks) == [name for name in NAMES if name != "reach" or broker != "memory"]
    assert {check["status"] for check in checks.values()} == {"ok"}
    median, p99 = (checks["round trip"]["values"][name] for name in ("median", "p99"))
    assert 0 < median <= p99
    assert checks["server"]["values"]["server"]
    if broker != "memory":
        assert checks["server"]["values"]["version"][0].isdigit()
    if broker != "nats":
        assert abs(checks["clock"]["values"]["skew"]) < 1
        assert "time" not in checks["server"]["found"]
    else:
        assert checks["clock"]["found"] == "the broker does not tell its time"


@pytest.mark.parametrize("broker", BROKERS)
def test_a_second_look_finds_what_the_first_one_found(broker: str, url_of: Find) -> None:
    assert failed(examined(url_of(broker), status=0)) == []


def test_people_get_a_line_for_each_check(redis_server: redis.Server) -> None:
    done = run("doctor", redis_server.url)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert [line[6:17].strip() for line in lines[:-1]] == NAMES
    assert all(line.startswith("ok  ") for line in lines[:-1])
    assert lines[-1] == "14 checks: 14 ok, 0 warn, 0 fail"
    assert f"127.0.0.1:{redis_server.port} takes connections" in lines[1]


def test_a_terminal_gets_whole_lines_and_a_spinner(redis_server: redis.Server) -> None:
    shown = on_a_terminal("doctor", redis_server.url)
    assert "examining" in shown
    assert not re.search(r"examining[^\r\n]*(ok|warn|fail)  ", shown)
    assert shown.splitlines()[-1].endswith("14 checks: 14 ok, 0 warn, 0 fail")


def test_nothing_of_the_application_is_touched(redis_server: redis.Server) -> None:
    with redis_server.client() as client:
        client.rpush("{untouched:q.jobs}", "theirs")
        examined(redis_server.url, "--prefix", "untouched", status=0)
        assert client.keys("*untouched*") == [b"{untouched:q.jobs}"]


def test_the_url_may_come_from_a_variable_and_so_do_the_keys(redis_server: redis.Server) -> None:
    keys = {"FAST_CHANNELS_ENCRYPTION_KEYS": "k" * 16, "THEIR_URL": redis_server.url}
    done = here("doctor", "env:THEIR_URL", **keys)
    assert done.returncode == 0
    done = here("doctor", "env:THEIR_URL", "--prefix", "other")
    assert (done.returncode, done.stdout) == (2, "")
    assert "the variable 'THEIR_URL' is not set" in done.stderr
    short = here("doctor", redis_server.url, **{**keys, "FAST_CHANNELS_ENCRYPTION_KEYS": "short"})
    assert short.returncode == 2
    assert "at least 16 are needed" in short.stderr


# --- nobody there, or somebody else -----------------------------------------------------------


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1", "amqp://127.0.0.1:1", "nats://127.0.0.1:1"])
def test_a_port_on_which_nobody_listens_is_named(url: str) -> None:
    checks = examined(url.replace("://", f"://ann:{SECRET}@"))
    assert list(checks) == ["package", "reach"]
    assert checks["reach"]["found"] == "nothing listens on port 1 of '127.0.0.1'"
    assert checks["reach"]["advice"].startswith("start the broker there")


def test_a_host_without_an_address_is_named() -> None:
    [_, reach] = examined("redis://no-such-host.invalid").values()
    assert reach["found"] == "the name 'no-such-host.invalid' has no address"
    assert "DNS" in reach["advice"]


def test_one_host_of_several_that_is_gone_is_a_warning(url_of: Find) -> None:
    checks = examined(f"{url_of('nats')},127.0.0.1:1", status=0)
    assert checks["reach"]["status"] == "warn"
    assert "port 1 of '127.0.0.1'" in checks["reach"]["found"]
    assert failed(checks) == []


@pytest.fixture(scope="module")
def ssh() -> Generator[str]:
    """The address of something that is no broker."""

    class Greeting(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError):
                self.request.sendall(b"SSH-2.0-OpenSSH_9.2p1\r\n")
                self.request.recv(1_000)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Greeting) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.05])
        thread.start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("scheme", ["redis", "amqp", "nats"])
def test_something_that_is_no_broker_is_told(scheme: str, ssh: str) -> None:
    checks = examined(f"{scheme}://ann:{SECRET}@{ssh}")
    assert list(checks) == ["package", "reach", "open"]
    assert checks["open"]["advice"].startswith(f"look what listens at {ssh}, and correct the port")
    assert f"({scheme} is usually at " in checks["open"]["advice"]


def test_a_broker_that_is_frozen_takes_bounded_time(tmp_path: Path) -> None:
    with redis.running(tmp_path) as server:
        server.freeze()
        began = time.monotonic()
        checks = examined(server.url, "--timeout", "1")
        assert time.monotonic() - began < 20
        server.thaw()
    assert failed(checks) == ["open"]
    assert "frozen" in checks["open"]["advice"]


# --- who is not let in, or may not ------------------------------------------------------------


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


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("max_payload=1", "--options is no JSON: "),
        ("[1]", '--options must be a JSON object such as {"max_payload": 100000}, got [1]'),
        ('{"prefix": "x"}', "--options has a 'prefix'; give it as --prefix"),
        ('{"capacty": 1}', "'capacty'"),
    ],
)
def test_options_that_a_layer_cannot_have_are_status_2(options: str, says: str) -> None:
    done = here("doctor", "memory://", "--options", options)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert says in done.stderr


# --- layers of others -------------------------------------------------------------------------


def of_strangers(site: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    done = run("doctor", *arguments, site=site)
    assert SECRET not in done.stdout + done.stderr
    return done


def test_what_a_strangers_broker_tells_is_looked_at(site: Path) -> None:
    done = of_strangers(site, f"odd://ann:{SECRET}@host", "--json", "--timeout", "5")
    assert done.returncode == 0, done.stdout
    report = json.loads(done.stdout)
    checks = {check["name"]: check for check in report["checks"]}
    assert report["url"] == "odd://ann:***@host"
    assert (report["warn"], report["fail"]) == (3, 0)
    assert checks["server"]["found"] == "Odd 7"
    assert checks["limits"]["advice"] == "register the layer with max_payload=50000"
    assert checks["clock"]["values"]["skew"] == pytest.approx(-90, abs=5)
    assert "NTP" in checks["clock"]["advice"]
    assert "closer together" in checks["round trip"]["advice"]
    assert checks["queue"]["found"] == "this layer has no worker queues"


def test_a_layer_without_a_backend_is_examined_from_above(tmp_path: Path) -> None:
    install(tmp_path, "fc_whole", {"whole": "Whole"})
    done = of_strangers(tmp_path, "whole://host")
    assert done.returncode == 0, done.stdout
    assert "a job waited in a worker queue, and was taken from it" in done.stdout
    assert "this layer keeps no history" in done.stdout


def test_a_backend_that_tells_nothing_of_its_broker_passes(site: Path) -> None:
    done = of_strangers(site, "bare://host")
    assert done.returncode == 0, done.stdout
    assert "the backend does not tell which server this is" in done.stdout
    assert "the broker does not tell its time" in done.stdout


def test_a_broker_that_brings_nothing_back_fails(site: Path) -> None:
    done = of_strangers(site, f"deaf://ann:{SECRET}@host", "--timeout", "0.5")
    assert done.returncode == 1
    lines = {line[6:17].strip(): line for line in done.stdout.splitlines() if line[4:6] == "  "}
    for name in ("server", "group", "direct", "round trip", "health"):
        assert lines[name].startswith("fail"), done.stdout
    assert "no answer within 0.5 s" in lines["group"]
    assert lines["join"].startswith("ok")
    assert done.stdout.splitlines()[-1].endswith(" fail")


def test_what_no_layer_can_be_made_of_is_told(site: Path) -> None:
    [package] = examined("rdis://localhost").values()
    assert package["found"].startswith("no layer named 'rdis'; installed: ")
    assert package["advice"] == "did you mean 'redis'?"
    done = of_strangers(site, "lame://host")
    assert done.returncode == 1
    assert "is installed but could not be imported" in done.stdout
    assert "-> repair that package" in done.stdout
    done = of_strangers(site, f"broken://ann:{SECRET}@host")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("fast-channels: a host is not enough in broken://ann:***@host")


@pytest.mark.parametrize("words", [["doctor"], ["send", "g", '{"type": "x"}'], ["tail", "g"]])
def test_what_is_no_url_is_status_2_with_one_that_is(words: list[str]) -> None:
    command, *more = words
    done = here(command, f"ann:{SECRET}@localhost:6379", *more)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "fast-channels: 'localhost:6379' is no URL of a layer; "
        "write for example redis://localhost:6379\n"
    )


def test_the_name_of_a_layer_is_as_good_as_its_url() -> None:
    done = here("doctor", "memory")
    assert (done.returncode, done.stderr) == (0, "")


def test_one_check_is_one_check() -> None:
    assert here("doctor", "rdis://localhost").stdout.splitlines()[-1].startswith("1 check: 0 ok")


def test_a_usage_error_is_status_2() -> None:
    done: Done = here("doctor")
    assert (done.returncode, done.stdout) == (2, "")
    assert "URL" in done.stderr

"""``fast-channels doctor`` of a good broker, and how it is called."""

import re

import pytest
from tests.redis import servers as redis

from .commands import Done, here, on_a_terminal, run
from .conftest import BROKERS, Find
from .examined import SECRET, examined, failed

pytestmark = pytest.mark.timeout(90)
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


def test_the_name_of_a_layer_is_as_good_as_its_url() -> None:
    done = here("doctor", "memory")
    assert (done.returncode, done.stderr) == (0, "")


def test_one_check_is_one_check() -> None:
    assert here("doctor", "rdis://localhost").stdout.splitlines()[-1].startswith("1 check: 0 ok")


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


@pytest.mark.parametrize("words", [["doctor"], ["send", "g", '{"type": "x"}'], ["tail", "g"]])
def test_what_is_no_url_is_status_2_with_one_that_is(words: list[str]) -> None:
    command, *more = words
    done = here(command, f"ann:{SECRET}@localhost:6379", *more)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "fast-channels: 'localhost:6379' is no URL of a layer; "
        "write for example redis://localhost:6379\n"
    )


def test_a_usage_error_is_status_2() -> None:
    done: Done = here("doctor")
    assert (done.returncode, done.stdout) == (2, "")
    assert "URL" in done.stderr

"""``fast-channels send`` and ``tail``: what one sends, the other one shows."""

import asyncio
import json
import os
import re
import signal
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.redis import servers as redis

from .commands import command, environment, here, on_a_terminal
from .conftest import BROKERS, Find

pytestmark = pytest.mark.timeout(90)
KEEP = ("--keep", "100", "--ttl", "600")
HELLO = '{"type": "hello", "text": "grüß dich"}'
SECRET = "correct-horse-7"


@contextmanager
def tailing(*arguments: str) -> Generator["subprocess.Popen[str]"]:
    """A tail that listens, as a process of its own."""
    process = subprocess.Popen(
        command("tail", *arguments),
        env={**os.environ, **environment()},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Who runs the tests in a shell's background has them ignore Ctrl-C, and all they start.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    with process:
        try:
            assert process.stderr is not None
            assert process.stderr.readline().startswith("listening to ")
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def lines(text: str) -> list[Any]:
    """Return the objects of JSON lines."""
    return [json.loads(line) for line in text.splitlines()]


def sent(*arguments: str, **options: str) -> str:
    """Return what the command says that has sent."""
    done = here("send", *arguments, **options)
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout


# --- live -------------------------------------------------------------------------------------


@pytest.mark.parametrize("broker", BROKERS)
def test_what_is_sent_is_tailed(broker: str, url_of: Find) -> None:
    url = url_of(broker)
    with tailing(url, "news", "sport", "--json", "--count", "4") as tail:
        assert sent(url, "news", HELLO).startswith("1 message sent to 'news' in ")
        assert lines(sent(url, "sport", HELLO, "--count", "2", "--json"))[0]["sent"] == 2
        sent(url, "news", "-", stdin=HELLO + '{"type": "a"}\n\n {"type":\n"b"} ')
        out, err = tail.communicate()
        assert (tail.returncode, err) == (0, "")
    came = lines(out)
    assert [each["group"] for each in came].count("news") in (2, 3)
    assert all(each["position"] is None and "gap" not in each for each in came)
    assert came[0]["message"] == json.loads(HELLO)


def test_a_line_of_a_tail_is_json_and_does_nothing_to_a_terminal(
    redis_server: redis.Server,
) -> None:
    odd = '{"type": "x", "n": [1e999, 1], "text": "\\u009b2J \\u001b[2J \\u202e grüß"}'
    sent(redis_server.url, "odd", odd, *KEEP)
    for form in ([], ["--json"]):
        tail = here("tail", redis_server.url, "odd", "--last", "1", "--count", "1", *form)
        assert tail.stdout[:-1].isprintable()
        assert "grüß" in tail.stdout
        message = json.loads(tail.stdout[tail.stdout.index('{"type"') :].rstrip("\n}") + "}")
        assert message["n"] == ["inf", 1]
        assert message["text"] == "\x9b2J \x1b[2J \u202e grüß"


def test_ctrl_c_ends_a_tail_that_people_read(redis_server: redis.Server) -> None:
    with tailing(redis_server.url, "people") as tail:
        sent(redis_server.url, "people", HELLO)
        assert tail.stdout is not None
        line = tail.stdout.readline()
        assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3} people (\{.*\})\n", line), line
        assert json.loads(line.partition(" people ")[2]) == json.loads(HELLO)
        tail.send_signal(signal.SIGINT)
        assert tail.communicate() == ("", "")
        assert tail.returncode == 0


def test_ctrl_c_ends_what_would_end_by_itself_with_130(redis_server: redis.Server) -> None:
    url = redis_server.url
    with tailing(url, "cut") as tail:
        with subprocess.Popen(
            command("send", url, "cut", HELLO, "--count", "1000", "--every", "0.1"),
            env={**os.environ, **environment()},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        ) as sending:
            assert tail.stdout is not None
            assert tail.stdout.readline()
            sending.send_signal(signal.SIGINT)
            assert sending.communicate(timeout=60) == ("", "")
        assert sending.returncode == 130


def test_a_gap_is_shown_where_the_broker_was_away(tmp_path: Path) -> None:
    with redis.running(tmp_path) as server, tailing(server.url, "news", "--json") as tail:
        sent(server.url, "news", HELLO)
        assert tail.stdout is not None
        assert json.loads(tail.stdout.readline())["message"] == json.loads(HELLO)
        server.kill()
        server.start()
        gap = json.loads(tail.stdout.readline())
        assert (gap["gap"], gap["group"], "message" in gap) == (True, "news", False)
        sent(server.url, "news", HELLO)
        assert json.loads(tail.stdout.readline())["message"] == json.loads(HELLO)


def test_too_few_in_time_are_status_1(redis_server: redis.Server) -> None:
    done = here("tail", redis_server.url, "quiet", "--count", "1", "--seconds", "0.1")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith("fast-channels: 0 of 1 messages came within 0.1 s\n")
    assert here("tail", redis_server.url, "quiet", "--seconds", "0.1").returncode == 0


def test_who_reads_no_further_ends_a_tail_quietly(redis_server: redis.Server) -> None:
    url = redis_server.url
    sent(url, "pipe", HELLO, *KEEP, "--count", "60")
    for form in ([], ["--json"]):
        tail = " ".join(command("tail", url, "pipe", "--last", "60", "--seconds", "5", *form))
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", f"{tail} | head -1"],
            env={**os.environ, **environment(), "PYTHONUNBUFFERED": "1"},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.stdout.count("\n") == 1
        assert (done.returncode, done.stderr) == (0, "listening to pipe\n")


# --- durable groups ---------------------------------------------------------------------------


@pytest.mark.parametrize("broker", ["redis", "postgres", "nats"])
def test_a_durable_group_is_tailed_from_the_past_on(broker: str, url_of: Find) -> None:
    url, prefix = url_of(broker), ("--prefix", "durable")
    for number in range(4):
        sent(url, "kept", json.dumps({"type": "n", "n": number}), *KEEP, *prefix)
    ended = here("tail", url, "kept", "--last", "2", "--count", "2", "--json", *prefix)
    third, fourth = lines(ended.stdout)
    assert [third["message"]["n"], fourth["message"]["n"]] == [2, 3]
    after = ("--since", third["position"], "--count", "1", "--json", *prefix)
    assert lines(here("tail", url, "kept", *after).stdout)[0]["position"] == fourth["position"]
    people = here("tail", url, "kept", "--last", "1", "--count", "1", *prefix)
    assert f" kept {fourth['position']} " in people.stdout
    sent(url, "kept", HELLO, *KEEP, *prefix, "--id", "once")
    sent(url, "kept", HELLO, *KEEP, *prefix, "--id", "once")
    sent(url, "kept", '{"type": "end"}', *KEEP, *prefix)
    again = here("tail", url, "kept", "--last", "9", "--count", "6", "--json", *prefix)
    types = [each["message"]["type"] for each in lines(again.stdout)]
    assert types == ["n", "n", "n", "n", "hello", "end"]


def test_what_is_sent_to_a_durable_group_is_not_heard_without_saying_so(
    redis_server: redis.Server,
) -> None:
    url = redis_server.url
    with tailing(url, "both", "--json", "--count", "1") as plain:
        with tailing(url, "both", "--durable", "--json", "--count", "2") as durable:
            sent(url, "both", '{"type": "kept"}', *KEEP)
            sent(url, "both", '{"type": "plain"}')
            out, _ = durable.communicate()
        assert sorted(each["message"]["type"] for each in lines(out)) == ["kept", "plain"]
        assert sorted(each["position"] is None for each in lines(out)) == [False, True]
        out, _ = plain.communicate()
        assert [each["message"]["type"] for each in lines(out)] == ["plain"]


def test_a_history_that_does_not_reach_back_is_told(redis_server: redis.Server) -> None:
    url = redis_server.url
    few = ("--keep", "1", "--ttl", "600")
    sent(url, "short", HELLO, *few)
    [first] = lines(here("tail", url, "short", "--last", "1", "--count", "1", "--json").stdout)
    sent(url, "short", HELLO, *few, "--count", "3")
    done = here("tail", url, "short", "--since", first["position"], "--count", "1")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    done = here("tail", url, "other", "--since", first["position"])
    assert done.returncode == 2
    assert "belongs to another group" in done.stderr


# --- channels, keys, mistakes -----------------------------------------------------------------


def test_a_worker_queue_gets_what_is_sent_to_its_channel(redis_server: redis.Server) -> None:
    from fast_channels_redis import redis_layer

    sent(redis_server.url, "jobs", HELLO, "--channel", "--prefix", "working")

    async def take() -> Any:
        layer = redis_layer(redis_server.url, prefix="working")
        try:
            return await asyncio.wait_for(layer.receive("jobs"), 15)
        finally:
            await layer.close()

    assert asyncio.run(take()) == json.loads(HELLO)


def test_keys_of_the_application_seal_and_open(redis_server: redis.Server) -> None:
    url, key = redis_server.url, "FAST_CHANNELS_ENCRYPTION_KEYS"
    sent(url, "sealed", HELLO, *KEEP, **{key: "a" * 20})
    tail = ("tail", url, "sealed", "--last", "1", "--count", "1", "--seconds", "20", "--json")
    assert lines(here(*tail, **{key: f"{'b' * 20} {'a' * 20}"}).stdout)[0]["position"]
    done = here(*tail[:-2], "0.3", "--json")
    assert (done.returncode, lines(done.stdout)) == (
        1,
        [{"error": "0 of 1 messages came within 0.3 s"}],
    )


def test_a_prefix_may_come_from_a_variable(redis_server: redis.Server) -> None:
    sent(redis_server.url, "kept", HELLO, *KEEP, FAST_CHANNELS_PREFIX="theirs")
    tail = ("tail", redis_server.url, "kept", "--last", "5", "--json")
    theirs = here(*tail, "--count", "1", FAST_CHANNELS_PREFIX="theirs")
    assert len(lines(theirs.stdout)) == 1
    assert here(*tail, "--seconds", "0.2", "--prefix", "nobodys").stdout == ""


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("news", "hello"), "message 1 is no JSON"),
        (("news", '{"type": "a"} 7'), 'message 2 must be a JSON object such as {"type": '),
        (("news", "-"), "there is no message; give for example"),
        (("news", '{"type": "a", "n": NaN}'), "message 1 is no JSON: NaN is no number of JSON"),
        (("news", "[" * 100_000), "message 1 is nested too deeply"),
        (("news", '{"text": "hello"}'), "type"),
        (("no news", HELLO), "group name 'no news' has the illegal character ' '"),
        (("news", HELLO, "--keep", "5"), "--keep and --ttl belong together"),
        (("news", HELLO, "--id", "x"), "--id is for a durable group"),
        (("news", HELLO, "--channel", *KEEP), "--channel names no group"),
        (("news", HELLO, *KEEP, "--id", "x", "--count", "2"), "names one message"),
    ],
)
def test_what_cannot_be_sent_is_status_2(arguments: tuple[str, ...], says: str) -> None:
    done = here("send", "memory://", *arguments)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done
    assert done.stderr.startswith("fast-channels: ")
    assert says in done.stderr


def test_what_cannot_be_tailed_is_status_2(redis_server: redis.Server) -> None:
    url = redis_server.url
    for arguments, says in (
        ((url, "a", "--since", "x", "--last", "1"), "two beginnings"),
        ((url, "a", "b", "--since", "x"), "a position of one group"),
        ((url, "a", "--since", "x"), "is no position"),
        (("rdis://host", "a"), "no layer named 'rdis'"),
    ):
        done = here("tail", *arguments)
        assert (done.returncode, done.stdout) == (2, ""), done
        assert says in done.stderr


@pytest.mark.parametrize("words", [("send", "news", HELLO), ("tail", "news"), ("bench",)])
def test_a_broker_that_is_gone_is_one_line_and_status_1(words: tuple[str, ...]) -> None:
    name, *rest = words
    done = here(name, f"redis://ann:{SECRET}@127.0.0.1:1", *rest)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done
    assert done.stderr.startswith("fast-channels: redis at 127.0.0.1:1 cannot be reached")
    assert SECRET not in done.stderr


def test_who_speaks_to_the_memory_layer_is_told_that_nobody_else_hears() -> None:
    note = "note: a memory layer is in one process alone; nobody else hears it\n"
    assert here("send", "memory://", "g", '{"type": "x"}').stderr == note
    assert here("tail", "memory://", "g", "--seconds", "0").stderr == note + "listening to g\n"


def test_a_terminal_gets_a_progress_bar(redis_server: redis.Server) -> None:
    shown = on_a_terminal(
        *("send", redis_server.url, "news", HELLO, "--count", "20", "--every", "0.02")
    )
    assert "sending" in shown
    assert "/20" in shown
    assert "20 messages sent to 'news' in " in shown.splitlines()[-1]

"""Processes that used a layer: how they end, and what they may fork."""

import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager

import pytest
from tests.tcp_broker import TCPBroker

from .conftest import HERE, PATIENCE, Play, environment

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


@contextmanager
def frozen(scenario: str, broker: TCPBroker) -> Generator[subprocess.Popen[str]]:
    """A scenario that waits for a line; the broker is frozen since it asked for that."""
    command = [str(HERE / "scenarios.py"), scenario, broker.url]
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-X", "dev", *command],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "freeze\n"
        broker.freeze()
        yield process


# --- the end of a process ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scenario", "url"),
    [
        ("ends_normally", ""),
        ("ends_normally", "memory://"),
        ("ends_by_exit", ""),
        ("ends_under_a_receiver", ""),
        ("ends_under_a_receiver", "memory://"),
    ],
)
def test_a_process_that_used_layer_sync_says_goodbye_and_ends_without_a_word(
    play: Play, broker: TCPBroker, scenario: str, url: str
) -> None:
    play(scenario, url=url)
    assert broker.dropped == 0


def test_a_process_ends_while_its_daemon_threads_send(play: Play, broker: TCPBroker) -> None:
    play("ends_under_senders")
    assert broker.dropped == 0


def test_functions_that_run_at_exit_may_still_send(play: Play, broker: TCPBroker) -> None:
    assert play("ends_after_use_from_atexit") == "arrived\n"
    assert broker.dropped == 0


def test_a_frozen_broker_keeps_a_process_no_longer_than_the_send_timeout(
    broker: TCPBroker,
) -> None:
    with frozen("ends_while_the_broker_is_frozen", broker) as process:
        began = time.monotonic()
        _, errors = process.communicate("frozen\n", timeout=PATIENCE)
        took = time.monotonic() - began
    assert (process.returncode, errors) == (0, "")
    # Its send timeout is 2 s, and the send that was under way got that long.
    assert 1.5 < took < 15
    broker.wait_for(lambda: broker.connections == 0)


@pytest.mark.parametrize(
    ("scenario", "sends"),
    # One is in flight and two wait for it; one waits for the connection.
    [("ends_with_sends_under_way", 3), ("ends_while_it_opens", 1)],
)
def test_what_is_under_way_at_the_end_of_a_process_is_still_sent(
    broker: TCPBroker, scenario: str, sends: int
) -> None:
    with frozen(scenario, broker) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        before = broker.published
        process.stdin.write("frozen\n")
        process.stdin.flush()
        assert process.stdout.readline() == "ending\n"
        broker.thaw()
        _, errors = process.communicate(timeout=PATIENCE)
    assert (process.returncode, errors) == (0, "")
    broker.wait_for(lambda: broker.connections == 0)
    assert broker.dropped == 0
    assert broker.published >= before + sends


def test_ctrl_c_ends_a_call_and_not_the_background_loop(play: Play, broker: TCPBroker) -> None:
    play("is_interrupted")
    assert (broker.total, broker.dropped) == (1, 0)


# --- forks ------------------------------------------------------------------------------------


@needs_fork
@pytest.mark.parametrize(("url", "ending"), [("", "exit"), ("", "os._exit"), ("memory://", "exit")])
@pytest.mark.parametrize(
    "scenario",
    [
        "fork_after_sync",
        "fork_in_a_running_loop",
        "fork_beside_a_running_loop",
        "fork_while_a_loop_rests",
    ],
)
def test_a_forked_child_uses_the_layer_and_leaves_its_parent_s_connection_alone(
    play: Play, broker: TCPBroker, scenario: str, ending: str, url: str
) -> None:
    play(scenario, ending, url=url)
    assert broker.dropped == 0


@needs_fork
def test_a_forked_child_of_the_memory_layer_starts_with_nothing(play: Play) -> None:
    play("fork_with_jobs", url="memory://")


@needs_fork
@pytest.mark.parametrize("url", ["", "memory://"])
def test_children_forked_while_other_threads_send_do_not_hang(
    play: Play, broker: TCPBroker, url: str
) -> None:
    play("fork_under_load", "os._exit", url=url)
    assert broker.dropped == 0


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_processes_of_multiprocessing_use_the_layer_and_say_goodbye(
    play: Play, broker: TCPBroker, method: str
) -> None:
    play("processes", method)
    assert (broker.total, broker.dropped) == (5, 0)  # one here; two by each child, one in its run


@needs_fork
def test_a_worker_s_children_send_each_message_once_and_are_replaced(
    play: Play, broker: TCPBroker
) -> None:
    play("prefork_worker")
    assert broker.dropped == 0

"""The waits between attempts to reach a broker again."""

from itertools import islice

from fast_channels.layers import reconnect_delays


def test_waits_grow_to_their_bound_and_never_end() -> None:
    runs = [list(islice(reconnect_delays(0.1, 1.0), 50)) for _ in range(200)]
    for number, ceiling in enumerate([0.2, 0.4, 0.8, 1.0, 1.0]):
        waits = [run[number] for run in runs]
        assert 0.1 <= min(waits) < 0.1 + (ceiling - 0.1) / 4
        assert ceiling - (ceiling - 0.1) / 4 < max(waits) <= ceiling
    assert max(run[-1] for run in runs) <= 1.0


def test_no_two_processes_wait_alike() -> None:
    assert list(islice(reconnect_delays(), 20)) != list(islice(reconnect_delays(), 20))

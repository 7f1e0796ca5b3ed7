"""Events of a layer's life: every listener is told, whatever the others do."""

import logging

import pytest

from fast_channels.layers import events


def test_a_listener_that_raises_is_logged_and_the_others_are_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    told: list[tuple[str, dict[str, object]]] = []

    def broken(event: str, **facts: object) -> None:
        raise ZeroDivisionError("broken listener")

    def listener(event: str, **facts: object) -> None:
        told.append((event, facts))

    for each in (broken, listener):
        events.connect(each)
    try:
        events.emit("layer_gap", layer=None, cause=OSError(), topics=["a"])
    finally:
        for each in (broken, listener):
            events.disconnect(each)
    events.emit("layer_gap", layer=None, cause=OSError(), topics=["b"])
    assert [(event, facts["topics"]) for event, facts in told] == [("layer_gap", ["a"])]
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "failed at event 'layer_gap'" in record.getMessage()
    assert "broken listener" in caplog.text

"""Numbers on frames: a loss and a repeat are seen, and nothing else is taken for one."""

import random

from fast_channels.layers.sequence import NODES_REMEMBERED, TOPICS_REMEMBERED, Sequencer, Tracker


def test_one_counter_rises_over_all_topics() -> None:
    sequencer = Sequencer()
    assert [sequencer.next(topic)[0] for topic in ("a", "b", "a", "c")] == [1, 2, 3, 4]


def test_a_frame_carries_the_number_before_it_on_the_same_topic() -> None:
    sequencer = Sequencer()
    assert [sequencer.next(topic)[1] for topic in ("a", "b", "a", "a", "b")] == [0, 0, 1, 3, 2]


def test_the_topic_used_least_recently_is_forgotten_first() -> None:
    sequencer = Sequencer()
    for number in range(TOPICS_REMEMBERED):
        sequencer.next(str(number))
    sequencer.next("0")
    sequencer.next("one more")
    assert sequencer.next("0")[1] != 0
    assert sequencer.next("1")[1] == 0


def test_frames_in_order_are_new() -> None:
    tracker = Tracker()
    assert [tracker.check("n", *pair) for pair in ((1, 0), (4, 1), (5, 4))] == ["new"] * 3


def test_what_was_sent_before_this_side_subscribed_is_no_gap() -> None:
    assert Tracker().check("n", 1_000, 999) == "new"


def test_a_jump_is_a_gap_once() -> None:
    tracker = Tracker()
    assert tracker.check("n", 1, 0) == "new"
    assert tracker.check("n", 5, 3) == "gap"
    assert tracker.check("n", 6, 5) == "new"


def test_a_sender_that_has_forgotten_is_no_gap() -> None:
    tracker = Tracker()
    tracker.check("n", 1, 0)
    assert tracker.check("n", 5, 0) == "new"


def test_what_comes_again_or_late_is_a_repeat() -> None:
    tracker = Tracker()
    tracker.check("n", 5, 0)
    assert tracker.check("n", 5, 0) == "repeat"
    assert tracker.check("n", 4, 3) == "repeat"
    assert tracker.check("n", 6, 5) == "new"


def test_nodes_are_tracked_apart() -> None:
    tracker = Tracker()
    assert tracker.check("n", 7, 0) == "new"
    assert tracker.check("m", 7, 0) == "new"
    assert tracker.check("m", 3, 0) == "repeat"
    assert tracker.check("n", 8, 7) == "new"


def test_after_forgetting_everything_is_new() -> None:
    tracker = Tracker()
    tracker.check("n", 5, 0)
    tracker.forget()
    assert tracker.check("n", 3, 2) == "new"


def test_the_node_heard_least_recently_is_forgotten_first() -> None:
    tracker = Tracker()
    for number in range(NODES_REMEMBERED):
        tracker.check(str(number), 1, 0)
    tracker.check("0", 2, 1)
    tracker.check("one more", 1, 0)
    assert tracker.check("0", 5, 4) == "gap"
    assert tracker.check("1", 5, 4) == "new"


def test_any_pattern_of_loss_and_repetition_is_told_exactly() -> None:
    """A model: frames to three topics, each lost or repeated at random."""
    dice = random.Random(7)
    sequencer = Sequencer()
    trackers = {topic: Tracker() for topic in "abc"}
    lost_since: dict[str, bool] = dict.fromkeys("abc", False)
    heard: dict[str, bool] = dict.fromkeys("abc", False)
    for _ in range(5_000):
        topic = dice.choice("abc")
        seq, prev = sequencer.next(topic)
        if dice.random() < 0.2:
            lost_since[topic] = True
            continue
        expected = "gap" if lost_since[topic] and heard[topic] else "new"
        assert trackers[topic].check("n", seq, prev) == expected
        lost_since[topic], heard[topic] = False, True
        if dice.random() < 0.2:
            assert trackers[topic].check("n", seq, prev) == "repeat"

"""The verdict of the chaos run notices whatever can go wrong for a client."""

from collections.abc import Sequence

import pytest

from .ledger import Findings, Ledger, Stream

GROUP = "room"
GAP = "gap"
"""In what a client saw: it was told of one, at the time of the message sent before."""


def verdict(
    seen: Sequence[int | str], *, durable: bool, sent: int = 5, unconfirmed: Sequence[int] = ()
) -> Findings:
    """Return what is wrong with what one client saw; the message n is sent from the time n on."""
    ledger, stream = Ledger(), Stream(GROUP, 1)
    ledger.joined("ann", GROUP)
    for number in range(1, sent + 1):
        ledger.began(stream, number, float(number))
        if number not in unconfirmed:
            ledger.confirmed(stream, number)
    for one in seen:
        if isinstance(one, int):
            ledger.came("ann", stream, one)
        else:
            ledger.told("ann", GROUP, float(one.removeprefix(GAP)))
    return ledger.verdict(frozenset({GROUP} if durable else ()))


@pytest.mark.parametrize("durable", [True, False])
def test_a_client_that_saw_everything_in_order_is_well(durable: bool) -> None:
    assert not list(verdict([1, 2, 3, 4, 5], durable=durable))


@pytest.mark.parametrize("durable", [True, False])
@pytest.mark.parametrize(
    "seen", [[1, 2, 2, 3, 4, 5], [1, 2, 3, 4, 5, 3], [1, 2, "gap2.5", 2, 3, 4, 5]]
)
def test_a_message_that_comes_twice_is_a_duplicate(seen: list[int | str], durable: bool) -> None:
    findings = verdict(seen, durable=durable)
    assert len(findings.duplicates) == 1
    assert not findings.losses


@pytest.mark.parametrize("durable", [True, False])
def test_a_message_that_comes_after_a_later_one_is_out_of_order(durable: bool) -> None:
    findings = verdict([1, 3, 2, 4, 5], durable=durable)
    assert len(findings.disorders) == 1
    assert not findings.losses
    assert not findings.duplicates


@pytest.mark.parametrize("durable", [True, False])
def test_a_message_that_nobody_sent_is_a_stranger(durable: bool) -> None:
    assert len(verdict([1, 2, 3, 4, 5, 6], durable=durable).strangers) == 1


@pytest.mark.parametrize("durable", [True, False])
@pytest.mark.parametrize("missing", [1, 3, 5])
def test_a_message_that_does_not_come_is_a_loss(missing: int, durable: bool) -> None:
    seen = [number for number in range(1, 6) if number != missing]
    (loss,) = verdict(seen, durable=durable).losses
    assert loss.startswith(f"ann in room, publisher 1: {missing} is missing")


def test_a_client_that_saw_nothing_has_lost_everything() -> None:
    assert len(verdict([], durable=False).losses) == 5


@pytest.mark.parametrize("seen", [["gap3.5", 4, 5], [1, 2, "gap3.5", 4, 5], [1, 2, 3, "gap5.5"]])
def test_a_gap_that_is_told_excuses_what_is_missing_there(seen: list[int | str]) -> None:
    assert not verdict(seen, durable=False).losses


def test_a_gap_excuses_nothing_in_a_durable_group() -> None:
    assert len(verdict([1, 2, "gap3.5", 4, 5], durable=True).losses) == 1


@pytest.mark.parametrize("seen", [[1, "gap1.5", 2, 4, 5], [1, 2, 4, "gap4.5", 5]])
def test_a_gap_excuses_nothing_in_another_stretch(seen: list[int | str]) -> None:
    assert len(verdict(seen, durable=False).losses) == 1


def test_a_gap_excuses_nothing_that_was_sent_after_it_was_told() -> None:
    (loss,) = verdict([1, "gap2.5", 4, 5], durable=False).losses
    assert "3 is missing" in loss


def test_the_messages_of_another_publisher_end_no_stretch() -> None:
    ledger = Ledger()
    ledger.joined("ann", GROUP)
    for publisher in (1, 2):
        for number in (1, 2, 3):
            ledger.began(Stream(GROUP, publisher), number, float(number))
            ledger.confirmed(Stream(GROUP, publisher), number)
    for publisher, number in ((1, 1), (2, 1)):
        ledger.came("ann", Stream(GROUP, publisher), number)
    ledger.told("ann", GROUP, 2.5)
    for publisher, number in ((2, 2), (2, 3), (1, 3)):
        ledger.came("ann", Stream(GROUP, publisher), number)
    assert not list(ledger.verdict(frozenset()))
    assert len(list(ledger.verdict(frozenset({GROUP})))) == 1


def test_what_was_perhaps_not_sent_may_be_missing_but_not_come_twice() -> None:
    assert not list(verdict([1, 2, 4, 5], durable=False, unconfirmed=[3]))
    assert not list(verdict([1, 2, 3, 4, 5], durable=False, unconfirmed=[3]))
    assert verdict([1, 2, 3, 3, 4, 5], durable=False, unconfirmed=[3]).duplicates


def test_a_run_is_complete_when_every_client_has_the_newest_that_was_confirmed() -> None:
    ledger, stream = Ledger(), Stream(GROUP, 1)
    for client in ("ann", "bob"):
        ledger.joined(client, GROUP)
    for number in (1, 2, 3):
        ledger.began(stream, number, float(number))
        if number < 3:
            ledger.confirmed(stream, number)
    ledger.came("ann", stream, 2)
    assert not ledger.complete(frozenset())
    ledger.told("bob", GROUP, 1.5)
    assert not ledger.complete(frozenset())
    ledger.told("bob", GROUP, 2.5)
    assert ledger.complete(frozenset())
    assert not ledger.complete(frozenset({GROUP}))
    ledger.came("bob", stream, 2)
    assert ledger.complete(frozenset({GROUP}))

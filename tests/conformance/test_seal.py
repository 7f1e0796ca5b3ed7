"""A clause cannot be replaced, lost or declared away without a word."""

import asyncio

import pytest

from fast_channels.layers import Backend, InMemoryChannelLayer
from fast_channels.testing import BackendTests, HistoryTests, LayerTests, QueueTests
from fast_channels.testing.conformance.broker import BrokerSuite

REPLACES = "replaces a clause of the conformance kit"


class Memory(BackendTests, QueueTests):
    __test__ = False
    capabilities = frozenset({"queues"})
    no_outage = "the memory broker lives in this process"
    layer = InMemoryChannelLayer()

    def build(self) -> Backend:
        return self.layer.create_backend()


class Mixin:
    def test_every_byte_survives(self) -> None:
        """Passes whatever the backend does."""


def test_a_subclass_cannot_replace_a_clause() -> None:
    with pytest.raises(TypeError, match=f"Mine.test_every_byte_survives {REPLACES}"):

        class Mine(Memory):
            def test_every_byte_survives(self) -> None: ...


def test_a_mixin_cannot_replace_a_clause() -> None:
    with pytest.raises(TypeError, match=REPLACES):

        class Mine(Mixin, Memory): ...


def test_a_mixin_behind_the_kit_replaces_nothing() -> None:
    class Mine(Memory, Mixin): ...

    assert Mine.test_every_byte_survives is Memory.test_every_byte_survives


def test_a_clause_cannot_be_set_to_none() -> None:
    with pytest.raises(TypeError, match=REPLACES):

        class Mine(Memory):
            test_every_byte_survives = None


def test_a_fixture_cannot_take_the_name_of_a_clause() -> None:
    with pytest.raises(TypeError, match=REPLACES):

        class Mine(Memory):
            @pytest.fixture
            def test_every_byte_survives(self) -> None: ...


@pytest.mark.parametrize(
    "mark", [pytest.mark.skip, pytest.mark.xfail, pytest.mark.xfail(reason="")]
)
def test_a_clause_cannot_be_replaced_without_a_reason(mark: pytest.MarkDecorator) -> None:
    with pytest.raises(TypeError, match=r'xfail\(reason="...", strict=True\)'):

        class Mine(Memory):
            @mark
            def test_every_byte_survives(self) -> None: ...


def test_a_clause_may_be_expected_to_fail_for_a_reason() -> None:
    class Mine(Memory):
        @pytest.mark.xfail(reason="the broker carries text only", strict=True)
        def test_every_byte_survives(self) -> None:
            super().test_every_byte_survives()

    Mine().test_no_clause_of_the_kit_was_replaced()


@pytest.mark.parametrize("name", ["process", "opened", "elsewhere", "topic", "prefix", "fence"])
def test_what_the_clauses_are_built_on_cannot_be_replaced(name: str) -> None:
    with pytest.raises(TypeError, match=f"Mine.{name} replaces what the clauses are built on"):
        type("Mine", (Memory,), {name: lambda suite: None})


@pytest.mark.parametrize("name", ["node", "unopened", "member", "receive", "fenced", "prefix"])
def test_what_clauses_about_layers_are_built_on_cannot_be_replaced(name: str) -> None:
    with pytest.raises(TypeError, match=f"Mine.{name} replaces what the clauses are built on"):
        type("Mine", (LayerTests,), {name: lambda suite: None})


def test_a_clause_about_layers_that_was_set_afterwards_fails_another() -> None:
    class Mine(LayerTests): ...

    name = "test_joining_twice_is_joining_once"
    setattr(Mine, name, lambda suite: None)
    with pytest.raises(AssertionError, match=f"{name} {REPLACES}"):
        Mine().test_no_clause_of_the_kit_was_replaced()


def test_one_class_may_have_all_three_suites() -> None:
    """No name of one means something else in another."""
    shared = set(dir(BrokerSuite))
    assert set(dir(LayerTests)) & set(dir(QueueTests)) == shared
    assert set(dir(LayerTests)) & set(dir(BackendTests)) == shared


def test_a_layer_of_another_kind_may_lack_what_is_below_it_for_a_reason() -> None:
    class Mine(LayerTests):
        no_backend = "there is none"
        no_sync = "nobody needs it"

    for clause in (
        Mine().test_a_group_message_to_two_thousand_members_is_one_publish,
        Mine().test_nothing_from_the_broker_is_unpickled,
    ):
        with pytest.raises(pytest.skip.Exception, match="there is none"):
            clause()
    with pytest.raises(pytest.skip.Exception, match="nobody needs it"):
        Mine().test_a_thread_without_a_loop_sends_with_sync()


def test_the_kits_own_clauses_cannot_be_marked() -> None:
    mark = pytest.mark.xfail(reason="for everybody", strict=True)
    clause = BackendTests.test_every_byte_survives
    mark(clause)
    try:
        with pytest.raises(TypeError, match="which every suite shares"):

            class Mine(Memory): ...
    finally:
        del clause.pytestmark  # type: ignore[attr-defined]  # set by the mark


def test_a_clause_that_was_set_afterwards_fails_another() -> None:
    class Mine(Memory): ...

    setattr(Mine, "test_every_byte_survives", lambda suite: None)  # noqa: B010  # typed as a clause
    with pytest.raises(AssertionError, match=f"test_every_byte_survives {REPLACES}"):
        Mine().test_no_clause_of_the_kit_was_replaced()


def test_a_clause_that_was_set_on_the_instance_fails_another() -> None:
    mine = Memory()
    mine.__dict__["test_every_byte_survives"] = lambda: None
    with pytest.raises(AssertionError, match="set on the instance"):
        mine.test_no_clause_of_the_kit_was_replaced()


def test_a_declared_power_needs_its_suite() -> None:
    with pytest.raises(TypeError, match=r"class Mine\(BackendTests, QueueTests\)"):

        class Mine(BackendTests):
            capabilities = frozenset({"queues"})


def test_a_powers_suite_needs_its_declaration() -> None:
    with pytest.raises(TypeError, match=r"capabilities = frozenset\(\{'queues'\}\)"):

        class Mine(BackendTests, QueueTests): ...


def test_a_power_that_the_kit_does_not_know_is_refused() -> None:
    with pytest.raises(TypeError, match=r"has \['telepathy'\], which the kit does not know"):

        class Mine(BackendTests):
            capabilities = frozenset({"telepathy"})


def test_a_power_that_is_not_declared_fails_a_clause() -> None:
    class Mine(BackendTests):
        no_outage = "the memory broker lives in this process"

        def build(self) -> Backend:
            return Memory.layer.create_backend()

    with pytest.raises(AssertionError, match="of an open backend"):
        Mine().test_the_declared_capabilities_are_the_real_ones()


def test_a_class_without_build_layer_is_told_so() -> None:
    class Mine(LayerTests): ...

    with pytest.raises(NotImplementedError, match="Mine needs a method build_layer"):
        Mine().test_joining_twice_is_joining_once()


def test_a_class_without_build_is_told_so() -> None:
    class Mine(BackendTests): ...

    with pytest.raises(NotImplementedError, match=r"Mine needs a method build\(self\) -> Backend"):
        Mine().test_every_byte_survives()


def test_an_outage_and_a_reason_against_it_are_one_too_many() -> None:
    class Mine(Memory):
        def outage(self) -> None: ...

    with pytest.raises(AssertionError, match=r"has outage\(\) and no_outage"):
        Mine().test_the_broker_can_be_made_unreachable_or_the_class_says_why_not()


def test_a_clause_that_does_not_end_fails() -> None:
    class Stuck(Memory):
        patience = 60.0
        limit = 0.05

        def build(self) -> Backend:
            backend = super().build()
            backend.open = lambda inbox: asyncio.Event().wait()
            return backend

    with pytest.raises(AssertionError, match=r"did not end within 0\.05 s"):
        Stuck().test_every_byte_survives()


@pytest.mark.parametrize("suite", [BackendTests, QueueTests, HistoryTests, LayerTests])
def test_no_part_of_a_suite_hides_what_another_part_has(suite: type[BrokerSuite]) -> None:
    owner: dict[str, type] = {}
    for part in suite.__mro__[:-1]:
        for name, value in vars(part).items():
            if callable(value) and not name.startswith("__"):
                first = owner.setdefault(name, part)
                assert issubclass(first, part), f"{first.__name__} and {part.__name__}: {name}"

"""``except channels.exceptions.ChannelFull`` catches ours, and nobody else pays for that."""

import subprocess
import sys
import textwrap

import pytest

pytestmark = pytest.mark.timeout(30)


def run(program):
    """Run the program in a process of its own, where nothing is imported yet."""
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(program)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("first", ["channels", "fast_channels"])
def test_theirs_catches_ours_whichever_was_imported_first(first):
    second = {"channels": "fast_channels", "fast_channels": "channels"}[first]
    run(f"""
        import {first}.exceptions
        import {second}.exceptions
        import channels.exceptions as theirs, fast_channels.exceptions as ours

        for name in ("ChannelFull", "MessageTooLarge"):
            raised = getattr(ours, name)
            for caught in (getattr(theirs, name), raised, ours.FastChannelsError):
                try:
                    raise raised("marker")
                except caught as error:
                    assert type(error) is raised
                    assert error.args == ("marker",)
    """)


def test_what_was_raised_before_channels_was_imported_does_not_keep_it_from_being_caught():
    run("""
        import fast_channels.exceptions as ours

        try:
            raise ours.ChannelFull("before")
        except ours.ChannelFull:
            pass
        import channels.exceptions as theirs
        try:
            raise ours.ChannelFull("after")
        except theirs.ChannelFull:
            pass
    """)


def test_a_layer_raises_what_both_catch_and_channels_is_not_imported_for_it():
    run("""
        import asyncio, sys
        from fast_channels import InMemoryChannelLayer
        from fast_channels.exceptions import ChannelFull, MessageTooLarge

        async def fill(full, large):
            layer = InMemoryChannelLayer(capacity=1, max_message_size=100)
            for caught, message in (
                (full, {"type": "x"}),
                (large, {"type": "x" * 200}),
            ):
                try:
                    await layer.send("jobs", message)
                    await layer.send("jobs", message)
                except caught:
                    continue
                raise AssertionError(caught)
            await layer.close()

        asyncio.run(fill(ChannelFull, MessageTooLarge))
        assert "channels" not in sys.modules
        import channels.exceptions as theirs
        asyncio.run(fill(theirs.ChannelFull, theirs.MessageTooLarge))
        asyncio.run(fill(ChannelFull, MessageTooLarge))
    """)


def test_one_name_does_not_catch_the_other_nor_anything_else_of_ours():
    run("""
        import channels.exceptions as theirs
        import fast_channels.exceptions as ours

        full, large = ours.ChannelFull("x"), ours.MessageTooLarge("x")
        assert not isinstance(full, theirs.MessageTooLarge)
        assert not isinstance(large, theirs.ChannelFull)
        assert not isinstance(ours.BackendUnavailable("x"), (theirs.ChannelFull, ours.ChannelFull))
        assert not isinstance(theirs.ChannelFull("x"), ours.ChannelFull)
    """)


def test_copies_pickles_and_subclasses_of_applications_stay_what_they_are():
    run("""
        import copy, pickle
        import fast_channels.exceptions as ours

        class Full(ours.ChannelFull):
            def __init__(self, room, *, limit):
                super().__init__(f"{room} is full")
                self.limit = limit

        import channels.exceptions as theirs

        try:
            raise Full("lobby", limit=3)
        except theirs.ChannelFull as error:
            assert (str(error), error.limit) == ("lobby is full", 3)
        error = ours.ChannelFull("marker")
        error.add_note("a note")
        for again in (copy.copy(error), pickle.loads(pickle.dumps(error))):
            assert type(again) is ours.ChannelFull
            assert (again.args, again.__notes__) == (("marker",), ["a note"])
    """)


def test_an_applications_own_subclass_of_both_is_left_as_it_is():
    run("""
        import fast_channels.exceptions as ours
        import channels.exceptions as theirs

        class Both(theirs.ChannelFull, ours.ChannelFull):
            pass

        for caught in (theirs.ChannelFull, ours.ChannelFull):
            try:
                raise Both("x")
            except caught:
                pass
        # No order of bases would suit both; what is raised is still what ours catches.
        try:
            raise ours.ChannelFull("x")
        except ours.ChannelFull:
            pass
    """)

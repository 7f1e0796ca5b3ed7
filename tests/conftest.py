"""What all tests share: how hypothesis runs, normally and at length, and who may take long."""

import faulthandler

import pytest
from hypothesis import HealthCheck, settings

# The same examples every time, and no verdict that depends on how busy the machine is.
settings.register_profile(
    "steady",
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
# Many and other examples each time (``make test-all``): a failure prints how to repeat it.
settings.register_profile(
    "thorough",
    settings.get_profile("steady"),
    derandomize=False,
    max_examples=20 * settings.get_profile("steady").max_examples,
    print_blob=True,
)
settings.load_profile("steady")  # --hypothesis-profile, if given, is loaded after this


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give properties time for many examples, and for making a failing one small."""
    thorough = settings.get_current_profile_name() == "thorough"
    for item in items:
        marked = item.get_closest_marker("hypothesis")  # by hand, for state machines
        if marked or getattr(getattr(item, "obj", None), "is_hypothesis_test", False):
            item.add_marker(pytest.mark.timeout(3_600 if thorough else 300))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Stacks of a test with a timeout of its own are shown when that is over, and not before."""
    if item.get_closest_marker("timeout"):
        faulthandler.cancel_dump_traceback_later()

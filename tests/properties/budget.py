"""How many examples a property tries: so many in a normal run, in proportion more in a long one."""

from typing import Any

from hypothesis import Phase, settings


def examples(count: int, **others: Any) -> settings:
    """Return settings for ``count`` examples where the profile is the normal one."""
    scale = settings().max_examples / settings.get_profile("steady").max_examples
    phases = set(Phase) - {Phase.explain}  # which takes minutes for what runs an event loop
    return settings(max_examples=max(1, round(count * scale)), phases=phases, **others)

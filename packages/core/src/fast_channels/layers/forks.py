"""What a forked child has from its parent and must leave alone: open sessions and their loops.

To close an inherited connection would be a goodbye in the parent's name, and a loop that is closed
in the child takes the parent's sockets out of the selector that both share.
"""

from typing import Final

_inherited: Final[list[object]] = []


def abandon(*inherited: object) -> None:
    """The objects are never finalised in this child.

    Call it in a function registered with ``os.register_at_fork``: what such a function reaches is
    let go of last of all, when no destructor can warn or close anything any more.
    """
    _inherited.extend(inherited)

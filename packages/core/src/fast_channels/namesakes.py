"""Why ``except channels.exceptions.ChannelFull`` catches ours, though core never imports Channels.

``except`` looks at the real base classes, not at registrations (``ABCMeta.register``). So an
exception of ours takes its namesake in Django Channels as one more base, the first time that it is
raised after Channels was imported; who has not imported it cannot name it. There is one class all
the while: what caught ours goes on catching it, and it can be copied and pickled.
"""

import sys


class Namesake(Exception):
    """Base of the exceptions that Django Channels has under the same name."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        theirs = sys.modules.get("channels.exceptions")
        if theirs is not None:
            for ours in type(self).__mro__:
                if Namesake in ours.__bases__:
                    _take_base(ours, getattr(theirs, ours.__name__, None))


def _take_base(ours: type, theirs: object) -> None:
    if not isinstance(theirs, type) or issubclass(ours, theirs):
        return
    try:
        type.__setattr__(ours, "__bases__", (*ours.__bases__, theirs))
    except TypeError:
        pass  # some subclass has both already, theirs first: no order of bases would suit it

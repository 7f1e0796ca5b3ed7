"""A page that shows what the layers of this process do, for those who may look.

from fast_channels_tools.inspector import inspector
"""

from .app import Inspector, inspector

__all__ = ["Inspector", "inspector"]

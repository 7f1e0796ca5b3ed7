"""Distributions of strangers, on ``sys.path`` of a command: what ``pip install`` leaves behind."""

from collections.abc import Mapping
from pathlib import Path

LAYERS = """
from fast_channels.layers import BaseChannelLayer, InMemoryChannelLayer
from fast_channels.layers.in_memory import MemoryBackend, MemoryBroker

BROKER = MemoryBroker()

class DeafBackend(MemoryBackend):
    async def subscribe(self, topics):
        pass

class Deaf(BaseChannelLayer):
    def __init__(self, url=None, **options):
        super().__init__(**options)
    def create_backend(self):
        return DeafBackend(BROKER)

class Plain(Deaf):
    def create_backend(self):
        return MemoryBackend(BROKER)

class Choosy(Plain):
    '''Wants an option, and lets in who has the prefix of one application.'''
    def __init__(self, url=None, *, token, prefix="fc", **options):
        if not prefix.removeprefix("x-").startswith("shop") or token != "hunter2":
            raise ValueError(f"{token!r} may not use {prefix}")
        super().__init__(prefix=prefix, **options)

class Whole:
    '''Every method of a layer, and no BaseChannelLayer.'''
    def __init__(self, url=None, **options):
        self.below = InMemoryChannelLayer(url="memory://whole", **options)
    def __getattr__(self, name):
        if name == "sync":
            raise AttributeError(name)
        return getattr(self.below, name)

def nothing(url=None, **options):
    return None

def broken(url=None, **options):
    raise ValueError("a host is not enough")
"""


def install(
    folder: Path, name: str, layers: Mapping[str, str], module: str = LAYERS, version: str = "1.0"
) -> None:
    """The folder, once on ``sys.path``, holds the distribution and its module."""
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    lines = [f"{layer} = {name}:{attribute}" for layer, attribute in layers.items()]
    (info / "entry_points.txt").write_text("\n".join(["[fast_channels.layers]", *lines]))
    (folder / f"{name}.py").write_text(module)

"""Distributions made on the spot: what ``pip install`` leaves behind, without the package index."""

from collections.abc import Mapping
from pathlib import Path


def install(
    folder: Path,
    name: str,
    *,
    version: str = "1.0",
    layers: Mapping[str, str] | None = None,
    plugins: Mapping[str, str] | None = None,
    module: str = "",
) -> None:
    """The folder, once on ``sys.path``, holds the distribution and its module of that name."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    lines = []
    for group, entries in (("layers", layers), ("plugins", plugins)):
        lines.append(f"[fast_channels.{group}]")
        lines += [f"{entry} = {target}" for entry, target in (entries or {}).items()]
    (info / "entry_points.txt").write_text("\n".join(lines))
    (folder / f"{name.replace('-', '_')}.py").write_text(module)

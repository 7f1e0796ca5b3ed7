"""The client is one file, wherever it is shipped."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
CLIENT = ROOT / "clients" / "js"
DEMO = ROOT / "packages" / "tools" / "src" / "fast_channels_tools" / "demo" / "static"


def test_the_demo_ships_the_client_as_it_is() -> None:
    copy = (DEMO / "fast-channels.js").read_bytes()
    assert copy == (CLIENT / "fast-channels.js").read_bytes(), (
        "cp clients/js/fast-channels.js packages/tools/src/fast_channels_tools/demo/static/"
    )

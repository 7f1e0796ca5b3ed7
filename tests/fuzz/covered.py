"""``python -m tests.fuzz.covered TARGET CORPUS [options of libFuzzer]``: one target by atheris."""

import sys

import atheris

with atheris.instrument_imports(include=["fast_channels"]):
    from .targets import TARGETS


def main() -> None:
    """Fuzz until the time is over, or something is found; ends the process."""
    name, *options = sys.argv[1:]
    atheris.Setup([sys.argv[0], *options], TARGETS[name].run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()

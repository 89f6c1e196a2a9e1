"""`python -m eft`: the command `eft`, as the installed distribution declares it."""

import sys
from importlib.metadata import entry_points


def command():
    """The function that the command runs; SystemExit where the distribution is not installed."""
    for entry in entry_points(group="console_scripts", name="eft"):
        return entry.load()
    raise SystemExit("eft: there is no command eft; is the distribution installed? pip install eft-nets")


if __name__ == "__main__":
    sys.exit(command()())

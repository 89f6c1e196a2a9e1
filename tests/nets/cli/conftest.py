import pytest

from nets import cli


@pytest.fixture
def run(capsys):
    """Runs the command with these arguments: (exit status, output, errors)."""

    def of(*args):
        try:
            status = cli.main(list(args))
        except SystemExit as stop:
            status = stop.code
        seen = capsys.readouterr()
        return status, seen.out, seen.err

    return of

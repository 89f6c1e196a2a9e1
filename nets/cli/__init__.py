"""The command `eft`: the theory as a table, and theory beside experiment."""

from collections.abc import Sequence

import jax
import tyro
from rich.console import Console
from rich.text import Text

from nets.cli.classify import classify
from nets.cli.compare import compare
from nets.cli.flow import flow
from nets.cli.options import BadArgument
from nets.cli.phase import phase
from nets.cli.train import train


def main(args: Sequence[str] | None = None) -> int:
    """Run the command; the exit status is 0, or 2 for a bad argument."""
    jax.config.update("jax_enable_x64", True)
    commands = {"flow": flow, "compare": compare, "classify": classify, "phase": phase, "train": train}
    try:
        return tyro.extras.subcommand_cli_from_dict(
            commands, prog="eft", description="Effective theory of neural networks.", args=args
        )
    except BadArgument as error:
        Console(stderr=True, soft_wrap=True, highlight=False).print(Text(f"eft: {error}", style="red"))
        return 2
    except KeyboardInterrupt:
        return 130

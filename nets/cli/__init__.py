"""The command `eft`: the theory as a table, and compared with experiment."""

import os
import signal
import sys
from collections.abc import Sequence

import jax
import tyro

import eft
from eft.arguments import ArgumentError, ArgumentTypeError
from nets.cli import processes
from nets.cli.classification import classify
from nets.cli.comparison import compare
from nets.cli.diagnosis import diagnose
from nets.cli.flows import flow
from nets.cli.phases import phase
from nets.cli.recipes import recipe
from nets.cli.training import train
from nets.files.archive import ArchiveError
from nets.files.checkpoints import CheckpointError
from nets.runtime.program_cache import keep_programs, user_folder

DESCRIPTION = """Effective theory of neural networks.

With --processes N the work of any command is shared out to N processes of this machine. Compiled programs are
kept in ~/.cache/eft for the next run; with --no-cache they are not. --version prints the version,
--tyro-print-completion bash (or zsh, tcsh) the completion of a shell."""


LISTS = {"--act": "--act tanh gelu", "--cw": "--cw 1 1.98"}
"""Options that take several values, with an example."""


def main(args: Sequence[str] | None = None) -> int:
    """Run the command; exit status 0, 2 for a bad argument, 1 if a file cannot be read or written.

    With `--processes N` among the arguments, the ensemble is divided among N processes. Compiled programs are
    kept in the user's cache folder, unless `--no-cache` is among them. Where the reader of
    the output has left, as `head` does, nothing is said.
    """
    jax.config.update("jax_enable_x64", True)
    commands = {
        "recipe": recipe,
        "flow": flow,
        "compare": compare,
        "classify": classify,
        "phase": phase,
        "train": train,
        "diagnose": diagnose,
    }
    args = sys.argv[1:] if args is None else args
    if list(args) == ["--version"]:
        print(f"eft {eft.__version__}")
        return 0
    try:
        if "--no-cache" not in args:
            keep_programs(user_folder("eft"))
        check_given_once(args)
        args, count = processes.split([word for word in args if word != "--no-cache"])
        if count > 1:
            return processes.launch(args, count)
        processes.join()
        with processes.terminated_with_a_word(args):
            return tyro.extras.subcommand_cli_from_dict(
                commands, prog="eft", description=DESCRIPTION, args=args
            )
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # takes what Python writes when it ends
        return 1
    except (ArgumentError, ArgumentTypeError, ArchiveError, CheckpointError, OSError) as error:
        if jax.process_index() == 0:
            processes.complain(" ".join(str(error).split()))
        return 2 if isinstance(error, ArgumentError | ArgumentTypeError) else 1
    except KeyboardInterrupt:
        processes.complain(f"interrupted{processes.kept(args)}")
        return processes.BY_SIGNAL + signal.SIGINT


def check_given_once(args: Sequence[str]) -> None:
    """Raise ArgumentError if a list is given in two parts: the parser would take the last and say nothing."""
    options = [word.partition("=")[0] for word in args]
    for option, example in LISTS.items():
        if (times := options.count(option)) > 1:
            raise ArgumentError(
                f"{option} must be given once; got it {times} times; several are one list, {example}"
            )

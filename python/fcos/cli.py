"""The command line: fcos train | eval | data | show | detect | convert | scenes | demo."""

from __future__ import annotations

import argparse
import io
import os
import select
import signal
import sys
from collections.abc import Sequence
from importlib import import_module

from .distributed.launch import Launch, quiet_but_the_first, read_launch
from .errors import TrainingError, UserError
from .interrupts import Interrupted, ignore_signals
from .memory import ADVICE, is_out_of_memory
from .options.commands import make_parser
from .options.overrides import add_pairs, read_config

# what the extra `detector` has and nothing can replace, and what fcos_ops needs itself
PACKAGES = ("torch", "numpy", "PIL", "pycocotools", "tqdm", "matplotlib", "msgspec")
_STDOUT = 1  # the descriptor


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options; those of `fcos train` with what KEY=VALUE and --config say."""
    parser = make_parser()
    options, rest = parser.parse_known_args(arguments)
    if options.command != "train":
        if rest:
            parser.error(f"unrecognized arguments: {' '.join(rest)}")
        return options
    try:
        add_pairs(options, rest)
    except UserError as error:
        options.wrong_usage(str(error))
    options.file = read_config(options.config) if options.config is not None else {}
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command: arguments, or those of this process, which is then expected to end.

    Returns:
        0: done. 1: `detect` or `show` could not read some of the images. 2: an error, one line on
        stderr. 128 + the number of the signal that interrupted it; SIGPIPE where stdout goes to a
        program that ended, such as `head`.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        # names of files and classes hold what not every terminal or log can
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        launch = read_launch()
    except UserError as error:
        return _fail(f"error: {error}", 2)
    who = launch.prefix
    try:
        with quiet_but_the_first(launch):
            status = _run(_parse(arguments), launch)
            if sys.stdout is not None:  # a shell may close it: >&-
                sys.stdout.flush()
            return status
    except (UserError, TrainingError, OSError) as error:
        if isinstance(error, BrokenPipeError) and _is_closed(_STDOUT):
            _forget(_STDOUT)
            return 128 + signal.SIGPIPE
        return _fail(f"{who}error: {error}", 2)
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        if package not in PACKAGES:
            raise
        return _fail(f"{who}error: {package} is missing: pip install 'fcos_ops[detector]'", 2)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return _fail(f"{who}error: {ADVICE}", 2)
    except Interrupted as error:
        if arguments is None:
            ignore_signals()
        return _fail(f"{who}interrupted by {error}", 128 + error.number)
    except KeyboardInterrupt:
        return _fail(f"{who}interrupted", 130)


def _run(options: argparse.Namespace, launch: Launch) -> int:
    if launch.world > 1:
        if options.command not in ("train", "evaluate"):
            raise UserError(
                "WORLD_SIZE must be 1 for all commands but train and eval, which alone share their "
                f"work among processes, got {launch.world}"
            )
        # torch reads it once. Its warnings of lost connections are a page of addresses each
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    if options.command in ("train", "evaluate", "show"):
        from .commands import given_data  # needs no torch: an error of the data is said in a second

        given_data.read_early(options)
    # here, so that --help needs none of the extra packages
    command = import_module(f".commands.{options.command}", __package__)
    return command.run(options) or 0


def _is_closed(stdout: int) -> bool:
    """Whether nobody reads it any more."""
    poll = select.poll()
    poll.register(stdout, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _forget(stdout: int) -> None:
    """What it still holds, of which Python would complain at exit."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stdout)
    os.close(null)


def _fail(message: str, status: int) -> int:
    print("fcos:", " ".join(line.strip() for line in message.splitlines()), file=sys.stderr)
    return status

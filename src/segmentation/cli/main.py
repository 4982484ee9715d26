"""``segment <command> [hydra overrides]``: from the arguments to an exit code.

Light: Hydra and all that computes are imported by `hydra_app` and the commands, when one runs.
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import sys
from importlib import import_module
from typing import TextIO

from segmentation.cli.commands import COMMANDS, usage
from segmentation.cli.exit_codes import DONE, FAULT, INTERRUPTED, WRONG_INPUT, fail, guarded
from segmentation.runtime import interrupts
from segmentation.runtime.redaction import masked

#: What asks Hydra to complete a word, or to print what makes the shell ask for it.
COMPLETION = {"-sc", "--shell-completion"}
MULTIRUN = {"-m", "--multirun"}


def main() -> None:
    """Entry point of the ``segment`` command."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line; returns its exit code.

    Parameters
    ----------
    arguments : list of str
        The command and its Hydra overrides and flags.

    Examples
    --------
    >>> run(["fitt"])
    2
    """
    if COMPLETION & {*arguments}:
        from segmentation.cli.hydra_app import complete

        return complete(arguments)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage())
        return DONE
    command, *rest = arguments
    if command == "--version":
        from importlib.metadata import version

        print(f"segment {version('customer-segments')}")
        return DONE
    if command not in COMMANDS:
        known = ", ".join(COMMANDS)
        print(f"segment: there is no command {command!r}. Allowed: {known}.", file=sys.stderr)
        return WRONG_INPUT
    rest = [part for argument in rest for part in _split(argument)]
    # argparse takes no positional after a flag between positionals; Hydra's -m stands anywhere.
    rest.sort(key=lambda argument: argument not in MULTIRUN)
    if MULTIRUN & {*rest} and {"-c", "--cfg"} & {*rest}:
        message = "--cfg shows one configuration: leave out -m, or the lists of values."
        return fail(message, WRONG_INPUT)
    return _run(command, rest)


def _run(command: str, overrides: list[str]) -> int:
    code = FAULT
    # SIGTERM ends a run as KILLED just as Ctrl-C does.
    interrupts.listen()
    try:
        # Hydra names a failed job with its overrides, and a debug traceback names anything.
        with contextlib.redirect_stderr(_Masked(sys.stderr)):
            code = guarded(lambda: _compose_and_run(command, overrides))
    finally:
        if "segmentation.cli.hydra_app" in sys.modules:
            import_module("segmentation.cli.hydra_app").close(interrupted=code == INTERRUPTED)
    return code


def _compose_and_run(command: str, overrides: list[str]) -> None:
    from segmentation.cli import hydra_app

    hydra_app.run(command, overrides)


def _split(argument: str) -> list[str]:
    # An MLproject parameter arrives as ONE argument: `overrides=a=1 b=2` stands for `a=1 b=2`.
    given = argument.removeprefix("overrides=")
    parts = [argument] if given == argument else shlex.split(given)
    # local[2] is Spark's way to write it, and Hydra's grammar does not take it.
    parts = [re.sub(r"^(engine\.master=)(local\[.*\])$", r"\1'\2'", part) for part in parts]
    # Hydra takes no new names in a mapping, as in features.weights={age: 2}, unless it shall add
    # them; a name that should not be there is refused by `config.load`.
    return [f"++{part}" if re.match(r"[\w.]+=\{", part) else part for part in parts]


class _Masked(io.TextIOBase):
    """A stream that takes user and password out of addresses."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        return self._stream.write(masked(text))

    def flush(self) -> None:
        self._stream.flush()

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()

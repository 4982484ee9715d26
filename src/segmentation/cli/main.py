"""Run ``segment <command> [hydra overrides]`` and return its exit code.

This module imports nothing heavy: `hydra_app` imports Hydra, and a command imports what it needs
when it runs.
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import sys
from collections.abc import Mapping
from importlib import import_module
from typing import TextIO

from segmentation.cli.commands import COMMANDS, usage
from segmentation.cli.exit_codes import DONE, FAULT, INTERRUPTED, WRONG_INPUT, fail, guarded
from segmentation.runtime import interrupts
from segmentation.runtime.redaction import masked

#: Flags of Hydra's shell completion, which completes a word or prints the script to install it.
COMPLETION = {"-sc", "--shell-completion"}
MULTIRUN = {"-m", "--multirun"}


def main() -> None:
    """Entry point of the ``segment`` command."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code.

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
    short = COMMANDS[command].short
    rest = [_in_full(part, short) for argument in rest for part in _split(argument)]
    # Hydra allows -m anywhere, but argparse accepts no positionals after a flag between them.
    rest.sort(key=lambda argument: argument not in MULTIRUN)
    if MULTIRUN & {*rest} and {"-c", "--cfg"} & {*rest}:
        message = "--cfg shows a single configuration: leave out -m or the lists of values."
        return fail(message, WRONG_INPUT)
    return _run(command, rest)


def _run(command: str, overrides: list[str]) -> int:
    code = FAULT
    # SIGTERM marks a run KILLED, as Ctrl-C does.
    interrupts.listen()
    try:
        # Hydra prints the overrides of a failed job, and a debug traceback may print anything.
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
    # An MLproject parameter arrives as ONE argument: `overrides=a=1 b=2` means `a=1 b=2`.
    given = argument.removeprefix("overrides=")
    parts = [argument] if given == argument else shlex.split(given)
    # Spark writes local[2], which Hydra's grammar accepts only in quotes.
    parts = [re.sub(r"^(engine\.master=)(local\[.*\])$", r"\1'\2'", part) for part in parts]
    # Hydra rejects new keys in a mapping, as in features.weights={age: 2}, unless ++ adds them.
    # `config.load` rejects those that are not allowed.
    return [f"++{part}" if re.match(r"[\w.]+=\{", part) else part for part in parts]


def _in_full(part: str, short: Mapping[str, str]) -> str:
    """Return an override with the key in full if it was typed in its short form."""
    key, equals, value = part.partition("=")
    return f"{short.get(key, key)}{equals}{value}"


class _Masked(io.TextIOBase):
    """A stream that removes user names and passwords from addresses."""

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

"""The ``segment`` command: `run` takes its arguments and returns its exit code."""

from segmentation.cli.main import run

__all__ = ["run"]

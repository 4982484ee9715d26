"""The few exceptions that reach a user; the command line maps them to exit codes."""

from __future__ import annotations


class SegmentationError(Exception):
    """Something the user can put right: its message says what, where, and what to do."""


class DataError(SegmentationError):
    """The customer file, or a value in it, cannot be used."""


class ConfigError(SegmentationError):
    """An option has a value that is not allowed, or options contradict each other."""


class TrackingError(SegmentationError):
    """The MLflow store cannot be reached, read or written."""


class RegistryError(SegmentationError):
    """A model version cannot be registered, promoted or loaded."""


class GateRefused(RegistryError):  # noqa: N818  (named for what happened: no fault occurred)
    """The model could be promoted, but a rule says that it should not be; exit code 3."""


def not_set(key: str, example: str = "VALUE") -> str:
    """Message for a config key that must be given."""
    return f"{key} is not set; give it, for example {key}={example}"

"""The exceptions shown to users; the command line maps them to exit codes."""

from __future__ import annotations


class SegmentationError(Exception):
    """An error the user can correct: the message says what is wrong, where, and what to do."""


class DataError(SegmentationError):
    """The customer file, or a value in it, cannot be used."""


class ConfigError(SegmentationError):
    """An option has a value that is not allowed, or options contradict each other."""


class UntrustedConfigError(ConfigError):
    """A stored config names what is not followed without the user's consent."""


class TrackingError(SegmentationError):
    """The MLflow store cannot be reached, read or written."""


class RegistryError(SegmentationError):
    """A model version cannot be registered, promoted or loaded."""


class GateRefused(RegistryError):  # noqa: N818  (named for what happened: no fault occurred)
    """A promotion rule refused a model that could otherwise be promoted; exit code 3."""


def not_set(key: str, example: str = "VALUE") -> str:
    """Return the message for a required config key that is missing."""
    return f"{key} is not set; set it, for example {key}={example}"

"""Parsing of Hydra's error messages, whose text is not part of its public interface.

An override with an unknown key raises the same class as any other mistake in a config. Usually the
OmegaConf error that caused it carries the key. When Hydra takes the key for a config group, only
the message contains it. Parsing it lets us print the allowed keys and the closest match in one
line. If the text changes, the user sees Hydra's own message. `tests/cli/test_compat.py` fails when
hydra-core changes it; checked with 1.3.2 to 1.3.8.
"""

from __future__ import annotations

import re

from hydra.errors import (
    ConfigCompositionException,
    MissingConfigException,
    OverrideParseException,
)
from omegaconf.errors import ConfigAttributeError, ConfigKeyError

from segmentation.config import first_line


def unknown_key(error: Exception) -> str | None:
    """Return the key that the config does not have, if that is the mistake.

    Parameters
    ----------
    error : Exception
        Raised by Hydra or OmegaConf.
    """
    if not isinstance(error, ConfigCompositionException):
        return None
    cause = error.__cause__
    if isinstance(cause, ConfigAttributeError | ConfigKeyError) and cause.full_key:
        return str(cause.full_key)
    found = re.search(r"Could not override '([^'@]+)'", str(error))
    return found.group(1) if found else None


def composition_error(error: Exception) -> str:
    """Describe any other mistake in a config in a sentence or two."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if isinstance(error, MissingConfigException) and error.options:
        group = str(error.missing_cfg_file).rpartition("/")[0]
        options = ", ".join(error.options)
        return f"{lines[0].rstrip('.')}. Available options in '{group}': {options}."
    if isinstance(error, OverrideParseException):
        return (
            f"{lines[0]} Quote values with spaces, brackets or comparisons twice, as in "
            """'data.path="customers (1).csv"', 'filter="metrics.k > 3"'."""
        )
    cause = f" ({first_line(error.__cause__)})" if error.__cause__ else ""
    lines = [line for line in lines if not line.startswith(("full_key", "object_type"))]
    return " ".join(lines[:2]) + cause

"""What rests on the text of Hydra's errors, which is no part of its interface.

An override that names an unknown key raises the same class as any other mistake in a config. Most
carry the key in the OmegaConf error that caused them; one that Hydra takes for a group has it in
the text alone. Reading it buys a message with the allowed keys and the closest one, in one line.
Where the text is another, Hydra's own message is shown. `tests/cli/test_compat.py` fails when
hydra-core changes it; checked on 1.3.2 to 1.3.8.
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
    """The key that the config has not, where that is the mistake.

    Parameters
    ----------
    error : Exception
        Of Hydra or OmegaConf.
    """
    if not isinstance(error, ConfigCompositionException):
        return None
    cause = error.__cause__
    if isinstance(cause, ConfigAttributeError | ConfigKeyError) and cause.full_key:
        return str(cause.full_key)
    found = re.search(r"Could not override '([^'@]+)'", str(error))
    return found.group(1) if found else None


def composition_error(error: Exception) -> str:
    """Any other mistake in a config, in a sentence or two."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if isinstance(error, MissingConfigException) and error.options:
        group = str(error.missing_cfg_file).rpartition("/")[0]
        options = ", ".join(error.options)
        return f"{lines[0].rstrip('.')}. Available options in '{group}': {options}."
    if isinstance(error, OverrideParseException):
        return (
            f"{lines[0]} Quote values with spaces, brackets or comparisons, inside and out: "
            """'data.path="customers (1).csv"', 'filter="metrics.k > 3"'."""
        )
    cause = f" ({first_line(error.__cause__)})" if error.__cause__ else ""
    lines = [line for line in lines if not line.startswith(("full_key", "object_type"))]
    return " ".join(lines[:2]) + cause

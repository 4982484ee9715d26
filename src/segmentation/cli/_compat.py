"""What rests on Hydra's messages: the text of its errors is no part of its interface.

hydra-core 1.3 raises one class for a wrong key, a wrong option and a wrong type, and tells them
apart in the text alone. Reading the text buys messages that name the allowed keys or options in a
line. Where a text is not known, the first lines of Hydra's own message are shown: nothing breaks.
``tests/cli/test_compat.py`` fails when a text changes.
"""

from __future__ import annotations

import re

from hydra.errors import ConfigCompositionException

from segmentation.config import first_line

#: The parser's words (ANTLR's) for an override that it cannot read.
_NO_GRAMMAR = "LexerNoViableAlt|mismatched input|no viable alternative|extraneous"


def unknown_key(error: Exception) -> str | None:
    """The key that an override names and the config lacks; None for another error."""
    if not isinstance(error, ConfigCompositionException):
        return None
    text = str(error)
    found = re.search(r"Could not override '([^'@]+)'|Key '([^']+)' is not in struct", text)
    return (found.group(1) or found.group(2)) if found else None


def composition_error(error: Exception) -> str:
    """Any other error of composing a config, in one sentence or two."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = "\n".join(lines)
    if "Available options" in text:
        # "Could not find 'scaling/nope'", "Available options in 'scaling':", one a line, a path.
        head = next(i for i, line in enumerate(lines) if line.startswith("Available options"))
        lines = [*lines, "Config search path:"]
        lines = lines[: lines.index("Config search path:")]
        return f"{' '.join(lines[:head])}. {lines[head]} {', '.join(lines[head + 1 :])}."
    if re.search(_NO_GRAMMAR, text):
        return (
            f"{lines[0]} Quote values with spaces, brackets or comparisons, inside and out: "
            """'data.path="customers (1).csv"', 'filter="metrics.k > 3"'."""
        )
    cause = f" ({first_line(error.__cause__)})" if error.__cause__ else ""
    lines = [line for line in lines if not line.startswith(("full_key", "object_type"))]
    return " ".join(lines[:2]) + cause

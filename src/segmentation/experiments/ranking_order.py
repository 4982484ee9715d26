"""What runs are ranked by. Imports nothing, so that ``segment --help`` can read it."""

from __future__ import annotations

#: The criteria in their order: how readers call them, by column of the ranking.
CRITERIA = {
    "structure": "structure",
    "careful": "warnings",
    "confidence": "confidence",
    "stability": "stability",
    "gap": "gap",
    "k": "number of segments",
}
*_FIRST, _LAST = CRITERIA.values()
#: The order in words.
ORDER = f"{', '.join(_FIRST)} and {_LAST}"

"""The code that models of this project hold, by its digest; any other is refused before it runs.

A model brings its own code ("models from code"), which MLflow runs when it loads the model. Whoever
can write to the artifacts of a store can change that file, so a command runs only code listed here.
The list stands in the package, out of their reach.
"""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

#: The file that is copied into each model, and the name it had before.
CODE = Path(__file__).with_name("segment_model.py")
CODE_NAMES = (CODE.name, "model.py")
#: SHA-256 of each version of the file that was released or stood on the main branch, oldest first.
#: Add a line whenever the file changes and never remove one: models made with it still exist.
RELEASED = (
    "3e485a61830b80f6efe9e555519db1be8de717397728ebdebdc4c775cb5e7aab",  # 0.1.0, its first commit
    "9283e4253aa71666f9aa49ecbfc061896a121aa5331cde6f993c6d84be5dd90f",  # 0.1.0
    "c4b9bc4ccf5df3f9ff2528c773b0a3c49d6d854c1798e6c9ddd1bf3f576470f7",  # after 0.1.0: rooms
    "fb0f875c721c34d3aba3a72d001853066c75e263d936a25521caa3436b96ed09",  # one owner of the file
    "2a4b77969bcaf286460d1934ea96c660c9785e08f4ece36f6360c44b471a0c59",  # reworded messages
)
#: Number of the newest code this package knows; a model with a higher one is of a newer version.
#: The first line is number 0: it was added after models had been logged with numbers of the others.
NEWEST = len(RELEASED) - 1


def is_ours(digest: str) -> bool:
    """Return whether a released version, or the installed one, made code with this digest.

    The installed file counts whatever it holds: it runs anyway, and a checkout may have converted
    its line ends.
    """
    return digest in RELEASED or digest == installed_digest()


def number(digest: str) -> int:
    """Return the number of the code with this digest; `NEWEST` if it is not listed.

    Examples
    --------
    >>> number(RELEASED[2])
    2
    """
    return RELEASED.index(digest) if digest in RELEASED else NEWEST


@functools.cache
def installed_digest() -> str:
    """Return the SHA-256 of the file as it is installed."""
    return hashlib.sha256(CODE.read_bytes()).hexdigest()

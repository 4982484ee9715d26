"""Names that are made from column names, unique whatever the columns are called."""

from __future__ import annotations

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Sequence

from segmentation.errors import DataError


def free_name(name: str, role: str, taken: Collection[str]) -> str:
    """Return a name like ``segment (id)`` that is not taken.

    Parameters
    ----------
    name : str
    role : str
        What the column is, such as "id".
    taken : collection of str

    Examples
    --------
    >>> free_name("segment", "id", {"segment"})
    'segment (id)'
    >>> free_name("segment", "id", {"segment", "segment (id)"})
    'segment (id 2)'
    """
    free, number = f"{name} ({role})", 1
    while free in taken:
        number += 1
        free = f"{name} ({role} {number})"
    return free


def kept_names(
    names: Sequence[str],
    added: Collection[str],
    *,
    source: str,
    features: Collection[str],
    id: str | None,
) -> dict[str, str]:
    """Return the names under which a table's columns are written beside the columns scoring adds.

    Parameters
    ----------
    names : sequence of str
        The table's columns.
    added : collection of str
        The columns scoring adds.
    source : str
        The table, for the message.
    features : collection of str
        Those of `names` that the model needs.
    id : str, optional
        The one that identifies customers.

    Raises
    ------
    DataError
        Another column has the name of an added one: the table was probably scored before.
    """
    kept = {}
    for name in names:
        kept[name] = name
        if name in added:
            if name != id and name not in features:
                raise DataError(
                    f"{source} already has a column '{name}', which scoring adds: was it scored "
                    "before? Rename or remove the column."
                )
            role = "id" if name == id else "column"
            kept[name] = free_name(name, role, {*names, *added})
    return kept


def unique_keys(
    names: Sequence[str], allowed: Callable[[str], str], *, longest: int
) -> dict[str, str]:
    """Return a key of allowed characters for each name; no two names have the same.

    A key is the allowed form of its name. If that is too long, or two names share it, it is
    followed by a digest of the name, except for the name that is its own allowed form. Keys that
    differ only in case or accents count as the same, as in some databases.

    Parameters
    ----------
    names : sequence of str
        Unique.
    allowed : callable
        Returns a name without the characters that are not allowed.
    longest : int
        Longest key, above 100.

    Examples
    --------
    >>> import re
    >>> unique_keys(["a.b", "a/b", "a_b"], lambda name: re.sub("[./]", "_", name), longest=200)
    {'a.b': 'a_b_2e7336dc', 'a/b': 'a_b_c14cddc0', 'a_b': 'a_b'}
    """
    forms = {name: allowed(name) for name in names}
    sharing = Counter(_folded(form) for form in forms.values())
    # The first in the order of their texts, so that the order of the columns does not matter.
    plain = {_folded(name): name for name in sorted(names, reverse=True) if forms[name] == name}
    for digits in range(8, 65, 8):
        keys = {}
        for name, form in forms.items():
            is_plain = sharing[_folded(form)] == 1 or plain.get(_folded(form)) == name
            if is_plain and len(form) <= longest:
                keys[name] = form
            else:
                digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:digits]
                keys[name] = f"{form[: longest - digits - 1]}_{digest}"
        if len({_folded(key) for key in keys.values()}) == len(keys):
            break
    return keys


def _folded(text: str) -> str:
    apart = unicodedata.normalize("NFKD", text)
    return "".join(c for c in apart if not unicodedata.combining(c)).casefold().rstrip()

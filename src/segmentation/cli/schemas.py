"""Schemas built from the lines of a table, for Hydra to check configs against."""

from __future__ import annotations

import functools
from dataclasses import field, make_dataclass

from segmentation import config
from segmentation.registry import gates


def promote_schema() -> type[config.PromoteConfig]:
    """Return `segmentation.config.PromoteConfig` with one key per gate in ``promotion``."""
    return _promote_schema(gates.rules_type())


@functools.lru_cache(maxsize=8)
def _promote_schema(rules: type) -> type[config.PromoteConfig]:
    promotion = ("promotion", rules, field(default_factory=rules))
    made = make_dataclass("PromoteConfig", [promotion], bases=(config.PromoteConfig,))
    made.__module__ = __name__
    return made


#: By this name pickle finds the class again. Pickled by value, as loky would do it, a dataclass
#: comes back without the sentinel that marks fields without a default.
PromoteConfig = promote_schema()

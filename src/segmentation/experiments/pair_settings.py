"""Settings that differ between two runs: data, config, code and packages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from segmentation.evaluation.formats import short_digest
from segmentation.runtime.redaction import masked
from segmentation.tracking.run_lookup import LoggedSegmentation

#: Keys of a config that do not affect the result.
_OTHER_KEYS = ("tracking", "run_id", "force")
#: Settings that every run logs, also without a config.
_LOGGED = ("features", "scaling", "k_min", "k_max", "choice", "engine", "effort", "seed")


@dataclass(frozen=True)
class Difference:
    """A setting that differs, with its value in each run as text; None if it is not set."""

    setting: str
    a: str | None
    b: str | None


def differences(a: LoggedSegmentation, b: LoggedSegmentation) -> Iterator[Difference]:
    """Yield what differs: the data first, then the config, then code and packages."""
    yield from _unequal("data", a.row["data"], b.row["data"])
    yield from _unequal("data SHA-256", *(_short(run.row["data_sha256"]) for run in (a, b)))
    yield from _unequal("customers", f"{a.population:,}", f"{b.population:,}")
    if a.config is None or b.config is None:
        for name in _LOGGED:
            yield from _unequal(name, a.row[name], b.row[name])
    else:
        for setting, one, other in _unequal_keys(_settings(a.config), _settings(b.config)):
            yield Difference(setting, _text(one), _text(other))
    yield from _unequal("code", a.row["code_version"], b.row["code_version"])
    # If the packages of one run are not known, every version would differ.
    if a.packages and b.packages:
        for name in sorted({*a.packages, *b.packages}):
            yield from _unequal(name, a.packages.get(name), b.packages.get(name))


def same_features(a: LoggedSegmentation, b: LoggedSegmentation) -> bool:
    """Return whether both runs clustered on the same columns in the same way."""
    if a.config is None or b.config is None:
        return False
    # `profile` lists columns that only describe the segments.
    one, other = (
        {k: v for k, v in _settings(config)["features"].items() if k not in ("name", "profile")}
        for config in (a.config, b.config)
    )
    return not [*_unequal_keys(one, other)]


def same_part(a: LoggedSegmentation, b: LoggedSegmentation, key: str) -> bool:
    """Return whether both configs have the same values below `key`."""
    if a.config is None or b.config is None:
        return False
    return not [*_unequal_keys({key: a.config.get(key)}, {key: b.config.get(key)})]


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a config that affects the result."""
    own = {key: value for key, value in config.items() if key not in _OTHER_KEYS}
    data = {**(own.get("data") or {})}
    # With features=auto, the data source names the columns.
    auto = data.pop("default_features", None)
    features = own.get("features") or {}
    if auto and features.get("columns") is None:
        features = {**features, **auto}
    return {**own, "data": data, "features": features}


def _unequal(setting: str, a: str | None, b: str | None) -> Iterator[Difference]:
    if a != b:
        yield Difference(setting, a, b)


def _unequal_keys(
    a: Mapping[str, Any], b: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    """Yield dotted key and both values of all that differs; None for a missing key.

    Mappings without a common key, such as two tables of new column names, are one value each.
    """
    for key in dict.fromkeys([*a, *b]):
        one, other = a.get(key), b.get(key)
        if isinstance(one, Mapping) and isinstance(other, Mapping) and one.keys() & other.keys():
            yield from _unequal_keys(one, other, f"{prefix}{key}.")
        elif one != other and not (_is_unset(one) and _is_unset(other)):
            yield f"{prefix}{key}", one, other


def _is_unset(value: Any) -> bool:
    """Return whether a value means "default"; an earlier version may lack the key."""
    if isinstance(value, Mapping):
        return all(_is_unset(each) for each in value.values())
    return value is None or value == []


def _text(value: Any) -> str | None:
    """Return a value as one would write it on the command line; None if it is not set."""
    if value is None:
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(_inner, value))}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key}: {_inner(each)}' for key, each in value.items())}}}"
    return masked(str(value))


def _inner(value: Any) -> str:
    text = _text(value)
    return "null" if text is None else text


def _short(digest: object) -> str:
    return short_digest(str(digest))

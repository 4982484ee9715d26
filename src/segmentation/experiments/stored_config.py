"""The config of a logged run is data: nothing in it is resolved, no address in it followed unasked.

It is an artifact, which others may be able to write. Read with the rights of whoever reruns or
promotes the run, an interpolation such as ``${oc.env:PASSWORD}`` would show them a secret, and an
address would send one to a host of their choice.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mlflow.entities import Run

from segmentation.errors import ConfigError, TrackingError, UntrustedConfigError
from segmentation.runtime.progress import Say, silent
from segmentation.runtime.redaction import MASK, masked_url
from segmentation.tracking import runs
from segmentation.tracking.ownership import shared_with
from segmentation.tracking.store import Store

#: What reading the customers of a run needs of its config.
CUSTOMERS = ("data", "features", "engine", "seed")
#: What `segmentation.runtime.redaction.kept_url` stores instead of an address.
_VARIABLE = re.compile(r"\$\{oc\.env:(\w+)\}")
#: A path with a scheme of two letters or more, which is neither a drive nor a local file.
_REMOTE = re.compile(r"(?!file:)[A-Za-z][\w+.-]+:")
_LONGEST = 400


def for_customers(
    store: Store, run: Run, *, trust: bool = False, say: Say = silent
) -> dict[str, Any]:
    """Return the part of a run's config that says where its customers are, ready to be read.

    Parameters
    ----------
    store, run, trust, say
        See `cleared`.
    """
    stored = runs.stored_config(store, str(run.info.run_id))
    parts = {key: stored[key] for key in CUSTOMERS if key in stored}
    return cleared(parts, store=store, run=run, trust=trust, say=say)


def cleared(
    config: Mapping[str, Any],
    *,
    store: Store,
    run: Run,
    given: Iterable[str] = (),
    trust: bool = False,
    say: Say = silent,
) -> dict[str, Any]:
    """Return a stored config that may be used, with the address of its database filled in.

    Parameters
    ----------
    config : mapping
        The config of the run, or a part of it; nothing in it is resolved.
    store : Store
    run : Run
    given : iterable of str
        Keys that this user has set, which are not checked.
    trust : bool
        Connect to the addresses in the config, whoever may have written them.
    say : callable
        Receives a line that names the addresses before anything connects to them.

    Raises
    ------
    UntrustedConfigError
        It holds an interpolation, or an address that others may have written.
    ConfigError
        The environment variable that held the address of the database is not set.
    TrackingError
        It is not a config.
    """
    given = tuple(given)
    for key in ("data", "features"):
        if not isinstance(config.get(key), Mapping):
            raise TrackingError(
                f"run {run.info.run_id}: its stored config ({runs.CONFIG_FILE}) has no {key}. "
                "Give the configuration itself instead of run_id."
            )
    _refuse_interpolations(config, given, str(run.info.run_id))
    data = dict(config["data"])
    places = []
    if not {"data.url", "data.query"} <= _covered(given, "data.url", "data.query"):
        url, place = _database(data, str(run.info.run_id))
        if place is not None:
            data["url"] = url
            places.append(place)
    places += _other_places(config, given)
    if places:
        _clear_to_connect(" and ".join(places), store, run, trust, say)
    return {**config, "data": data}


def _refuse_interpolations(config: Mapping[str, Any], given: tuple[str, ...], run_id: str) -> None:
    for key, text in _texts(config):
        if "${" not in text or _covered(given, key):
            continue
        if key == "data.url" and _VARIABLE.fullmatch(text):
            continue
        raise UntrustedConfigError(
            f"run_id={run_id}: {key} is {text!r} in its stored config. Nothing in a stored config "
            "is resolved: `segment fit` writes it resolved, so somebody may have changed it. If "
            f"the text is right as it is, give {key} on the command line, and write "
            "\\${ instead of ${."
        )


def _texts(node: object, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield every text in a config with its key; a key that is a text counts too."""
    if isinstance(node, str):
        yield key, node
    elif isinstance(node, Mapping):
        for name, value in node.items():
            inner = f"{key}.{name}" if key else str(name)
            if "${" in str(name):
                yield inner, str(name)
            yield from _texts(value, inner)
    elif isinstance(node, list):
        for value in node:
            yield from _texts(value, key)


def _covered(given: tuple[str, ...], *keys: str) -> set[str]:
    """Return those of the keys that this user has set, alone or with their group."""
    return {key for key in keys if any(f"{key}.".startswith(f"{each}.") for each in given)}


def _database(data: Mapping[str, Any], run_id: str) -> tuple[str, str | None]:
    """Return the address of the database and how to name it; no name if nothing can connect."""
    from segmentation.data import sql

    url = data.get("url")
    # As stored without its credentials, it is refused where it is read.
    if not isinstance(url, str) or (MASK in url and masked_url(url) == url):
        return "", None
    query = " ".join(str(data.get("query")).split())
    query = query if len(query) <= _LONGEST else f"{query[:_LONGEST]}…"
    variable = _VARIABLE.fullmatch(url)
    if variable is None:
        return url, f"{masked_url(url)} (data.url) with the query {query!r}"
    name = variable[1]
    value = os.environ.get(name)
    if value is None:
        raise ConfigError(
            f"run_id={run_id}: the address of its database is in the environment variable {name}, "
            f"which is not set. Set it, or give the address: 'data.url=${{oc.env:{name}}}'."
        )
    host = sql.host(value)
    if host is None:
        raise UntrustedConfigError(
            f"run_id={run_id}: data.url is the environment variable {name} in its stored config, "
            "but that does not hold the address of a database. Correct the variable, or give "
            "data.url and data.query on the command line."
        )
    return value, f"{host} (the environment variable {name}) with the query {query!r}"


def _other_places(config: Mapping[str, Any], given: tuple[str, ...]) -> list[str]:
    """Name the other hosts that reading the customers would connect to."""
    engine = config.get("engine")
    master = engine.get("master") if isinstance(engine, Mapping) else None
    found = []
    for key in ("path", "table"):
        value = str(config["data"].get(key) or "")
        remote = "://" in value if key == "table" else _REMOTE.match(value)
        if remote and not _covered(given, f"data.{key}"):
            found.append(f"{masked_url(value)} (data.{key})")
    if master and not str(master).startswith("local") and not _covered(given, "engine.master"):
        found.append(f"the Spark master {master} (engine.master)")
    return found


def _clear_to_connect(places: str, store: Store, run: Run, trust: bool, say: Say) -> None:
    reason = None if trust else shared_with(store, run)
    if reason is None:
        say(f"Connecting to the address stored in run {run.info.run_id}: {places}")
        return
    raise UntrustedConfigError(
        f"run_id={run.info.run_id}: its stored config connects to {places}. Somebody else may have "
        f"written that: {reason}. If it is right, add trust=true."
    )

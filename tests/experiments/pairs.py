"""Runs as the store gives them, without fitting any, to compare with each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from segmentation.experiments.run_pair import RunPair, compare_pair
from segmentation.tracking.run_lookup import LoggedSegmentation
from segmentation.tracking.run_metrics import EVIDENCE_VERSION

CONFIG: dict[str, Any] = {
    "data": {"source": "csv", "path": "customers.csv", "id": "customer", "rename": {}},
    "features": {"name": "money", "columns": ["age", "income"], "log1p": [], "weights": {}},
    "scaling": {"name": "standard"},
    "k": {"min": 1, "max": 8},
    "compare": {"reference": None},
    "seed": 0,
}
METRICS = {
    "stability": 0.9,
    "stability_high": 0.95,
    "gap": 3.0,
    "gap_se": 0.1,
    "silhouette": 0.5,
    "explained_variance": 0.6,
    "wcss": 100.0,
    "reference_silhouette": 0.4,
    "reference_explained_variance": 0.5,
    "reference_wcss": 200.0,
}


def logged(
    labels: Sequence[int],
    *,
    ids: Sequence[str] | None = None,
    id_name: str = "customer",
    names: Sequence[str] | None = None,
    columns: Sequence[str] = ("age", "income"),
    config: Mapping[str, Any] | None = CONFIG,
    customers: bool = True,
    packages: Mapping[str, str] | None = None,
    sample: Sequence[int] | None = None,
    population: int | None = None,
    **row: Any,
) -> LoggedSegmentation:
    """A run that put the customers, "1", "2" and so on by default, into these segments."""
    found = np.asarray(labels)
    k = int(found.max()) + 1
    sizes = np.bincount(found)
    ids = [str(i + 1) for i in range(len(found))] if ids is None else ids
    values = dict.fromkeys(METRICS, np.nan) | METRICS
    return LoggedSegmentation(
        row={
            "run": f"money·standard·k{k}",
            "features": "money",
            "scaling": "standard",
            "k": k,
            "structure": "yes",
            "confidence": "agreed",
            **values,
            "smallest_share": 0.1,
            "seed": "0",
            "choice": "evidence",
            "k_min": "1",
            "k_max": "8",
            "engine": "sklearn",
            "effort": "default",
            "data": "customers.csv",
            "config_hash": "c0",
            "code_version": "1+a",
            "careful": None,
            "evidence_version": EVIDENCE_VERSION,
            "partition": None,
            "sweep_id": None,
            "data_sha256": "d" * 64,
            "start": pd.Timestamp("2026-01-02 03:04"),
            "run_id": f"{abs(hash((tuple(found), str(row)))):032x}",
            "artifact_uri": "file:///nowhere",
            **row,
        },
        config=config,
        packages=packages or {},
        population=len(found) if population is None else population,
        segments=pd.DataFrame(
            {
                "segment": range(k),
                "name": [f"segment {i}" for i in range(k)] if names is None else names,
                "customers": sizes,
                "share": sizes / len(found),
                **{f"median {column}": np.linspace(1, 2, k) for column in columns},
            }
        ),
        customers=pd.Series(found, pd.Index(ids, name=id_name)) if customers else None,
        sample=None if sample is None else pd.Series(sample, name="some customers"),
    )


def config(**changes: Any) -> dict[str, Any]:
    """The config with other values, by dotted key with two underscores for a dot."""
    changed = {key: dict(v) if isinstance(v, dict) else v for key, v in CONFIG.items()}
    for key, value in changes.items():
        parent, _, child = key.partition("__")
        if child:
            changed[parent][child] = value
        else:
            changed[parent] = value
    return changed


def pair_of(a: Sequence[int], b: Sequence[int], **changes: Any) -> RunPair:
    """The comparison of two runs on the same customers; changes concern the second."""
    return compare_pair(logged(a), logged(b, **changes))

"""`segment`: the whole computation as one function. It prints, writes and logs nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import TransformerMixin
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline

from segmentation.clustering import ENGINES
from segmentation.clustering.base import Clustering
from segmentation.data.customers import Customers, from_frame
from segmentation.errors import ConfigError
from segmentation.evaluation import metrics
from segmentation.evaluation.sampling import sample_rows
from segmentation.evaluation.silhouette import Silhouettes, silhouettes
from segmentation.evaluation.stability import bootstrap_stability
from segmentation.features.encoding import build_encoder, fit_transform
from segmentation.features.feature_set import FeatureSet, resolve
from segmentation.features.profile_columns import categories_of
from segmentation.features.scaling import scaling_name
from segmentation.profiling import segments
from segmentation.profiling.decision_rules import recognition_rules
from segmentation.profiling.exemplars import typical_customers
from segmentation.profiling.importance import feature_of_columns, importance
from segmentation.profiling.naming import Naming, name_segments
from segmentation.profiling.profiles import profile
from segmentation.result import SegmentationResult
from segmentation.runtime.blocks import parts
from segmentation.selection import choice as choices

#: Above this many customers, rules and permutation importance use a seeded sample.
DESCRIBED_ROWS = 10_000


@dataclass(frozen=True)
class Encoded:
    """Customers in the space that is clustered, and the rows in the form an engine needs.

    Attributes
    ----------
    customers : Customers
        All of them, or a sample if the table does not fit in memory.
    features : FeatureSet
    scaling : str
        Name of the scaling.
    encoder : ColumnTransformer
        Fitted to all customers.
    Z : ndarray of shape (n, d)
        The encoded `customers`.
    rows : ndarray or SparkRows
        All rows, as the engine's ``fit_k_range`` takes them.
    """

    customers: Customers
    features: FeatureSet
    scaling: str
    encoder: ColumnTransformer
    Z: NDArray[np.float64]
    rows: Any

    def parts(self) -> Iterator[tuple[slice, NDArray[np.float64]]]:
        """Yield the customers part by part, in double precision."""
        for part in parts(len(self.Z)):
            is_single = self.Z.dtype == np.float32
            yield part, self.encoder.transform(self.frame.iloc[part]) if is_single else self.Z[part]

    @property
    def frame(self) -> pd.DataFrame:
        """The columns that are clustered on."""
        return self.customers.frame[list(self.features.columns)]


def segment(
    frame: pd.DataFrame | Customers,
    *,
    features: FeatureSet | Sequence[str] | None = None,
    scaling: str | Mapping[str, Any] | TransformerMixin = "standard",
    k_min: int = 1,
    k_max: int = 12,
    choice: str | Mapping[str, Any] = "evidence",
    k: int | None = None,
    engine: str = "sklearn",
    effort: str = "default",
    naming: Naming | None = None,
    seed: int = 0,
    **options: Any,
) -> SegmentationResult:
    """Segment customers with K-Means: fit a range of k, choose one and describe the segments.

    Parameters
    ----------
    frame : DataFrame or Customers
        One row per customer. A column that looks like an id is not clustered on.
    features : FeatureSet or sequence of str, optional
        Columns to cluster on; by default all numeric columns except the id. Suitable other columns
        describe the segments; `FeatureSet.profile` lists them.
    scaling : str, mapping or scikit-learn transformer
        A name of `segmentation.features.scaling.SCALINGS`,
        ``{"_target_": "sklearn.preprocessing.…"}`` or an unfitted transformer.
    k_min, k_max : int
        Every k from `k_min` to `k_max` is fitted. k=1 is always fitted as well.
    choice : str or mapping
        A rule of `segmentation.selection.choice.CHOICES`, or a mapping with its ``name`` and
        options.
    k : int, optional
        The number of segments, for ``choice="fixed"`` only.
    engine : str
        A name of `segmentation.clustering.ENGINES`.
    effort : {"fast", "default", "thorough"}
        How hard the engine searches.
    naming : Naming, optional
        Words and thresholds for the segment names; plain English by default.
    seed : int
        Seed of every random step.
    **options
        Other engine options, such as ``path`` and ``polish`` of
        `segmentation.clustering.engine_table.SklearnOptions`.

    Returns
    -------
    SegmentationResult

    Raises
    ------
    DataError
        A value or column of `frame` cannot be used.
    ConfigError
        An argument is not allowed.

    Examples
    --------
    >>> from segmentation import segment
    >>> from segmentation.data.demo import generate_customers
    >>> result = segment(generate_customers(), features=["annual_income", "spending_score"])
    >>> result.k
    5
    """
    options = {"effort": effort, **options}
    check_options(k_min=k_min, k_max=k_max, engine=engine, options=options)
    choices.check(choice, k)
    if not ENGINES.line(engine).in_memory:
        raise ConfigError(
            f"engine={engine} segments a table in Spark, not one in memory: use `segment fit` or "
            "segmentation.spark.fit.segment_table."
        )
    customers = frame if isinstance(frame, Customers) else _checked(frame, features)
    feature_set = resolve(features, customers)
    encoder = build_encoder(feature_set, scaling, customers.frame)
    Z = fit_transform(encoder, customers.frame)
    return segment_encoded(
        Encoded(customers, feature_set, scaling_name(scaling), encoder, Z, rows=Z),
        k_min=k_min,
        k_max=k_max,
        choice=choice,
        k=k,
        engine=engine,
        options=options,
        naming=naming,
        seed=seed,
    )


def segment_encoded(
    encoded: Encoded,
    *,
    k_min: int,
    k_max: int,
    choice: str | Mapping[str, Any],
    k: int | None,
    engine: str,
    options: Mapping[str, Any],
    naming: Naming | None,
    seed: int,
) -> SegmentationResult:
    """Do everything after the encoding, for any engine.

    Parameters are those of `segment`, already checked; `options` are the engine's.
    """
    customers, feature_set, encoder = encoded.customers, encoded.features, encoded.encoder
    Z, search = encoded.Z, ENGINES.configured(engine, options)
    ks = sorted({1, *range(k_min, k_max + 1)})
    clusterings = search.fit_k_range(encoded.rows, ks, seed=seed)
    measured = silhouettes(Z, clusterings, seed=seed)
    curve = metrics.curve(Z, clusterings, measured)
    sources = feature_of_columns(encoder)
    chosen = choices.choose(
        choice, Z, clusterings, curve, seed=seed, k=k, k_min=k_min, features=sources
    )
    if search.improves_chosen and chosen.k > 1 and not clusterings[chosen.k].is_plain:
        # The thorough search happens here, not at promotion, so that the clustering that is
        # promoted is the one that was compared.
        improved = search.improve(encoded.rows, clusterings, chosen.k, seed=seed)
        better = {j: c for j, c in improved.items() if c.wcss < clusterings[j].wcss}
        if better:
            measured = measured.updated(silhouettes(Z, better, seed=seed))
            curve = metrics.curve(Z, improved, measured)
        clusterings = improved

    final = segments.order_by_size(clusterings[chosen.k])
    kmeans = _kmeans(final, seed)
    # Labels come from the model, so that scoring gives a customer between two centres the same one.
    labels, distances = np.empty(len(Z), np.int32), np.empty(len(Z), Z.dtype)
    for part, encoded_part in encoded.parts():
        labels[part] = kmeans.predict(encoded_part)
        distances[part] = _distances(encoded_part, final.centers, labels[part])
    counted = customers.population != len(labels)
    sizes = final.sizes if counted else np.bincount(labels, minlength=final.k)
    clustered = encoded.frame
    codes_or_texts = set(feature_set.categorical)
    clustered = clustered.astype(dict.fromkeys(codes_or_texts & set(clustered), "str"))
    described = {name: clustered[name] for name in feature_set.columns}
    for name in feature_set.profile or ():
        column = customers.column(name)
        described[name] = categories_of(column) if name in codes_or_texts else column
    table = profile(described, labels, seed=seed)
    names = name_segments(table, feature_set.columns, naming)
    silhouette_rows = _silhouette_rows(measured, chosen.k, labels)
    tested = chosen.structure is True
    # The sample has its own row order, so the order of the file does not change the results.
    rows = sample_rows(Z, DESCRIBED_ROWS, seed)
    return SegmentationResult(
        customers=customers,
        features=feature_set,
        scaling=encoded.scaling,
        engine=engine,
        effort=getattr(search.options, "effort", "default"),
        seed=seed,
        Z=Z,
        encoded_names=tuple(encoder.get_feature_names_out()),
        clusterings=clusterings,
        k_min=k_min,
        curve=curve,
        choice=chosen,
        labels=labels,
        distances=distances,
        segments=segments.describe(sizes, names, silhouette_rows, seed=seed),
        profile=table,
        silhouettes=silhouette_rows,
        stability=bootstrap_stability(Z, final, seed=seed) if tested else None,
        rules=recognition_rules(
            clustered.iloc[rows],
            labels[rows],
            categorical=feature_set.categorical,
            seed=seed,
        ),
        importance=None
        if sources is None
        else importance(
            Z, labels, final.centers, sources, rows=rows, scaling=encoded.scaling, seed=seed
        ),
        typical=typical_customers(labels, distances, silhouette_rows, customers.ids),
        pipeline=Pipeline([("features", encoder), ("kmeans", kmeans)]),
    )


def check_options(
    *, k_min: int, k_max: int, engine: str, options: Mapping[str, Any] | None = None
) -> None:
    """Check the arguments of `segment` before any data is read; `options` are the engine's."""
    if k_min < 1:
        raise ConfigError(f"k.min={k_min}: the smallest number of segments is 1; set k.min=1.")
    if k_max < k_min:
        raise ConfigError(
            f"k.min={k_min} is above k.max={k_max}: give a rising range, such as k.min=1 k.max=12."
        )
    ENGINES.options(engine, options or {})


def _checked(frame: pd.DataFrame, features: FeatureSet | Sequence[str] | None) -> Customers:
    named = features.columns if isinstance(features, FeatureSet) else features
    return from_frame(frame, columns=list(named) if named else None)


def _kmeans(final: Clustering, seed: int) -> KMeans:
    """Return a fitted KMeans with exactly these centres: its ``predict`` returns segment ids."""
    fitted = KMeans(final.k, init=final.centers, n_init=1, max_iter=1, random_state=seed)
    # Fitting to the centres themselves leaves them where they are.
    fitted.fit(final.centers)
    fitted.cluster_centers_ = final.centers.copy()
    fitted.inertia_ = final.wcss
    # A shipped model must not contain a label per training customer.
    fitted.labels_ = fitted.labels_[:0]
    return fitted


def _distances(
    Z: NDArray[np.float64], centers: NDArray[np.float64], labels: NDArray[np.int32]
) -> NDArray[np.float64]:
    distances: NDArray[np.float64] = np.linalg.norm(Z - centers[labels], axis=1)
    return distances


def _silhouette_rows(measured: Silhouettes, k: int, labels: NDArray[np.int32]) -> pd.DataFrame:
    rows = measured.rows.get(k, np.empty(0, dtype=np.intp))
    values = measured.values.get(k, np.empty(0))
    return pd.DataFrame({"row": rows, "segment": labels[rows], "silhouette": values})

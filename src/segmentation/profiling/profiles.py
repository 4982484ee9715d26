"""Profile of every segment in the features' original units, with effect sizes."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import is_numeric_dtype
from scipy.stats import t as student

from segmentation.runtime.blocks import parts, standard_deviation

Array = NDArray[np.float64]
#: A row of a profile.
Line = Mapping[Hashable, Any]

#: A text column with more values has its rarest values merged into `OTHER_VALUES`.
MOST_CATEGORIES = 50
OTHER_VALUES = "other values"
#: Bootstrap draws per interval; enough for its ends to be stable to two digits.
DRAWS = 500
COLUMNS = [
    "segment",
    "feature",
    "category",
    "mean",
    "median",
    "q25",
    "q75",
    "share",
    "everybody",
    "difference",
    "measure",
    "effect",
    "effect_low",
    "effect_high",
    "z",
    "standing",
]


def profile(
    columns: Mapping[str, pd.Series] | pd.DataFrame, labels: NDArray[np.int32], *, seed: int = 0
) -> pd.DataFrame:
    """Describe every feature of each segment, with the effect size against the others.

    There are no p-values. K-Means chose the segments so that they differ in the clustered
    columns, so a test on these would be circular (Kriegeskorte et al. 2009, Nature Neuroscience
    12). An effect size with its interval says how much the segments differ, not whether.

    Parameters
    ----------
    columns : mapping of str to Series of length n, or DataFrame
        Clustered and profile columns. A column that is not numeric is treated as a category.
        Customers with a missing value are left out of that feature.
    labels : ndarray of shape (n,)
        Segment ids 0..k-1.
    seed : int
        Seeds the bootstrap of the categories' effects.

    Returns
    -------
    DataFrame
        One row per segment and numeric feature, or per segment, feature and category:

        ``mean``, ``median``, ``q25``, ``q75``
            In the units of the feature.
        ``share``
            Share of the segment in the category.
        ``everybody``
            Median, or share in the category, of all customers.
        ``difference``
            Mean, or share in the category, minus the value for all other customers.
        ``measure``, ``effect``, ``effect_low``, ``effect_high``
            Cohen's d of the segment against all others, or for a categorical feature Cramér's V
            between membership of the segment and the feature, with a 95 % interval. NaN where
            undefined: with one segment, or without variation within the groups compared.
        ``z``
            Segment mean minus overall mean, in standard deviations of all customers. For a
            category, the difference in shares over the standard deviation of its indicator.
        ``standing``
            Mean ridit of the segment (Bross 1958, Biometrics 14): the share of all customers
            with a lower value, ties counted half, averaged over the segment. 0.5 is the middle,
            whatever the feature's scale and skew.
    """
    k = int(labels.max()) + 1
    everyone = _Groups(labels, k)
    rng = np.random.default_rng(seed)
    rows: list[pd.DataFrame] = []
    for feature in columns:
        values = columns[str(feature)]
        known = values.notna().to_numpy()
        groups = everyone
        if not known.all():
            groups, values = _Groups(labels[known], k), values[known]
        if is_numeric_dtype(values):
            own = _numeric(values.to_numpy(dtype=np.float64), groups)
        else:
            own = _categories(values, groups, rng)
        rows.append(own.assign(feature=str(feature)))
    return pd.concat(rows, ignore_index=True).reindex(columns=COLUMNS)


def lines_by(profile: pd.DataFrame, *keys: str) -> dict[tuple[Any, ...], list[Line]]:
    """Group the rows of a profile, as plain mappings, in the profile's order.

    Reading a value from a DataFrame row would take a hundred times as long.

    Parameters
    ----------
    profile : DataFrame
        From `profile`.
    *keys : str
        Columns to group by.
    """
    groups: dict[tuple[Any, ...], list[Line]] = {}
    for line in profile.to_dict("records"):
        groups.setdefault(tuple(line[key] for key in keys), []).append(line)
    return groups


def share_intervals(sizes: NDArray[np.intp], *, seed: int) -> Array:
    """Compute the 95 % bootstrap interval of each segment's share, shape (k, 2).

    Customers are resampled with replacement and keep their segments. How the centres change on
    other customers is measured by `segmentation.evaluation.stability`.

    Parameters
    ----------
    sizes : ndarray of shape (k,)
        Customers in each segment.
    seed : int
    """
    n = int(sizes.sum())
    drawn = np.random.default_rng(seed).multinomial(n, sizes / n, size=4 * DRAWS) / n
    ends: Array = np.quantile(drawn, [0.025, 0.975], axis=0).T
    return ends


class _Groups:
    """The customers of each segment; a segment may be empty."""

    def __init__(self, labels: NDArray[np.int32], k: int) -> None:
        self.labels, self.k = labels, k
        self.sizes = np.bincount(labels, minlength=k)
        # 32-bit positions need half the memory.
        position = np.int32 if len(labels) < 2**31 else np.int64
        self._members = [np.flatnonzero(labels == j).astype(position) for j in range(k)]

    def quartiles(self, values: Array) -> Array:
        """Return the quartiles of each segment, shape (3, k)."""
        nothing = np.full(3, np.nan)
        return np.array(
            [
                np.quantile(values[own], [0.25, 0.5, 0.75]) if len(own) else nothing
                for own in self._members
            ]
        ).T

    def powers(self, values: Array, center: float, spread: float) -> Array:
        """Sum the first four powers of (values - center) / spread by segment, shape (4, k)."""
        sums = np.zeros((4, self.k))
        for part in parts(len(values)):
            scaled, labels = (values[part] - center) / spread, self.labels[part].astype(np.intp)
            power = np.ones(len(scaled))
            for total in sums:
                power *= scaled
                total += np.bincount(labels, power, self.k)
        return sums

    def ranks(self, values: Array) -> Array:
        """Return the mean rank (from 0) of each segment's values, ties averaged, shape (k,).

        Values that agree in fourteen digits count as ties. Sorting numbers is seven times as fast
        as argsort, so each key holds a value with its segment in the last bits. This orders ties
        by segment; the second sort reverses that order, and the two are averaged.
        """
        bits = max(self.k - 1, 1).bit_length()
        last = (1 << bits) - 1
        # Adding zero turns -0.0 into 0.0.
        keys = (values + 0.0).view(np.int64)
        for part in parts(len(keys)):
            # The bits of negative numbers are ordered the other way round.
            keys[part] ^= (keys[part] >> 63) & np.int64(0x7FFFFFFFFFFFFFFF)
            keys[part] &= ~last
            keys[part] |= self.labels[part]
        keys.sort()
        sums = self._positions(keys, last, flipped=False)
        # Reverse the order within ties.
        keys ^= last
        keys.sort()
        sums += self._positions(keys, last, flipped=True)
        mean: Array = sums / np.where(self.sizes, 2.0 * self.sizes, np.nan)
        return mean

    def _positions(self, keys: NDArray[np.int64], last: int, *, flipped: bool) -> Array:
        """Sum the positions in `keys` of each segment's values, shape (k,)."""
        sums = np.zeros(last + 1)
        for part in parts(len(keys)):
            sums += np.bincount(keys[part] & last, np.arange(part.start, part.stop), last + 1)
        return sums[::-1][: self.k] if flipped else sums[: self.k]


def _numeric(values: Array, groups: _Groups) -> pd.DataFrame:
    k, n, sizes = groups.k, len(values), groups.sizes
    q25, median, q75 = groups.quartiles(values)
    center = float(values.mean())
    spread = standard_deviation(values, center)
    powers = groups.powers(values, center, spread or 1.0)
    z = np.divide(powers[0], sizes, out=np.full(k, np.nan), where=sizes > 0)
    others = (powers[0].sum() - powers[0]) / np.maximum(n - sizes, 1)
    effect, low, high = _cohens_d(powers, sizes)
    return pd.DataFrame(
        {
            "segment": np.arange(k),
            "mean": z * spread + center,
            "median": median,
            "q25": q25,
            "q75": q75,
            "everybody": float(np.median(values)),
            "difference": (z - others) * spread if k > 1 else np.nan,
            "measure": "Cohen's d",
            "effect": effect,
            "effect_low": low,
            "effect_high": high,
            "z": z,
            "standing": (groups.ranks(values) + 0.5) / n,
        }
    )


def _cohens_d(powers: Array, sizes: NDArray[np.intp]) -> tuple[Array, Array, Array]:
    """Compute Cohen's d of each segment against all others, with its 95 % interval.

    d is the difference of means over the pooled standard deviation (Cohen 1988, eq. 2.5.1-2.5.2).
    Its variance is estimated by the infinitesimal jackknife (Efron 1982, ch. 6), which uses the
    first four central moments and assumes no normality. It agrees with a bootstrap but takes a
    single pass. Student's t with the smaller group's degrees of freedom widens the interval of a
    small segment.

    Parameters
    ----------
    powers : ndarray of shape (4, k)
        Sums of the first four powers of the centred values in each segment.
    sizes : ndarray of shape (k,)
    """
    n = int(sizes.sum())
    groups = [(powers, sizes), (powers.sum(axis=1, keepdims=True) - powers, n - sizes)]
    with np.errstate(divide="ignore", invalid="ignore"):
        moments = [_central(sums / np.maximum(count, 1)) for sums, count in groups]
        pooled = sum(count * m[1] for (_, count), m in zip(groups, moments, strict=True))
        s = np.sqrt(pooled / (n - 2))
        d = (moments[0][0] - moments[1][0]) / s
        b = d / (2 * s**2 * n)
        variance = np.zeros(len(sizes))
        for sign, (_, count), (_, m2, m3, m4) in zip((1, -1), groups, moments, strict=True):
            a = sign / (s * count)
            variance += count * (a**2 * m2 - 2 * a * b * m3 + b**2 * (m4 - m2**2))
        smaller = np.minimum(*(count for _, count in groups))
        half = student.ppf(0.975, np.maximum(smaller - 1, 1)) * np.sqrt(np.maximum(variance, 0))
    # d is undefined without spread; a single customer has none, hence no interval.
    defined = (smaller >= 1) & (s > 1e-9)
    d = np.where(defined, d, np.nan)
    half = np.where(defined & (smaller >= 2), half, np.nan)
    return d, d - half, d + half


def _central(raw: Array) -> tuple[Array, Array, Array, Array]:
    """Return the mean and central moments 2 to 4 from four raw moments, each of shape (k,)."""
    m, r2, r3, r4 = raw
    second = np.maximum(r2 - m**2, 0)
    return (
        m,
        second,
        r3 - 3 * m * r2 + 2 * m**3,
        np.maximum(r4 - 4 * m * r3 + 6 * m**2 * r2 - 3 * m**4, second**2),
    )


def _categories(values: pd.Series, groups: _Groups, rng: np.random.Generator) -> pd.DataFrame:
    k = groups.k
    table, names = _counts(values, groups)
    n, sizes = float(table.sum()), table.sum(axis=1, keepdims=True)
    shares = table / np.where(sizes, sizes, np.nan)
    overall = table.sum(axis=0) / n
    others = (table.sum(axis=0) - table) / np.maximum(n - sizes, 1)
    spread = np.sqrt(np.clip(overall * (1 - overall), 1e-12, None))
    effect = _cramers_v(table[None])[0]
    again = rng.multinomial(int(n), table.ravel() / n, size=DRAWS).astype(np.float64)
    # A bootstrap table carries the sampling noise of both draws.
    drawn = _cramers_v(again.reshape(DRAWS, *table.shape), chance=2)
    ends = np.full((2, k), np.nan)
    defined = np.isfinite(effect)
    if defined.any():
        ends[:, defined] = np.nanquantile(drawn[:, defined], [0.025, 0.975], axis=0)
    c = len(names)
    return pd.DataFrame(
        {
            "segment": np.repeat(np.arange(k), c),
            "category": names * k,
            "share": shares.ravel(),
            "everybody": np.tile(overall, k),
            "difference": (shares - others).ravel() if k > 1 else np.nan,
            "measure": "Cramér's V",
            "effect": np.repeat(effect, c),
            "effect_low": np.repeat(ends[0], c),
            "effect_high": np.repeat(ends[1], c),
            "z": ((shares - overall) / spread).ravel(),
        }
    )


def _counts(values: pd.Series, groups: _Groups) -> tuple[Array, list[str]]:
    """Count customers by segment and category, shape (k, c); also return the categories."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        codes, found = values.cat.codes.to_numpy(), values.cat.categories
    else:
        codes, found = pd.factorize(values.astype(str), sort=True)
    names = [str(name) for name in found]
    if len(names) > MOST_CATEGORIES:
        counts = np.bincount(codes)
        kept = np.sort(np.argsort(-counts, kind="stable")[: MOST_CATEGORIES - 1])
        place = np.full(len(names), len(kept))
        place[kept] = np.arange(len(kept))
        codes, names = place[codes], [*(names[index] for index in kept), OTHER_VALUES]
    c = len(names)
    cells = groups.labels.astype(np.int64) * c + codes
    table = np.bincount(cells, minlength=groups.k * c).reshape(groups.k, c)
    return table.astype(np.float64), names


def _cramers_v(tables: Array, *, chance: int = 1) -> Array:
    """Compute Cramér's V of each segment against all others, corrected for chance.

    For a column unrelated to the segments, the plain V grows with the number of categories. The
    correction (Bergsma 2013, J. Korean Stat. Soc. 42, eq. 7-9) removes this bias.

    Parameters
    ----------
    tables : ndarray of shape (draws, k, c)
        Counts by segment and category.
    chance : int
        How many times to subtract the expected contribution of chance.

    Returns
    -------
    ndarray of shape (draws, k)
        Between 0 and 1; NaN if all customers are in one segment or one category.
    """
    n = tables[0].sum()
    columns = tables.sum(axis=1, keepdims=True)
    sizes = tables.sum(axis=2, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        # chi² of a 2 x c table: (own - expected)² / expected, summed over both rows.
        expected = sizes * columns / n
        rest = (n - sizes) * columns / n
        cells = (tables - expected) ** 2 * (1 / expected + 1 / rest)
        phi2 = np.nansum(cells, axis=2) / n
        c = (columns > 0).sum(axis=2)
        phi2 = np.maximum(phi2 - chance * (c - 1) / (n - 1), 0)
        r_corrected = 2 - 1 / (n - 1)
        c_corrected = c - (c - 1) ** 2 / (n - 1)
        v: Array = np.sqrt(np.minimum(phi2 / (np.minimum(r_corrected, c_corrected) - 1), 1))
    defined = (sizes[..., 0] > 0) & (sizes[..., 0] < n) & (c > 1)
    return np.where(defined, v, np.nan)

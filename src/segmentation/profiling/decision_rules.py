"""Rules that recognise a segment in the original units, with their quality."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.tree import DecisionTreeClassifier

from segmentation.evaluation.formats import in_units

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]

#: Maximum number of leaves beyond one per segment.
SPARE_LEAVES = 3
#: Fidelity given up for fewer leaves: short rules are easier to remember.
SIMPLER_BY = 0.01
FOLDS = 5
#: Steps in the usual range of a column; rounding moves a threshold by at most half a step.
STEPS = 50


@dataclass(frozen=True)
class Condition:
    """Condition on one column: a range of numbers or a set of categories.

    Attributes
    ----------
    feature : str
    above, at_most : float or None
        Bounds of the range; None where it is open.
    values : tuple of str
        Allowed categories; empty for a numeric column.
    all_values : tuple of str
        All categories of the column; empty for a numeric column.
    """

    feature: str
    above: float | None = None
    at_most: float | None = None
    values: tuple[str, ...] = ()
    all_values: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """Text such as ``annual_income above 40 and at most 70`` or ``gender is Female``."""
        if self.all_values:
            out = [value for value in self.all_values if value not in self.values]
            if len(self.values) == 1 or len(self.values) <= len(out):
                return f"{self.feature} is {' or '.join(self.values)}"
            return f"{self.feature} is not {' or '.join(out)}"
        parts = [
            f"{word} {in_units(end)}"
            for word, end in (("above", self.above), ("at most", self.at_most))
            if end is not None
        ]
        return f"{self.feature} {' and '.join(parts)}"

    @property
    def possible(self) -> bool:
        """Whether any customer can meet it; rounding may have made two thresholds equal."""
        if self.all_values:
            return bool(self.values)
        return self.above is None or self.at_most is None or self.above < self.at_most

    def holds(self, values: NDArray[Any]) -> Bools:
        """Return which of the feature's `values` meet the condition."""
        if self.all_values:
            return np.isin(values, self.values)
        held = np.ones(len(values), dtype=np.bool_)
        if self.above is not None:
            held &= values > self.above
        if self.at_most is not None:
            held &= values <= self.at_most
        return held


Branch = tuple[Condition, ...]


@dataclass(frozen=True)
class Rule:
    """Rule that recognises one segment.

    Attributes
    ----------
    segment : int
    branches : tuple of tuples of `Condition`
        A customer who meets all conditions of any branch belongs to the segment. Empty if no
        leaf of the tree belongs to the segment.
    coverage : float
        Share of the segment's customers that the rule finds (recall).
    precision : float
        Share of the customers found who belong to the segment; NaN if the rule finds none.
    """

    segment: int
    branches: tuple[Branch, ...]
    coverage: float
    precision: float

    @property
    def ways(self) -> list[str]:
        """Text of each branch."""
        if not self.branches:
            return ["too few to have a simple rule"]
        return [" and ".join(c.text for c in branch) or "everybody" for branch in self.branches]

    @property
    def text(self) -> str:
        """Text of the whole rule."""
        return "; or ".join(self.ways)

    @property
    def quality(self) -> str:
        """Text of coverage and precision; empty without a rule."""
        if not self.branches:
            return ""
        told = f"finds {100 * self.coverage:.0f} % of the segment"
        if np.isnan(self.precision):
            return told
        return f"{told}; {100 * self.precision:.0f} % of those found belong to it"


@dataclass(frozen=True)
class Rules:
    """One rule per segment, and how far they agree with the model.

    Attributes
    ----------
    rules : tuple of `Rule`
        Ordered by segment id.
    fidelity : float
        Share of held-out customers that the rules assign to the same segment as the model.
    leaves : int
        Total number of branches.
    rows, folds : int
        Customers and folds of the cross-validation behind every number here.
    """

    rules: tuple[Rule, ...]
    fidelity: float
    leaves: int
    rows: int
    folds: int

    @property
    def verdict(self) -> str:
        """Fidelity in one sentence."""
        return (
            f"These {len(self.rules)} rules assign {100 * self.fidelity:.0f} % of the customers to "
            "the same segment as the model."
        )

    @property
    def measured(self) -> str:
        """How coverage, precision and fidelity were measured, in one sentence."""
        return (
            f"Measured on held-out customers ({self.folds}-fold "
            f"cross-validation on {self.rows:,} customers)."
        )


def recognition_rules(
    frame: pd.DataFrame, labels: NDArray[np.int32], *, categorical: Collection[str], seed: int
) -> Rules | None:
    """Fit a shallow decision tree that imitates the model, and return one rule per segment.

    The tree (CART; Breiman et al. 1984) has between k and k + 3 leaves: the smallest number
    whose fidelity is within one percentage point of the best. Thresholds are rounded before
    anything is measured. The returned rules are fitted on all rows of `frame`;
    coverage, precision and fidelity come from five-fold cross-validation.

    Parameters
    ----------
    frame : DataFrame of shape (n, features)
        The clustered columns in their original units. The row order determines the folds.
    labels : ndarray of shape (n,)
        Segment ids 0..k-1.
    categorical : collection of str
        Names of the categorical columns; the rest are numeric.
    seed : int

    Returns
    -------
    Rules or None
        None for a single segment.
    """
    k, n = int(labels.max()) + 1, len(labels)
    if k < 2:
        return None
    columns = _encode(frame, categorical)
    # Slicing a DataFrame would take as long as growing all the trees.
    values = {
        name: frame[name].to_numpy(object if name in categorical else np.float64)
        for name in frame.columns
    }
    sizes = range(k, k + SPARE_LEAVES + 1)
    folds = min(FOLDS, n)
    fold = _folds(labels, folds, seed)
    placed = np.full((len(sizes), n), -1, dtype=np.int64)
    for held_out in range(folds):
        test = fold == held_out
        tree = _Tree(columns, ~test, labels, max(sizes), seed)
        held_values = {name: column[test] for name, column in values.items()}
        for index, leaves in enumerate(sizes):
            placed[index, test] = _place(tree.branches(leaves), held_values)
    fidelity = (placed == labels).mean(axis=1)
    best = int(np.flatnonzero(fidelity >= fidelity.max() - SIMPLER_BY)[0])
    tree = _Tree(columns, np.ones(n, dtype=np.bool_), labels, max(sizes), seed)
    branches = tree.branches(sizes[best])
    return Rules(
        rules=tuple(_measured(index, branches, placed[best], labels) for index in range(k)),
        fidelity=float(fidelity[best]),
        leaves=len(branches),
        rows=n,
        folds=folds,
    )


def _measured(
    segment: int,
    branches: Sequence[tuple[int, Branch]],
    placed: NDArray[np.int64],
    labels: NDArray[np.int32],
) -> Rule:
    found, there = placed == segment, labels == segment
    hits = float((found & there).sum())
    return Rule(
        segment=segment,
        branches=tuple(branch for leaf, branch in branches if leaf == segment),
        coverage=hits / float(there.sum()),
        precision=hits / float(found.sum()) if found.any() else float("nan"),
    )


def _folds(labels: NDArray[np.int32], folds: int, seed: int) -> NDArray[np.intp]:
    """Assign each customer to a fold, spreading every segment evenly (stratified)."""
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    fold = np.empty(len(labels), dtype=np.intp)
    fold[shuffled[np.argsort(labels[shuffled], kind="stable")]] = np.arange(len(labels)) % folds
    return fold


@dataclass(frozen=True)
class _Column:
    """One column of the tree: a centred and scaled number, or one category as 0 and 1."""

    feature: str
    X: Array
    center: float
    scale: float
    step: float
    whole: bool
    category: str | None
    all_values: tuple[str, ...]

    def split(self, threshold: float) -> tuple[Condition, Condition]:
        """Return the conditions of the left and the right child."""
        if self.category is not None:
            others = tuple(value for value in self.all_values if value != self.category)
            return (
                Condition(self.feature, values=others, all_values=self.all_values),
                Condition(self.feature, values=(self.category,), all_values=self.all_values),
            )
        end = _rounded(threshold * self.scale + self.center, self.step, whole=self.whole)
        return Condition(self.feature, at_most=end), Condition(self.feature, above=end)


def _encode(frame: pd.DataFrame, categorical: Collection[str]) -> list[_Column]:
    columns: list[_Column] = []
    for name in frame.columns:
        if name in categorical:
            values = frame[name]
            allowed = tuple(sorted(values.unique().tolist()))
            columns += [
                _Column(name, (values == one).to_numpy(np.float64), 0, 1, 0, False, one, allowed)
                for one in allowed
            ]
            continue
        numbers = frame[name].to_numpy(dtype=np.float64)
        center = float(np.median(numbers))
        # scikit-learn's trees compute in single precision.
        scale = float(np.abs(numbers - center).max()) or 1.0
        low, high = np.quantile(numbers, [0.05, 0.95])
        step = (float(high - low) or float(np.ptp(numbers)) or 1.0) / STEPS
        whole = bool(np.all(numbers == np.round(numbers)))
        columns.append(
            _Column(name, (numbers - center) / scale, center, scale, step, whole, None, ())
        )
    return columns


def _rounded(threshold: float, step: float, *, whole: bool) -> float:
    """Round `threshold` to two significant digits, or to the digits its column's step needs."""
    if threshold != 0:
        step = min(step, 10 ** (np.floor(np.log10(abs(threshold))) - 1))
    if whole:
        step = max(step, 1.0)
    power = np.floor(np.log10(step) + 1e-9)
    nice = max(m for m in (1, 2, 5) if m * 10**power <= step * (1 + 1e-6))
    # Round a half down: 40.5, between two whole numbers, becomes "at most 40".
    ticks = np.ceil(threshold / (nice * 10**power) - 0.5 - 1e-9)
    return float(round(ticks * nice * 10**power, max(0, int(-power))))


class _Tree:
    """A tree grown best-first, readable at any smaller number of leaves."""

    def __init__(
        self,
        columns: Sequence[_Column],
        rows: Bools,
        labels: NDArray[np.int32],
        leaves: int,
        seed: int,
    ) -> None:
        X = np.column_stack([column.X[rows] for column in columns])
        model = DecisionTreeClassifier(max_leaf_nodes=leaves, random_state=seed)
        tree = model.fit(X, labels[rows]).tree_
        self._columns = columns
        self._children = tree.children_left.tolist(), tree.children_right.tolist()
        self._feature, self._threshold = tree.feature.tolist(), tree.threshold.tolist()
        self._winner = model.classes_[tree.value[:, 0].argmax(axis=1)].tolist()

    def branches(self, leaves: int) -> list[tuple[int, Branch]]:
        """Return each leaf's segment and conditions, in the tree cut to `leaves` leaves."""
        # Nodes are numbered in the order of the splits, best first, two per split.
        found = self._below(0, (), 2 * leaves - 1)
        place = {column.feature: position for position, column in enumerate(self._columns)}
        return [
            (segment, tuple(sorted(branch, key=lambda condition: place[condition.feature])))
            for segment, branch in found
            if all(condition.possible for condition in branch)
        ]

    def _below(self, node: int, branch: Branch, nodes: int) -> list[tuple[int, Branch]]:
        left, right = (children[node] for children in self._children)
        if not 0 <= left < nodes:
            return [(self._winner[node], branch)]
        low, high = self._columns[self._feature[node]].split(self._threshold[node])
        found = [
            *self._below(left, _add(branch, low), nodes),
            *self._below(right, _add(branch, high), nodes),
        ]
        segments = {segment for segment, _ in found}
        # Merge a split whose two sides belong to the same segment.
        return [(segments.pop(), branch)] if len(segments) == 1 else found


def _add(branch: Branch, new: Condition) -> Branch:
    """Add a condition to a branch, merging it with one on the same column."""
    merged = []
    for old in branch:
        if old.feature == new.feature:
            ends = [end for end in (old.at_most, new.at_most) if end is not None]
            starts = [start for start in (old.above, new.above) if start is not None]
            new = replace(
                new,
                above=max(starts, default=None),
                at_most=min(ends, default=None),
                values=tuple(value for value in old.values if value in new.values),
            )
        else:
            merged.append(old)
    return (*merged, new)


def _place(
    branches: Sequence[tuple[int, Branch]], values: Mapping[str, NDArray[Any]]
) -> NDArray[np.int64]:
    """Return the segment that the rules assign to each customer; -1 if none applies."""
    n = len(next(iter(values.values())))
    placed = np.full(n, -1, dtype=np.int64)
    for segment, branch in branches:
        held = np.ones(n, dtype=np.bool_)
        for condition in branch:
            held &= condition.holds(values[condition.feature])
        placed[held] = segment
    return placed

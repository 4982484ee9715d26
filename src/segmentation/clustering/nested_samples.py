"""The nested samples on which large data are solved."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

from segmentation.clustering.assignment import Floats, Key, Totals
from segmentation.clustering.coresets import Rows, coreset, coreset_chances
from segmentation.clustering.lloyd import Pass
from segmentation.clustering.search_settings import SAMPLES
from segmentation.clustering.weighted_rows import WeightedRows
from segmentation.clustering.workers import Crew


@dataclass(frozen=True)
class Samples:
    """A table and its samples.

    Attributes
    ----------
    rows : Rows
        All rows; equal rows are merged if that saves time.
    origin : ndarray of shape (d,)
        Their mean.
    refining, climbing, screening, searching : Rows
        Coresets of the rows, from the largest to the smallest.
    seed : int
    crew : Crew
        Runs the passes over them.
    """

    rows: Rows
    origin: Floats
    refining: Rows
    climbing: Rows
    screening: Rows
    searching: Rows
    seed: int
    crew: Crew

    @classmethod
    @contextlib.contextmanager
    def of(
        cls, rows: Rows, drawn: Floats, *, k_max: int, seed: int, processes: int
    ) -> Iterator[Samples]:
        """Draw the samples from a uniform number per row (`segmentation.clustering.coresets`).

        They are large enough that every cluster of the largest k should have rows in each sample.
        """
        origin = rows.X.mean(axis=0, dtype=np.float64)
        if rows.w is not None:
            origin = np.average(rows.X, axis=0, weights=rows.w)
        chances = coreset_chances(rows, origin)
        sizes = (
            max(len(rows.X) // SAMPLES.refined, SAMPLES.least_refined, 100 * k_max),
            max(SAMPLES.climb, 100 * k_max),
            max(SAMPLES.screen, 50 * k_max),
            max(SAMPLES.search, 20 * k_max),
        )
        refining, climbing, screening, searching = (
            coreset(rows, chances, drawn, size) for size in sizes
        )
        del chances, drawn
        with Crew([rows, refining, climbing, screening], origin, processes) as crew:
            yield cls(rows, origin, refining, climbing, screening, searching, seed, crew)

    def over(self, rows: Rows, dtype: type = np.float32) -> Pass:
        """Return a function that runs passes over these rows."""
        return partial(self.crew.totals, rows, dtype=dtype)

    def precise(self, centers: Mapping[Key, Floats]) -> dict[Key, Totals]:
        """Run a pass over all rows in double precision, including the distances."""
        return self.crew.totals(self.rows, centers, dtype=np.float64, distances=True)

    @cached_property
    def search_rows(self) -> WeightedRows:
        """The smallest sample in the form that the search needs."""
        X = self.searching.X - self.origin
        return WeightedRows(X, self.searching.weights)

"""What every engine must do: derive a test class from `EngineContract` and give it the engine."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.datasets import make_blobs

from segmentation.clustering.base import Clustering, Engine
from segmentation.errors import ConfigError, DataError

KS = range(1, 7)


def blobs(n: int) -> np.ndarray:
    """Overlapping groups of unequal size in three columns."""
    sizes = [n // 2, n // 4, n // 8, n - n // 2 - n // 4 - n // 8]
    return make_blobs(sizes, 3, cluster_std=1.5, center_box=(-8, 8), random_state=5)[0]


class EngineContract:
    """Tests of one engine; those of what it does not do are skipped by an attribute."""

    #: Rows of the tests.
    size = 150
    #: Whether it takes ``sample_weight``.
    weights = False
    #: Whether the order of the rows changes nothing at all; else WCSS may differ by rounding.
    row_order_same_bits = True

    @pytest.fixture
    def engine(self) -> Engine:
        """The engine with its default options."""
        raise NotImplementedError

    @contextmanager
    def rows(self, Z: np.ndarray) -> Iterator[Any]:
        """What the engine takes for these rows."""
        yield Z

    def fit(self, engine: Engine, Z: np.ndarray, ks: Any = KS, seed: int = 0) -> dict[int, Any]:
        with self.rows(Z) as rows:
            return engine.fit_k_range(rows, ks, seed=seed)

    def test_only_the_wanted_ks_return_ascending(self, engine: Engine) -> None:
        fitted = self.fit(engine, blobs(self.size), [5, 2, 3, 2])
        assert list(fitted) == [2, 3, 5]
        assert [clustering.k for clustering in fitted.values()] == [2, 3, 5]

    def test_wcss_never_rises_with_k(self, engine: Engine) -> None:
        values = [clustering.wcss for clustering in self.fit(engine, blobs(self.size)).values()]
        assert values == sorted(values, reverse=True)

    def test_wcss_is_the_sum_of_squares_to_the_centres(self, engine: Engine) -> None:
        Z = blobs(self.size)
        for k, clustering in self.fit(engine, Z).items():
            assert clustering.centers.shape == (k, Z.shape[1])
            assert clustering.centers.dtype == np.float64
            own = clustering.centers[clustering.labels]
            assert clustering.wcss == pytest.approx(((Z - own) ** 2).sum(), rel=1e-9)

    def test_labels_are_those_of_the_nearest_centre(self, engine: Engine) -> None:
        Z = blobs(self.size)
        some = np.array([3, 140, 77])
        for k, clustering in self.fit(engine, Z).items():
            assert clustering.labels.dtype == np.int32
            nearest = cdist(Z, clustering.centers).argmin(axis=1)
            assert np.array_equal(clustering.labels, nearest)
            assert np.array_equal(clustering.labels_at(some), nearest[some])
            assert np.array_equal(clustering.sizes, np.bincount(nearest, minlength=k))
            assert clustering.sizes.all()

    def test_centres_come_in_lexicographic_order(self, engine: Engine) -> None:
        for clustering in self.fit(engine, blobs(self.size)).values():
            assert clustering.centers.tolist() == sorted(clustering.centers.tolist())

    def test_one_cluster_is_the_mean(self, engine: Engine) -> None:
        Z = blobs(self.size) + 100.0
        one = self.fit(engine, Z, [1])[1]
        np.testing.assert_allclose(one.centers, Z.mean(axis=0)[None], rtol=1e-9)
        assert one.wcss == pytest.approx(((Z - Z.mean(axis=0)) ** 2).sum(), rel=1e-9)

    def test_the_same_seed_gives_the_same_bits(self, engine: Engine) -> None:
        Z = blobs(self.size)
        first, again = (self.fit(engine, Z, seed=7) for _ in range(2))
        for k in first:
            assert first[k].wcss == again[k].wcss
            assert first[k].starts == again[k].starts
            assert first[k].centers.tobytes() == again[k].centers.tobytes()

    def test_the_order_of_the_rows_does_not_matter(self, engine: Engine) -> None:
        Z = np.round(blobs(self.size), 1)
        order = np.random.default_rng(0).permutation(len(Z))
        straight, shuffled = self.fit(engine, Z), self.fit(engine, Z[order])
        for k in straight:
            if self.row_order_same_bits:
                assert shuffled[k].wcss == straight[k].wcss
                assert np.array_equal(shuffled[k].centers, straight[k].centers)
            assert shuffled[k].wcss == pytest.approx(straight[k].wcss, rel=1e-9)
            assert np.array_equal(shuffled[k].labels, straight[k].labels[order])

    def test_repeated_rows_are_weights(self, engine: Any) -> None:
        if not self.weights:
            pytest.skip("this engine takes no weights")
        Z, times = blobs(60), np.random.default_rng(1).integers(1, 4, 60)
        weighted = engine.fit_k_range(Z, KS, seed=0, sample_weight=times)
        repeated = engine.fit_k_range(np.repeat(Z, times, axis=0), KS, seed=0)
        for k in KS:
            assert weighted[k].wcss == pytest.approx(repeated[k].wcss, rel=1e-12)
            assert np.array_equal(np.repeat(weighted[k].labels, times), repeated[k].labels)

    def test_there_are_as_many_clusters_as_distinct_rows_at_most(self, engine: Engine) -> None:
        Z = np.repeat([[0.0, 0.0], [1.0, 5.0], [9.0, 2.0]], 4, axis=0)
        three = self.fit(engine, Z, [1, 3])[3]
        assert three.wcss == pytest.approx(0.0, abs=1e-12)
        with pytest.raises(ConfigError, match=r"k=4 .* distinct rows \(3\)"):
            self.fit(engine, Z, [1, 4])

    @pytest.mark.parametrize("ks", [[], [0, 1], [-2]])
    def test_a_bad_range_is_refused(self, engine: Engine, ks: list[int]) -> None:
        with pytest.raises(ConfigError, match="at least 1"):
            self.fit(engine, blobs(self.size), ks)

    def test_a_negative_seed_is_refused(self, engine: Engine) -> None:
        with pytest.raises(ConfigError, match="seed"):
            self.fit(engine, blobs(self.size), [2], seed=-1)

    @pytest.mark.parametrize("bad", [np.nan, np.inf])
    def test_a_value_that_is_not_finite_is_refused(self, engine: Engine, bad: float) -> None:
        Z = blobs(self.size)
        Z[17, 1] = bad
        with pytest.raises(DataError, match="row 17, column 1"):
            self.fit(engine, Z, [2])

    def test_an_unknown_option_is_refused(self, engine: Engine) -> None:
        with pytest.raises(ConfigError, match=r"engine\.tempo"):
            engine.with_options(tempo="allegro")

    def test_options_change_a_copy(self, engine: Engine) -> None:
        assert engine.with_options() is not engine
        assert engine.with_options().options == engine.options

    def test_improving_never_loses_and_leaves_its_input_as_it_is(self, engine: Engine) -> None:
        Z = blobs(self.size)
        with self.rows(Z) as rows:
            fitted = engine.fit_k_range(rows, KS, seed=0)
            before = dict(fitted)
            better = engine.improve(rows, fitted, 5, seed=0)
        assert fitted == before
        assert list(better) == list(fitted)
        values = [clustering.wcss for clustering in better.values()]
        assert values == sorted(values, reverse=True)
        assert better[5].wcss <= fitted[5].wcss
        assert better[3] is fitted[3]

    def test_clusterings_travel_between_processes(self, engine: Engine) -> None:
        clustering = self.fit(engine, blobs(self.size), [3])[3]
        back: Clustering = pickle.loads(pickle.dumps(clustering))
        assert np.array_equal(back.labels, clustering.labels)

"""The gap of the chosen k tells clusters from odd distributions and from correlation."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.cluster import KMeans
from sklearn.preprocessing import QuantileTransformer

from segmentation.runtime.threads import at_most
from segmentation.selection import standardised_gap as module
from segmentation.selection.null_models import copula
from segmentation.selection.standardised_gap import standardised_gap

Array = NDArray[np.float64]


def gap(Z: Array, k: int, seed: int = 0, features: list[str] | None = None) -> float:
    centers = KMeans(k, n_init=5, random_state=0).fit(Z).cluster_centers_
    with at_most(1):
        found = standardised_gap(Z, centers, seed=seed, features=features)
    assert found is not None
    return found.gap


def cross(n: int = 40) -> Array:
    """Five groups that no single column shows."""
    rng = np.random.default_rng(0)
    centers = 6.0 * np.array([[0, 0], [1, 1], [-1, 1], [1, -1], [-1, -1]])
    return np.concatenate([center + rng.normal(size=(n, 2)) for center in centers])


@pytest.mark.parametrize(
    "draw",
    [
        lambda rng: rng.normal(size=(300, 3)),
        lambda rng: rng.random((300, 3)),
        lambda rng: np.exp(rng.normal(size=(300, 3))),
        lambda rng: rng.integers(0, 4, (300, 3)) * 1.0,
        lambda rng: np.where(rng.random((300, 2)) < 0.5, 0.0, rng.exponential(size=(300, 2))),
        lambda rng: rng.multivariate_normal([0, 0], [[1, 0.8], [0.8, 1]], 300),
        lambda rng: np.exp(rng.multivariate_normal([0, 0], [[1, 0.8], [0.8, 1]], 300)),
        # Quantile-scaled correlation: far from a Gaussian with the same variances.
        lambda rng: QuantileTransformer(n_quantiles=100).fit_transform(
            rng.multivariate_normal([0, 0], [[1, -0.5], [-0.5, 1]], 300)
        ),
    ],
)
@pytest.mark.parametrize("k", [2, 5])
def test_no_distribution_and_no_correlation_is_a_cluster(draw, k) -> None:
    assert gap(draw(np.random.default_rng(1)), k) < 3


def test_groups_are_far_from_the_null_on_any_scale() -> None:
    Z = cross()
    assert gap(Z, 5) > 8
    assert gap(QuantileTransformer(n_quantiles=100).fit_transform(Z), 5) > 8


def test_its_error_is_that_of_repeated_draws() -> None:
    """Within a fifth or so: thirty repetitions know their own spread no better."""
    Z = cross(20)
    centers = KMeans(5, n_init=5, random_state=0).fit(Z).cluster_centers_
    with at_most(1):
        found = [standardised_gap(Z, centers, seed=seed) for seed in range(30)]
    gaps, errors = np.array([(each.gap, each.error) for each in found if each is not None]).T
    assert gaps.std(ddof=1) == pytest.approx(errors.mean(), rel=0.4)


def test_same_seed_same_bits_and_row_order_does_not_matter() -> None:
    Z = cross()
    centers = KMeans(5, n_init=5, random_state=0).fit(Z).cluster_centers_
    first = standardised_gap(Z, centers, seed=3)
    assert first == standardised_gap(Z, centers, seed=3)
    assert first == standardised_gap(Z[::-1].copy(), centers, seed=3)


def test_no_gap_where_the_null_is_the_data() -> None:
    Z = cross()
    assert standardised_gap(Z, Z.mean(axis=0)[None], seed=0) is None
    one = np.column_stack([Z[:, 0], np.zeros(len(Z))])
    assert standardised_gap(one, one[[0, 50]], seed=0) is None
    assert standardised_gap(Z[:4], Z[:4], seed=0) is None
    category = np.eye(3)[np.arange(90) % 3]
    assert standardised_gap(category, np.eye(3), seed=0, features=["plan"] * 3) is None


def test_categories_stay_whole_and_keep_their_correlation() -> None:
    rng = np.random.default_rng(2)
    plan = np.sort(rng.integers(0, 3, 400))
    X = np.column_stack([np.eye(3)[plan], plan + rng.normal(size=400)])
    (null,) = copula(X, 1, rng, ["plan"] * 3 + ["income"])
    np.testing.assert_array_equal(null[:, :3].sum(axis=1), 1)
    np.testing.assert_array_equal(null.sum(axis=0)[:3], X.sum(axis=0)[:3])
    kept, own = (spearmanr(x[:, :3] @ [0, 1, 2], x[:, 3])[0] for x in (null, X))
    assert kept == pytest.approx(own, abs=0.15)
    # Categories cut apart would have clusters that the null has not.
    noise = np.column_stack([np.eye(3)[rng.integers(0, 3, 400)], rng.normal(size=(400, 2)) / 5])
    features = ["plan"] * 3 + ["income", "age"]
    assert abs(gap(noise, 3, features=features)) < 3 < gap(noise, 3)


def test_a_hundred_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []

    def counted(X, draws, rng, features):
        drawn.append(draws)
        return copula(X, draws, rng, features)

    monkeypatch.setattr(module, "copula", counted)
    gap(cross(), 5)
    assert drawn[0] >= 100

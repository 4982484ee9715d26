"""`segment` as called from a notebook, checked against known values of the mall file."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import make_blobs
from sklearn.metrics import adjusted_rand_score
from sklearn.preprocessing import StandardScaler

from segmentation import segment
from segmentation.clustering import ENGINES
from segmentation.data.customers import read_csv
from segmentation.errors import ConfigError, DataError
from segmentation.features import encoding

RENAME = {
    "CustomerID": "customer_id",
    "Gender": "gender",
    "Genre": "gender",
    "Age": "age",
    "Annual Income (k$)": "annual_income",
    "Spending Score (1-100)": "spending_score",
}
INCOME_SPENDING = ["annual_income", "spending_score"]
MALL_FILES = ["Mall_Customers_Gender.csv", "Mall_Customers_Genre.csv"]
MALL_FILES += ["Mall_Customers_Genre_padded.csv"]


@pytest.fixture(params=MALL_FILES)
def mall(request, shared_data):
    return read_csv(shared_data / request.param, id="customer_id", rename=RENAME)


def test_mall_raw(mall) -> None:
    result = segment(mall, features=INCOME_SPENDING, scaling="none", choice="silhouette")
    expected = [181363.596, 106348.373, 73679.789, 44448.455]
    np.testing.assert_allclose(result.curve.wcss.loc[2:5], expected, rtol=1e-6)
    assert result.curve.wcss[1] == pytest.approx(269981.28)
    assert result.k == 5
    assert result.curve.silhouette[5] == pytest.approx(0.553932, abs=1e-6)
    assert [s.size for s in result.segments] == [81, 39, 35, 23, 22]
    assert result.structure is None
    assert result.confidence is None


def test_mall_standardised(mall) -> None:
    result = segment(mall, features=INCOME_SPENDING, choice="fixed", k=5)
    assert result.curve.wcss[5] == pytest.approx(65.568408, rel=1e-6)
    assert result.curve.silhouette[5] == pytest.approx(0.554657, abs=1e-6)


def test_mall_three_columns_raw(mall) -> None:
    columns = ["age", *INCOME_SPENDING]
    result = segment(mall, features=columns, scaling="none", choice="fixed", k=6)
    assert result.curve.wcss[5] == pytest.approx(75350.779, rel=1e-6)
    assert result.curve.wcss[6] == pytest.approx(58300.443, rel=1e-6)


def test_wholesale_raw(shared_data) -> None:
    spends = ["Fresh", "Milk", "Grocery", "Frozen", "Detergents_Paper", "Delicassen"]
    frame = pd.read_csv(shared_data / "Wholesale customers data.csv")
    result = segment(frame, features=spends, scaling="none", choice="fixed", k=4, k_max=4)
    # The value usually quoted for k=4, 64855545528, is not optimal: the search finds 64855378337.
    expected = [157595857166, 113217528521, 80332413843, 64855378337]
    np.testing.assert_allclose(result.curve.wcss, expected, rtol=1e-9)


def test_evidence_on_mall(mall) -> None:
    result = segment(mall, features=INCOME_SPENDING)
    assert (result.k, result.structure, result.confidence) == (5, True, "agreed")
    assert result.stability is not None
    assert "agreed by 4 of 5 criteria; weakest segment" in result.verdict
    assert "very stable" in repr(result)
    assert len(result.stability.jaccard) == 5


def test_noise_has_no_segments() -> None:
    """Uniform noise has one segment, even if k_min is larger."""
    frame = pd.DataFrame(np.random.default_rng(3).uniform(size=(300, 3)), columns=list("abc"))
    result = segment(frame, k_min=2)
    assert (result.k, result.structure, result.confidence) == (1, False, None)
    assert [s.name for s in result.segments] == ["all customers"]
    assert set(result.labels) == {0}
    assert result.silhouettes.empty


def test_same_input_same_bits(frame) -> None:
    first, second = (segment(frame, choice="silhouette", seed=7) for _ in range(2))
    assert np.array_equal(first.labels, second.labels)
    pd.testing.assert_frame_equal(first.curve, second.curve, check_exact=True)
    assert [s.name for s in first.segments] == [s.name for s in second.segments]


def test_row_order_does_not_matter(frame) -> None:
    order = np.random.default_rng(0).permutation(len(frame))
    result = segment(frame, choice="silhouette")
    shuffled = segment(frame.iloc[order].reset_index(drop=True), choice="silhouette")
    assert result.k == shuffled.k
    assert np.array_equal(result.labels[order], shuffled.labels)


def test_pipeline_predicts_the_labels(frame) -> None:
    result = segment(frame, features=["gender", "age", "spending_score"], choice="silhouette")
    assert np.array_equal(result.pipeline.predict(result.customers.frame), result.labels)
    sizes = [s.size for s in result.segments]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes == np.bincount(result.labels).tolist()


def test_single_precision_changes_no_answer(monkeypatch) -> None:
    rng = np.random.default_rng(0)
    groups = [at + rng.gamma(2.0, 1.0, (n, 3)) for at, n in ((0, 30_000), (6, 20_000), (12, 9_000))]
    frame = pd.DataFrame(np.concatenate(groups), columns=["a", "b", "c"])
    options = {"choice": "evidence", "k_max": 4, "effort": "fast"}
    double = segment(frame, **options)
    monkeypatch.setattr(encoding, "MANY_ROWS", 10_000)
    monkeypatch.setattr(encoding, "SINGLE_NUMBERS", 100_000)
    single = segment(frame, **options)
    assert (double.Z.dtype, single.Z.dtype) == (np.float64, np.float32)
    assert double.k == single.k == 3
    # Other rounding changes the sample slightly, so passes end at slightly different centres.
    np.testing.assert_allclose(single.curve["wcss"], double.curve["wcss"], rtol=1e-5)
    centers = [each.clusterings[3].centers for each in (single, double)]
    np.testing.assert_allclose(*centers, atol=0.01)
    assert (single.labels != double.labels).mean() < 1e-4
    np.testing.assert_array_equal(single.labels, single.pipeline.predict(frame))
    assert [s.size for s in single.segments] == np.bincount(single.labels).tolist()
    # Years lie far from zero, so they stay in double precision.
    years = segment(frame.assign(a=frame["a"] / 10 + 2000), scaling="none", **options)
    assert years.Z.dtype == np.float64


def test_ids_and_text_are_not_clustered_on(frame) -> None:
    with_id = frame.assign(customer_id=range(len(frame)))
    result = segment(with_id, choice="silhouette")
    assert result.features.columns == ("age", "annual_income", "spending_score")
    assert result.customers.ids.name == "customer_id"


def test_profile_columns_are_described_only(frame) -> None:
    from segmentation.features.feature_set import FeatureSet

    features = FeatureSet(name="x", columns=("age", "spending_score"), profile=("gender",))
    result = segment(frame, features=features, choice="silhouette")
    assert result.Z.shape[1] == 2
    assert set(result.profile.feature) == {"age", "spending_score", "gender"}


def test_transformers_and_names_agree(frame) -> None:
    by_name = segment(frame, scaling="standard", choice="silhouette")
    by_object = segment(frame, scaling=StandardScaler(), choice="silhouette")
    target = {"_target_": "sklearn.preprocessing.StandardScaler"}
    by_target = segment(frame, scaling=target, choice="silhouette")
    assert np.array_equal(by_name.labels, by_object.labels)
    assert np.array_equal(by_name.labels, by_target.labels)


def test_prints_and_writes_nothing(frame, capfd, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    segment(frame)
    assert capfd.readouterr() == ("", "")
    assert not list(tmp_path.iterdir())


def test_what_it_refuses(frame) -> None:
    with pytest.raises(ConfigError, match=r"k\.max"):
        segment(frame, k_min=5, k_max=3)
    with pytest.raises(ConfigError, match="engine"):
        segment(frame, engine="abacus")
    with pytest.raises(DataError, match="height"):
        segment(frame, features=["height"])
    with pytest.raises(ConfigError, match="distinct"):
        segment(frame.head(5), k_max=12)


def test_chosen_k_is_searched_thoroughly(frame) -> None:
    """At default effort, the chosen k is at least as good as with a thorough search."""
    default = segment(frame, choice="fixed", k=8)
    thorough = segment(frame, choice="fixed", k=8, effort="thorough")
    assert default.curve.wcss[8] <= thorough.curve.wcss[8] * (1 + 1e-9)
    assert adjusted_rand_score(default.labels, thorough.labels) == pytest.approx(1)


def test_a_k_that_half_of_its_starts_agree_on_is_not_searched_again(monkeypatch) -> None:
    X, _ = make_blobs(200, centers=4, cluster_std=0.5, random_state=3)
    groups, searched = pd.DataFrame(X, columns=["x", "y"]), []
    kind = type(ENGINES["sklearn"])
    original = kind.improve
    monkeypatch.setattr(kind, "improve", lambda *a, **k: searched.append(a[3]) or original(*a, **k))
    segment(groups, choice="fixed", k=4)
    assert not searched
    segment(groups, choice="fixed", k=12)
    assert searched == [12]

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import skops.io
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA
from sklearn.preprocessing import MaxAbsScaler, QuantileTransformer

from segmentation.data.customers import Customers, from_frame
from segmentation.data.demo import generate_customers
from segmentation.errors import ConfigError, DataError
from segmentation.features.encoding import build_encoder
from segmentation.features.feature_set import FeatureSet, resolve
from segmentation.features.scaling import SCALINGS, make_scaler, scaling_name
from segmentation.pipeline import segment


@pytest.fixture(scope="module")
def mall() -> Customers:
    return from_frame(generate_customers(120, seed=1), source="demo")


def encoded(features: Any, scaling: Any, customers: Customers) -> pd.DataFrame:
    encoder = build_encoder(resolve(features, customers), scaling, customers.frame)
    Z = encoder.fit_transform(customers.frame)
    return pd.DataFrame(Z, columns=encoder.get_feature_names_out())


# --- feature sets ---------------------------------------------------------------------------


def test_without_a_feature_set_all_numeric_columns_are_used(mall: Customers) -> None:
    features = resolve(None, mall)
    assert features.columns == ("age", "annual_income", "spending_score")
    assert features.profile == features.categorical == ("gender",)
    assert features.name == "age+annual_income+spending_score"
    wide = from_frame(mall.frame.assign(visits=range(120)))
    assert resolve(FeatureSet(), wide).name == "all_numeric"
    assert resolve(FeatureSet(profile=("age",)), mall).columns == (
        "annual_income",
        "spending_score",
    )


def test_named_columns_keep_their_order_and_text_is_categorical(mall: Customers) -> None:
    features = resolve(["spending_score", "gender"], mall)
    assert features == FeatureSet(
        "spending_score+gender",
        ("spending_score", "gender"),
        categorical=("gender",),
        profile=("age", "annual_income"),
    )
    assert resolve(FeatureSet("mine", ("age",), profile=("gender",)), mall).name == "mine"
    assert resolve(features, mall) == features


@pytest.mark.parametrize(
    ("features", "error", "said"),
    [
        (["agee"], DataError, "Did you mean 'age'?"),
        (["x"], DataError, "Columns: gender, age, annual_income, spending_score."),
        (FeatureSet(columns=("age",), profile=("x",)), DataError, "no column 'x'"),
        (FeatureSet(log1p=("x",)), DataError, "no column 'x'"),
        (["age", "age"], ConfigError, "features.columns names 'age' twice"),
        (FeatureSet(columns=("age",), log1p=("annual_income",)), ConfigError, "features.log1p"),
        (FeatureSet(columns=("age",), weights={"gender": 2}), ConfigError, "features.weights"),
        (FeatureSet(columns=("age",), weights={"age": 0}), ConfigError, "above 0"),
        (FeatureSet(columns=("age",), weights={"age": np.nan}), ConfigError, "above 0"),
        (FeatureSet(columns=("age",), weights={"age": np.inf}), ConfigError, "above 0"),
        (FeatureSet(columns=("age",), profile=("age",)), ConfigError, "features.profile"),
        (FeatureSet(columns=("gender",), log1p=("gender",)), ConfigError, "categorical"),
    ],
)
def test_feature_sets_that_cannot_be(
    mall: Customers, features: Any, error: type[Exception], said: str
) -> None:
    with pytest.raises(error) as raised:
        resolve(features, mall)
    assert said in str(raised.value)


def test_constant_columns_are_named_with_the_way_out(mall: Customers) -> None:
    frame = mall.frame.assign(country="DE", plan=3)
    for columns in (["plan", "age"], ["country", "age"]):
        with pytest.raises(DataError, match=rf"'{columns[0]}' is constant.*columns=\[age\]"):
            resolve(columns, from_frame(frame))
    way_out = r"columns=\[age,annual_income,spending_score\]"
    with pytest.raises(DataError, match=way_out):
        resolve(None, from_frame(frame))
    with pytest.raises(DataError, match="all 120 customers are identical in country, plan"):
        resolve(["country", "plan"], from_frame(frame))


def test_text_with_many_values_cannot_be_clustered_on(mall: Customers) -> None:
    frame = mall.frame.assign(day=[f"2024-{i:03d}" for i in range(120)])
    with pytest.raises(DataError, match=r"'day' is text with 120 different values \(at most 50"):
        resolve(["age", "day"], from_frame(frame))
    assert resolve(None, from_frame(frame)).columns == ("age", "annual_income", "spending_score")


def test_missing_text_is_refused_when_clustered_on() -> None:
    customers = from_frame(pd.DataFrame({"age": [1, 2, 3], "g": ["a", None, "b"]}))
    with pytest.raises(DataError, match=r"'g': missing values \(1\)"):
        resolve(["g"], customers)


def test_a_table_of_texts_has_nothing_numeric() -> None:
    customers = from_frame(pd.DataFrame({"g": ["a", "b", "a"]}))
    with pytest.raises(DataError, match="no numeric column"):
        resolve(None, customers)
    assert resolve("g", customers).columns == ("g",)


def test_log1p_needs_values_above_minus_one() -> None:
    customers = from_frame(pd.DataFrame({"a": [-1, 2, 3], "b": [-0.5, 0, 1]}))
    with pytest.raises(DataError, match="smallest is -1"):
        resolve(FeatureSet(columns=("a",), log1p=("a",)), customers)
    assert resolve(FeatureSet(columns=("b",), log1p=("b",)), customers).log1p == ("b",)


# --- the encoder ----------------------------------------------------------------------------


def test_scaling_none_passes_the_numbers_on_as_floats(mall: Customers) -> None:
    columns = ["spending_score", "age"]
    Z = encoded(columns, "none", mall)
    pd.testing.assert_frame_equal(Z, mall.frame[columns].astype("float64"))


def test_order_is_log1p_then_scaling_then_weight(mall: Customers) -> None:
    features = FeatureSet(
        "all",
        ("gender", "age", "annual_income", "spending_score"),
        log1p=("annual_income",),
        weights={"gender": 0.5, "annual_income": 3.0},
    )
    Z = encoded(features, "standard", mall)
    assert list(Z) == ["gender_Female", "gender_Male", "age", "annual_income", "spending_score"]
    log_income = np.log1p(mall.frame["annual_income"])
    np.testing.assert_allclose(
        Z["annual_income"], 3 * (log_income - log_income.mean()) / log_income.std(ddof=0)
    )
    np.testing.assert_array_equal(Z["gender_Male"], 0.5 * (mall.frame["gender"] == "Male"))
    assert Z["age"].std(ddof=0) == pytest.approx(1)


def test_outputs_follow_the_order_of_the_columns(mall: Customers) -> None:
    for columns in (["age", "gender", "spending_score"], ["spending_score", "age", "gender"]):
        features = FeatureSet("f", tuple(columns), log1p=("age",), weights={"spending_score": 2.0})
        order = [
            name.removesuffix("_Female").removesuffix("_Male")
            for name in encoded(features, "minmax", mall)
        ]
        assert list(dict.fromkeys(order)) == columns


def test_numeric_codes_can_be_categories() -> None:
    customers = from_frame(pd.DataFrame({"region": [1, 3, 2, 3], "x": [1, 2, 3, 5]}))
    Z = encoded(FeatureSet("r", ("region", "x"), categorical=("region",)), "none", customers)
    assert list(Z) == ["region_1", "region_2", "region_3", "x"]
    assert Z["region_3"].tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize("scaling", [*SCALINGS, {"_target_": "sklearn.preprocessing.MaxAbsScaler"}])
def test_encoders_are_dense_floats_and_load_without_trust(mall: Customers, scaling: Any) -> None:
    features = resolve(
        FeatureSet("f", ("gender", "age", "annual_income"), log1p=("age",), weights={"age": 2.0}),
        mall,
    )
    encoder = build_encoder(features, scaling, mall.frame).fit(mall.frame)
    Z = encoder.transform(mall.frame)
    assert isinstance(Z, np.ndarray)
    assert Z.dtype == np.float64
    assert np.isfinite(Z).all()
    stored = skops.io.dumps(encoder)
    assert skops.io.get_untrusted_types(data=stored) == []
    np.testing.assert_array_equal(skops.io.loads(stored).transform(mall.frame), Z)


def test_column_order_extra_columns_and_number_types_do_not_matter(mall: Customers) -> None:
    features = resolve(["gender", "age", "annual_income"], mall)
    encoder = build_encoder(features, "power", mall.frame).fit(mall.frame)
    other = mall.frame[["annual_income", "gender", "age"]].astype({"age": "float64"})
    np.testing.assert_array_equal(
        encoder.transform(other.assign(extra=1)), encoder.transform(mall.frame)
    )


def test_an_unseen_category_is_an_error(mall: Customers) -> None:
    encoder = build_encoder(resolve(["gender"], mall), "none", mall.frame).fit(mall.frame)
    with pytest.raises(ValueError, match="Diverse"):
        encoder.transform(mall.frame.assign(gender="Diverse"))


@settings(max_examples=30, deadline=None)
@given(
    scaling=st.sampled_from(sorted(SCALINGS)),
    values=st.lists(st.integers(0, 10_000), min_size=4, max_size=40, unique=True),
    log1p=st.booleans(),
)
def test_every_scaling_can_be_undone(scaling: str, values: list[int], log1p: bool) -> None:
    # A power transform loses what lies far from zero for how little it varies: see below.
    scaled = np.log1p(values) if log1p else np.array(values)
    assume(scaling != "power" or np.ptp(scaled) >= scaled.min())
    frame = pd.DataFrame({"x": values})
    features = FeatureSet("x", ("x",), log1p=("x",) if log1p else ())
    encoder = build_encoder(resolve(features, from_frame(frame)), scaling, frame)
    Z = encoder.fit_transform(frame)
    step = encoder.transformers_[0][1]
    np.testing.assert_allclose(step.inverse_transform(Z)[:, 0], values, rtol=1e-6, atol=1e-4)


@pytest.mark.parametrize("log1p", [False, True])
@pytest.mark.parametrize(
    "scaling", ["power", {"_target_": "sklearn.preprocessing.PowerTransformer"}]
)
def test_a_power_that_runs_values_together_is_refused(scaling: Any, log1p: bool) -> None:
    tail = np.random.default_rng(0).gamma(2, 10, 200).round()
    frame = pd.DataFrame({"spend": tail, "year": 1950 + tail})
    features = FeatureSet("x", ("spend", "year"), log1p=("year",) if log1p else ())
    with pytest.raises(DataError, match=r"'year'.*makes its values equal.*quantile"):
        segment(frame, features=features, scaling=scaling, k_max=3, choice="silhouette")
    nearer = frame.assign(year=tail + 1)
    result = segment(nearer, features=features, scaling=scaling, k_max=3, choice="silhouette")
    np.testing.assert_allclose(result.Z.std(axis=0), 1)


@settings(max_examples=30, deadline=None)
@given(scaling=st.sampled_from(sorted(SCALINGS)), seed=st.integers(0, 99))
def test_the_order_of_the_customers_does_not_matter(scaling: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"a": rng.lognormal(3, 1, 60), "b": rng.integers(0, 1000, 60)})
    order = rng.permutation(60)
    features = resolve(["a", "b"], from_frame(frame))
    Z, shuffled = (
        build_encoder(features, scaling, f).fit_transform(f) for f in (frame, frame.iloc[order])
    )
    np.testing.assert_allclose(shuffled, Z[order], rtol=1e-6, atol=1e-6)


# --- scalings -------------------------------------------------------------------------------


def test_there_are_six_scalings() -> None:
    assert list(SCALINGS) == ["none", "standard", "minmax", "robust", "power", "quantile"]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("n_rows", [2, 30, 5000])
def test_quantiles_are_never_more_than_the_customers(n_rows: int) -> None:
    for scaling in ("quantile", {"_target_": "sklearn.preprocessing.QuantileTransformer"}):
        scaler = make_scaler(scaling, n_rows)
        assert scaler.get_params()["n_quantiles"] == min(1000, n_rows)
        scaler.fit(np.arange(n_rows, dtype=float).reshape(-1, 1))


def test_a_config_may_name_a_scaler_of_scikit_learn() -> None:
    scaler = make_scaler(
        {"_target_": "sklearn.preprocessing.MinMaxScaler", "feature_range": [0, 2]}, 10
    )
    assert scaler.get_params()["feature_range"] == (0, 2)


@pytest.mark.parametrize(
    ("scaling", "said"),
    [
        ("standrd", "Did you mean standard?"),
        ({"_target_": "os.system", "command": "true"}, "_target_=os.system is not allowed"),
        ({"_target_": "sklearn.preprocessing.FunctionTransformer"}, "not allowed"),
        ({"_target_": "sklearn.preprocessing._data.StandardScaler"}, "not allowed"),
        ({"_target_": "sklearn.decomposition.PCA"}, "not allowed"),
        ({"with_mean": False}, "_target_=None is not allowed"),
        (
            {"_target_": "sklearn.preprocessing.StandardScaler", "mean": 1},
            "scaling.mean is not an argument of sklearn.preprocessing.StandardScaler; "
            "it takes with_",
        ),
        (
            {
                "_target_": "sklearn.preprocessing.MinMaxScaler",
                "feature_range": {"_target_": "os.system"},
            },
            "'feature_range' parameter",
        ),
        (
            {"_target_": "sklearn.preprocessing.QuantileTransformer", "n_quantiles": "x"},
            "'n_quantiles' parameter",
        ),
        (3, "neither a name"),
        (MaxAbsScaler, "neither a name"),
    ],
)
def test_other_scalings_are_refused(scaling: Any, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        make_scaler(scaling, 20)
    assert said in str(error.value)


def test_a_transformer_is_cloned(mall: Customers) -> None:
    scaler = QuantileTransformer(n_quantiles=7)
    Z = encoded(["age"], scaler, mall)
    assert Z["age"].between(0, 1).all()
    assert not hasattr(scaler, "quantiles_")
    assert list(encoded(["age", "annual_income"], PCA(1), mall)) == ["pca0"]


def test_scalings_that_cannot_scale_a_column_say_which(mall: Customers) -> None:
    frame = mall.frame.assign(refunds=[0] * 100 + [9] * 20)
    for scaling in ("robust", {"_target_": "sklearn.preprocessing.RobustScaler"}):
        with pytest.raises(DataError, match=r"'refunds'.*scaling=robust"):
            encoded(["age", "refunds"], scaling, from_frame(frame))
    box_cox = {"_target_": "sklearn.preprocessing.PowerTransformer", "method": "box-cox"}
    with pytest.raises(DataError, match=r"'refunds': box-cox"):
        encoded(["refunds"], box_cox, from_frame(frame))


def test_scalings_have_short_names() -> None:
    assert scaling_name("power") == "power"
    assert scaling_name({"_target_": "sklearn.preprocessing.MaxAbsScaler"}) == "MaxAbsScaler"
    assert scaling_name(MaxAbsScaler()) == "MaxAbsScaler"

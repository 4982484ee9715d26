"""The names of encoded columns are unique, whatever columns and categories are called."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import skops.io
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation import FeatureSet
from segmentation.features.encoding import build_encoder, changed_names, fit_transform
from segmentation.profiling.importance import feature_of_columns

SHORT = st.text(alphabet="ab_=", min_size=1, max_size=4)
#: Two columns and their categories.
COLLIDING: dict[str, dict[str, list[object]]] = {
    "a number named like a category": {"plan": ["premium", "free"], "plan_premium": [1.0, 2.0]},
    "two categories": {"a": ["b_c", "x"], "a_b": ["c", "x"]},
    "in another order": {"a_b": ["c", "x"], "a": ["b_c", "x"]},
    "three": {"a": ["b_c_d", "b_x"], "a_b": ["c_d", "x"], "a_b_c": ["d", "e"]},
    "a number named like a block": {"one_hot_0__a": [1.0, 2.0], "a": ["1", "2"], "a_1": [3.0, 4.0]},
}


def encode(columns: dict[str, list[object]]) -> tuple[pd.DataFrame, object, np.ndarray]:
    frame = pd.DataFrame(columns)
    texts = tuple(name for name, values in columns.items() if isinstance(values[0], str))
    features = FeatureSet(name="x", columns=tuple(columns), categorical=texts)
    encoder = build_encoder(features, "standard", frame)
    return frame, encoder, fit_transform(encoder, frame)


@pytest.mark.parametrize("columns", COLLIDING.values(), ids=COLLIDING)
def test_colliding_names_are_told_apart(columns: dict[str, list[object]]) -> None:
    _, encoder, Z = encode(columns)
    names = encoder.get_feature_names_out()
    assert len(set(names)) == len(names) == Z.shape[1]
    table = changed_names(encoder)
    assert table is not None
    assert table["encoded"].tolist() == names.tolist()
    assert table["column"].tolist() == feature_of_columns(encoder)
    assert not table[["column", "category"]].duplicated().any()
    # The values are those of each column alone.
    start = 0
    for name, values in columns.items():
        _, _, alone = encode({name: values})
        np.testing.assert_array_equal(Z[:, start : start + alone.shape[1]], alone)
        start += alone.shape[1]


def test_other_names_stay_as_they_are() -> None:
    columns = {"plan": ["premium", "free"], "plan_months": [1.0, 2.0]}
    _, encoder, _ = encode(columns)
    assert encoder.get_feature_names_out().tolist() == ["plan_free", "plan_premium", "plan_months"]
    assert changed_names(encoder) is None


def test_an_encoder_with_changed_names_is_stock_scikit_learn() -> None:
    frame, encoder, Z = encode(COLLIDING["two categories"])
    loaded = skops.io.loads(skops.io.dumps(encoder))
    np.testing.assert_array_equal(loaded.transform(frame), Z)
    assert loaded.get_feature_names_out().tolist() == encoder.get_feature_names_out().tolist()


@settings(deadline=None, max_examples=60)
@given(
    st.dictionaries(
        SHORT,
        st.one_of(st.lists(SHORT, min_size=2, max_size=2, unique=True), st.just([1.0, 2.0])),
        min_size=1,
        max_size=5,
    )
)
def test_any_names_are_unique(columns: dict[str, list[object]]) -> None:
    _, encoder, Z = encode(columns)
    names = encoder.get_feature_names_out()
    assert len(set(names)) == len(names) == Z.shape[1]

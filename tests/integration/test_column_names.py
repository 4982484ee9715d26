"""Columns may have any name: runs, tables, models and scored files keep them apart."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from segmentation import FeatureSet, log_result, segment
from segmentation.cli import main
from segmentation.data.customers import from_frame
from segmentation.model import flavor
from segmentation.tracking import runs
from segmentation.tracking.store import open_store

OURS = ["segment", "segment_name", "distance", "customer", "kind", "name", "k", "median age", "row"]
NAMES = st.one_of(
    st.sampled_from([*OURS, "plan", "plan_premium", "a_b", "a.b", "a/b", "x" * 300, "x" * 299]),
    # A column's name is stripped when it is read.
    st.text(min_size=1, max_size=30).map(str.strip).filter(bool),
)
UNLIKE_AN_ID = st.lists(NAMES, min_size=5, max_size=5, unique=True)


@settings(
    deadline=None,
    max_examples=2,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@example(["segment", "plan", "plan_premium", "distance", "segment (column)"])
@example(["segment_name", "a_b", "a", "segment", "x" * 300])
@given(UNLIKE_AN_ID)
def test_a_run_keeps_them_apart(store_uri: str, names: list[str]) -> None:
    id_name, first, second, third, fourth = names
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            id_name: [f"c{i}" for i in range(60)],
            first: ["premium", "b_c", "free"] * 20,
            second: np.repeat(["c", "premium"], 30),
            third: np.repeat([0.0, 9.0], 30) + rng.normal(size=60),
            fourth: rng.normal(size=60),
        }
    )
    customers = from_frame(frame, id=id_name)
    features = FeatureSet(columns=(first, second, third, fourth))
    result = segment(customers, features=features, choice="fixed", k=2, k_max=2, effort="fast")
    assert len(set(result.encoded_names)) == result.Z.shape[1]
    logged = log_result(result, uri=store_uri)
    store = open_store(store_uri, "customer-segments")
    run = store.client.get_run(logged.run_id)
    assert run.info.status == "FINISHED"
    segments = runs.customer_segments(store, logged.run_id, run.info.artifact_uri)
    assert segments is not None
    assert segments.index.tolist() == frame[id_name].tolist()
    assert segments.tolist() == result.labels.tolist()
    folder = runs.local_path(store, run.info.artifact_uri)
    assert folder is not None
    for path in (folder / "tables").glob("*.json"):
        columns = json.loads(path.read_text("utf-8"))["columns"]
        assert len(set(columns)) == len(columns), path.name
    model = flavor.load(logged.model_uri, tracking_uri=store_uri).model
    answer = model.predict(None, frame.drop(columns=id_name))
    assert answer["segment"].tolist() == result.labels.tolist()


def test_what_the_names_were_made_of_is_logged(store_uri: str) -> None:
    frame = pd.DataFrame(
        {"plan": ["premium", "free"] * 20, "plan_premium": np.repeat([0.0, 9.0], 20)}
    )
    result = segment(frame, features=[*frame], choice="fixed", k=2, k_max=2, effort="fast")
    logged = log_result(result, uri=store_uri)
    store = open_store(store_uri, "customer-segments")
    run = store.client.get_run(logged.run_id)
    table = runs.logged_table(
        store, logged.run_id, run.info.artifact_uri, "tables/encoded_names.json"
    )
    assert table is not None
    assert table["column"].tolist() == ["plan", "plan", "plan_premium"]
    assert table["category"].fillna("").tolist() == ["free", "premium", ""]
    assert table["encoded"].tolist() == list(result.encoded_names)


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_an_id_with_the_name_of_an_added_column_is_scored(
    store_uri: str, tmp_path: Path, ending: str
) -> None:
    frame = pd.DataFrame(
        {"segment": range(60), "distance": np.repeat([0.0, 9.0], 30), "age": range(60)}
    )
    customers = from_frame(frame, id="segment")
    result = segment(customers, features=["distance"], choice="fixed", k=2, k_max=2, effort="fast")
    model = log_result(result, uri=store_uri).model_uri
    given, out = tmp_path / f"given.{ending}", tmp_path / f"out.{ending}"
    if ending == "csv":
        frame.to_csv(given, index=False)
    else:
        frame.to_parquet(given)
    call = ["score", f"data={ending}", f"data.path={given}", f"out={out}", f"model={model}"]
    to = f"tracking.uri={store_uri}"
    # Without its name, the column may be one of an earlier scoring.
    assert main.run([*call, to]) == 2
    assert main.run([*call, to, "data.id=segment"]) == 0
    scored = pd.read_csv(out) if ending == "csv" else pd.read_parquet(out)
    assert scored["segment (id)"].tolist() == frame["segment"].tolist()
    assert scored["distance (column)"].tolist() == frame["distance"].tolist()
    assert scored["segment"].tolist() == result.labels.tolist()


def test_a_table_that_lost_its_ids_has_none(store_uri: str) -> None:
    """Earlier versions wrote an id called `segment` or `segment_name` over."""
    store = open_store(store_uri, "old")
    for header in ("segment,segment_name,distance", "segment_name,segment,distance"):
        run = store.client.create_run(store.experiment_id).info
        store.client.log_text(run.run_id, f"{header}\n0,a,0.5\n", runs.CUSTOMERS_FILE)
        assert runs.customer_segments(store, run.run_id, run.artifact_uri) is None

"""The saved view and the note of an experiment, and what becomes of those of earlier versions."""

from __future__ import annotations

import base64
import json
import zlib
from typing import Any

import pytest

from segmentation.evaluation.metrics import OWN, VIEW
from segmentation.tracking import view
from segmentation.tracking.run_metrics import columns
from segmentation.tracking.store import Store, open_store

#: As version 0.1.0 wrote them.
OLD_NOTE = """\
Each run fits K-Means over a whole range of k for one configuration (feature set, scaling, k range).

- **k, structure, confidence, stability** are the run's answer; rank runs by these.
- `curve/…` metrics have **step = k**: their charts are the elbow and silhouette curves.
- `wcss`, `silhouette`, `explained_variance` are measured in the run's own scaled space: compare
  them only between runs with the same features and scaling.
"""
OLD_STATE = {
    "searchFilter": "metrics.k > 0",
    "orderByKey": "metrics.`stability`",
    "orderByAsc": False,
    "startTime": "ALL",
    "lifecycleFilter": "Active",
    "datasetsFilter": [],
    "modelVersionFilter": "All Runs",
    "selectedColumns": ["metrics.`k`", "metrics.`stability`", "tags.`structure`"],
    "runsHiddenMode": "FIRST_20_RUNS",
    "hideEmptyCharts": True,
}


@pytest.fixture
def store(store_uri: str) -> Store:
    return open_store(store_uri, "seen")


def packed(state: dict[str, Any]) -> str:
    return f"deflate;{base64.b64encode(zlib.compress(json.dumps(state).encode())).decode()}"


def old_view(state: dict[str, Any] = OLD_STATE, **changed: Any) -> str:
    view_1 = {"name": "Segments", "createdAt": 17, "updatedAt": 17, "state": packed(state)}
    return json.dumps(view_1 | changed)


def tags(store: Store) -> dict[str, str]:
    return dict(store.client.get_experiment(store.experiment_id).tags)


def state_of(store: Store) -> dict[str, Any]:
    text = json.loads(tags(store)[view.VIEW_TAG])["state"].removeprefix("deflate;")
    return dict(json.loads(zlib.decompress(base64.b64decode(text))))


def set_tag(store: Store, key: str, value: str) -> None:
    store.client.set_experiment_tag(store.experiment_id, key, value)


def test_it_is_in_the_order_of_the_ranking_and_shows_what_decides(store):
    state = state_of(store)
    assert (state["orderByKey"], state["orderByAsc"]) == ("metrics.`rank_order`", True)
    shown = [column.split("`")[1] for column in state["selectedColumns"]]
    decides = ["rank", "data", "features", "scaling", "k", "structure", "confidence"]
    assert shown[: len(decides)] == decides
    assert {"stability", "gap", "careful"} <= {*shown}
    assert state["columnOrder"][-len(shown) :] == state["selectedColumns"]
    assert {*state["selectedColumns"]} <= {*state["columnWidths"]}


def test_columns_of_a_runs_own_space_come_last(store):
    shown = [column.split("`")[1] for column in state_of(store)["selectedColumns"]]
    own = [column.logged for column in columns(VIEW) if column.scope == OWN]
    assert own
    assert shown[-len(own) :] == own
    assert all(f"`{name}`" in tags(store)[view.NOTE_TAG] for name in own)


def test_an_old_view_is_replaced_once(store):
    wanted = tags(store)
    set_tag(store, view.VIEW_TAG, old_view())
    set_tag(store, view.NOTE_TAG, OLD_NOTE)
    assert view.upgrade(store.client, store.experiment_id)
    assert state_of(store)["orderByKey"] == "metrics.`rank_order`"
    assert tags(store)[view.NOTE_TAG] == wanted[view.NOTE_TAG]
    before = tags(store)
    assert not view.upgrade(store.client, store.experiment_id)
    assert tags(store) == before


@pytest.mark.parametrize(
    "theirs",
    [
        old_view(updatedAt=18),
        old_view(name="Mine"),
        old_view(OLD_STATE | {"columnOrder": []}),
        old_view(state=7),
        json.dumps({"name": "Segments"}),
        "[]",
        "not JSON",
    ],
)
def test_a_view_that_somebody_changed_is_left_alone(store, theirs):
    set_tag(store, view.VIEW_TAG, theirs)
    set_tag(store, view.NOTE_TAG, OLD_NOTE)
    assert not view.upgrade(store.client, store.experiment_id)
    assert tags(store)[view.VIEW_TAG] == theirs
    assert tags(store)[view.NOTE_TAG] == OLD_NOTE


def test_a_note_that_somebody_changed_is_left_alone(store):
    set_tag(store, view.VIEW_TAG, old_view())
    set_tag(store, view.NOTE_TAG, OLD_NOTE + "\nAsk Ada before you promote.")
    assert view.upgrade(store.client, store.experiment_id)
    assert "Ask Ada" in tags(store)[view.NOTE_TAG]


def test_an_experiment_without_a_view_gets_none(store):
    made = store.client.create_experiment("by hand")
    assert not view.upgrade(store.client, made)
    assert view.VIEW_TAG not in store.client.get_experiment(made).tags

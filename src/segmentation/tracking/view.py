"""The saved view and the note of an experiment in the MLflow UI, and their upgrade.

The view is an experiment tag in the UI's own format, and the UI opens it by the key in the links we
print. Without it the table of runs shows no metrics.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import re
import time
import zlib
from typing import TYPE_CHECKING, Any

from segmentation.evaluation.metrics import OWN, REFERENCE, VIEW
from segmentation.tracking.run_metrics import ORDER, RANK, columns

if TYPE_CHECKING:
    from mlflow import MlflowClient

#: Key of the view, part of the links we print.
VIEW_KEY = "segments"
VIEW_TAG = f"mlflow.sharedViewState.{VIEW_KEY}"
NOTE_TAG = "mlflow.note.content"
#: Increase it when the view changes: an experiment with an older view gets the new one.
VERSION = 2

_NAME = "Segments"
#: Keys of the state of version 1, which did not say its version.
_KEYS_1 = {
    *("searchFilter", "orderByKey", "orderByAsc", "startTime", "lifecycleFilter"),
    *("datasetsFilter", "modelVersionFilter", "selectedColumns", "runsHiddenMode"),
    "hideEmptyCharts",
}
_NOTE_1 = re.compile(
    r"Each run fits K-Means over a whole range of k for one configuration "
    r"\(feature set, scaling, k range\)\.\n\n"
    r"- \*\*k, structure, confidence, stability\*\* are [^\n]*; rank runs by these\.\n"
    r"- `curve/…` metrics have \*\*step = k\*\*[^\n]*\n"
    r"- [^\n]* are measured in the run's own scaled space: compare\n"
    r"  them only between runs with the same features and scaling\.\s*"
)


def experiment_tags() -> dict[str, str]:
    """Return the tags of a new experiment: its saved view and its note."""
    state = base64.b64encode(zlib.compress(json.dumps(_state()).encode())).decode()
    now = int(time.time() * 1000)
    view = {
        "name": _NAME,
        "createdAt": now,
        "updatedAt": now,
        "version": VERSION,
        "state": f"deflate;{state}",
    }
    return {NOTE_TAG: _note(), VIEW_TAG: json.dumps(view)}


def upgrade(client: MlflowClient, experiment_id: str) -> bool:
    """Replace the view and the note that an earlier version wrote; return whether it did.

    A view or a note that somebody changed or removed is left alone.
    """
    now = client.get_experiment(experiment_id).tags
    new = experiment_tags()
    old = {VIEW_TAG: _is_old_view(now.get(VIEW_TAG, ""))}
    # The note is only looked at together with the view, so this happens once.
    old[NOTE_TAG] = old[VIEW_TAG] and _NOTE_1.fullmatch(now.get(NOTE_TAG, "")) is not None
    for key, is_old in old.items():
        if is_old:
            client.set_experiment_tag(experiment_id, key, new[key])
    return old[VIEW_TAG]


def _is_old_view(text: str) -> bool:
    """Return whether this is a view of an earlier version that nobody changed since."""
    with contextlib.suppress(ValueError, KeyError, TypeError, binascii.Error, zlib.error):
        view = json.loads(text)
        if view["name"] != _NAME or view["createdAt"] != view["updatedAt"]:
            return False
        if "version" in view:
            return int(view["version"]) < VERSION
        packed = view["state"].removeprefix("deflate;")
        return set(json.loads(zlib.decompress(base64.b64decode(packed)))) == _KEYS_1
    return False


#: Columns of the view in order, with their widths in pixels. The metrics of `columns(VIEW)` that
#: may be compared follow, then `_LAST`, then the metrics of a run's own space. Numbers are cut off
#: by the width, after four digits; MLflow has no other format for them. In a window of 1,400 pixels
#: everything up to the gap is in sight.
_COLUMNS = {
    f"metrics.`{RANK}`": 50,
    "params.`data`": 105,
    "params.`features`": 135,
    "params.`scaling`": 82,
    "metrics.`k`": 40,
    "tags.`structure`": 78,
    "tags.`confidence`": 88,
}
_NUMBER_WIDTH = 70
_LAST = {"tags.`careful`": 300}
#: Columns that MLflow always shows.
_ALWAYS = {"attributes.`Run Name`": 190, "runDateAndNestInfo": 125}


def _state() -> dict[str, Any]:
    """Return the state of MLflow's runs table that shows the ranking."""
    comparable, own = (
        {
            f"metrics.`{column.logged}`": max(_NUMBER_WIDTH, 7 * len(column.logged) + 15)
            for column in columns(VIEW)
            if column.scope != REFERENCE and (column.scope == OWN) == is_own
        }
        for is_own in (False, True)
    )
    widths = {**_COLUMNS, **comparable, **_LAST, **own}
    return {
        "searchFilter": "metrics.k > 0",
        # Not RANK, which runs with equal segments share: MLflow shows the newest of these first.
        "orderByKey": f"metrics.`{ORDER}`",
        "orderByAsc": True,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": [*widths],
        "columnOrder": [*_ALWAYS, *widths],
        "columnWidths": {**_ALWAYS, **widths},
        "runsHiddenMode": "FIRST_20_RUNS",
        "hideEmptyCharts": True,
    }


def _note() -> str:
    own = [f"`{column.name}`" for column in columns(VIEW) if column.scope == OWN]
    return f"""\
Each run fits K-Means over a whole range of k for one configuration (feature set, scaling, k range).

- **rank** is the place of a run's answer among the answers on the same **data**; runs that divide
  the customers alike share it. Data sets follow each other, the newest first. A run takes its place
  when it ends; `segment compare` and the end of a sweep renumber the others, down to line 200.
- **structure, confidence, stability, gap** and the warning in **careful** decide the rank. They may
  be compared between any runs on the same data.
- {", ".join(own)}, on the far right, are measured in the run's own scaled space: compare
  them only between runs with the same features and scaling.
- `curve/…` metrics have **step = k**: their charts are the elbow and silhouette curves.
"""

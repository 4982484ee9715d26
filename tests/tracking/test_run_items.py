"""What a run logs of its segments: tables, texts, and nothing on single customers on demand."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

from segmentation import segment
from segmentation.data.customers import Customers
from segmentation.data.demo import generate_customers
from segmentation.evaluation.partition import encode
from segmentation.features.feature_set import FeatureSet
from segmentation.result import SegmentationResult
from segmentation.tracking.items import File, LogItem, Metric, Table, Tag
from segmentation.tracking.run_items import LONGEST_NOTE, iter_log_items
from segmentation.tracking.run_metrics import EVIDENCE_VERSION

FEATURES = FeatureSet(columns=("annual_income", "spending_score"), profile=("gender", "age"))


@pytest.fixture(scope="module")
def result() -> SegmentationResult:
    return segment(generate_customers(200), features=FEATURES, choice="fixed", k=5, k_max=6)


def logged(result: SegmentationResult, **options: bool) -> list[LogItem]:
    return list(iter_log_items(result, meta={}, **options))


def test_the_partition_is_a_tag_unless_the_customers_are_numbered_anew() -> None:
    frame = generate_customers(80)
    result = segment(frame, features=FEATURES, choice="fixed", k=3, k_max=3, effort="fast")

    def tags(customers: Customers) -> dict[str, str]:
        items = logged(dataclasses.replace(result, customers=customers), log_customers=False)
        return {item.name: item.value for item in items if isinstance(item, Tag)}

    customers = result.customers
    assert tags(customers)["partition"] == encode(customers.ids, result.labels)
    assert "evidence_version" not in tags(customers)
    # A sample in Spark: with ids the key says whether two samples hold the same customers.
    sample = dataclasses.replace(customers, total=1_000)
    assert "partition" in tags(sample)
    numbered = dataclasses.replace(sample, ids=customers.ids.rename("row"))
    assert "partition" not in tags(numbered)
    tested = segment(frame, features=FEATURES, k_max=3, effort="fast")
    (version,) = [i for i in logged(tested) if isinstance(i, Tag) and i.name == "evidence_version"]
    assert version.value == EVIDENCE_VERSION
    names = {item.name for item in logged(tested) if isinstance(item, Metric)}
    assert {"gap", "gap_se"} <= names
    assert tested.structure is not True or "stability_high" in names


def test_tables_tell_the_segments_and_survive_json(result: SegmentationResult) -> None:
    tables = {item.path: item.frame for item in logged(result) if isinstance(item, Table)}
    for path, frame in tables.items():
        assert len(json.loads(frame.to_json(orient="split"))["data"]) == len(frame), path
    segments = tables["tables/segments.json"]
    assert (segments["share_low"] < segments["share"]).all()
    assert segments["borderline"].between(0, 1).all()
    rules = tables["tables/rules.json"]
    assert rules["name"].tolist() == [s.name for s in result.segments]
    assert rules["fidelity of all rules"].nunique() == 1
    assert set(tables["tables/importance.json"]["feature"]) == set(FEATURES.columns)
    typical = tables["tables/typical.json"]
    assert (typical["kind"] == "medoid").sum() == 5
    first = typical.iloc[0]
    (row,) = np.flatnonzero(result.customers.ids == first["customer"])
    for name in ("annual_income", "gender"):
        assert first[name] == result.customers.column(name).iloc[row]


def test_rules_are_a_text_a_note_and_a_metric(result: SegmentationResult) -> None:
    items = logged(result)
    assert result.rules is not None
    (text,) = [i.content.decode() for i in items if isinstance(i, File) and i.path == "rules.txt"]
    (note,) = [i.value for i in items if isinstance(i, Tag) and i.name == "mlflow.note.content"]
    for told in (text, note):
        assert result.rules.verdict in told
        assert all(rule.text in told for rule in result.rules.rules)
    (fidelity,) = [i for i in items if isinstance(i, Metric) and i.name == "rules_fidelity"]
    assert fidelity.value == result.rules.fidelity


def test_nothing_names_a_customer_unless_asked_to(result: SegmentationResult) -> None:
    quiet = logged(result, log_customers=False)
    paths = {item.path for item in quiet if isinstance(item, File | Table)}
    assert not paths & {"tables/typical.json", "customers.csv"}
    assert {"tables/rules.json", "tables/segments.json"} <= paths
    ids = [f"customer-{i}" for i in range(200)]
    named = segment(
        generate_customers(200).assign(customer_id=ids),
        features=FEATURES,
        choice="fixed",
        k=5,
        k_max=5,
        effort="fast",
    )
    for item in logged(named, log_customers=False):
        if isinstance(item, Table):
            assert "customer-" not in item.frame.to_json()
        elif isinstance(item, File):
            assert b"customer-" not in item.content, item.path


def test_a_column_may_have_any_name() -> None:
    frame = generate_customers(60).rename(columns={"age": "segment", "annual_income": "kind"})
    frame = frame.rename(columns={"spending_score": "customer"})
    features = FeatureSet(columns=("segment", "kind", "customer"))
    result = segment(frame, features=features, choice="fixed", k=3, k_max=3, effort="fast")
    tables = {item.path: item.frame for item in logged(result) if isinstance(item, Table)}
    assert tables["tables/typical.json"].columns.is_unique
    assert set(tables["tables/profile.json"]["feature"]) == {
        "segment",
        "kind",
        "customer",
        "gender",
    }


def test_a_note_fits_into_a_tag_and_warns_of_a_split() -> None:
    long = "a column with quite a long name indeed, " * 8
    frame = generate_customers(150).rename(columns={"age": long + "1", "annual_income": long + "2"})
    result = segment(frame, choice="fixed", k=12, k_max=12, effort="fast")
    (note,) = [
        i.value for i in logged(result) if isinstance(i, Tag) and i.name == "mlflow.note.content"
    ]
    assert len(note) <= LONGEST_NOTE + 1
    split = segment(
        pd.DataFrame({"gender": ["f", "m"] * 40, "age": [i % 37 for i in range(80)]}),
        features=["gender", "age"],
        scaling="minmax",
        choice="fixed",
        k=2,
        k_max=2,
    )
    (note,) = [
        i.value for i in logged(split) if isinstance(i, Tag) and i.name == "mlflow.note.content"
    ]
    assert "**Careful:** gender alone" in note

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow import MlflowClient

from portable_models import customers, portable
from segmentation.cli import main
from segmentation.config import Limits, MonitoringConfig
from segmentation.data.streaming import stream_table
from segmentation.errors import RegistryError
from segmentation.evaluation import drift
from segmentation.model import flavor
from segmentation.monitoring.monitor import metric_names, monitor
from segmentation.monitoring.report import monitor_items, render_monitor_report
from segmentation.scoring.chunks import headers, scored_chunks
from segmentation.visualization.drift_figures import features as features_figure
from segmentation.visualization.drift_figures import shares as shares_figure

GENDERS = {"gender": ["Female", "Male"]}
COLUMNS = ["age", "income", "gender"]
RULES = MonitoringConfig(
    confidence=0.99,
    psi=Limits(0.1, 0.25),
    share=Limits(0.05, 0.15),
    distance=Limits(0.1, 0.25),
    out_of_range=Limits(0.03, 0.1),
    rejected=Limits(0.01, 0.05),
)


def with_reference(frame: pd.DataFrame) -> flavor.PortableModel:
    model = portable(frame, categories=GENDERS, segment_ids=[7, 0, 4])
    labels = model.pipeline.predict(frame[COLUMNS])
    distances = model.pipeline.transform(frame[COLUMNS]).min(axis=1)
    radius = [float(np.quantile(distances[labels == index], 0.99)) for index in range(3)]
    reference = drift.reference(frame[COLUMNS], GENDERS, labels, distances, 3)
    return replace(model, reference=reference, radius=radius)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "model"
    flavor.save(with_reference(customers(1000)), path)
    return path


@pytest.fixture(scope="module")
def model(folder):
    return flavor.load(str(folder), tracking_uri="sqlite:///unused.db").model


def monitored(model, frame: pd.DataFrame, rules: MonitoringConfig = RULES):
    import pyarrow as pa

    stream = stream_table(pa.Table.from_pandas(frame, preserve_index=False), "new")
    found = headers(stream, model, {})
    missing = tuple(c["name"] for c in model.columns if c["name"] not in found)
    return monitor(scored_chunks(stream, model, found), model, rules, missing=missing)


# --- the numbers -------------------------------------------------------------------------------


@given(
    st.integers(2, 12).flatmap(
        lambda k: st.tuples(*[st.lists(st.integers(0, 5000), min_size=k, max_size=k)] * 2)
    )
)
def test_psi_is_never_negative_and_the_same_both_ways(pair):
    then, now = (np.array(one, dtype=float) for one in pair)
    assert drift.psi(then, now) >= 0
    assert drift.psi(then, now) == pytest.approx(drift.psi(now, then))
    assert drift.psi(then, then) == 0


def test_psi_of_a_worked_example():
    # 0.3 ln(0.8/0.5) + ... : (0.8 - 0.5) ln(1.6) + (0.2 - 0.5) ln(0.4)
    expected = 0.3 * math.log(1.6) - 0.3 * math.log(0.4)
    value = drift.psi(np.array([5e5, 5e5]), np.array([8e5, 2e5]))
    assert value == pytest.approx(expected, rel=1e-4)


def test_psi_of_the_same_customers_stays_below_chance_as_often_as_promised():
    rng = np.random.default_rng(0)
    shares = np.full(10, 0.1)
    values = [
        drift.psi(rng.multinomial(500, shares) * 1.0, rng.multinomial(300, shares) * 1.0)
        for _ in range(4000)
    ]
    below = np.mean(np.array(values) < drift.psi_noise(10, 500, 300, 0.95))
    assert below == pytest.approx(0.95, abs=0.015)


@given(n=st.integers(1, 10_000), share=st.floats(0, 1), confidence=st.floats(0.5, 0.999))
def test_wilson_holds_the_share_and_stays_between_zero_and_one(n, share, confidence):
    count = round(share * n)
    low, high = drift.wilson(count, n, confidence)
    assert 0 <= low <= count / n <= high <= 1


def test_wilson_of_a_textbook_example():
    # Newcombe (1998), Statistics in Medicine 17, table I: 81 of 263, 95 %
    low, high = drift.wilson(81, 263, 0.95)
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)


@given(
    st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=200),
    st.lists(st.floats(-1e7, 1e7) | st.just(math.nan), max_size=50),
)
def test_every_number_is_in_one_bin(trained, new):
    labels, distances = np.zeros(len(trained), dtype=np.int32), np.ones(len(trained))
    frame = pd.DataFrame({"x": trained})
    (feature,) = drift.reference(frame, {}, labels, distances, 1)["features"]
    assert sum(feature["shares"]) == pytest.approx(1)
    found = drift.bin_counts(feature, pd.Series(new, dtype=float))
    assert found.sum() == sum(not math.isnan(value) for value in new)
    assert len(found) == len(feature["shares"])


def test_metric_names_are_ones_mlflow_takes():
    name = "Annual Income (k$)/../x"
    assert metric_names([name, "age"]) == {name: "psi/Annual Income _k______x", "age": "psi/age"}


# --- the verdict -------------------------------------------------------------------------------


def test_the_training_customers_themselves_are_ok(model):
    found = monitored(model, customers(1000))
    assert found.verdict == "ok"
    assert found.findings == ()
    assert found.now == found.then == 1000
    assert found.features["psi"].max() == pytest.approx(0, abs=1e-12)
    assert found.psi_segments == pytest.approx(0, abs=1e-12)
    assert found.distance_now == pytest.approx(found.distance_then)
    np.testing.assert_allclose(found.segments["now"], found.segments["then"])
    assert 0 < found.out_of_range < 0.02


@pytest.mark.parametrize("n", [15, 60, 400, 5000])
def test_other_customers_of_the_same_kind_are_ok(model, n):
    verdicts = Counter(monitored(model, customers(n, seed=seed)).verdict for seed in range(10, 50))
    assert verdicts["ok"] >= 36  # five rules, each wrong once in a hundred times at most


def test_inflation_asks_for_training_anew(model):
    frame = customers(800, seed=3)
    found = monitored(model, frame.assign(income=frame["income"] * 1.6))
    assert found.verdict == "retrain"
    assert "the distribution of income has changed" in found.sentence
    income = found.features.set_index("feature").loc["income"]
    assert income["verdict"] == "retrain"
    assert found.features.set_index("feature").loc["age", "verdict"] == "ok"
    assert found.distance_now > 1.25 * found.distance_then


def test_a_segment_that_grows_is_named(model):
    frame = customers(3000, seed=4)
    young = frame["age"] < 35
    found = monitored(model, pd.concat([frame, frame[young].head(700)]))
    assert found.verdict in ("watch", "retrain")
    assert any(re.search(r"segment \d \(s\d\) went from", f.text) for f in found.findings)
    moved = found.segments.iloc[(found.segments["now"] - found.segments["then"]).argmax()]
    assert moved["low"] > moved["then_high"]


def test_outliers_are_out_of_range(model):
    frame = customers(1000, seed=5)
    frame.loc[:149, "age"] += 60
    found = monitored(model, frame)
    assert found.out_of_range == pytest.approx(0.16, abs=0.03)
    assert any("farther out" in finding.text for finding in found.findings)
    low, high = found.out_of_range_interval
    assert low < found.out_of_range < high


def test_categories_never_seen_are_reported(model):
    frame = customers(500, seed=6)
    frame.loc[:99, "gender"] = "Diverse"
    found = monitored(model, frame)
    gender = found.features.set_index("feature").loc["gender"]
    assert gender["unseen"] == pytest.approx(0.2)
    assert gender["psi"] > 0.25
    assert found.rejected == {"gender unseen category": 100}
    assert found.now == 400
    assert found.verdict == "retrain"


def test_missing_values_are_counted_and_the_rest_is_compared(model):
    frame = customers(500, seed=7).astype({"age": float})
    frame.loc[:9, "age"] = np.nan
    found = monitored(model, frame)
    assert found.verdict == "watch"
    assert "2.0% of the rows cannot be scored (most often: age missing)" in found.sentence
    assert "segment score" in found.advice
    assert found.features.set_index("feature").loc["age", "unusable"] == pytest.approx(0.02)


def test_a_missing_column_leaves_the_others_to_compare(model):
    found = monitored(model, customers(500, seed=8).drop(columns="income"))
    assert found.verdict == "retrain"
    assert "'income' is missing" in found.sentence
    assert found.now == 0
    psi = found.features.set_index("feature")["psi"]
    assert math.isnan(psi["income"])
    assert psi["age"] < 0.1
    page = render_monitor_report(found, RULES, pictures={}, meta={})
    assert "nan" not in page.lower().replace("finance", "")


def test_the_rules_are_the_configs(model):
    frame = customers(800, seed=3)
    frame = frame.assign(income=frame["income"] * 1.6)
    patient = MonitoringConfig(
        confidence=0.99, **{name: Limits(90, 99) for name in vars(RULES) if name != "confidence"}
    )
    assert monitored(model, frame, patient).verdict == "ok"
    only_psi = replace(patient, psi=Limits(0.1, 99))
    assert monitored(model, frame, only_psi).verdict == "watch"


def test_a_model_without_a_reference_says_so(tmp_path):
    flavor.save(portable(customers(), categories=GENDERS), tmp_path / "m")
    model = flavor.load(str(tmp_path / "m"), tracking_uri="sqlite:///unused.db").model
    with pytest.raises(RegistryError, match="promote again"):
        monitored(model, customers())


# --- what is logged ----------------------------------------------------------------------------


def test_the_report_escapes_and_loads_nothing(model):
    found = monitored(model, customers(300, seed=2).assign(gender="<b>x</b>"))
    page = render_monitor_report(found, RULES, pictures={}, meta={"run": "<script>"})
    assert "<script>" not in page
    assert "http:" not in page
    assert "https:" not in page
    assert "Population stability index" in page


def test_figures_are_drawn_for_odd_names_and_many_rows(model):
    found = monitored(model, customers(300, seed=2))
    segments = pd.concat([found.segments.assign(name="$x$ 顧客 " + "long " * 20)] * 12)
    segments["segment"] = range(len(segments))
    assert shares_figure(segments).axes
    table = pd.concat([found.features.assign(feature="$a_b$" * 12)] * 12)
    assert features_figure(table, 0.1, 0.25).axes


@pytest.fixture
def champion(store_uri, customers_csv):
    """A champion in the store; the arguments that name the store."""
    where = [f"tracking.uri={store_uri}"]
    fit = ["fit", "data=csv", f"data.path={customers_csv}", "choice=fixed", "choice.k=3", *where]
    assert main.run([*fit, "engine.effort=fast", "k.max=4"]) == 0
    client = MlflowClient(store_uri)
    (experiment,) = client.search_experiments(filter_string="name = 'customer-segments'")
    (logged,) = client.search_logged_models([experiment.experiment_id])
    client.create_registered_model("customer-segments")
    version = client.create_model_version(
        "customer-segments", f"models:/{logged.model_id}", model_id=logged.model_id
    )
    client.set_registered_model_alias("customer-segments", "champion", version.version)
    return where


def test_the_command_logs_a_run_that_compare_does_not_see(
    champion, store_uri, customers_csv, tmp_path, capsys
):
    capsys.readouterr()
    assert main.run(["monitor", f"data.path={customers_csv}", *champion]) == 0
    said = capsys.readouterr().out
    assert said.startswith("ok: ")
    assert "Next:" in said.splitlines()[-1]
    client = MlflowClient(store_uri)
    (experiment,) = client.search_experiments(filter_string="name = 'customer-segments'")
    (run,) = client.search_runs([experiment.experiment_id], "tags.kind = 'monitor'")
    assert run.info.status == "FINISHED"
    assert run.data.tags["verdict"] == "ok"
    assert run.data.tags["model_version"] == "1"
    assert run.data.tags["mlflow.source.name"] == "segment monitor"
    metrics = run.data.metrics
    assert {"psi/age", "psi/annual_income", "share/0", "out_of_range", "mean_distance"} <= set(
        metrics
    )
    assert "k" not in metrics
    assert metrics["customers"] == 60
    files = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert {"report.html", "figures", "tables"} <= files
    assert main.run(["compare", "format=csv", *champion]) == 0
    assert "monitor" not in capsys.readouterr().out


def test_exit_code_only_where_it_was_asked_for(champion, customers_csv, tmp_path, capsys):
    frame = pd.read_csv(customers_csv)
    path = tmp_path / "new.csv"
    frame.assign(annual_income=frame["annual_income"] + 200).to_csv(path, index=False)
    command = ["monitor", f"data.path={path}", *champion]
    assert main.run(command) == 0
    assert capsys.readouterr().out.startswith("retrain: ")
    assert main.run([*command, "fail_on=retrain"]) == 3
    assert "the verdict is retrain" in capsys.readouterr().err
    assert main.run(["monitor", f"data.path={customers_csv}", *champion, "fail_on=watch"]) == 0
    score = ["score", f"data.path={path}", f"out={tmp_path / 'scored.csv'}", *champion]
    assert main.run(score) == 0
    scored = pd.read_csv(tmp_path / "scored.csv")
    assert not scored["in_range"].any()


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("fail_on=ok", "watch, retrain"),
        ("monitoring.psi.watch=0.5", "monitoring.psi"),
        ("monitoring.confidence=99", "between 0 and 1"),
        ("monitoring=lax", "default"),
        ("monitoring.psy.watch=1", "psy"),
        ("data.missing=drop", "rejected"),
        ("data.path=nowhere.csv", "No such file"),
    ],
)
def test_what_is_not_allowed(customers_csv, store_uri, capsys, override, said):
    command = ["monitor", f"data.path={customers_csv}", f"tracking.uri={store_uri}", override]
    assert main.run(command) == 2
    assert said in capsys.readouterr().err


def test_what_a_run_logs_is_finite(model):
    for frame in (customers(200, seed=1), customers(200, seed=1).drop(columns="age")):
        found = monitored(model, frame)
        items = list(monitor_items(found, RULES, meta={"model": "m", "data": "d"}))
        values = [item.value for item in items if type(item).__name__ == "Metric"]
        assert values
        assert all(math.isfinite(value) for value in values)

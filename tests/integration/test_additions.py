"""One registration adds a metric, a figure, a section or a scaling, and it is found everywhere."""

from __future__ import annotations

import base64
import json
import zlib
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure as Drawing
from sklearn.preprocessing import MaxAbsScaler

from conftest import REPO
from pages import Page
from segmentation import log_result, segment
from segmentation.cli import main
from segmentation.data.demo import generate_customers
from segmentation.evaluation.formats import decimals
from segmentation.evaluation.metrics import ANY, METRICS, OWN, Fit, Metric
from segmentation.experiments.advice import advice
from segmentation.experiments.ranking import rank
from segmentation.experiments.sweep_report import Place, render_sweep_report
from segmentation.features.scaling import SCALINGS, Scaling
from segmentation.reporting.sections import SECTIONS, Section
from segmentation.result import SegmentationResult
from segmentation.tracking.run_logger import LoggedRun
from segmentation.tracking.runs import finished_runs, local_path
from segmentation.tracking.store import Store, open_store
from segmentation.tracking.view import VIEW_TAG
from segmentation.visualization import FIGURES, Figure
from segmentation.visualization.style import headline, single

EXPERIMENT = "customer-segments"


def fit(k: int, **options: object) -> SegmentationResult:
    frame = generate_customers(80, seed=1)
    settings = {"features": ["age", "annual_income"], "effort": "fast", "k_max": 4, **options}
    return segment(frame, choice="fixed", k=k, **settings)  # type: ignore[arg-type]


def page_of(store: Store, run: LoggedRun) -> str:
    folder = local_path(store, str(store.client.get_run(run.run_id).info.artifact_uri))
    assert folder is not None
    return (folder / "report.html").read_text(encoding="utf-8")


def compared(uri: str, capfd: pytest.CaptureFixture[str], *options: str) -> str:
    assert main.run(["compare", f"tracking.uri={uri}", *options]) == 0
    return capfd.readouterr().out


def sweep_page(ranked: pd.DataFrame) -> str:
    return render_sweep_report(
        ranked,
        pd.DataFrame(),
        question="",
        total=len(ranked),
        segments=None,
        figures={},
        places={run_id: Place(report="", run="") for run_id in ranked["run_id"]},
        meta={},
    )


def evenness(result: Fit) -> float | None:
    """How many clusters have more than the tenth part of the largest; none of a single cluster."""
    sizes = result.sizes
    return None if len(sizes) < 2 else float((sizes > sizes.max() / 10).sum()) + 0.5


@pytest.mark.parametrize(
    ("scope", "better", "group"), [(ANY, "lower", "any"), (OWN, "higher", "own")]
)
def test_a_metric(
    scope: str,
    better: str,
    group: str,
    store_uri: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    line = Metric("evenness", evenness, "evenness of sizes", decimals(3), better, scope)  # type: ignore[arg-type]
    monkeypatch.setitem(METRICS, line.name, line)
    store = open_store(store_uri, EXPERIMENT)
    two, three = (log_result(fit(k), uri=store_uri, experiment=EXPERIMENT) for k in (2, 3))

    # The run: of the chosen k, and over k where it is defined.
    logged = store.client.get_run(three.run_id).data.metrics
    assert logged["evenness"] == 3.5
    history = store.client.get_metric_history(three.run_id, "curve/evenness")
    assert {metric.step: metric.value for metric in history} == {2: 2.5, 3: 3.5, 4: 4.5}

    # Its report, as it is written.
    report = page_of(store, three)
    assert "<th>evenness of sizes</th>" in report
    assert "<td>3.500</td>" in report

    # The ranking: to read, as data, and sorted the right way round.
    assert "evenness" in compared(store_uri, capfd).splitlines()[0].split()
    rows = json.loads(compared(store_uri, capfd, "format=json", "sort=evenness"))
    best_first = [3.5, 2.5] if better == "higher" else [2.5, 3.5]
    assert [row["evenness"] for row in rows] == best_first
    ranked = rank(finished_runs(store))
    assert set(ranked["run_id"]) == {two.run_id, three.run_id}
    apart = ranked.assign(scaling=["a", "b"])
    assert any("evenness" in note for note in advice(apart)) == (scope == OWN)

    # The sweep's page, in the group that says whether it may be compared.
    page = sweep_page(ranked)
    assert f'{group}">evenness of sizes</th>' in page
    assert f'{group}">3.500</td>' in page

    # The columns that the MLflow UI shows at first.
    tags = store.client.get_experiment(store.experiment_id).tags
    view = json.loads(tags[VIEW_TAG])
    state = json.loads(zlib.decompress(base64.b64decode(view["state"].removeprefix("deflate;"))))
    assert "metrics.`evenness`" in state["selectedColumns"]
    assert ("`evenness`" in tags["mlflow.note.content"]) == (scope == OWN)


def draw_k(result: SegmentationResult) -> Drawing | None:
    if result.k == 1:
        return None
    figure, _ = single(3.0, 2.0)
    headline(figure, f"{result.k} segments")
    return figure


def test_a_figure_and_a_section(store_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = [
        Figure(name, draw_k, section, name.title(), f"How to read <{name}>.", f"Picture of {name}")
        for name, section in (("ours", "features"), ("theirs", "method"))
    ]
    for figure in figures:
        monkeypatch.setitem(FIGURES, figure.name, figure)
    section = Section("method", "How we work", lambda r, _: {"text": [f"We cut into <{r.k}>."]})
    monkeypatch.setitem(SECTIONS, section.name, section)
    store = open_store(store_uri, EXPERIMENT)
    run = log_result(fit(3), uri=store_uri, experiment=EXPERIMENT)
    listed = {file.path for file in store.client.list_artifacts(run.run_id, "figures")}
    assert {"figures/ours.png", "figures/theirs.png"} <= listed

    report = page_of(store, run)
    chapters = dict(part.split("</h2>") for part in report.split("<h2>")[1:])
    assert 'alt="Picture of ours"' in chapters["Which features matter"]
    assert "How to read &lt;ours&gt;." in chapters["Which features matter"]
    assert 'alt="Picture of theirs"' in chapters["How we work"]
    assert "We cut into <3>." in Page(chapters["How we work"]).text

    one = log_result(fit(1), uri=store_uri, experiment=EXPERIMENT)
    assert "Picture of" not in page_of(store, one)
    assert "How we work" in page_of(store, one)


def test_a_scaling(
    store_uri: str, customers_csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[int] = []

    def build(customers: int) -> MaxAbsScaler:
        built.append(customers)
        return MaxAbsScaler()

    line = Scaling("mine", build, "The largest is 1.")
    monkeypatch.setitem(SCALINGS, line.name, line)
    result = fit(3, scaling="mine")
    assert built[0] == 80
    assert result.scaling == "mine"
    assert float(abs(result.Z).max()) == 1

    # Its file in a folder of the user's own.
    (tmp_path / "conf" / "scaling").mkdir(parents=True)
    (tmp_path / "conf" / "scaling" / "mine.yaml").write_text("name: mine\n")
    own = ("--config-dir", str(tmp_path / "conf"), f"tracking.uri={store_uri}")
    data = ("data=csv", f"data.path={customers_csv}", "data.id=customer_id")
    choice = ("choice=fixed", "choice.k=2", "k.max=3", "engine.effort=fast")
    assert main.run(["fit", *own, *data, *choice, "scaling=mine"]) == 0
    (run,) = finished_runs(open_store(store_uri, EXPERIMENT)).to_dict("records")
    assert run["scaling"] == "mine"
    store = open_store(store_uri, EXPERIMENT)
    assert store.client.get_run(run["run_id"]).data.params["scaling"] == "mine"


def test_every_scaling_is_described_in_its_file_as_in_its_line() -> None:
    for name, scaling in SCALINGS.items():
        text = (REPO / "conf" / "scaling" / f"{name}.yaml").read_text()
        assert text.splitlines()[0] == f"# {scaling.description}"

"""The page of a sweep: its answer first, what may be compared marked, nothing runs as code."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pages import Page, seen_in_chromium
from segmentation.evaluation.agreement import agreement
from segmentation.evaluation.partition import Partition
from segmentation.experiments.ranking import rank
from segmentation.experiments.sweep_report import Place, render_sweep_report
from segmentation.tracking.run_metrics import EVIDENCE_VERSION
from segmentation.visualization import to_png
from segmentation.visualization.sweep_grid import SWEEP_FIGURES, all_curves, merits

ATTACK = "<script>alert(1)</script>"
META = {"run": f"study {ATTACK}", "command": f"segment fit sweep={ATTACK}", "sweep id": "s1"}


def sweep(n: int = 6, **changes: object) -> pd.DataFrame:
    """Finished runs of a sweep over feature sets and scalings, as the store gives them."""
    rng = np.random.default_rng(0)
    features = [f"set_{i // 2}{ATTACK if i < 2 else ''}" for i in range(n)]
    scaling = ["none", "standard"] * (n // 2)
    frame = pd.DataFrame(
        {
            "run": [f"{f}·{s}·k3" for f, s in zip(features, scaling, strict=True)],
            "features": features,
            "scaling": scaling,
            "k": [3, 3, 4, 4, 5, 5][:n],
            "structure": "yes",
            "confidence": ["agreed", "agreed", "contested"] * (n // 3),
            "stability": rng.uniform(0.7, 1, n),
            "gap": rng.uniform(1, 5, n),
            "gap_se": 0.1,
            "evidence_version": EVIDENCE_VERSION,
            "config_hash": [f"h{i}" for i in range(n)],
            "partition": None,
            "silhouette": 0.4567,
            "explained_variance": 0.81,
            "wcss": 123.4,
            "smallest_share": 0.1,
            "reference_silhouette": 0.3456,
            "reference_explained_variance": 0.61,
            "reference_wcss": 234.5,
            "seed": "0",
            "choice": "evidence",
            "k_min": "1",
            "k_max": "8",
            "engine": "sklearn",
            "effort": "default",
            "data": "customers.csv",
            "customers": "200",
            "careful": None,
            "data_sha256": "d" * 64,
            "start": pd.date_range("2026-01-01", periods=n),
            "run_id": [f"{i:032x}" for i in range(n)],
        }
    )
    return rank(frame.assign(**changes))


def page_of(ranked: pd.DataFrame, **changes: object) -> str:
    rng = np.random.default_rng(1)
    same = agreement(
        {
            f"{i} {name}": Partition("c", rng.integers(0, 3, 40).astype(np.uint8))
            for i, name in enumerate(ranked["run"])
        }
    )
    ks = pd.Index(range(1, 6))
    curve = pd.DataFrame({"wcss": 100.0 / ks, "silhouette": [np.nan, 0.4, 0.5, 0.4, 0.3]}, ks)
    names = [f"{i} {name}" for i, name in enumerate(ranked["run"])]
    drawn = {
        "curves": all_curves(dict.fromkeys(names, curve), dict.fromkeys(names, 3), len(names)),
        **{n: line.draw(ranked, same) for n, line in SWEEP_FIGURES.items() if line.draw},
    }
    content = {
        "question": f"which columns, {ATTACK}?",
        "total": len(ranked),
        "segments": pd.DataFrame(
            {
                "segment": [0, 1],
                "name": ["high age", f"low {ATTACK}"],
                "customers": [1200, 800],
                "share": [0.6, 0.4],
            }
        ),
        "figures": {name: to_png(figure) for name, figure in drawn.items() if figure is not None},
        "places": {
            run_id: Place(report=f"../../{run_id}/report.html", run=f"http://127.0.0.1/{run_id}")
            for run_id in ranked["run_id"]
        },
        "meta": META,
    }
    return render_sweep_report(ranked, same, **{**content, **changes})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def ranked() -> pd.DataFrame:
    return sweep()


@pytest.fixture(scope="module")
def html(ranked: pd.DataFrame) -> str:
    return page_of(ranked)


def test_text_of_configs_and_customers_never_becomes_markup(html: str) -> None:
    page = Page(html)
    assert page.all("script") == []
    assert page.text.count(ATTACK) > 4


def test_the_page_loads_nothing(html: str) -> None:
    page = Page(html)
    assert page.all("link") == []
    assert "url(" not in html
    assert all((image["src"] or "").startswith("data:image/png") for image in page.all("img"))


def test_the_answer_comes_first_then_ranking_figures_runs_and_how_to_reproduce(
    html: str, ranked: pd.DataFrame
) -> None:
    text, first = Page(html).text, ranked.iloc[0]
    order = [
        f"Which columns, {ATTACK}?",
        f"{first['run']} comes first of 6 runs: {first['k']} segments, agreed by its criteria.",
        "It comes before",
        "high age: 1,200 customers",
        "How sure?",
        "6 of 6 runs found cluster structure.",
        "Agreement of the first 6 answers",
        "The ranking",
        "How the runs compare",
        "The runs",
        "How to reproduce",
        META["command"],
        META["sweep id"],
    ]
    places = [text.find(part) for part in order]
    assert -1 not in places, dict(zip(order, places, strict=True))
    assert places == sorted(places)


def test_what_may_not_be_compared_is_marked_in_every_row(html: str, ranked: pd.DataFrame) -> None:
    cells = re.findall(r'<td class="(start )?(fair|own|one)">([^<]*)</td>', html)
    kinds = {kind: [text for _, of, text in cells if of == kind] for kind in ("fair", "own", "one")}
    assert kinds["own"] == ["0.457", "81\N{NO-BREAK SPACE}%", "123"] * len(ranked)
    assert kinds["one"] == ["0.346", "61\N{NO-BREAK SPACE}%", "234"] * len(ranked)
    assert kinds["fair"][2] == f"{ranked['stability'][0]:.2f}"
    assert "not comparable between features or scalings" in Page(html).text


def test_every_figure_is_inline_with_an_alternative_text(html: str) -> None:
    assert [image["alt"] for image in Page(html).all("img")] == [
        line.alt for line in SWEEP_FIGURES.values()
    ]


def test_merits_tell_feature_sets_and_scalings_apart(ranked: pd.DataFrame) -> None:
    figure = merits(ranked)
    assert figure is not None
    (ax,) = figure.axes
    entries = [text.get_text() for text in ax.get_legend().get_texts()]
    assert [entries.index(head) for head in ("features", "scaling")] == [0, 4]
    assert len(entries) == 2 + 3 + 2
    (marks,) = ax.collections
    offsets = marks.get_offsets()
    assert len(offsets) == len(ranked)
    steady = ranked["run"][int(ranked["stability"].argmax())]
    assert any(steady[:8] in text.get_text() for text in figure.texts)
    assert merits(ranked.assign(stability=np.nan)) is None
    assert merits(ranked.head(1)) is None
    scaled = merits(ranked.assign(features="one"))
    assert scaled is not None
    legend = scaled.axes[0].get_legend()
    assert legend is not None
    assert legend.get_title().get_text() == "scaling"
    alone = merits(ranked.assign(features="one", scaling="none"))
    assert alone is not None
    assert alone.axes[0].get_legend() is None


def test_every_run_has_its_links_its_id_and_what_varies(html: str, ranked: pd.DataFrame) -> None:
    page = Page(html)
    addresses = [anchor["href"] for anchor in page.all("a")]
    for run_id in ranked["run_id"]:
        assert f"../../{run_id}/report.html" in addresses
        assert f"http://127.0.0.1/{run_id}" in addresses
        assert run_id in page.text
    assert ">scaling</th>" in html
    assert ">seed</th>" not in html


def test_reports_on_a_server_are_reached_through_their_run_only(ranked: pd.DataFrame) -> None:
    places = {run_id: Place(report="", run=f"http://x/{run_id}") for run_id in ranked["run_id"]}
    addresses = [anchor["href"] for anchor in Page(page_of(ranked, places=places)).all("a")]
    assert addresses == [f"http://x/{run_id}" for run_id in ranked["run_id"]]


def test_no_structure_anywhere_is_the_answer() -> None:
    nothing = sweep(structure="no", confidence=None, k=1, stability=np.nan, silhouette=np.nan)
    text = Page(page_of(nothing, segments=None)).text
    assert "None of the 6 runs found cluster structure" in text
    assert "0 of 6 runs found" in text
    assert "nan" not in text


def test_untested_structure_is_not_sold_as_found() -> None:
    text = Page(page_of(sweep(structure="untested", confidence=None, stability=np.nan))).text
    assert "structure untested" in text
    assert "was not tested" in text
    assert "found cluster structure" not in text


def test_runs_that_are_missing_and_a_doubtful_first_are_said_at_the_top() -> None:
    ranked = sweep(careful="gender alone makes 99 % of the difference")
    text = Page(page_of(ranked, total=9)).text
    told = text.find("Only 6 of 9 runs finished")
    assert 0 < text.find("Careful. Gender alone") < told < text.find("The ranking")


def test_equal_runs_stand_under_their_answer() -> None:
    ranked = sweep(partition=["c:0011", "c:0011", "c:0101", "c:1100", "c:0101", None])
    page = page_of(ranked)
    text = Page(page).text
    assert "comes first of 3 answers in 6 runs" in text
    assert 0 < text.find("distinct answers") < text.find("The ranking")
    places = re.findall(r'<th scope="row">(= \d+|\d+)\. ', page)
    numbers = list(ranked["rank"])
    assert numbers == sorted(numbers)
    assert len(set(numbers)) == 3
    opened = ["= " * (number in numbers[:i]) + str(number) for i, number in enumerate(numbers)]
    assert places == opened * 2
    assert page.count('class="same"') == 6


def test_a_sweep_of_one_run_has_a_page() -> None:
    text = Page(page_of(sweep().head(1))).text
    assert "is the only run" in text
    assert "It comes before" not in text


@pytest.mark.slow
def test_chromium_shows_it_on_desk_phone_and_paper(html: str, tmp_path: Path) -> None:
    for page in seen_in_chromium(html, tmp_path):
        assert page.locator(".ranking tbody tr").count() == 6
        assert page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth)")

"""The figures: what they say, that they repeat bit for bit, and that they hold at the edges."""

from __future__ import annotations

import importlib.util
import io
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import colors
from PIL import Image

from conftest import REPO
from segmentation import visualization as figures_package
from segmentation.evaluation.formats import percent
from segmentation.features.feature_set import FeatureSet
from segmentation.pipeline import segment
from segmentation.profiling.decision_rules import Condition, Rule, Rules
from segmentation.result import SegmentationResult
from segmentation.visualization import FIGURES, migration, segment_color, to_png
from segmentation.visualization.clustergram import clustergram
from segmentation.visualization.distributions import distributions
from segmentation.visualization.explanations import feature_weights, rule_chart
from segmentation.visualization.k_curves import criteria, elbow, silhouette_curve
from segmentation.visualization.maps import pair_plot, principal_components, segment_map
from segmentation.visualization.scales import bin_edges, number, signed
from segmentation.visualization.segment_cards import (
    profile_heatmap,
    separation,
    silhouette_plot,
    sizes,
    stability,
)
from segmentation.visualization.style import (
    PALETTE,
    sample_rows,
    shorten,
    text_columns,
    wrapped,
)

HOSTILE = ["$\\frac{ price_$x$", "名前の列", "a" * 200, "\u202e<b>&\ttab\nline"]


def customers(n: int = 120, seed: int = 0) -> pd.DataFrame:
    """Three well separated groups, a skewed column and a category."""
    rng = np.random.default_rng(seed)
    group = rng.integers(0, 3, n)
    return pd.DataFrame(
        {
            "income": np.round(np.array([20, 60, 100])[group] + rng.normal(0, 4, n)),
            "spending": np.round(np.array([80, 40, 70])[group] + rng.normal(0, 4, n)),
            "money": np.round(np.exp(rng.normal(4, 1.2, n)), 2),
            "region": np.where(rng.random(n) < 0.3, "North", "South"),
        }
    )


@pytest.fixture(scope="module")
def result() -> SegmentationResult:
    return segment(
        customers(),
        features=FeatureSet(columns=("income", "spending"), profile=("money", "region")),
        k_max=5,
    )


@pytest.fixture(scope="module")
def one_segment() -> SegmentationResult:
    noise = np.random.default_rng(3).normal(size=(80, 2))
    return segment(
        pd.DataFrame(noise, columns=["a", "b"]), choice="fixed", k=1, k_max=4, effort="fast"
    )


def texts(figure: object) -> str:
    """Everything a figure says."""
    found = figure.findobj(mpl.text.Text)  # type: ignore[attr-defined]
    return " ".join(" ".join(text.get_text() for text in found).split("\n"))


def decoded(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def test_every_figure_of_a_run_draws_and_repeats_bit_for_bit(result: SegmentationResult) -> None:
    for name, line in FIGURES.items():
        first, second = line.draw(result), line.draw(result)
        assert first is not None, name
        assert second is not None, name
        png = to_png(first)
        assert png == to_png(second), name
        assert png.startswith(b"\x89PNG"), name
        assert b"tEXt" not in png, f"{name}: a date or a version was written"
        assert b"tIME" not in png, name


def test_data_figures_are_those_that_the_segments_do_not_change(
    result: SegmentationResult,
) -> None:
    other = segment(result.customers, features=["income"], choice="fixed", k=2, k_max=3)
    for name, line in FIGURES.items():
        a, b = line.draw(result), line.draw(other)
        same = a is not None and b is not None and to_png(a) == to_png(b)
        assert same == line.of_data, name


def test_a_single_segment_has_no_figures_of_segments(one_segment: SegmentationResult) -> None:
    drawn = {name for name, line in FIGURES.items() if line.draw(one_segment) is not None}
    assert drawn == {
        "segment_map",
        "pair_plot",
        "elbow",
        "silhouette_curve",
        "clustergram",
        "distributions",
        "feature_importance",
    }
    assert "One segment" in texts(FIGURES["elbow"].draw(one_segment))


def test_titles_say_the_finding(result: SegmentationResult) -> None:
    explained = percent(float(result.curve.loc[3, "explained_variance"]))
    assert result.k == 3
    assert f"3 segments explain {explained} of the variance" in texts(FIGURES["elbow"].draw(result))
    largest = percent(result.segments[0].share)
    assert f"The largest segment holds {largest}" in texts(FIGURES["segment_sizes"].draw(result))


def test_the_callers_settings_neither_change_a_figure_nor_are_changed(
    result: SegmentationResult,
) -> None:
    before = to_png(FIGURES["elbow"].draw(result))  # type: ignore[arg-type]
    with mpl.rc_context({"font.size": 30, "text.parse_math": True, "axes.grid": True}):
        kept = dict(mpl.rcParams)
        assert to_png(FIGURES["elbow"].draw(result)) == before  # type: ignore[arg-type]
        assert dict(mpl.rcParams) == kept


def test_drawing_does_not_load_pyplot() -> None:
    code = "import segmentation.visualization, sys; sys.exit('matplotlib.pyplot' in sys.modules)"
    source = Path(figures_package.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(source)}, check=False
    )
    assert done.returncode == 0


@pytest.mark.parametrize("name", HOSTILE)
def test_names_from_a_file_are_text_never_formulas(name: str) -> None:
    frame = customers(40).rename(columns={"income": name})
    frame[name + " "] = np.where(frame["region"] == "North", name, "$other$")
    labels = (frame["spending"] > 60).to_numpy().astype(np.int32)
    pair = frame[[name, "spending"]]
    Z = pair.to_numpy(dtype=float)
    profile = pd.DataFrame({"segment": [0, 1], "feature": name, "category": None, "z": [1.0, -1.0]})
    names = [name, f"high {name}, low {name}"]
    drawn = [
        distributions(frame),
        pair_plot(pair, labels, names),
        segment_map(pair, Z, labels, names, encoded_names=list(pair)),
        profile_heatmap(profile, names, [0.5, 0.5]),
        sizes([20, 20], names),
    ]
    for figure in drawn:
        assert figure is not None
        assert len(to_png(figure)) > 2000


def test_a_segment_has_one_colour_in_all_figures(result: SegmentationResult) -> None:
    want = [np.round(np.array(colors.to_rgb(segment_color(i))) * 255) for i in range(result.k)]
    for name in ("segment_sizes", "silhouette_plot", "segment_map", "pair_plot", "stability"):
        pixels = decoded(to_png(FIGURES[name].draw(result))).astype(int)  # type: ignore[arg-type]
        for segment_id, color in enumerate(want):
            near = (np.abs(pixels - color) <= 2).all(axis=-1).sum()
            assert near > 30, f"{name}: no pixels in the colour of segment {segment_id}"


# Machado, Oliveira and Fernandes (2009), severity 1.0, in linear RGB.
EYES = {
    "normal": np.eye(3),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
}


def oklab(linear: np.ndarray) -> np.ndarray:
    """Ottosson (2020), x 100; a distance of 2 is just visible."""
    cone = np.array(
        [
            [0.4122214708, 0.5363325363, 0.0514459929],
            [0.2119034982, 0.6806995451, 0.1073969566],
            [0.0883024619, 0.2817188376, 0.6299787005],
        ]
    )
    lab = np.array(
        [
            [0.2104542553, 0.7936177850, -0.0040720468],
            [1.9779984951, -2.4285922050, 0.4505937099],
            [0.0259040371, 0.7827717662, -0.8086757660],
        ]
    )
    return 100 * np.cbrt(np.clip(linear, 0, 1) @ cone.T) @ lab.T


@pytest.mark.parametrize("eyes", EYES)
def test_twelve_colours_can_be_told_apart(eyes: str) -> None:
    rgb = np.array([colors.to_rgb(color) for color in PALETTE])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = oklab(linear @ EYES[eyes].T)
    apart = np.linalg.norm(seen[:, None] - seen[None], axis=-1)
    apart[np.diag_indices(len(apart))] = np.inf
    assert apart.min() > 7


def test_colours_beyond_twelve_are_new() -> None:
    assert len({segment_color(index) for index in range(24)}) == 24


@given(st.text(max_size=80), st.integers(4, 60))
def test_shortened_texts_fit_on_one_line(text: str, limit: int) -> None:
    short = shorten(text, limit)
    assert text_columns(short) <= limit
    assert len(short.splitlines()) <= 1
    if text.isascii() and text.isprintable() and " ".join(text.split()) == text:
        assert short == text or "…" in short


def test_wrapped_names_keep_both_things_a_segment_says() -> None:
    name = "very high " + "income " * 9 + ", very low " + "spending " * 9
    first, second = wrapped(name, 28).split("\n")
    assert first.startswith("very high")
    assert second.startswith("very low")
    assert max(len(first), len(second)) <= 28


@given(st.integers(1, 5000), st.integers(1, 300), st.integers(0, 2**31))
def test_samples_are_distinct_rows_and_repeat(n: int, limit: int, seed: int) -> None:
    rows = sample_rows(n, limit, seed)
    assert len(rows) == min(n, limit) == len(set(rows))
    assert set(rows) <= set(range(n))
    np.testing.assert_array_equal(rows, sample_rows(n, limit, seed))


@given(st.lists(st.one_of(st.integers(-1000, 1000), st.floats(-1e9, 1e9)), min_size=1, max_size=60))
def test_bins_hold_every_value_and_are_few(values: list[float]) -> None:
    array = np.array(values, dtype=float)
    edges = bin_edges(array)
    assert np.all(np.diff(edges) > 0)
    assert len(edges) <= 33
    assert np.histogram(array, edges)[0].sum() == len(array)


def test_numbers_are_short_and_shares_never_read_as_zero() -> None:
    assert [number(v) for v in (0, 0.25, 950, 45_000, -1.2e6, 3e9)] == [
        "0",
        "0.25",
        "950",
        "45k",
        "−1.2M",
        "3G",
    ]
    assert [percent(v).replace("\N{NO-BREAK SPACE}", " ") for v in (0, 0.0001, 0.004, 0.836)] == [
        "0 %",
        "<0.1 %",
        "0.4 %",
        "84 %",
    ]
    assert [signed(v) for v in (1.24, -0.04, 0.04, -2)] == ["+1.2", "0", "0", "−2.0"]


@settings(deadline=None)
@given(st.integers(2, 60), st.integers(1, 5), st.integers(0, 1000))
def test_components_are_orthonormal_and_order_the_variance(n: int, d: int, seed: int) -> None:
    Z = np.random.default_rng(seed).normal(size=(n, d)) * np.arange(1, d + 1)
    scores, shares, loadings = principal_components(Z, d)
    np.testing.assert_allclose(loadings @ loadings.T, np.eye(d), atol=1e-9)
    assert np.all(np.diff(shares) <= 1e-12)
    np.testing.assert_allclose(shares.sum(), 1)
    np.testing.assert_allclose((scores**2).sum(), ((Z - Z.mean(axis=0)) ** 2).sum())
    assert np.all(loadings[np.arange(d), np.abs(loadings).argmax(axis=1)] > 0)


def test_separation_is_the_share_of_variance_between_segments(
    result: SegmentationResult,
) -> None:
    numeric = result.profile[result.profile["category"].isna()]
    wide = numeric.pivot(index="segment", columns="feature", values="z")
    found = separation(wide, [s.share for s in result.segments])
    for feature in ("income", "spending", "money"):
        values = result.customers.column(feature).astype(float)
        means = values.groupby(result.labels).transform("mean")
        assert found[feature] == pytest.approx(means.var(ddof=0) / values.var(ddof=0), rel=1e-6)
    assert list(found) == sorted(found, reverse=True)


@pytest.mark.parametrize(
    ("n", "k", "d"), [(60, 2, 2), (100_000, 12, 2), (300, 12, 20), (400, 30, 3)]
)
def test_small_and_large_data_few_and_many_segments(n: int, k: int, d: int) -> None:
    rng = np.random.default_rng(0)
    labels = np.concatenate([np.arange(k), rng.integers(0, k, n - k)]).astype(np.int32)
    frame = pd.DataFrame(rng.normal(size=(n, d)) + labels[:, None])
    frame.columns = pd.Index([f"a long name of a feature, number {i}" for i in range(d)])
    names = [f"very high feature {i}, low feature {i + 1}" for i in range(k)]
    Z = frame.to_numpy()
    drawn = [
        segment_map(frame, Z, labels, names, encoded_names=list(frame)),
        pair_plot(frame, labels, names),
        sizes(np.bincount(labels, minlength=k).tolist(), names),
        silhouette_plot(
            pd.DataFrame({"segment": labels, "silhouette": rng.uniform(-0.2, 0.9, n)}), names
        ),
        stability(rng.uniform(0, 1, k), names),
        clustergram(Z, {j: (labels % j).astype(np.int32) for j in (1, 2, k)}, labels),
    ]
    for figure in drawn:
        assert figure is not None
        png = to_png(figure)
        height, width, _ = decoded(png).shape
        assert width < 1600
        assert height < 2000
        assert len(png) < 250_000
    sampled = f"of {n:,} customers"
    assert (sampled in texts(drawn[0])) == (n > 4000)


def test_one_feature_is_a_histogram_and_a_category_leads_to_components() -> None:
    frame = customers(60)
    labels = (frame["income"] > 50).to_numpy().astype(np.int32)
    one = frame[["income"]]
    figure = segment_map(
        one, one.to_numpy(dtype=float), labels, ["low", "high"], encoded_names=["income"]
    )
    assert "2 segments along income" in texts(figure)
    hot = pd.get_dummies(frame["region"]).to_numpy(dtype=float)
    two = frame[["income", "region"]]
    Z = np.column_stack([one.to_numpy(dtype=float), hot])
    names = ["income", "region_North", "region_South"]
    figure = segment_map(two, Z, labels, ["low", "high"], encoded_names=names)
    assert "directions that carry" in texts(figure)


def test_log_columns_have_ticks_in_their_own_units() -> None:
    frame = pd.DataFrame({"money": np.geomspace(1, 1e6, 50), "age": np.linspace(20, 70, 50)})
    Z = np.column_stack([np.log1p(frame["money"]), frame["age"]])
    labels = np.repeat([0, 1], 25).astype(np.int32)
    figure = segment_map(frame, Z, labels, ["a", "b"], encoded_names=list(frame), log1p=("money",))
    ticks = [tick.get_text() for tick in figure.axes[0].get_xticklabels()]
    assert "money (log)" in texts(figure)
    assert ticks == sorted(ticks, key=["1", "10", "100", "1000", "10k", "100k", "1M"].index)


def curve(**columns: list[float]) -> pd.DataFrame:
    return pd.DataFrame(columns, index=pd.RangeIndex(1, 5, name="k"), dtype=float)


def test_undefined_metrics_leave_a_figure_out_or_a_gap() -> None:
    nothing = curve(wcss=[4, 3, 2, 1], silhouette=[np.nan] * 4)
    assert silhouette_curve(nothing, 2) is None
    gaps = curve(wcss=[4, 3, 2, 1], silhouette=[np.nan, 0.4, np.nan, 0.6])
    figure = silhouette_curve(gaps, 2)
    assert "highest at k = 4 (0.60); chosen k = 2 (0.40)" in texts(figure)
    flat = curve(wcss=[0, 0, 0, 0], explained_variance=[np.nan] * 4)
    assert len(to_png(elbow(flat, 2))) > 2000
    assert criteria(curve(icl=[np.nan] * 4), {"icl": 2}, 2) is None


def test_criteria_counts_those_that_agree() -> None:
    table = curve(icl=[4, 3, 2, 5], gap=[0, 0.1, 0.3, 0.2], gap_se=[0.1] * 4)
    low = pd.Series([-0.2] * 4, index=table.index)
    figure = criteria(table, {"icl": 3, "gap": 2}, 3, bands={"gap": (low, -low)})
    assert "1 of 2 criteria pick k = 3" in texts(figure)
    assert "data without clusters" in texts(figure)
    assert "No cluster structure found" in texts(criteria(table, {}, 1))


def test_stability_counts_what_dissolves() -> None:
    figure = stability(np.array([0.9, 0.4, np.nan]), ["a", "b", "c"])
    assert "1 of 3 segments are stable" in texts(figure)
    assert "1 dissolves" in texts(figure)


def weights(*shares: float, moved: float = 0.2) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "feature": [f"${i}_a long name of a feature" for i in range(len(shares))],
            "distance_share": 1 / len(shares),
            "separation_share": shares,
            "explained": 0.5,
            "moved": moved,
        }
    )


def test_feature_weights_say_who_makes_the_difference() -> None:
    first, both = weights(0.9, 0.1), weights(0.4, 0.3, 0.3)
    assert "accounts for 90 % of the difference between segments" in words(feature_weights(first))
    assert "account for 70 % of the difference between segments" in words(feature_weights(both))
    many = feature_weights(weights(*[1 / 40] * 40))
    assert "24 of 40 features" in words(many)
    alone = weights(np.nan, np.nan, moved=np.nan)
    assert "Share of each feature in the distances" in words(feature_weights(alone))
    one = feature_weights(weights(1.0, moved=1.0))
    for figure in (many, one):
        height, width, _ = decoded(to_png(figure)).shape
        assert width < 1600
        assert height < 2000


def words(figure: object) -> str:
    return texts(figure).replace("\N{NO-BREAK SPACE}", " ")


def test_rules_are_drawn_as_the_part_of_the_customers_they_let_through() -> None:
    frame = pd.DataFrame({"a$b_c": [1.0, 2, 3, 1000], "kind": ["x", "y", "z", "z"]})
    low = (Condition("a$b_c", at_most=2.0),)
    middle = (Condition("a$b_c", above=2.0, at_most=1e6),)
    kinds = (Condition("kind", values=("x", "y"), all_values=("x", "y", "z")),)
    rules = Rules(
        rules=(
            Rule(0, (low, kinds), 0.75, 0.5),
            Rule(1, (middle,), 1.0, 1.0),
            Rule(2, (), 0.0, float("nan")),
        ),
        fidelity=0.875,
        leaves=3,
        rows=4,
        folds=2,
    )
    figure = rule_chart(rules, frame, ["first", "second", "third"])
    assert figure is not None
    told = words(figure)
    for part in ("≤ 2", "2 to 1,000,000", "not z", "88 %", "75 %", "too few", "or", "a$b c"):
        assert part in told, part
    (drawn,) = figure.axes[0].collections
    bars = [
        np.ptp(path.vertices[:, 0])
        for path, color in zip(drawn.get_paths(), drawn.get_facecolors(), strict=True)
        if colors.to_hex(color) == segment_color(0)
    ]
    assert bars == [pytest.approx(0.5 * 0.88)]
    assert rule_chart(None, frame, ["all customers"]) is None


def test_rules_of_many_segments_and_features_fit_on_a_page() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 12, 600)
    values = rng.normal(0, 3, (12, 20))[labels] + rng.normal(0, 1, (600, 20))
    columns = [f"monthly spending on category {i}" for i in range(20)]
    result = segment(
        pd.DataFrame(values, columns=columns), choice="fixed", k=12, k_max=12, effort="fast"
    )
    figure = FIGURES["rules"].draw(result)
    assert figure is not None
    height, width, _ = decoded(to_png(figure)).shape
    assert width < 1800
    assert height < 1500


def test_widths_of_flows_in_the_clustergram_are_the_customers_they_carry() -> None:
    first, second = np.array([0, 0, 0, 1], dtype=np.int32), np.array([0, 0, 1, 1], dtype=np.int32)
    Z = np.array([[0.0], [0.1], [5.0], [6.0]])
    figure = clustergram(Z, {2: first, 3: second}, second)
    assert figure is not None
    (flows,) = [c for c in figure.axes[0].collections if hasattr(c, "get_segments")]
    widths = flows.get_linewidths()
    assert len(widths) == 3, "0->0, 0->1 and 1->1"
    assert widths[0] > widths[1] == widths[2]
    assert clustergram(Z, {2: first}, first) is None


def test_a_figure_that_does_not_apply_is_none_in_the_table(one_segment: SegmentationResult) -> None:
    alone = SimpleNamespace(**{**vars(one_segment), "curve": one_segment.curve.iloc[:1], "k": 1})
    assert FIGURES["elbow"].draw(alone) is None  # type: ignore[arg-type]


def test_the_gallery_shows_every_figure_with_its_caption() -> None:
    spec = importlib.util.spec_from_file_location("gallery", REPO / "docs" / "make_figures.py")
    assert spec is not None
    assert spec.loader is not None
    gallery = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(gallery)
    page = (REPO / "docs" / "figures.md").read_text(encoding="utf-8")
    assert page == gallery.page(), "run `make docs-figures`"
    for name, figure in FIGURES.items():
        assert figure.caption in page
        assert (REPO / "docs" / "images" / f"{name}.png").is_file()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_the_map_is_not_mirrored_when_the_rows_change_their_order(seed: int) -> None:
    """Two standardised columns load equally, so the larger loading is a matter of rounding."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(50, 2)) @ np.array([[1.0, 0.4], [0.4, 1.0]])
    Z = (X - X.mean(axis=0)) / X.std(axis=0)
    _, _, loadings = principal_components(Z, 2)
    _, _, shuffled = principal_components(Z[rng.permutation(len(Z))], 2)
    np.testing.assert_allclose(loadings, shuffled, atol=1e-6)


def test_the_heads_of_the_migration_matrix_do_not_overlap() -> None:
    names = {i: f"high annual income, low spending score {i}" for i in range(5)}
    figure = migration.heatmap(pd.DataFrame(np.eye(5, dtype=int) * 9), names)
    figure.canvas.draw()
    (axes,) = figure.axes
    heads = [tick.label2 for tick in axes.xaxis.get_major_ticks()]
    assert [head.get_rotation() for head in heads] == [40.0] * 5
    starts = [head.get_window_extent().x0 for head in heads]
    # Slanted by 40 degrees, two lines of text are this wide.
    assert min(np.diff(starts)) > 2 * heads[0].get_fontsize()

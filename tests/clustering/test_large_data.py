"""The large-data path: passes, draws, and the fit that is solved on samples."""

from __future__ import annotations

import pickle
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.distance import cdist
from sklearn.metrics import calinski_harabasz_score, davies_bouldin_score

from segmentation.clustering import ENGINES, large_data
from segmentation.clustering.assignment import CHUNK, MOST_BLOCKS, Totals, blocks, totals
from segmentation.clustering.coresets import Rows, coreset, coreset_chances, find_equals, lots
from segmentation.clustering.lloyd import Settled, settle
from segmentation.clustering.search_settings import EXACT_PATH, LARGE_DATA
from segmentation.clustering.workers import Crew
from segmentation.errors import ConfigError
from segmentation.evaluation import metrics
from segmentation.evaluation.silhouette import silhouettes

engine = ENGINES["sklearn"]
rng = np.random.default_rng(0)
#: Overlapping skewed groups; more rows than the exact path takes.
GROUPS = np.concatenate(
    [at + rng.gamma(2.0, 1.0, (n, 3)) for at, n in ((0, 30_000), (4, 20_000), (9, 9_000), (40, 90))]
)


@pytest.fixture(scope="module")
def fitted():
    assert len(GROUPS) > EXACT_PATH.sampled_rows
    return engine.fit_k_range(GROUPS, range(1, 8), seed=0)


@pytest.mark.parametrize("weighted", [False, True])
def test_a_pass_adds_up_what_brute_force_does(weighted: bool) -> None:
    X = rng.normal(size=(5 * CHUNK + 17, 3)) + 50.0
    w = rng.uniform(0.5, 2.0, len(X)) if weighted else None
    centers = {"a": X[:4], "b": X[10:13]}
    found = totals(X, centers, w, origin=X.mean(axis=0), dtype=np.float64, distances=True)
    for key, c in centers.items():
        D = cdist(X, c)
        own, near, mass = D.argmin(axis=1), D.min(axis=1), np.ones(len(X)) if w is None else w
        np.testing.assert_allclose(found[key].weights, np.bincount(own, mass), rtol=1e-12)
        np.testing.assert_allclose(found[key].squares, np.bincount(own, mass * near**2), rtol=1e-9)
        np.testing.assert_allclose(found[key].distances, np.bincount(own, mass * near), rtol=1e-9)
        sums = [np.bincount(own, mass * column) for column in X.T]
        np.testing.assert_allclose(found[key].sums.T, sums, rtol=1e-12)


@pytest.mark.parametrize("n", [1, 3, 50, CHUNK, 5 * CHUNK - 1, 100 * MOST_BLOCKS * CHUNK])
def test_blocks_hold_each_row_once(n: int) -> None:
    cut = blocks(n)
    assert [b.start for b in cut] == [0, *(b.stop for b in cut[:-1])]
    assert cut[-1].stop == n
    assert len(cut) <= MOST_BLOCKS


@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux alone")
def test_processes_and_the_loss_of_one_change_nothing() -> None:
    tables = [Rows(rng.normal(size=(n, 4)), None) for n in (5, 5 * CHUNK)]
    tables.append(Rows(tables[1].X, rng.uniform(0.5, 2, 5 * CHUNK)))
    centers = {k: tables[1].X[:k] for k in (1, 5)}

    def passes(crew: Crew) -> list[bytes]:
        found = [
            crew.totals(rows, centers, dtype=dtype, distances=dtype is np.float64)[k]
            for rows in tables
            for dtype in (np.float32, np.float64)
            for k in centers
        ]
        return [pickle.dumps(each) for each in found]

    def others() -> list[psutil.Process]:
        return psutil.Process().children()

    before = others()
    origin = tables[1].X.mean(axis=0)
    with Crew(tables, origin, processes=1) as alone:
        assert others() == before
        known = passes(alone)
    with Crew(tables, origin, processes=3) as crew:
        helpers = [process for process in others() if process not in before]
        assert len(helpers) == 2
        assert passes(crew) == known
        helpers[0].kill()
        assert passes(crew) == known
        assert passes(crew) == known
    assert others() == before


def at_work(process: psutil.Process) -> bool:
    """Whether a process is neither gone nor only waiting for its parent to hear of its end."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux alone")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_outlives_the_one_it_helps(how: signal.Signals) -> None:
    waiting = """
import time, numpy as np, psutil
from segmentation.runtime import interrupts
from segmentation.clustering.workers import Crew
from segmentation.clustering.coresets import Rows
interrupts.listen()
with Crew([Rows(np.zeros((9, 2)), None)], np.zeros(2), processes=3):
    print(*(process.pid for process in psutil.Process().children()), flush=True)
    time.sleep(60)
"""
    with subprocess.Popen(
        [sys.executable, "-c", waiting], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        helpers = [psutil.Process(int(pid)) for pid in process.stdout.readline().split()]
        assert len(helpers) == 2
        process.send_signal(how)
        process.wait(10)
    deadline = time.monotonic() + 10
    while any(map(at_work, helpers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(at_work, helpers))


def test_the_way_rows_are_cut_changes_no_sum() -> None:
    X = rng.normal(size=(6 * CHUNK, 4))
    centers = {k: X[:k] for k in (1, 5)}
    whole = totals(X, centers, dtype=np.float64)
    halves = [totals(part, centers, dtype=np.float64) for part in (X[:CHUNK], X[CHUNK:])]
    for key in centers:
        added = halves[0][key] + halves[1][key]
        np.testing.assert_allclose(added.sums, whole[key].sums, rtol=1e-9, atol=1e-6)


def test_a_row_between_two_centres_is_counted_once() -> None:
    X = np.array([[0.0], [1.0], [2.0]])
    found = totals(X, {0: np.array([[0.0], [2.0]])})[0]
    assert found.weights.tolist() == [2.0, 1.0]


@settings(max_examples=50, deadline=None)
@given(
    arrays(np.int64, st.tuples(st.integers(1, 40), st.integers(1, 3)), elements=st.integers(0, 3))
)
def test_equal_rows_are_found_and_merge_into_weights(table: np.ndarray) -> None:
    X = np.where(table == 0, -0.0, table).astype(float)
    X[::2] += 0.0
    equals = find_equals(X)
    kinds, counts = np.unique(table, axis=0, return_counts=True)
    assert equals.distinct == len(kinds)
    merged = equals.merged(Rows(X, None))
    order = np.lexsort(merged.X.T[::-1])
    assert (merged.X[order] == kinds).all()
    assert (merged.weights[order] == counts).all()
    assert len(np.unique(equals.kinds)) == len(kinds)
    assert len(np.unique(equals.copies)) == len(X)


def test_draws_depend_on_the_rows_alone() -> None:
    X = np.round(rng.normal(size=(5000, 2)), 1)
    order = rng.permutation(len(X))
    drawn = [
        coreset(Rows(Z, None), coreset_chances(Rows(Z, None), np.zeros(2)), lots(e.copies, 7), 500)
        for Z in (X, X[order])
        for e in [find_equals(Z)]
    ]
    assert drawn[0].X.tobytes() == drawn[1].X.tobytes()
    np.testing.assert_allclose(drawn[0].weights, drawn[1].weights, rtol=1e-12)
    assert 400 < len(drawn[0].X) < 600


def test_a_coreset_counts_all_rows_and_lies_within_a_larger_one() -> None:
    rows = Rows(rng.standard_t(3, (20_000, 2)), None)
    chances = coreset_chances(rows, rows.X.mean(axis=0))
    assert chances.sum() == pytest.approx(1)
    uniform = lots(find_equals(rows.X).copies, 0)
    small, large = (coreset(rows, chances, uniform, size) for size in (1000, 4000))
    for sample in (small, large):
        assert sample.weights.sum() == pytest.approx(len(rows.X), rel=0.1)
        squares = (sample.weights[:, None] * sample.X**2).sum()
        assert squares == pytest.approx((rows.X**2).sum(), rel=0.1)
    within = {row.tobytes() for row in large.X}
    assert all(row.tobytes() in within for row in small.X)
    # The farthest customer is in every sample.
    farthest = rows.X[(rows.X**2).sum(axis=1).argmax()]
    assert (farthest == small.X).all(axis=1).any()


def test_settling_passes_twice_at_least_and_stops_at_the_tolerance() -> None:
    X = GROUPS[::20]
    seen = []

    def run(centers):
        seen.append(list(centers))
        return totals(X, centers, dtype=np.float64)

    start = {4: X[:4]}
    loose = settle(run, start, tolerance=1.0)[4]
    assert seen == [[4], [4]]
    assert loose.passes == 2
    seen.clear()
    tight = settle(run, start, tolerance=1e-12, most=200)[4]
    assert tight.wcss <= loose.wcss
    assert 2 < len(seen) < 200
    assert tight.totals.step_gain(tight.centers) <= 1e-12
    assert tight.wcss == pytest.approx((cdist(X, tight.centers).min(axis=1) ** 2).sum())


def standing(wcss: float) -> Settled:
    """Where a start of one centre stands, with this WCSS."""
    squares = np.array([wcss])
    return Settled(np.zeros((1, 1)), Totals(np.ones(1), np.zeros((1, 1)), squares, squares), 0.0, 1)


def test_the_best_of_a_k_is_not_given_up_when_a_long_stride_overshoots() -> None:
    rivals = large_data.Rivals((np.inf, 0.01))
    assert rivals.hopeless({(2, 0): standing(100.0), (2, 1): standing(105.0)}, 1) == []
    overshot = {(2, 0): standing(110.0), (2, 1): standing(104.0), (3, 0): standing(200.0)}
    assert rivals.hopeless(overshot, 2) == [(2, 1)]


def test_a_start_rests_when_its_steps_no_longer_bring_it_near_the_best() -> None:
    rivals = large_data.Rivals((np.inf,), noise=0.01)
    rivals.hopeless({(2, 0): standing(100.0), (2, 1): standing(104.0)}, 1)
    assert rivals.enough((2, 1), 104.0) == pytest.approx(LARGE_DATA.stop_share * 0.04)
    assert rivals.enough((2, 0), 100.0) == 0.0
    assert rivals.enough((2, 2), 100.9) == 0.0


def test_rivals_go_on_where_a_sample_cannot_tell_them_from_its_best() -> None:
    # Three equal groups: to which of the outer ones the middle one goes is luck.
    groups = np.repeat([-1.0, 0.0, 1.0], 50_000)[:, None]
    centers = [np.array([[-1.0], [0.5]]), np.array([[-0.5], [1.0]]), np.array([[-1.0], [1.0]])]
    for tilt, expected in ((0.0, 2), (0.01, 1)):
        rows = Rows(groups + tilt * (groups == 0) + rng.normal(0, 0.1, groups.shape), None)
        pool = [Settled(c, totals(rows.X, {0: c}, dtype=np.float64)[0], 0.0, 1) for c in centers]
        pool.sort(key=lambda one: one.wcss)
        assert len(large_data._near_best(rows, pool)) == expected


def test_a_centre_that_loses_its_rows_ends_with_those_it_had() -> None:
    full = Totals(np.array([2.0, 1.0]), np.zeros((2, 1)), np.array([3.0, 1.0]), np.zeros(2))
    empty = Totals(np.array([3.0, 0.0]), np.zeros((2, 1)), np.array([2.0, 0.0]), np.zeros(2))
    answers = iter([full, empty])
    start = np.array([[1.0], [5.0]])
    ended = settle(lambda centers: {0: next(answers)}, {0: start})[0]
    assert ended.totals is full
    assert ended.centers is start


def test_sums_over_all_rows_are_those_of_the_labels(fitted) -> None:
    last = np.inf
    for k, clustering in fitted.items():
        assert clustering.polish is not None
        assert clustering.wcss < last
        last = clustering.wcss
        assert clustering.wcss == pytest.approx(
            ((GROUPS - clustering.centers[clustering.labels]) ** 2).sum(), rel=1e-9
        )
        assert (clustering.sizes == np.bincount(clustering.labels, minlength=k)).all()
        assert clustering.centers.tolist() == sorted(clustering.centers.tolist())
        some = np.array([5, 17, 40_000])
        assert (clustering.labels_at(some) == clustering.labels[some]).all()


def test_as_good_as_trying_every_start_on_all_rows(fitted) -> None:
    exact = engine.fit_k_range(GROUPS, range(1, 8), seed=0, path="exact")
    for k in fitted:
        # Solutions this close are rivals that neither side finds for certain.
        assert fitted[k].wcss <= exact[k].wcss * (1 + 50e-6)
        assert exact[k].polish is None
    # The far group of 0.15 % of the customers has a segment of its own.
    assert 90 in fitted[4].sizes


def test_it_says_how_far_it_can_be_trusted(fitted) -> None:
    for k, clustering in fitted.items():
        polish = clustering.polish
        assert 0 <= polish.gain < 1e-3
        assert 0 < polish.sample_se < 0.05
        assert polish.passes >= (1 if k == 1 else 3)
    measured = silhouettes(GROUPS, fitted, seed=0)
    curve = metrics.curve(GROUPS, fitted, measured)
    assert curve["polish_gain"].notna().all()
    assert curve["sample_se"].notna().all()
    labels = fitted[5].labels
    # scikit-learn measures from the means of the rows, a hair from the centres.
    expected = davies_bouldin_score(GROUPS, labels)
    assert curve.davies_bouldin[5] == pytest.approx(expected, rel=1e-3)
    assert curve.calinski_harabasz[5] == pytest.approx(calinski_harabasz_score(GROUPS, labels))


def test_one_cluster_is_the_mean_of_all_rows(fitted) -> None:
    np.testing.assert_allclose(fitted[1].centers, GROUPS.mean(axis=0)[None], rtol=1e-12)


def test_one_cluster_alone_may_be_asked_for(fitted) -> None:
    alone = engine.fit_k_range(GROUPS, [1], seed=0)
    assert list(alone) == [1]
    assert alone[1].wcss == fitted[1].wcss


def test_the_order_of_the_rows_does_not_matter(fitted) -> None:
    order = rng.permutation(len(GROUPS))
    shuffled = engine.fit_k_range(GROUPS[order], range(1, 8), seed=0)
    for k in fitted:
        assert shuffled[k].wcss == pytest.approx(fitted[k].wcss, rel=1e-6)
        assert np.mean(shuffled[k].labels == fitted[k].labels[order]) > 0.9999


def test_the_same_seed_gives_the_same_bits(fitted) -> None:
    again = engine.fit_k_range(GROUPS, range(1, 8), seed=0)
    for k in fitted:
        assert again[k].centers.tobytes() == fitted[k].centers.tobytes()


def test_equal_rows_are_worked_on_once() -> None:
    X = np.round(GROUPS * 4)
    distinct = find_equals(X).distinct
    assert distinct < EXACT_PATH.merged_share * len(X)
    once, counts = np.unique(X, axis=0, return_counts=True)
    repeated = engine.fit_k_range(X, range(1, 6), seed=1, path="sampled")
    weighted = engine.fit_k_range(
        once, range(1, 6), seed=1, path="sampled", sample_weight=counts.astype(float)
    )
    for k in repeated:
        assert repeated[k].sizes.sum() == len(X)
        assert weighted[k].wcss == pytest.approx(repeated[k].wcss, rel=1e-4)
    # Few distinct rows are few rows, however many customers.
    few = np.round(GROUPS)
    assert find_equals(few).distinct <= EXACT_PATH.sampled_rows < len(few)
    assert engine.fit_k_range(few, [3], seed=1)[3].polish is None


def test_full_polish_is_a_fixed_point_of_lloyds_algorithm() -> None:
    full = engine.fit_k_range(GROUPS, [3, 4], seed=0, polish="full")
    quick = engine.fit_k_range(GROUPS, [3, 4], seed=0)
    for k in (3, 4):
        assert full[k].wcss <= quick[k].wcss * (1 + 1e-12)
        means = [GROUPS[full[k].labels == j].mean(axis=0) for j in range(k)]
        np.testing.assert_allclose(full[k].centers, means, atol=1e-4)


def test_improving_never_loses_and_keeps_the_order(fitted) -> None:
    better = engine.improve(GROUPS, fitted, 5, seed=0)
    values = [clustering.wcss for clustering in better.values()]
    assert values == sorted(values, reverse=True)
    assert better[5].wcss <= fitted[5].wcss
    assert len(better[5].starts) > len(fitted[5].starts)
    assert better[4] is fitted[4]


def test_a_k_worse_than_the_one_before_is_grown_from_it(monkeypatch) -> None:
    """Even should every sample mislead, WCSS does not rise with k."""
    honest = large_data._settled

    def misled(samples, pools, *, full):
        solved = honest(samples, pools, full=full)
        run = samples.over(samples.rows, np.float64)
        clumped = samples.origin + np.linspace(0, 1e-3, 5)[:, None]
        solved[5] = settle(run, {5: clumped}, most=2)[5]
        return solved

    monkeypatch.setattr(large_data, "_settled", misled)
    found = engine.fit_k_range(GROUPS, range(1, 7), seed=0)
    assert found[5].wcss < found[4].wcss


def test_extreme_units_take_the_exact_path() -> None:
    assert engine.fit_k_range(GROUPS * 1e30, [2], seed=0, effort="fast")[2].polish is None


@pytest.mark.parametrize("option", ["path", "polish"])
def test_unknown_options_are_named(option: str) -> None:
    with pytest.raises(ConfigError, match=rf"engine.{option}=quick: allowed are"):
        engine.fit_k_range(GROUPS[:50], [2], seed=0, **{option: "quick"})

"""Segments keep their ids across models, whatever their cluster numbers."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skops.io import dump
from threadpoolctl import threadpool_limits

from conftest import REPO
from segmentation import SegmentationResult, segment
from segmentation.data.customers import read_csv
from segmentation.model.packaging import portable_model
from segmentation.model.segment_model import PIPELINE_FILE, SEGMENTS_FILE, SegmentModel, Segments
from segmentation.registry import comparison, likeness, lineage
from segmentation.visualization import migration, to_png


def seen(table: pd.DataFrame, **given) -> likeness.Overlap:
    """An overlap of customers who are all in range, with centres that have not moved."""
    rest = {
        "near": table,
        "distances": np.zeros(table.shape),
        "spacing": np.ones(len(table)),
        **given,
    }
    return likeness.Overlap(counts=table, **rest)


def counted(old, new, old_ids, k) -> likeness.Overlap:
    distances, spacing = np.zeros((len(old_ids), k)), np.ones(len(old_ids))
    everyone = np.ones(len(old), dtype=bool)
    return likeness.overlap(
        old, everyone, new, old_ids=old_ids, k=k, distances=distances, spacing=spacing
    )


def portable(result: SegmentationResult, folder: Path) -> SegmentModel:
    """Return the model of a result as other programs read it."""
    model = portable_model(result)
    segments = Segments(
        columns=[{"name": name} for name in model.columns],
        ids=tuple(model.segment_ids),
        names=tuple(model.segment_names),
        radius=tuple(model.radius),
    )
    segments.write(folder / SEGMENTS_FILE)
    dump(model.pipeline, folder / PIPELINE_FILE)
    return SegmentModel().read(folder / PIPELINE_FILE, folder / SEGMENTS_FILE)


@pytest.fixture(scope="module")
def quality_identity() -> Iterator[ModuleType]:
    # Threads of so small fits only wait for each other.
    with threadpool_limits(1), pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(REPO / "benchmarks")
        yield importlib.import_module("quality_identity")


def match(table: pd.DataFrame, **given) -> lineage.Lineage:
    return lineage.match(seen(table), **given)


def fates(found: lineage.Lineage) -> dict[int, tuple[str, tuple[int, ...]]]:
    return {fate.segment: (fate.lineage, fate.was) for fate in found.fates}


def counts(table: list[list[int]], old: list[int] | None = None) -> pd.DataFrame:
    return pd.DataFrame(table, index=old or range(len(table)))


@given(
    st.permutations(range(6)),
    st.lists(st.integers(0, 5), min_size=12, max_size=60),
    st.lists(st.integers(0, 50), min_size=6, max_size=6, unique=True),
)
def test_permuted_cluster_numbers_keep_every_id(order, clusters, old_ids) -> None:
    index = np.array([*range(6), *clusters])
    old = np.array(old_ids)[index]
    new = np.array(order)[index]
    table = counted(old, new, old_ids, 6)
    found = lineage.match(table, used=0)
    assert (np.array(found.ids)[new] == old).all()
    assert lineage.moved(table.counts, found.ids) == 0
    assert {fate.lineage for fate in found.fates} == {"same"}
    assert found.retired == ()


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 6)), min_size=1, max_size=80),
    st.integers(0, 30),
)
def test_laws_of_any_migration(pairs, used) -> None:
    old, new = (np.array(side) for side in zip(*pairs, strict=True))
    old_ids = [3, 0, 7, 1, 9]
    overlap = counted(np.array(old_ids)[old], new, old_ids, 7)
    table, found = overlap.counts, lineage.match(overlap, used=used)
    assert table.to_numpy().sum() == len(pairs)
    assert len(set(found.ids)) == 7
    fresh = [segment for segment in found.ids if segment not in old_ids]
    assert all(segment >= max(used, 10) for segment in fresh)
    assert found.next_id > max(found.ids)
    assert set(found.retired) == set(old_ids) - set(found.ids)
    assert [fate.segment for fate in found.fates] == [*found.ids, *found.retired]
    stays = (np.array(old_ids)[old] == np.array(found.ids)[new]).mean()
    assert lineage.moved(table, found.ids) == pytest.approx(1 - stays)


def test_split() -> None:
    found = match(counts([[60, 0, 40], [0, 50, 0]]), used=2)
    assert found.ids == (0, 1, 2)
    assert fates(found) == {0: ("split", (0,)), 1: ("same", (1,)), 2: ("split", (0,))}


def test_merge_keeps_the_larger_id_and_says_where_the_other_went() -> None:
    found = match(counts([[60, 0], [40, 0], [0, 50]]), used=3)
    assert found.ids == (0, 2)
    assert fates(found) == {0: ("merged", (0, 1)), 2: ("same", (2,)), 1: ("merged", (0,))}
    assert found.retired == (1,)


def test_merge_of_equals_is_a_segment_of_its_own() -> None:
    table = counts([[55, 0], [45, 0], [0, 50]])
    found = lineage.match(seen(table, distances=np.array([[0.45, 2], [0.55, 2], [2, 0]])), used=3)
    assert found.ids == (3, 2)
    assert fates(found)[3] == ("merged", (0, 1))
    assert (fates(found)[0], fates(found)[1]) == (("merged", (3,)), ("merged", (3,)))


def test_new_and_gone() -> None:
    table = counts([[34, 33, 33], [100, 0, 0], [0, 100, 0], [0, 0, 100]])
    found = match(table, used=4)
    assert found.ids == (1, 2, 3)
    assert fates(found)[0] == ("gone", ())
    back = match(table.T.set_axis(range(4), axis=1).set_axis([1, 2, 3]), used=9)
    assert back.ids == (9, 1, 2, 3)
    assert fates(back)[9] == ("new", ())


def test_customers_out_of_range_come_from_no_segment() -> None:
    """The champion's nearest segment of a stranger says nothing."""
    table = counts([[50, 50, 0], [0, 0, 100]])
    near = counts([[5, 5, 0], [0, 0, 9]])
    found = lineage.match(seen(table, near=near), used=2)
    assert found.ids == (2, 3, 4)
    assert {fate.lineage for fate in found.fates} == {"new", "gone"}


def test_newcomers_do_not_make_a_segment_part_of_another() -> None:
    found = match(counts([[50, 30], [0, 30]]), used=2)
    assert fates(found) == {0: ("same", (0,)), 1: ("same", (1,))}


def test_the_id_of_a_segment_that_dissolved_does_not_go_to_strangers() -> None:
    # The most customers would keep their id if 2 were paired with the first cluster.
    table = counts([[90, 0, 99], [0, 90, 0], [49, 50, 1]])
    found = match(table, used=3)
    assert found.ids == (3, 1, 0)
    assert found.retired == (2,)


def test_ids_of_an_earlier_promotion_come_back() -> None:
    table = counts([[60, 0, 40], [0, 50, 0]])
    assert match(table, used=9, earlier={2: 5}).ids == (0, 1, 5)
    # Unless another segment has that id now.
    assert match(table, used=9, earlier={2: 1}).ids == (0, 1, 9)


def test_first_champion_keeps_the_ids_it_has() -> None:
    found = lineage.unchanged([7, 0, 4])
    assert (found.ids, found.retired, found.next_id) == ((7, 0, 4), (), 8)


def test_kept_ids_keep_their_names_and_new_names_are_distinct() -> None:
    names = lineage.keep_names([4, 0, 5], ["a", "b", "a"], {0: "a", 4: "c", 3: "x"})
    assert names == ("c", "a", "a (2)")


CLOSE = {"in_range": 1.0, "jaccard": 1.0, "distance": 0.0, "spacing": 1.0}


@pytest.mark.parametrize(
    ("change", "same", "said"),
    [
        ({}, True, "100\xa0% in range, Jaccard 1.00, centre moved 0\xa0% of the spacing"),
        ({"in_range": 0.5}, True, ""),
        ({"in_range": 0.49}, False, "49\xa0% in range (needs at least 50\xa0%)"),
        ({"jaccard": 0.5}, True, ""),
        ({"jaccard": 0.49}, False, "Jaccard 0.49 (needs at least 0.50)"),
        ({"distance": 0.25}, True, ""),
        ({"distance": 0.26}, False, "26\xa0% of the spacing (needs at most 25\xa0%)"),
        ({"spacing": 0.0}, True, ""),
        ({"distance": 1e-9, "spacing": 0.0}, False, "more than 100\xa0% of the spacing"),
    ],
)
def test_the_same_segment_needs_all_three(change, same, said) -> None:
    one = likeness.Likeness(7, **{**CLOSE, **change})
    assert one.same is same
    assert said in one.text()
    assert ("(needs" in one.text()) is not same


def test_evidence_for_and_against_is_recorded() -> None:
    table, near = counts([[60, 4], [0, 40]]), counts([[60, 0], [0, 10]])
    found = lineage.match(seen(table, near=near), used=2)
    assert found.ids == (0, 2)
    kept, new = found.fates[:2]
    assert kept.evidence == "100\xa0% in range, Jaccard 1.00, centre moved 0\xa0% of the spacing"
    assert new.evidence.startswith(
        "not 1: 23\xa0% in range (needs at least 50\xa0%), Jaccard 1.00,"
    )
    assert new.record()["closest"] == {
        **{"segment": 1, "in_range": 0.2273, "jaccard": 1.0, "distance": 0.0, "spacing": 1.0}
    }
    json.dumps([fate.record() for fate in found.fates])


def test_a_champion_of_one_segment_is_measured_by_its_radius() -> None:
    centers = np.array([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0]])
    assert likeness.spacings(centers, [9.0, 9.0, 9.0]).tolist() == [1.0, 18**0.5, 1.0]
    assert likeness.spacings(centers[:1], [2.0]).tolist() == [2.0]
    assert likeness.spacings(centers[[0, 0]], [9.0, 9.0]).tolist() == [0.0, 0.0]


def test_customers_nobody_can_label_leave_no_segment_the_same() -> None:
    found = lineage.all_new([0, 3], 2, used=5)
    assert (found.ids, found.retired, found.next_id) == ((5, 6), (0, 3), 7)
    assert {fate.lineage for fate in found.fates} == {"new", "gone"}
    # The run's own ids of an earlier promotion are still right, unless the champion has them.
    assert lineage.all_new([0, 3], 2, used=9, earlier={0: 7, 1: 3}).ids == (7, 9)


@pytest.mark.parametrize(
    ("kind", "least", "most"),
    [("unrelated", 0.0, 0.01), ("one range", 0.0, 0.1), ("one mixture", 0.95, 1.0)],
)
def test_pairs_of_data_sets(quality_identity, kind, least, most) -> None:
    """A part of benchmarks/quality_identity.py, which judges 200 pairs of each kind."""
    found = pd.DataFrame(
        [quality_identity.kept(*quality_identity.pair(kind, seed)) for seed in range(40)]
    ).sum()
    print(f"{kind}: {found['rule']} of {found['segments']} segments keep an id")
    assert least <= found["rule"] / found["segments"] <= most
    # The test can tell the rules apart: the former ones match segments of unrelated data.
    if kind != "one mixture":
        assert found["jaccard of a third"] / found["segments"] > 0.1


def test_refits_on_resamples_of_the_mall_customers_keep_the_ids(shared_data, tmp_path) -> None:
    """Twenty refits on 90 % of the customers: at least 95 % of all customers keep their id."""
    path = shared_data / "Mall_Customers_Gender.csv"
    frame = read_csv(path).frame.rename(columns=lambda name: name.split(" (")[0])
    columns = ["Annual Income", "Spending Score"]
    champion = segment(frame, features=columns, k_min=5, k_max=5, choice="fixed", k=5)
    before = portable(champion, tmp_path)
    kept = []
    for seed in range(20):
        part = frame.sample(frac=0.9, random_state=seed)
        refit = segment(part, features=columns, k_min=5, k_max=5, choice="fixed", k=5, seed=seed)
        labels = refit.pipeline.predict(frame[columns])
        theirs = comparison.label(before, frame)
        overlap = comparison.overlap(before, frame, theirs, labels.astype(np.int64), k=5)
        found = lineage.match(overlap, used=5)
        assert sorted(found.ids) == list(range(5))
        kept.append(1 - lineage.moved(overlap.counts, found.ids))
    assert min(kept) >= 0.95


@pytest.mark.parametrize(
    "table",
    [
        pd.DataFrame([[100]], index=[0], columns=[0]),
        pd.DataFrame([[5, 0, 7], [0, 9, 0]], index=[4, 0], columns=[0, 4, 7]),
        pd.DataFrame([[1, 2]], index=[0], columns=[5, 6]),
        pd.DataFrame(np.eye(30, dtype=int), index=range(30), columns=range(30)),
    ],
)
def test_figures_draw_any_migration_in_order_of_the_ids(table) -> None:
    names = {segment: f"low $income_{segment}, high spend^ing" for segment in range(40)}
    stays = sum(int(table.loc[one, one]) for one in table.index if one in table.columns)
    for draw in (migration.heatmap, migration.flow):
        figure = draw(table, names)
        said = figure.texts[0].get_text()
        assert ("keep their segment" in said) == (stays == table.to_numpy().sum())
        assert to_png(figure) == to_png(draw(table.iloc[::-1, ::-1], names))

"""Segments keep their ids across models, whatever their cluster numbers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segmentation import segment
from segmentation.data.customers import read_csv
from segmentation.profiling.profiles import profile
from segmentation.registry import lineage
from segmentation.visualization import migration, to_png


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
    table = lineage.overlap(old, new, old_ids, 6)
    found = lineage.match_customers(table, used=0)
    assert (np.array(found.ids)[new] == old).all()
    assert lineage.moved(table, found.ids) == 0
    assert {fate.lineage for fate in found.fates} == {"same"}
    assert found.retired == ()


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 6)), min_size=1, max_size=80),
    st.integers(0, 30),
)
def test_laws_of_any_migration(pairs, used) -> None:
    old, new = (np.array(side) for side in zip(*pairs, strict=True))
    old_ids = [3, 0, 7, 1, 9]
    table = lineage.overlap(np.array(old_ids)[old], new, old_ids, 7)
    found = lineage.match_customers(table, used=used)
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
    found = lineage.match_customers(counts([[60, 0, 40], [0, 50, 0]]), used=2)
    assert found.ids == (0, 1, 2)
    assert fates(found) == {0: ("split", (0,)), 1: ("same", (1,)), 2: ("split", (0,))}


def test_merge_keeps_the_larger_id_and_says_where_the_other_went() -> None:
    found = lineage.match_customers(counts([[60, 0], [40, 0], [0, 50]]), used=3)
    assert found.ids == (0, 2)
    assert fates(found) == {0: ("merged", (0, 1)), 2: ("same", (2,)), 1: ("merged", (0,))}
    assert found.retired == (1,)


def test_new_and_gone() -> None:
    table = counts([[34, 33, 33, 0], [100, 0, 0, 0], [0, 100, 0, 0], [0, 0, 100, 0]])
    found = lineage.match_customers(table[[0, 1, 2]], used=4)
    assert found.ids == (1, 2, 3)
    assert fates(found)[0] == ("gone", ())
    back = lineage.match_customers(table[[0, 1, 2]].T.set_axis([1, 2, 3]), used=9)
    assert back.ids == (9, 1, 2, 3)
    assert fates(back)[9] == ("new", ())


def test_newcomers_do_not_make_a_segment_part_of_another() -> None:
    found = lineage.match_customers(counts([[45, 30], [0, 22]]), used=2)
    assert fates(found) == {0: ("same", (0,)), 1: ("same", (1,))}


def test_the_id_of_a_segment_that_dissolved_does_not_go_to_strangers() -> None:
    # The assignment pairs 2 with the first cluster, but most customers of neither are in the other.
    table = counts([[90, 0, 99], [0, 90, 0], [49, 50, 1]])
    found = lineage.match_customers(table, used=3)
    assert found.ids == (3, 1, 0)
    assert found.retired == (2,)


def test_ids_of_an_earlier_promotion_come_back() -> None:
    table = counts([[60, 0, 40], [0, 50, 0]])
    assert lineage.match_customers(table, used=9, earlier={2: 5}).ids == (0, 1, 5)
    # Unless another segment has that id now.
    assert lineage.match_customers(table, used=9, earlier={2: 1}).ids == (0, 1, 9)


def test_first_champion_keeps_the_ids_it_has() -> None:
    found = lineage.unchanged([7, 0, 4])
    assert (found.ids, found.retired, found.next_id) == ((7, 0, 4), (), 8)


def test_kept_ids_keep_their_names_and_new_names_are_distinct() -> None:
    names = lineage.keep_names([4, 0, 5], ["a", "b", "a"], {0: "a", 4: "c", 3: "x"})
    assert names == ("c", "a", "a (2)")


def test_centers_match_whatever_the_units_and_numbers(frame) -> None:
    first = segment(frame, k_max=4, choice="fixed", k=4)
    order = np.array([2, 0, 3, 1])
    before = lineage.means(profile(frame, first.labels), [5, 6, 7, 8])
    now = lineage.means(profile(frame, order[first.labels].astype(np.int32)), range(4))
    found = lineage.match_centers(before, now, used=20)
    assert [found.ids[order[index]] for index in range(4)] == [5, 6, 7, 8]
    # A column that one side lacks, and another unit of the same column, change nothing.
    fewer = lineage.match_centers(before.iloc[:, 1:] * 1000, now * 1000, used=20)
    assert fewer.ids == found.ids


def test_centers_with_nothing_in_common_are_all_new() -> None:
    before = pd.DataFrame({"age": [1.0, 2.0]}, index=[0, 3])
    now = pd.DataFrame({"income": [1.0, 2.0]}, index=[0, 1])
    found = lineage.match_centers(before, now, used=1)
    assert (found.ids, found.retired) == ((4, 5), (0, 3))


def test_centers_match_only_where_one_is_the_others_nearest() -> None:
    before = pd.DataFrame({"x": [0.0, 1.0]}, index=[0, 1])
    now = pd.DataFrame({"x": [0.0, 1.0, 50.0]}, index=range(3))
    assert lineage.match_centers(before, now, used=2).ids == (0, 1, 2)


def test_categories_count_as_their_shares() -> None:
    frame = pd.DataFrame({"age": [30, 40, 50, 60], "town": ["a", "a", "b", "c"]})
    table = lineage.means(profile(frame, np.array([0, 0, 1, 1], dtype=np.int32)), [8, 3])
    assert table.index.tolist() == [8, 3]
    assert table.loc[8].to_dict() == {"age": 35, "town=a": 1, "town=b": 0, "town=c": 0}
    assert table.loc[3, "town=b"] == 0.5


def test_refits_on_resamples_of_the_mall_customers_keep_the_ids(shared_data) -> None:
    """Twenty refits on 90 % of the customers: at least 95 % of all customers keep their id."""
    path = shared_data / "Mall_Customers_Gender.csv"
    frame = read_csv(path).frame.rename(columns=lambda name: name.split(" (")[0])
    columns = ["Annual Income", "Spending Score"]
    champion = segment(frame, features=columns, k_min=5, k_max=5, choice="fixed", k=5)
    kept = []
    for seed in range(20):
        part = frame.sample(frac=0.9, random_state=seed)
        refit = segment(part, features=columns, k_min=5, k_max=5, choice="fixed", k=5, seed=seed)
        labels = refit.pipeline.predict(frame[columns])
        table = lineage.overlap(champion.labels, labels, range(5), 5)
        found = lineage.match_customers(table, used=5)
        assert sorted(found.ids) == list(range(5))
        kept.append(1 - lineage.moved(table, found.ids))
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

"""The page of two runs: self-contained, readable on a phone, and names are only text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pairs import config, logged, pair_of

from pages import Page, seen_in_chromium
from segmentation.experiments.pair_page import pair_figure, render_pair_page
from segmentation.experiments.run_pair import RunPair, compare_pair

ATTACK = "<script>alert(1)</script>"


def attacked() -> RunPair:
    a = logged([0, 0, 1, 1, 2], names=[f"{i} {ATTACK}" for i in range(3)], run=f"a{ATTACK}")
    other = config(features={"name": ATTACK, "columns": [ATTACK]})
    b = logged([0, 1, 1, 0, 0], run=f"b{ATTACK}", config=other, careful=ATTACK, columns=[ATTACK])
    return compare_pair(a, b)


def test_text_of_runs_never_becomes_markup_and_nothing_is_loaded() -> None:
    html = render_pair_page(attacked(), command=f"segment compare {ATTACK}")
    page = Page(html)
    assert page.all("script") == page.all("link") == []
    assert page.text.count(ATTACK) > 8
    assert "url(" not in html
    assert all((image["src"] or "").startswith("data:image/png") for image in page.all("img"))
    assert all(image["alt"] for image in page.all("img"))


def test_it_shows_what_the_text_shows() -> None:
    pair = pair_of([0, 0, 1, 1, 1], [0, 1, 1, 1, 1], config=config(seed=3))
    text = Page(render_pair_page(pair, command="segment compare runs=[a,b]")).text
    places = [
        text.find(each)
        for each in (
            pair.headline().replace("\N{NO-BREAK SPACE}", " "),
            f"The ranking puts {pair.first} first.",
            "Settings that differ",
            "seed",
            "The segments",
            "Who is in which segment",
            "Who moves",
            "A0 → B1",
            "Which is better",
            "How to reproduce",
            "segment compare runs=[a,b]",
        )
    ]
    assert -1 not in places
    assert places == sorted(places)


def test_without_common_customers_there_is_no_figure() -> None:
    pair = pair_of([0, 0, 1], [0, 1, 1], customers=False)
    assert pair_figure(pair) is None
    page = Page(render_pair_page(pair, command=""))
    assert page.all("img") == []
    assert "Who moves" not in page.text
    assert "Run B did not log" in page.text


def test_a_sample_has_a_figure_but_no_names() -> None:
    a, b = (logged([0, 1, 1], customers=False, sample=s) for s in ([0, 1, 1], [0, 0, 1]))
    pair = compare_pair(a, b)
    assert pair_figure(pair) is not None
    page = Page(render_pair_page(pair, command=""))
    assert "Who moves" in page.text
    assert "for example" not in page.text


@pytest.mark.parametrize("k", [1, 2, 12, 30])
def test_the_figure_is_drawn_for_any_number_of_segments(k: int) -> None:
    a = [*range(k), *np.random.default_rng(0).integers(0, k, 500)]
    assert pair_figure(pair_of(a, [0] * len(a))) is not None
    assert pair_figure(pair_of(a, a)) == pair_figure(pair_of(a, a))


@pytest.mark.slow
def test_it_fits_every_window(tmp_path: Path) -> None:
    labels = [*range(12), *np.random.default_rng(0).integers(0, 12, 500)]
    names = [f"very high income, low spending number {i}" for i in range(12)]
    columns = [f"some_long_column_{i}" for i in range(6)]
    a = logged(labels, names=names, columns=columns, run="a_very_long_name" * 5)
    b = logged([*reversed(labels)], names=names, config=config(data__path="/long/path/" * 12))
    html = render_pair_page(compare_pair(a, b), command="segment compare 'runs=[a,b]'")
    for page in seen_in_chromium(html, tmp_path):
        assert page.locator("img").count() == 1

"""The report page: the answer first, one file, nothing from the data runs as code."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pages import Page, seen_in_chromium
from segmentation.features.feature_set import FeatureSet
from segmentation.pipeline import segment
from segmentation.reporting.run_report import render_report
from segmentation.reporting.sections import SECTIONS
from segmentation.result import SegmentationResult
from segmentation.visualization import FIGURES, to_png

ATTACK = "<script>alert(1)</script>"
QUOTE = "\"><img src=x onerror=alert(2)> ' & <b>"
META = {"run": "income·standard·k3", "command": "segment fit a=<b> 'c d'", "seed": "7"}


def customers() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    group = rng.integers(0, 3, 150)
    return pd.DataFrame(
        {
            ATTACK: np.array([20, 60, 100])[group] + rng.normal(0, 4, 150),
            QUOTE: np.array([80, 40, 70])[group] + rng.normal(0, 4, 150),
            "region": np.where(rng.random(150) < 0.4, ATTACK, QUOTE),
        }
    )


def render(result: SegmentationResult) -> str:
    drawn = {name: figure.draw(result) for name, figure in FIGURES.items()}
    pngs = {name: to_png(figure) for name, figure in drawn.items() if figure is not None}
    return render_report(result, figures=pngs, meta=META)


@pytest.fixture(scope="module")
def result() -> SegmentationResult:
    return segment(
        customers(), features=FeatureSet(columns=(ATTACK, QUOTE), profile=("region",)), k_max=5
    )


@pytest.fixture(scope="module")
def html(result: SegmentationResult) -> str:
    return render(result)


def test_text_of_the_customers_file_never_becomes_markup(html: str) -> None:
    page = Page(html)
    assert page.all("script") == []
    assert not any(a for _, attributes in page.elements for a in attributes if a.startswith("on"))
    assert {image["src"][:22] for image in page.all("img")} == {"data:image/png;base64,"}  # type: ignore[index]
    assert ATTACK in page.text
    assert QUOTE in page.text


def test_the_page_loads_nothing(html: str) -> None:
    page = Page(html)
    assert page.all("link") == []
    assert "url(" not in html
    assert "@import" not in html
    addresses = [a[key] or "" for _, a in page.elements for key in ("src", "href") if key in a]
    assert len(addresses) == len(FIGURES)
    assert all(address.startswith("data:") for address in addresses)


def test_the_answer_comes_first_then_segments_then_k_then_data(
    html: str, result: SegmentationResult
) -> None:
    text = Page(html).text
    order = [
        result.choice.verdict.capitalize()[:20],
        result.segments[0].name,
        "How sure?",
        "The segments",
        "How k was chosen",
        "The data",
        "How to reproduce",
        META["command"],
    ]
    places = [text.find(part) for part in order]
    assert -1 not in places, dict(zip(order, places, strict=True))
    assert places == sorted(places)


def test_every_segment_has_a_card_with_its_size_and_medians(
    html: str, result: SegmentationResult
) -> None:
    text = Page(html).text
    assert html.count('<section class="card"') == result.k == 3
    for part in result.segments:
        assert f"{part.size} customers" in text
        own = result.customers.frame[ATTACK][result.labels == part.id]
        assert f"{own.median():.3g}" in text
    assert f"{result.customers.frame[ATTACK].median():.3g}" in text


def test_every_card_tells_the_rule_the_effects_and_typical_customers(
    html: str, result: SegmentationResult
) -> None:
    text = Page(html).text
    assert result.rules is not None
    assert result.rules.verdict in text
    assert result.rules.measured in text
    for rule in result.rules.rules:
        assert rule.ways[0] in text
        assert rule.quality in text
    assert "Cohen's d" in text
    assert re.search(r"d [+−]\d\.\d \([+−]\d\.\d to [+−]\d\.\d\)", text)
    assert text.count("Typical customers") == result.k
    assert text.count("(most typical)") == result.k
    assert "no p-values" in text


def test_shares_come_with_what_they_are_likely_to_be(html: str, result: SegmentationResult) -> None:
    assert len(re.findall(r"\(likely \d+ to \d+\s%\)", Page(html).text)) == result.k


def test_single_customers_are_left_out_on_demand() -> None:
    frame = customers().assign(customer_id=[f"<b>customer-{i}</b>" for i in range(150)])
    result = segment(frame, features=[ATTACK, QUOTE], choice="fixed", k=3, k_max=3)
    shown = render_report(result, figures={}, meta=META)
    assert "customer-" in Page(shown).text
    assert "<b>" not in shown
    hidden = render_report(result, figures={}, meta=META, show_customers=False)
    assert "customer-" not in hidden


def test_one_column_that_does_it_all_is_said_at_the_top() -> None:
    frame = pd.DataFrame({"gender": ["f", "m"] * 40, "age": np.arange(80) % 37})
    result = segment(
        frame, features=["gender", "age"], scaling="minmax", choice="fixed", k=2, k_max=2
    )
    text = Page(render_report(result, figures={}, meta=META)).text
    assert 0 < text.find("Careful. Gender alone") < text.find("How sure?")


def test_every_figure_is_inline_once_with_an_alternative_text(
    html: str, result: SegmentationResult
) -> None:
    images = Page(html).all("img")
    assert len(images) == len(FIGURES)
    assert all(len(image["alt"] or "") > 20 for image in images)
    assert all(int(image["width"] or 0) > 100 for image in images)
    assert {figure.section for figure in FIGURES.values()} == set(SECTIONS)
    captions = {figure.caption for figure in FIGURES.values()}
    assert all(caption in Page(html).text for caption in captions)


def test_a_figure_nobody_placed_is_shown_all_the_same(result: SegmentationResult) -> None:
    png = to_png(FIGURES["elbow"].draw(result))  # type: ignore[arg-type]
    page = Page(render_report(result, figures={"my_own figure": png}, meta=META))
    assert [image["alt"] for image in page.all("img")] == ["my own figure"]


def test_the_chosen_k_and_the_criteria_that_name_it_are_in_the_table(
    html: str, result: SegmentationResult
) -> None:
    (row,) = re.findall(r'<tr class="chosen">(.*?)</tr>', html, re.S)
    assert re.match(rf"<td>{result.k} ", row)
    assert "ICL" in row
    assert html.count("<tr><td>") == len(result.curve) - 1


def test_the_same_result_gives_the_same_page(html: str, result: SegmentationResult) -> None:
    assert render(result) == html


def test_no_structure_says_so_and_shows_no_segments() -> None:
    noise = np.random.default_rng(3).normal(size=(120, 2))
    result = segment(pd.DataFrame(noise, columns=["a", "b"]), k_max=4)
    assert result.structure is False
    text = Page(render(result)).text
    assert "slices of one group" in text
    assert "The customers" in text
    assert "side by side" not in text


def test_an_untested_choice_is_not_sold_as_found() -> None:
    noise = np.random.default_rng(3).normal(size=(120, 2))
    frame = pd.DataFrame(noise, columns=["a", "b"])
    text = Page(render(segment(frame, choice="fixed", k=3, k_max=4))).text
    assert "was not tested" in text
    assert "picked by" not in text


@pytest.mark.slow
def test_chromium_shows_it_on_desk_phone_and_paper(html: str, tmp_path: Path) -> None:
    for page in seen_in_chromium(html, tmp_path):
        assert page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth)")
        assert page.locator("section.card").count() == 3

"""Draw the gallery `docs/figures.md` and its pictures from the demo data: ``make docs-figures``."""

from __future__ import annotations

from pathlib import Path

from segmentation import segment
from segmentation.data.demo import generate_customers
from segmentation.features.feature_set import FeatureSet
from segmentation.visualization import FIGURES, to_png

DOCS = Path(__file__).parent
IMAGES = DOCS / "images"
FEATURES = FeatureSet(
    name="income_spending",
    columns=("annual_income", "spending_score"),
    profile=("age", "gender"),
)
#: One sentence a figure, in the order of a run's report.
SENTENCES = {
    "segment_map": "Every customer, coloured by segment; with two features in their own units, "
    "with more in the two directions that carry most of the variance.",
    "segment_sizes": "How many customers each segment has.",
    "rules": "How to recognise a segment: each bar covers the part of all customers, lowest to "
    "highest, that a rule lets through; both percentages are measured on customers the rules were "
    "not made from.",
    "feature_importance": "Which features make the segments what they are, beside the say each "
    "has in the distances, and how many customers change segments when it is shuffled.",
    "profile_heatmap": "Where each segment stands in every number, clustered on or only described.",
    "pair_plot": "The same customers in every pair of features.",
    "silhouette_plot": "How far inside its own segment each customer lies; those near zero lie "
    "between two.",
    "stability": "Which segments come back when the customers are drawn again (bootstrap).",
    "elbow": "The within-cluster sum of squares over k: it always falls, so it cannot choose k by "
    "itself.",
    "silhouette_curve": "The mean silhouette over k.",
    "criteria": "Every criterion over k with the k it names, and what it reaches on data without "
    "clusters (grey).",
    "clustergram": "How clusters split as k grows, and how many customers pass on.",
    "distributions": "Every column of the customers before anything is done to it.",
}


def main() -> None:
    """Write every figure of one run of the demo, and the page that shows them."""
    result = segment(generate_customers(), features=FEATURES)
    IMAGES.mkdir(exist_ok=True)
    lines = [
        "# Figures",
        "",
        "Every run logs these figures under `figures/` and shows them in its `report.html`. Here "
        "they are drawn from the demo data by `make docs-figures`.",
    ]
    for name in [*SENTENCES, *(name for name in FIGURES if name not in SENTENCES)]:
        figure = FIGURES[name](result)
        if figure is None:
            continue
        (IMAGES / f"{name}.png").write_bytes(to_png(figure))
        title = name.replace("_", " ").capitalize()
        lines += ["", f"## {title}", "", SENTENCES[name], "", f"![{title}](images/{name}.png)"]
    (DOCS / "figures.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

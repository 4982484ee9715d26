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


def main() -> None:
    """Draw every figure of a run on the demo data, and write the page that shows them."""
    result = segment(generate_customers(), features=FEATURES)
    IMAGES.mkdir(exist_ok=True)
    for name, line in FIGURES.items():
        figure = line.draw(result)
        if figure is not None:
            (IMAGES / f"{name}.png").write_bytes(to_png(figure))
    (DOCS / "figures.md").write_text(page(), encoding="utf-8")


def page() -> str:
    """Return the gallery page: title, caption and picture of every figure."""
    lines = [
        "# Figures",
        "",
        "Every run logs these figures under `figures/` and shows them in its `report.html`. Here "
        "they are drawn from the demo data by `make docs-figures`.",
    ]
    for name, figure in FIGURES.items():
        lines += ["", f"## {figure.title}", "", figure.caption]
        lines += ["", f"![{figure.alt}](images/{name}.png)"]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()

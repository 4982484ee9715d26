"""``segment compare``: the ranking of the finished runs, or the comparison of two of them."""

from __future__ import annotations

import shlex

from segmentation.cli.commands.call import Call
from segmentation.cli.commands.output import print_best, ui_hint
from segmentation.config import CompareConfig
from segmentation.errors import ConfigError
from segmentation.evaluation.agreement import sentence
from segmentation.experiments import ranking
from segmentation.experiments.sweep import agreement_of_best
from segmentation.tracking.runs import REPORT_FILE, artifact_file, finished_runs


def run(config: CompareConfig, call: Call) -> None:
    """Print the ranking, or the comparison of two runs.

    Raises
    ------
    ConfigError
        No run matches, or an option is not allowed.
    """
    if config.runs is not None or config.out is not None:
        # Imported lazily: the ranking needs neither figures nor pages.
        from segmentation.cli.commands import two_runs

        two_runs.run(config, call)
        return
    store = call.open_store(config.tracking)
    runs = finished_runs(store, sweep_id=config.sweep_id, where=config.filter)
    ranked = ranking.rank(runs, sort=config.sort)
    if ranked.empty:
        raise ConfigError(
            f"no finished run in experiment {store.experiment!r} of {store.uri} matches. Make one "
            "with `segment fit`, or choose another tracking.experiment, sweep_id or filter."
        )
    print(ranking.render(ranked, form=config.format, top=config.top))
    if config.format == "table":
        same = sentence(agreement_of_best(ranked.head(config.top)))
        if len(ranked) > config.top:
            print(f"… {config.top} of {len(ranked)} runs; top={len(ranked)} shows all")
        given = [each for each in call.overrides if not each.startswith("format=")]
        again = f"segment compare {shlex.join([*given, 'format=csv'])}"
        report = artifact_file(ranked["artifact_uri"].iloc[0], REPORT_FILE)
        print_best(ranked, again, call, config.tracking, report=report, by=config.sort)
        if same:
            print(same)
        print(f"UI:     {store.link()}{ui_hint(store, call, config.tracking)}")

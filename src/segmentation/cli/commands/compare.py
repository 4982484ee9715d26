"""``segment compare``: the ranking of the finished runs, or the comparison of two of them."""

from __future__ import annotations

import functools
import shlex
import sys

from segmentation.cli.commands.call import Call
from segmentation.cli.commands.output import print_best, say, ui_hint
from segmentation.config import CompareConfig
from segmentation.errors import ConfigError, TrackingError
from segmentation.evaluation.agreement import sentence
from segmentation.experiments import data_sets, logged_ranks, ranking
from segmentation.experiments.sweep import agreement_of_best
from segmentation.tracking.runs import REPORT_FILE, artifact_file, finished_runs


def run(config: CompareConfig, call: Call) -> None:
    """Print the ranking and write the places of the runs, or compare two runs.

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
    store = call.open_store(config.tracking, reading=True)
    runs = finished_runs(store, sweep_id=config.sweep_id, where=config.filter)
    ranked = ranking.rank(runs, sort=config.sort)
    if ranked.empty:
        raise ConfigError(
            f"no finished run in experiment {store.experiment!r} of {store.uri} matches. Make one "
            "with `segment fit`, or choose another tracking.experiment, sweep_id or filter."
        )
    print(data_sets.render(ranked, form=config.format, top=config.top))
    if config.format == "table":
        sets = data_sets.split(ranked)
        most = max(len(each.runs) for each in sets)
        if most > config.top:
            of = "of each data set; " if len(sets) > 1 else f"of {len(ranked)} runs; "
            print(f"… {config.top} {of}top={most} shows all")
        given = [each for each in call.overrides if not each.startswith("format=")]
        again = f"segment compare {shlex.join([*given, 'format=csv'])}"
        report_of = functools.partial(artifact_file, store, name=REPORT_FILE)
        print_best(ranked, again, call, config.tracking, report_of=report_of, by=config.sort)
        for each in sets:
            same = sentence(agreement_of_best(each.runs.head(config.top)))
            if same:
                print(same if len(sets) == 1 else f"On {each.name}: {same}")
        print(f"UI:     {store.link()}{ui_hint(store, call, config.tracking)}")
    if config.filter is not None:
        return
    # Whoever reads the output need not wait for the store.
    sys.stdout.flush()
    if config.sort is not None:
        ranked = ranking.rank(runs)
    log = logged_ranks.log_all if config.sweep_id is None else logged_ranks.log_sweep
    try:
        log(store, ranked)
    except TrackingError as error:
        say(f"The order in the MLflow UI may be out of date: {error}")

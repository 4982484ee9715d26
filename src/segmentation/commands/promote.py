"""``segment promote``: register a run's model and make it the champion."""

from __future__ import annotations

from segmentation import compare, registry
from segmentation.commands.call import Call
from segmentation.config import PromoteConfig
from segmentation.errors import ConfigError
from segmentation.tracking import finished_runs


def run(config: PromoteConfig, call: Call) -> None:
    """Promote the named run, or the first of the ranking.

    Raises
    ------
    ConfigError
        There is no run to promote.
    RegistryError, GateRefused
        See `segmentation.registry.promote`.
    """
    store = call.open_store(config.tracking)
    run_id = config.run_id
    if run_id is None:
        ranked = compare.rank(finished_runs(store))
        if ranked.empty:
            raise ConfigError(
                f"there is no finished run in experiment {store.experiment!r} to promote. Make "
                "one with `segment fit`, or name one with run_id=…"
            )
        run_id = str(ranked.iloc[0]["run_id"])
    promotion = registry.promote(run_id, tracking_uri=store.uri, name=config.model)
    was = f" (was version {promotion.previous})" if promotion.previous else ""
    print(f"{promotion.name} version {promotion.version} is champion now{was}.")
    print("Load it anywhere with mlflow, scikit-learn and skops:")
    print(f'  mlflow.set_tracking_uri("{store.uri}")')
    print(f'  mlflow.pyfunc.load_model("models:/{promotion.name}@champion").predict(customers)')

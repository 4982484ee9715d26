"""A store with runs to promote, without fits: for the tests of promotions at the same moment."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from mlflow import MlflowClient

from portable_models import customers, portable
from segmentation.errors import GateRefused
from segmentation.model import flavor
from segmentation.registry import aliases, promotion, versions
from segmentation.registry.assessment import Assessment, assess
from segmentation.registry.gates import rules
from segmentation.tracking.store import Store, open_store

RULES = rules(loads=False)


@dataclass
class Registry:
    """A store with finished runs whose customers cannot be read again: all segments are new."""

    store: Store
    runs: list[str]
    scratch: Path
    count: Iterator[int] = field(default_factory=itertools.count)

    @property
    def client(self) -> MlflowClient:
        return self.store.client

    def champion(self, name: str) -> int:
        return int(self.client.get_registered_model(name).aliases["champion"])

    def first(self, name: str) -> None:
        """Make the first run champion."""
        self.promote(0, name)

    def promote(self, run: int, name: str, *, again: bool = True) -> aliases.Promotion:
        """Do what the command does: assess, promote, and start over if the registry changed."""
        for _ in range(promotion.ATTEMPTS if again else 1):
            assessed = self.assess(run, name)
            with contextlib.suppress(versions.Overtaken):
                return promotion.promote(self.store, assessed, override="agreed")
        raise GateRefused("overtaken too often")

    def assess(self, run: int, name: str) -> Assessment:
        folder = self.scratch / str(next(self.count))
        return assess(self.store, self.runs[run], name=name, rules=RULES, scratch=folder)

    def ids(self, name: str) -> dict[int, list[int]]:
        """Segment ids by version."""
        found = versions.versions(self.client, name)
        return {int(one.version): json.loads(one.tags["segment_ids"]) for one in found}


def make_registry(uri: str, experiment: str, scratch: Path, *, runs: int = 4) -> Registry:
    store = open_store(uri, experiment)
    client, model, made = store.client, portable(customers()), []
    for number in range(runs):
        run = client.create_run(store.experiment_id, tags={"structure": "yes"})
        names = [f"{'abcdef'[number]}{i}" for i in range(3)]
        flavor.log(replace(model, segment_names=names), client=client, run=run)
        client.set_terminated(run.info.run_id)
        made.append(run.info.run_id)
    return Registry(store, made, scratch)

"""`segment promote` and `segment rollback` on a real store: what a reader of the registry gets."""

from __future__ import annotations

import json
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import unquote, urlsplit

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient

from conftest import copy_store
from segmentation.cli import main
from segmentation.data.demo import generate_customers
from segmentation.registry import gates
from segmentation.tracking.relocation import relocate
from segmentation.tracking.store import open_store

NAME = "customer-segments"
COLUMNS = "features.columns=[annual_income,spending_score]"
#: The fresh process costs seconds; the tests that are not about it leave it out.
QUICK = "promotion.loads=false"
#: Six segments of five groups are less well separated.
LOOSE = "promotion.max_quality_loss=0.2"


class Shop:
    """A store with its customer files; its runs by name."""

    def __init__(self, folder: Path, runs: dict[str, str]) -> None:
        self.folder, self.runs = folder, runs
        self.uri = f"sqlite:///{folder}/mlflow.db"
        self.client = MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)

    def segment(self, command: str, *overrides: str) -> int:
        return main.run([command, *overrides, f"tracking.uri={self.uri}"])

    def fit(self, name: str, file: str, *overrides: str) -> None:
        path = self.folder / file
        data = ["data=csv", f"data.path={path}", "data.id=customer_id", "k.max=6"]
        with pytest.MonkeyPatch.context() as patch:
            # Drawing takes most of a fit's time, and other tests look at its figures.
            patch.setattr("segmentation.tracking.run_items.FIGURES", {})
            assert self.segment("fit", *data, *overrides) == 0
        experiment = self.client.get_experiment_by_name("customer-segments")
        (run, *_) = self.client.search_runs([experiment.experiment_id], max_results=1)
        self.runs[name] = run.info.run_id

    def promote(self, name: str, *overrides: str) -> int:
        return self.segment("promote", f"run_id={self.runs[name]}", QUICK, *overrides)

    def aliases(self, name: str = NAME) -> dict[str, int]:
        return dict(self.client.get_registered_model(name).aliases)

    def answer(self, uri: str, frame: pd.DataFrame) -> pd.DataFrame:
        mlflow.set_tracking_uri(self.uri)
        return mlflow.pyfunc.load_model(uri).predict(frame)

    def artifacts(self, name: str) -> Path:
        run = self.client.get_run(self.runs[name])
        return Path(unquote(urlsplit(run.info.artifact_uri).path))

    def table(self, run: str, name: str) -> pd.DataFrame:
        return pd.read_json(self.artifacts(run) / "tables" / f"{name}.json", orient="split")

    def dump(self) -> list[str]:
        with sqlite3.connect(self.folder / "mlflow.db") as connection:
            return list(connection.iterdump())


@pytest.fixture(scope="module")
def fitted(fresh_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """Runs on generated customers; made once."""
    shop = Shop(tmp_path_factory.mktemp("shop"), {})
    copy_store(fresh_store, shop.folder / "mlflow.db")
    frame = generate_customers(150, seed=1)
    frame.to_csv(shop.folder / "customers.csv", index=False)
    rng = np.random.default_rng(0)
    shuffled = frame.assign(**{c: rng.permutation(frame[c]) for c in frame.columns[1:]})
    shuffled.to_csv(shop.folder / "shuffled.csv", index=False)
    shop.fit("five", "customers.csv", COLUMNS, "choice=fixed", "choice.k=5")
    shop.fit("six", "customers.csv", COLUMNS, "choice=fixed", "choice.k=6")
    shop.fit("age", "customers.csv", "features.columns=[age]", "choice=fixed", "choice.k=2")
    return shop


@pytest.fixture
def shop(fitted: Shop, tmp_path: Path) -> Shop:
    """The same runs and files in a store of the test's own."""
    shutil.copytree(fitted.folder, tmp_path / "shop")
    shop = Shop(tmp_path / "shop", dict(fitted.runs))
    place = open_store(shop.uri, "customer-segments").place
    assert place is not None
    relocate(shop.folder / "mlflow.db", place)
    return shop


@pytest.fixture(scope="module")
def customers(fitted: Shop) -> pd.DataFrame:
    return pd.read_csv(fitted.folder / "customers.csv")


def test_first_champion(shop: Shop, customers, capfd) -> None:
    run_id = shop.runs["five"]
    assert shop.segment("promote", f"run_id={run_id}") == 0
    out = capfd.readouterr().out
    assert f"{NAME} version 1 is champion now" in out
    assert shop.aliases() == {"champion": 1}
    gates = shop.table("five", "gates").set_index("gate")["answer"].to_dict()
    # The run did not test for structure; promotion did.
    assert gates.pop("structure") == "passed"
    assert gates.pop("loads") == "passed"
    assert set(gates.values()) <= {"passed", "nothing to compare"}
    version = shop.client.get_model_version(NAME, "1")
    assert json.loads(version.tags["segment_ids"]) == [0, 1, 2, 3, 4]
    assert version.tags["next_segment_id"] == "5"
    assert "structure: passed" in version.tags["gates"]
    run = shop.client.get_run(run_id).data.tags
    assert version.tags["promotion"] == run["promotion"] == "passed"
    assert "| 0 |" in version.description
    assert shop.answer(f"models:/{NAME}@champion", customers)["segment"].nunique() == 5


def test_segments_keep_their_ids_and_names(shop: Shop, customers, capfd) -> None:
    assert shop.promote("five") == 0
    assert shop.promote("six", LOOSE) == 0
    before = shop.answer(f"models:/{NAME}/1", customers)
    after = shop.answer(f"models:/{NAME}@champion", customers)
    moved = (before["segment"] != after["segment"]).mean()
    version = shop.client.get_model_version(NAME, "2")
    assert 0 < moved <= 0.3
    assert float(version.tags["moved"]) == pytest.approx(moved, abs=1e-4)
    ids = json.loads(version.tags["segment_ids"])
    assert sorted(ids) == [0, 1, 2, 3, 4, 5]
    assert (after.loc[before["segment"] != after["segment"], "segment"] == 5).mean() > 0.9
    names = before.set_index("segment")["segment_name"].to_dict()
    kept = after[after["segment"] != 5]
    assert kept["segment_name"].tolist() == [names[one] for one in kept["segment"]]
    assert after["segment_name"].nunique() == 6
    # The scikit-learn flavour still gives the cluster index.
    index = mlflow.sklearn.load_model(f"models:/{NAME}@champion").predict(customers)
    assert [ids[one] for one in index] == after["segment"].tolist()

    lineage = shop.table("six", "lineage").set_index("segment")
    assert lineage.loc[5, "lineage"] == "split"
    assert (lineage["lineage"] == "same").sum() == 4
    assert lineage["customers_now"].sum() == len(customers)
    # On what evidence, in the table, on the version, in the output and on the page.
    same = lineage[lineage["lineage"] == "same"]
    assert (same["in_range"] >= 0.5).all()
    assert (same["jaccard"] >= 0.5).all()
    assert (same["distance"] <= 0.25 * same["spacing"]).all()
    assert (same["closest"] == same.index).all()
    told = {one["segment"]: one for one in json.loads(version.tags["lineage"])}
    page = (shop.artifacts("six") / "promotion.html").read_text(encoding="utf-8")
    out = capfd.readouterr().out
    for segment, row in lineage.iterrows():
        if pd.notna(row["jaccard"]):
            assert told[segment]["closest"]["jaccard"] == pytest.approx(row["jaccard"], abs=1e-4)
        for text in (out, page, version.description):
            assert row["evidence"] in text
    assert lineage.loc[5, "evidence"].startswith("not ")
    assert page.count("data:image/png") == 2
    assert 'src="http' not in page
    migration = shop.table("six", "migration")
    assert migration["customers"].sum() == len(customers)
    stays = migration.loc[migration["from"] == migration["to"], "customers"].sum()
    assert stays == (before["segment"] == after["segment"]).sum()
    figures = shop.artifacts("six") / "figures"
    assert (figures / "migration.png").exists()
    assert (figures / "migration_flow.png").exists()


def test_the_promoted_model_is_the_fitted_one_but_for_ids_and_names(shop: Shop, capfd) -> None:
    assert shop.promote("five") == 0
    assert shop.promote("six", LOOSE) == 0
    version = shop.client.get_model_version(NAME, "2")
    original = shop.client.get_run(shop.runs["six"]).outputs.model_outputs[0].model_id
    copy = version.source.removeprefix("models:/")
    assert version.tags["copy_of"] == original != copy
    assert shop.client.get_logged_model(original).tags["promoted_as"] == copy
    mlflow.set_tracking_uri(shop.uri)
    folders = [
        Path(mlflow.artifacts.download_artifacts(f"models:/{one}")) for one in (original, copy)
    ]
    files = [
        {str(p.relative_to(f)): p.read_bytes() for p in f.rglob("*") if p.is_file()}
        for f in folders
    ]
    differing = set(files[0]) | set(files[1])
    differing = {name for name in differing if files[0].get(name) != files[1].get(name)}
    assert differing - {"registered_model_meta"} == {"MLmodel", "artifacts/segments.json"}
    segments = [json.loads(one["artifacts/segments.json"]) for one in files]
    for one in segments:
        for segment in one["segments"]:
            del segment["id"], segment["name"]
    assert segments[0] == segments[1]


def test_dry_run_shows_all_and_changes_nothing(shop: Shop, capfd) -> None:
    assert shop.promote("five") == 0
    assert shop.promote("age", "dry_run=true") == 0
    before = shop.dump()
    files = sorted(shop.artifacts("age").rglob("*"))
    capfd.readouterr()
    assert shop.promote("six", LOOSE, "dry_run=true") == 0
    out = capfd.readouterr().out
    for said in ("migration", "split", "change their segment", "Nothing was changed"):
        assert said in out
    assert shop.promote("age", "dry_run=true") == 0
    assert "would be refused" in capfd.readouterr().out
    assert shop.dump() == before
    assert sorted(shop.artifacts("age").rglob("*")) == files


def test_shuffled_columns_are_refused_whether_the_run_tested_or_not(shop: Shop, capfd) -> None:
    assert shop.promote("five") == 0
    shop.fit("untested", "shuffled.csv", COLUMNS, "choice=fixed", "choice.k=5")
    shop.fit("tested", "shuffled.csv", COLUMNS)
    for name in ("untested", "tested"):
        capfd.readouterr()
        assert shop.promote(name) == 3
        err = capfd.readouterr().err
        assert "structure" in err
        assert "What to do" in err
        assert shop.client.get_run(shop.runs[name]).data.tags["promotion"] == "refused"
        assert ">refused</span>" in (shop.artifacts(name) / "promotion.html").read_text()
        table = shop.table(name, "gates").set_index("gate")
        assert table.loc["structure", "answer"] == "failed"
        assert table.loc["structure", "advice"]
    assert shop.aliases() == {"champion": 1}
    assert len(shop.client.search_model_versions(f"name='{NAME}'")) == 1


def test_override_is_written_down(shop: Shop, customers, capfd) -> None:
    assert shop.promote("five") == 0
    assert shop.promote("age") == 3
    assert shop.promote("age", 'override="agreed with marketing, see minutes"') == 0
    assert shop.aliases() == {"champion": 2, "previous": 1}
    tags = shop.client.get_model_version(NAME, "2").tags
    assert tags["override_reason"] == "agreed with marketing, see minutes"
    assert tags["override_by"]
    assert tags["override_at"].endswith("UTC")
    # Gates failed: this did not pass, on the version or on the run.
    run = shop.client.get_run(shop.runs["age"]).data.tags
    assert tags["promotion"] == run["promotion"] == "overridden"
    assert "agreed with marketing" in (shop.artifacts("age") / "promotion.html").read_text()
    assert "agreed with marketing" in shop.client.get_model_version(NAME, "2").description
    # What ended is recorded, and what is new has an id of its own.
    ids, retired = json.loads(tags["segment_ids"]), json.loads(tags["retired_ids"])
    assert not set(ids) & set(retired)
    assert set(retired) <= set(range(5))
    # The table of the second attempt stands alone.
    assert shop.table("age", "gates")["gate"].is_unique
    # Back again: no id is used for anything else.
    assert shop.promote("six", "override=back") == 0
    third = json.loads(shop.client.get_model_version(NAME, "3").tags["segment_ids"])
    assert not set(third) & set(retired)


def test_a_champion_is_not_replaced_by_itself(shop: Shop, capfd) -> None:
    assert shop.promote("five") == 0
    assert shop.promote("five") == 3
    assert "already" in capfd.readouterr().err
    shop.fit("again", "customers.csv", COLUMNS, "choice=fixed", "choice.k=5", "seed=7")
    assert shop.promote("again") == 3
    assert "differs" in capfd.readouterr().err
    assert shop.aliases() == {"champion": 1}


def test_changed_customers_are_refused_and_all_segments_new(shop: Shop, capfd) -> None:
    assert shop.promote("five") == 0
    path = shop.folder / "later.csv"
    generate_customers(150, seed=2).to_csv(path, index=False)
    shop.fit("later", "later.csv", COLUMNS, "choice=fixed", "choice.k=5")
    path.write_text(path.read_text().replace("\n", "\n9", 2))
    assert shop.promote("later") == 3
    assert "has changed since the run was made" in capfd.readouterr().err
    path.unlink()
    assert shop.promote("later") == 3
    assert "later.csv" in capfd.readouterr().err
    capfd.readouterr()
    assert shop.promote("later", "override=known") == 0
    assert "Every segment is new: the run's customers cannot be read" in capfd.readouterr().out
    version = shop.client.get_model_version(NAME, "2")
    assert sorted(json.loads(version.tags["segment_ids"])) == [5, 6, 7, 8, 9]
    assert {one["lineage"] for one in json.loads(version.tags["lineage"])} == {"new", "gone"}
    assert "moved" not in version.tags
    assert "Every segment is new" in version.description


@pytest.mark.parametrize(
    ("champion", "columns"),
    [
        # A column that the challenger's file lacks, and one whose one-hot name is a column there.
        (["features.columns=[age,income]"], ["gender", "age", "annual_income", "spending_score"]),
        (
            ["features.columns=[gender,age]", "features.categorical=[gender]"],
            ["gender=Female", "gender", "age", "annual_income", "spending_score"],
        ),
    ],
)
def test_a_champion_of_another_data_set_gives_its_ids_to_nobody(
    shop: Shop, capfd, champion, columns
) -> None:
    """Trained on age and income in customers.csv; the challenger comes from the mall's file."""
    rng = np.random.default_rng(5)
    own = pd.DataFrame({"customer_id": range(200), "age": rng.normal(45, 9, 200).round()})
    own["income"] = rng.choice([2000, 3500, 6000, 9000], 200) + rng.normal(0, 200, 200).round()
    own["gender"] = rng.choice(["female", "male"], 200)
    own.to_csv(shop.folder / "own.csv", index=False)
    mall = generate_customers(200, seed=7)
    mall["gender=Female"] = (mall["gender"] == "Female").astype(int)
    mall[["customer_id", *columns]].to_csv(shop.folder / "mall.csv", index=False)
    shop.fit("own", "own.csv", *champion, "choice=fixed", "choice.k=5")
    shop.fit("mall", "mall.csv", COLUMNS, "choice=fixed", "choice.k=5")
    assert shop.promote("own", "override=first") == 0
    capfd.readouterr()
    assert shop.promote("mall") == 3
    out, err = capfd.readouterr()
    assert "Traceback" not in err
    assert "Every segment is new: the champion cannot assign these customers" in out
    assert shop.promote("mall", "override=known") == 0
    tags = shop.client.get_model_version(NAME, "2").tags
    assert json.loads(tags["segment_ids"]) == [5, 6, 7, 8, 9]
    assert json.loads(tags["retired_ids"]) == [0, 1, 2, 3, 4]
    assert "same" not in {one["lineage"] for one in json.loads(tags["lineage"])}


def test_next_months_customers_are_compared_by_both_models(shop: Shop, capfd) -> None:
    assert shop.promote("five") == 0
    frame = generate_customers(150, seed=2)
    frame.to_csv(shop.folder / "later.csv", index=False)
    shop.fit("later", "later.csv", COLUMNS, "choice=fixed", "choice.k=5")
    assert shop.promote("later") == 0
    before, after = (shop.answer(f"models:/{NAME}/{one}", frame) for one in (1, 2))
    assert (before["segment"] == after["segment"]).mean() > 0.9


def test_champion_lacks_a_column(shop: Shop, capfd) -> None:
    assert shop.promote("age", "promotion.structure=false") == 0
    frame = generate_customers(150, seed=2).drop(columns="age")
    frame.to_csv(shop.folder / "no_age.csv", index=False)
    shop.fit("no_age", "no_age.csv", COLUMNS, "choice=fixed", "choice.k=5")
    capfd.readouterr()
    assert shop.promote("no_age") == 3
    err = capfd.readouterr().err
    assert "'age'" in err
    assert "migration: not measured" in err
    assert "data_known" not in err


def test_rollback_and_promotion_again(shop: Shop, customers, capfd) -> None:
    assert shop.promote("five") == 0
    assert shop.promote("six", LOOSE) == 0
    assert shop.segment("rollback", "reason=wrong") == 0
    out = capfd.readouterr().out
    assert "version 1 is champion again (was version 2)" in out
    assert f"Undo:   segment rollback tracking.uri={shop.uri}" in out
    assert shop.aliases() == {"champion": 1, "previous": 2}
    # Nothing of the second version has changed, so it is used again.
    assert shop.promote("six", LOOSE, "override=unused") == 0
    assert "override_reason" not in shop.client.get_model_version(NAME, "2").tags
    assert shop.client.get_model_version(NAME, "2").tags["promotion"] == "passed"
    assert shop.aliases() == {"champion": 2, "previous": 1}


def test_copy_to_another_registered_model(shop: Shop, customers, capfd) -> None:
    there = "prod.customer-segments"
    assert shop.promote("five", f"copy_to={there}") == 0
    assert shop.promote("six", LOOSE) == 0
    # Later, when the run is champion already, too.
    assert shop.promote("six", LOOSE, f"copy_to={there}") == 0
    assert shop.aliases(there) == {"champion": 2, "previous": 1}
    answers = [shop.answer(f"models:/{one}@champion", customers) for one in (NAME, there)]
    assert answers[0].equals(answers[1])


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["promotion=lax"], "strict"),
        (["promotion.max_movd=0.1"], "max_moved"),
        (["promotion.max_moved=many"], "max_moved"),
        (["run_id=0123"], "segment compare"),
        (["model=a/b"], "a/b"),
        (["copy_to=a/b"], "a/b"),
        (["copy_to=customer-segments"], "another registered model"),
        (["dryrun=true"], "dry_run"),
    ],
)
def test_bad_input(shop: Shop, capfd, overrides, said) -> None:
    before = shop.dump()
    if not any(one.startswith("run_id") for one in overrides):
        overrides = [f"run_id={shop.runs['five']}", *overrides]
    assert shop.segment("promote", QUICK, *overrides) == 2
    err = capfd.readouterr().err
    assert said in err
    assert "Traceback" not in err
    assert shop.dump() == before


def test_rollback_without_champion(shop: Shop, capfd) -> None:
    assert shop.segment("rollback") == 2
    assert "segment promote" in capfd.readouterr().err


@pytest.mark.slow
def test_killed_at_any_moment_a_champion_loads(shop: Shop, customers) -> None:
    """kill -9 at random moments: the alias names the old or the new champion, and it loads."""
    assert shop.promote("five") == 0
    command = [sys.executable, "-u", "-m", "segmentation", "promote"]
    command += [f"run_id={shop.runs['six']}", f"tracking.uri={shop.uri}", QUICK, LOOSE]

    def promote(kill_after: float | None, *, once_writing: bool = True) -> float:
        """Kill it so many seconds after it begins to write, or at all; returns how long it ran."""
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        started = time.monotonic()
        assert process.stdout is not None
        while once_writing and not process.stdout.readline().startswith("Migration:"):
            assert process.poll() is None
            started = time.monotonic()
        if kill_after is not None:
            time.sleep(kill_after)
            process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode in ((0,) if kill_after is None else (0, -signal.SIGKILL))
        return time.monotonic() - started

    backup = shop.folder / "before.db"
    shutil.copy(shop.folder / "mlflow.db", backup)
    writing = promote(None)
    rng = random.Random(0)
    seen = []
    for attempt in range(6):
        shutil.copy(backup, shop.folder / "mlflow.db")
        if attempt == 0:
            promote(rng.uniform(0, 3), once_writing=False)
        else:
            promote(rng.uniform(0, 1.2 * writing))
        seen.append(shop.aliases()["champion"])
        answer = shop.answer(f"models:/{NAME}@champion", customers)
        assert answer["segment"].nunique() == (5 if seen[-1] == 1 else 6)
    assert set(seen) <= {1, 2}
    # Whatever the last one left behind, the command can be repeated and the way back is there.
    if seen[-1] == 1:
        promote(None)
    assert shop.aliases()["champion"] == 2
    assert shop.segment("rollback") == 0
    assert shop.aliases()["champion"] == 1


def few_segments(found: gates.Findings, most: float) -> gates.Answer:
    k = found.metrics["k"]
    return gates.passed(k <= most, f"it has {k:g} segments")


def test_a_gate_of_ones_own_is_one_line(shop: Shop, capfd, monkeypatch) -> None:
    line = gates.Gate(
        few_segments,
        key="max_segments",
        default=4.0,
        asked="at most {limit}",
        advice="fit again with k.max=4",
    )
    monkeypatch.setitem(gates.GATES, "few_segments", line)
    assert shop.promote("five") == 3
    out, err = capfd.readouterr()
    shown = next(row for row in out.splitlines() if "few_segments" in row)
    assert "failed" in shown
    assert shown.endswith("it has 5 segments   (required: at most 4)")
    assert "few_segments: it has 5 segments; required: at most 4." in err
    assert "What to do: fit again with k.max=4." in err
    logged = shop.table("five", "gates").set_index("gate")["answer"]
    assert logged["few_segments"] == "failed"
    assert shop.promote("five", "promotion.max_segments=many") == 2
    assert shop.promote("five", "promotion.max_segments=5", "dry_run=true") == 0
    assert "few_segments" in capfd.readouterr().out
    assert shop.promote("five", "promotion.max_segments=null") == 0
    assert "switched off" in capfd.readouterr().out

"""Runs on different customers in one experiment: ranked apart, and promoted from one of them."""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
import sqlite3
from pathlib import Path

import pytest
from mlflow import MlflowClient

from segmentation import cli
from segmentation.data.demo import generate_customers

FAST = ("choice=silhouette", "k.max=4", "engine.effort=fast", "features=income_spending")


def fit(uri: str, folder: Path, *, seed: int, name: str = "customers.csv") -> Path:
    """Fit 60 customers from ``folder/name``; return the file."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    generate_customers(60, seed=seed).to_csv(path, index=False)
    where = ["data=csv", f"data.path={path}", "data.id=customer_id"]
    assert cli.run(["fit", *where, *FAST, f"tracking.uri={uri}"]) == 0
    return path


@pytest.fixture(scope="module")
def made(fresh_store: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A store with one run in January and two in February, on files of the same name."""
    folder = tmp_path_factory.mktemp("months")
    path = folder / "mlflow.db"
    path.write_bytes(fresh_store.read_bytes())
    uri = f"sqlite:///{path}"
    fit(uri, folder / "january", seed=1)
    fit(uri, folder / "february", seed=2)
    fit(uri, folder / "february", seed=2)
    return uri


@pytest.fixture
def uri(made: str) -> str:
    return f"tracking.uri={made}"


def out_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert cli.run([*arguments]) == 0
    return capsys.readouterr().out


def test_each_has_its_own_ranking_named_and_the_newest_first(uri, capsys):
    out = out_of(capsys, "compare", uri)
    tables = out.split("\n\n")[:2]
    titles = [table.splitlines()[0] for table in tables]
    named = r"customers\.csv \(([0-9a-f]{8}), 60 customers\), first used \d{4}-\d\d-\d\d"
    digests = [re.fullmatch(named, title).group(1) for title in titles]
    rows = list(csv.DictReader(io.StringIO(out_of(capsys, "compare", "format=csv", uri))))
    assert digests == [*dict.fromkeys(row["data_sha256"][:8] for row in rows)]
    assert [len(table.splitlines()) for table in tables] == [4, 3]
    assert out.count("promote it with:") == 2
    # Each has its notes, and the report of its first run.
    assert out.count("Cluster structure was not tested in the first run on customers.csv (") == 2
    reports = re.findall(r"^Report: (\S+)$", out, re.M)
    assert len({*reports}) == len(reports) == 2
    # The two runs in February have equal segments: one answer.
    assert [row["rank"] for row in rows] == ["1", "1", "1"]


def test_as_data_they_are_one_table_with_columns_for_the_data(uri, capsys):
    rows = json.loads(out_of(capsys, "compare", "format=json", "top=1", uri))
    assert len({row["data_sha256"] for row in rows}) == len(rows) == 2
    assert {row["data"] for row in rows} == {"customers.csv"}
    markdown = out_of(capsys, "compare", "format=markdown", uri).splitlines()
    assert markdown[0].startswith("| rank | data | data_sha256 |")
    assert len(markdown) == 5


def test_promote_refuses_with_a_command_for_each_that_can_be_pasted(uri, capsys):
    assert cli.run(["promote", "dry_run=true", uri]) == 2
    error = capsys.readouterr().err
    commands = [line.strip() for line in error.splitlines() if line.startswith("    segment")]
    assert len(commands) == 2
    assert "data=newest" in error
    _, *arguments = shlex.split(commands[1])
    assert {"dry_run=true", uri} < {*arguments}
    out = out_of(capsys, *arguments)
    assert re.search(r"^Data: customers\.csv \([0-9a-f]{8}, 60 customers\)$", out, re.M)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["data=customers.csv"], "2 data sets have this name"),
        (["data=march.csv"], "Allowed: newest, customers.csv."),
        (["data=newest", "run_id=0"], "leave one of them out"),
        (["sweep_id=s1"], "no finished run in sweep s1"),
    ],
)
def test_promote_says_what_data_may_be(uri, capsys, given, message):
    assert cli.run(["promote", *given, uri]) == 2
    assert message in capsys.readouterr().err


def test_a_store_that_refuses_places_is_compared_and_promoted_from(made, tmp_path, capsys):
    path = tmp_path / "mlflow.db"
    path.write_bytes(Path(made.removeprefix("sqlite:///")).read_bytes())
    uri = f"tracking.uri=sqlite:///{path}"
    with sqlite3.connect(path) as database:
        database.execute("DELETE FROM latest_metrics WHERE key LIKE '%rank%'")
        database.execute(
            "CREATE TRIGGER refuse BEFORE INSERT ON metrics WHEN NEW.key LIKE '%rank%' "
            "BEGIN SELECT RAISE(ABORT, 'no right to write'); END"
        )
    for form in ("json", "csv", "table"):
        assert cli.run(["compare", f"format={form}", uri]) == 0
        shown = capsys.readouterr()
        assert "may be out of date" in shown.err
        if form == "json":
            assert len(json.loads(shown.out)) == 3
    fit(f"sqlite:///{path}", tmp_path, seed=4, name="march.csv")
    assert "Data: march.csv (" in out_of(capsys, "promote", "data=newest", "override=trial", uri)
    client = MlflowClient(f"sqlite:///{path}")
    experiment = client.get_experiment_by_name("customer-segments").experiment_id
    assert not client.search_runs([experiment], "metrics.rank > 0")


def test_a_read_only_file_is_compared(made, monkeypatch, capsys):
    """Root may write anything, so only the answer to the question can be changed here."""
    monkeypatch.setattr("os.access", lambda path, mode: False)
    assert cli.run(["compare", f"tracking.uri={made}"]) == 0
    assert cli.run(["promote", "data=newest", f"tracking.uri={made}"]) == 2
    assert "is read-only" in capsys.readouterr().err

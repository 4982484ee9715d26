"""Every mistake ends with exit code 2 and one clear message, and leaves the store as it was."""

from __future__ import annotations

import gzip
import os
import socket
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from segmentation.cli import main
from segmentation.cli.commands import COMMANDS

GOOD = "id,age,income\n" + "".join(f"{i},{20 + i % 40},{1000 + 37 * i % 900}\n" for i in range(40))


def broken(line: int, value: str) -> str:
    """The good file with another age in one line (the header is line 1)."""
    lines = GOOD.splitlines()
    cells = lines[line - 1].split(",")
    lines[line - 1] = ",".join([cells[0], value, cells[2]])
    return "\n".join(lines) + "\n"


FILES: dict[str, tuple[str, list[str]]] = {
    "empty file": ("", ["empty"]),
    "header only": ("id,age,income\n", ["header", "no customers"]),
    "missing column": ("id,aeg,income\n1,2,3\n2,5,4\n3,9,1\n", ["age", "aeg"]),
    "text in a number": (broken(7, "old"), ["age", "old", "7"]),
    "missing value": (broken(9, ""), ["age", "9", "data.missing"]),
    "NaN": (broken(9, "NaN"), ["age", "data.missing"]),
    "inf": (broken(12, "inf"), ["age", "12"]),
    "1e308": (broken(12, "1e308"), ["age", "12"]),
    "duplicate ids": (GOOD + "7,30,1200\n", ["id", "7"]),
    "all rows identical": ("id,age,income\n1,5,5\n2,5,5\n3,5,5\n", ["age"]),
    "one row": ("id,age,income\n1,5,5\n", ["only 1 customer ", "2"]),
    "constant feature": ("id,age,income\n1,5,1\n2,5,2\n3,5,3\n", ["age", "features.columns"]),
    "ragged row": (GOOD + "99,30,12,5,5\n", ["42"]),
    "duplicate header": ("id,age,age,income\n1,2,3,4\n2,3,4,6\n", ["age"]),
    "decimal comma": (
        "id;age;income\n1;20,5;3\n2;30,5;4\n3;40,1;9\n4;41,1;9\n",
        ["age", "data.decimal"],
    ),
    "wrong delimiter": ("id:age:income\n1:2:3\n2:5:4\n3:9:1\n", ["data.delimiter"]),
}

OPTIONS: dict[str, tuple[list[str], list[str]]] = {
    "k range upside down": (["k.min=9", "k.max=3"], ["k.min", "k.max"]),
    "k=0": (["k.min=0"], ["k.min"]),
    "k above distinct rows": (["k.max=200"], ["200", "40"]),
    "fixed k outside the range": (["choice=fixed", "choice.k=30"], ["30", "12"]),
    "fixed without k": (["choice=fixed"], ["choice.k"]),
    "k for another rule": (["choice=silhouette", "+choice.k=3"], ["choice.k", "fixed"]),
    "unknown feature set": (["features=nope"], ["nope", "income_spending"]),
    "unknown scaling": (["scaling=nope"], ["nope", "standard"]),
    "unknown choice": (["choice=nope"], ["nope", "silhouette"]),
    "unknown engine": (["engine=nope"], ["nope", "sklearn"]),
    "unknown effort": (["engine.effort=nope"], ["nope", "thorough"]),
    "typo in a key": (["sed=3"], ["sed", "seed"]),
    "typo added with +": (["+sed=3"], ["sed", "seed"]),
    "typo in a nested key": (["k.maximum=3"], ["k.maximum", "max"]),
    "wrong type": (["k.max=many"], ["many"]),
    "code in a config": (["~scaling.name", "+scaling._target_=os.system"], ["os.system"]),
    "code beside a scaling": (["+scaling._target_=os.system"], ["_target_"]),
    "missing policy": (["data.missing=guess"], ["guess", "median"]),
    "weight of no column": (["+features.weights.height=2"], ["height"]),
    "negative weight": (["+features.weights.age=-1"], ["age"]),
    "unknown id": (["data.id=nope"], ["nope", "age"]),
    "grammar": (["data.path=customers (1).csv"], ["Quote"]),
    "unknown experiment": (["experiment=nope"], ["nope"]),
    "unknown run": (["run_id=0123456789abcdef0123456789abcdef"], ["0123456789abcdef"]),
    "unknown encoding": (["data.encoding=klingon"], ["klingon"]),
    "key of another source": (["data=demo", "data.path=x.csv"], ["data.path"]),
}


def refuse(
    arguments: list[str], words: list[str], capfd: pytest.CaptureFixture[str], code: int = 2
) -> str:
    assert main.run(arguments) == code
    out, err = capfd.readouterr()
    errors = [line for line in err.splitlines() if line.startswith("segment: error:")]
    assert len(errors) == 1, err
    assert "Traceback" not in err + out
    for word in words:
        assert word in errors[0]
    assert len(errors[0]) < 600
    return errors[0]


@pytest.fixture
def fit(store_uri: str) -> Callable[[Path, list[str]], list[str]]:
    def arguments(path: Path, options: list[str]) -> list[str]:
        named = any(option.startswith(("data=", "features=")) for option in options)
        base = ["fit", "data=csv", f"data.path='{path}'", "data.id=id"]
        base = ["fit"] if any(option.startswith("data=") for option in options) else base
        columns = [] if named else ["features.columns=[age,income]"]
        return [*base, *columns, "choice=silhouette", f"tracking.uri={store_uri}", *options]

    return arguments


def content(store_uri: str) -> list[str]:
    """Everything in the store, so that two moments can be compared."""
    with sqlite3.connect(store_uri.removeprefix("sqlite:///")) as connection:
        return list(connection.iterdump())


@pytest.mark.parametrize("kind", FILES)
def test_bad_file(kind, fit, write_csv, store_uri, capfd) -> None:
    text, words = FILES[kind]
    before = content(store_uri)
    refuse(fit(write_csv(text), []), words, capfd)
    assert content(store_uri) == before


@pytest.mark.parametrize("kind", OPTIONS)
def test_bad_option(kind, fit, write_csv, store_uri, capfd) -> None:
    options, words = OPTIONS[kind]
    before = content(store_uri)
    refuse(fit(write_csv(GOOD), options), words, capfd)
    after = content(store_uri)
    # Looking a run up opens the experiment; no run is made.
    assert after == before or kind == "unknown run"
    assert not any(line.startswith('INSERT INTO "runs"') for line in after)


def test_good_file_is_good(fit, write_csv, capfd) -> None:
    """The file the bad ones derive from is accepted: the refusals above have their own reason."""
    assert main.run(fit(write_csv(GOOD), ["k.max=3"])) == 0


def test_missing_file(fit, tmp_path, capfd) -> None:
    (tmp_path / "customers.csv").write_text(GOOD)
    refuse(fit(tmp_path / "custmers.csv", []), ["custmers.csv", "customers.csv"], capfd)


def test_folder_given(fit, tmp_path, capfd) -> None:
    refuse(fit(tmp_path, []), [str(tmp_path)], capfd)


def test_not_a_text_file(fit, tmp_path, capfd) -> None:
    path = tmp_path / "picture.csv"
    path.write_bytes(np.random.default_rng(0).bytes(2000))
    refuse(fit(path, []), ["picture.csv"], capfd)


def test_wrong_encoding(fit, tmp_path, capfd) -> None:
    path = tmp_path / "latin.csv"
    path.write_bytes(GOOD.replace("age", "âge").encode("latin-1"))
    refuse(fit(path, ["data.encoding=utf-8"]), ["data.encoding"], capfd)


def test_broken_gzip(fit, tmp_path, capfd) -> None:
    path = tmp_path / "customers.csv.gz"
    path.write_bytes(gzip.compress(GOOD.encode())[:60])
    refuse(fit(path, []), ["customers.csv.gz"], capfd)


def test_parquet_that_is_none(store_uri, tmp_path, capfd) -> None:
    path = tmp_path / "customers.parquet"
    path.write_text(GOOD)
    arguments = ["fit", "data=parquet", f"data.path={path}", f"tracking.uri={store_uri}"]
    refuse(arguments, ["customers.parquet", "Parquet"], capfd)


def test_store_that_is_no_database(fit, write_csv, tmp_path, capfd) -> None:
    path = tmp_path / "notes.db"
    path.write_text("not a database " * 100)
    before = path.read_bytes()
    refuse(fit(write_csv(GOOD), [f"tracking.uri=sqlite:///{path}"]), ["notes.db"], capfd)
    assert path.read_bytes() == before


def test_somebody_elses_database(fit, write_csv, tmp_path, capfd) -> None:
    path = tmp_path / "shop.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE orders (id INTEGER)")
    before = path.read_bytes()
    refuse(
        fit(write_csv(GOOD), [f"tracking.uri=sqlite:///{path}"]), ["shop.db", "untouched"], capfd
    )
    assert path.read_bytes() == before


def test_store_of_an_unknown_kind(fit, write_csv, capfd) -> None:
    refuse(fit(write_csv(GOOD), ["tracking.uri=mlruns"]), ["mlruns", "sqlite:///"], capfd)


def test_folder_that_cannot_be_written(fit, write_csv, capfd) -> None:
    """Not even root may make a folder in /proc."""
    uri = "sqlite:////proc/nowhere/mlflow.db"
    refuse(fit(write_csv(GOOD), [f"tracking.uri={uri}"]), ["/proc/nowhere"], capfd)


@pytest.mark.skipif(os.getuid() == 0, reason="root may write to a read-only folder")
def test_read_only_folder(fit, write_csv, tmp_path, capfd) -> None:
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    refuse(fit(write_csv(GOOD), [f"tracking.uri=sqlite:///{folder}/m.db"]), ["locked"], capfd)


def test_unreachable_server(fit, write_csv, capfd) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    uri = f"http://127.0.0.1:{port}"
    refuse(fit(write_csv(GOOD), [f"tracking.uri={uri}"]), [uri], capfd)


def test_unknown_command(capsys) -> None:
    assert main.run(["fitt"]) == 2
    assert f"Allowed: {', '.join(COMMANDS)}" in capsys.readouterr().err


def test_nothing_to_compare(store_uri, capfd) -> None:
    refuse(["compare", f"tracking.uri={store_uri}"], ["segment fit"], capfd)


def test_bad_filter(store_uri, capfd) -> None:
    arguments = ["compare", f"tracking.uri={store_uri}", "filter='nonsense'"]
    refuse(arguments, ["nonsense"], capfd)


def test_sweep_over_a_missing_file(store_uri, capfd) -> None:
    """The parent run of a sweep is not opened before the file has been read."""
    before = content(store_uri)
    arguments = ["fit", "sweep=mall_features_by_scaling", "data.path=/nowhere/mall.csv"]
    refuse([*arguments, f"tracking.uri={store_uri}"], ["/nowhere/mall.csv"], capfd)
    assert content(store_uri) == before


def test_failed_sweep_job_leaves_nothing_running(store_uri, write_csv, capfd) -> None:
    path = write_csv(GOOD)
    arguments = ["fit", "-m", "data=csv", f"data.path={path}", "data.id=id", "choice=silhouette"]
    arguments += ["k.max=3,200", f"tracking.uri={store_uri}"]
    refuse(arguments, ["200"], capfd)
    rows = [line for line in content(store_uri) if line.startswith('INSERT INTO "runs"')]
    assert rows
    assert not any("RUNNING" in row for row in rows)


def test_failure_while_logging_is_recorded(store_uri, customers_csv, capfd, monkeypatch) -> None:
    """A run that fails on the way is FAILED, with the message as a tag."""
    from segmentation.errors import TrackingError
    from segmentation.tracking import run_logger

    def full(*args: object) -> None:
        raise TrackingError("the disk is full")

    monkeypatch.setattr(run_logger, "_write_dataset", full)
    arguments = ["fit", "data=csv", f"data.path={customers_csv}", "choice=silhouette", "k.max=3"]
    refuse([*arguments, f"tracking.uri={store_uri}"], ["disk is full"], capfd)
    rows = content(store_uri)
    assert any(row.startswith('INSERT INTO "runs"') and "FAILED" in row for row in rows)
    assert any("the disk is full" in row for row in rows if "tags" in row)


def test_table_with_a_column_of_nothing(store_uri, tmp_path, capfd) -> None:
    frame = pd.DataFrame({"id": range(9), "age": range(9), "spend": [np.nan] * 9})
    path = tmp_path / "gaps.parquet"
    frame.to_parquet(path)
    arguments = ["fit", "data=parquet", f"data.path={path}", f"tracking.uri={store_uri}"]
    refuse([*arguments, "data.missing=median"], ["spend"], capfd)


def test_the_config_of_a_sweep_is_refused(capsys) -> None:
    assert main.run(["fit", "-m", "seed=1,2", "--cfg", "job"]) == 2
    assert "leave out -m" in capsys.readouterr().err

"""``segment compare runs=[A,B]`` on runs that commands logged: text, files and refusals."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pandas as pd
import pytest

from conftest import copy_store
from segmentation import cli
from segmentation.data.demo import generate_customers
from segmentation.tracking.runs import finished_runs
from segmentation.tracking.store import open_store

QUICK = ("choice=fixed", "k.max=4", "engine.effort=fast", "naming=english")


@pytest.fixture(scope="module")
def store(fresh_store: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A store with runs on two data sets that share customers, and one on others."""
    folder = tmp_path_factory.mktemp("pairs")
    path = folder / "mlflow.db"
    copy_store(fresh_store, path)
    uri = f"sqlite:///{path}"
    everybody = generate_customers(90, seed=1).assign(customer_id=[f"{i:03}" for i in range(90)])
    spring = everybody[:60]
    tables = {
        "spring": spring,
        "autumn": everybody[20:].assign(age=everybody["age"][20:] + 1),
        # An id column called like one of our own, and ids that are numbers.
        "numbers": spring.assign(customer_id=range(60)).rename(columns={"customer_id": "segment"}),
    }
    jobs = [
        ("spring", "customer_id", 3, "income,spending", ()),
        ("spring", "customer_id", 4, "age,income", ("scaling=robust",)),
        ("autumn", "customer_id", 3, "income,spending", ()),
        ("numbers", "segment", 3, "income,spending", ()),
    ]
    rename = {"annual_income": "income", "spending_score": "spending"}
    for table, frame in tables.items():
        frame.rename(columns=rename).to_csv(folder / f"{table}.csv", index=False)
    for table, id_name, k, columns, more in jobs:
        job = [f"data.path={folder / f'{table}.csv'}", f"data.id={id_name}", f"choice.k={k}"]
        job += [f"features.columns=[{columns}]", "data=csv", f"tracking.uri={uri}"]
        assert cli.run(["fit", *QUICK, *job, *more]) == 0
    return uri


@pytest.fixture(scope="module")
def ids(store: str) -> dict[str, str]:
    """The ids of the runs by what is special about each."""
    runs = finished_runs(open_store(store, "customer-segments"))
    kinds = ("first", "features", "autumn", "numbers")
    return dict(zip(kinds, runs["run_id"][::-1], strict=True))


def compare(store: str, *arguments: str) -> int:
    return cli.run(["compare", f"tracking.uri={store}", *arguments])


def text_of(store: str, capsys, *arguments: str) -> str:
    assert compare(store, *arguments) == 0
    return str(capsys.readouterr().out)


def test_one_data_set_two_feature_sets(store: str, ids, capsys) -> None:
    text = text_of(store, capsys, f"runs=[{ids['first']},{ids['features']}]")
    said = [
        "features.columns",
        "scaling.name",
        "choice.k",
        "of 60 customers",
        "A2",
        "B3",
        "Not comp",
    ]
    assert [each for each in said if each not in text] == []
    # Ids are text: "007" is not 7.
    assert re.search(r"→ B\d +(0\d\d(, )?)+", text)
    assert max(len(line) for line in text.splitlines()[:-1]) <= 100


def test_two_data_sets_are_compared_on_the_customers_in_both(store: str, ids, capsys) -> None:
    text = text_of(store, capsys, f"runs=[{ids['first']},{ids['autumn']}]")
    line = " ".join(text.split())
    assert "Customers are matched by id: 40 are in both, 20 only in A, 30 only in B." in line
    assert "the ranking does not compare them" in line
    assert "data SHA-256" in text


def test_without_common_ids_only_the_segments_are_compared(store: str, ids, capsys) -> None:
    text = text_of(store, capsys, f"runs=[{ids['first']},{ids['numbers']}]")
    assert "The segments of the two runs are still shown side by side." in " ".join(text.split())
    assert "Who moves" not in text
    assert "A2" in text
    assert "B2" in text


def test_without_logged_customers_the_sample_in_the_tag_is_compared(
    store: str, ids, capsys
) -> None:
    folder = Path(store.removeprefix("sqlite:///")).parent
    (path,) = folder.rglob(f"{ids['features']}/**/customers.csv")
    hidden = path.rename(path.with_suffix(".hidden"))
    try:
        text = text_of(store, capsys, f"runs=[{ids['first']},{ids['features']}]")
        text_of(store, capsys, f"runs=[{ids['features']},{ids['autumn']}]")
    finally:
        hidden.rename(path)
    assert (
        "At least one run did not log its customers, so no ids are shown; all customers are "
        "counted." in text
    )
    assert "Who moves" in text


def test_the_last_line_writes_the_page(store: str, ids, capsys, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = text_of(store, capsys, f"runs=[{ids['first'][:10]},{ids['features'][:10]}]")
    assert list(tmp_path.iterdir()) == []
    again = shlex.split(text.splitlines()[-1].removeprefix("Page: "))
    assert again[:2] == ["segment", "compare"]
    assert cli.run(again[1:]) == 0
    html = (tmp_path / "comparison.html").read_text("utf-8")
    assert "Who is in which segment" in html
    assert "data:image/png" in html
    assert [path.name for path in tmp_path.iterdir()] == ["comparison.html"]


def test_files_are_not_overwritten_unless_asked(store: str, ids, capsys, tmp_path) -> None:
    runs = f"runs=[{ids['first']},{ids['features']}]"
    for name in ("page.html", "figure.png", "customers.csv"):
        path = tmp_path / name
        path.write_text("mine")
        assert compare(store, runs, f"out={path}") == 2
        assert "already exists" in capsys.readouterr().err
        assert path.read_text() == "mine"
        assert compare(store, runs, f"out={path}", "overwrite=true") == 0
        assert path.read_bytes() != b"mine"
    assert len(list(tmp_path.iterdir())) == 3
    table = pd.read_csv(tmp_path / "customers.csv", dtype=str)
    assert table["customer"].tolist() == [f"{i:03}" for i in range(60)]
    capsys.readouterr()


@pytest.mark.parametrize("out", ["page.txt", ".html", "no/such/folder/page.html"])
def test_a_file_that_cannot_be_written_is_refused_before_anything_is_read(
    store: str, capsys, tmp_path, monkeypatch, out: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert compare(store, "runs=[nothing,here]", f"out={out}") == 2
    assert f"out={out}" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_figure_needs_common_customers(store: str, ids, capsys, tmp_path) -> None:
    out = f"out={tmp_path / 'figure.png'}"
    assert compare(store, f"runs=[{ids['first']},{ids['numbers']}]", out) == 2
    assert "no known customers in common" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_formats_are_for_programs(store: str, ids, capsys, tmp_path) -> None:
    runs = f"runs=[{ids['first']},{ids['features']}]"
    # Also while a file is written: nothing but the object is printed.
    out = f"out={tmp_path / 'page.html'}"
    found = json.loads(text_of(store, capsys, runs, "format=json", out))
    assert found["customers"]["in_both"] == 60
    assert found["runs"]["A"]["run_id"] == ids["first"]
    packages = {each["setting"] for each in found["differences"]}
    assert not {"numpy", "code"} & packages
    assert text_of(store, capsys, runs, "format=csv").count("\n") == 8
    assert text_of(store, capsys, runs, "format=markdown").count("\n### ") == 6


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["runs=[{first},{first}]"], "are the same run"),
        (["runs=[{first}]"], "give exactly two runs"),
        (["runs={first}"], "give exactly two runs"),
        (["runs=[{first},{features},{autumn}]"], "give exactly two runs"),
        (["runs=[]"], "give exactly two runs"),
        (["runs=[{first},zzz]"], "The newest finished runs: "),
        # Numbers for Hydra, but the beginning of an id for us.
        (["runs=[1e99,{first}]"], "begins with '1e99'"),
        (["runs=[{first},12e45678]"], "begins with '12e45678'"),
        (["runs=[{first},007]"], "begins with '007'"),
        (["runs=[{first},{features}]", "sort=gap"], "sort=gap belongs to the ranking"),
        (["runs=[{first},{features}]", "top=3"], "top=3 belongs to the ranking"),
        (["runs=[{first},{features}]", "sweep_id=s1"], "sweep_id=s1 belongs"),
        (["runs=[{first},{features}]", "filter='metrics.k > 1'"], "belongs to the ranking"),
        (["runs=[{first},{features}]", "format=xml"], "format=xml: allowed are"),
        (["out=page.html"], "name them, as in"),
    ],
)
def test_refusals_take_one_line(store: str, ids, capsys, arguments, said: str) -> None:
    assert compare(store, *(each.format(**ids) for each in arguments)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert len(err.splitlines()) == 1

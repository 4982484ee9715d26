"""A store that was moved or copied works where it is, and never touches where it was."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit

import mlflow
import pytest
from mlflow.tracking._tracking_service import utils as mlflow_service

from conftest import copy_store
from segmentation.cli import main
from segmentation.errors import TrackingError
from segmentation.tracking import _compat, relocation, run_logger
from segmentation.tracking.items import File
from segmentation.tracking.store import Store, open_store, resolve_uri

NAME = "customer-segments"


@pytest.fixture
def at(tmp_path: Path) -> Path:
    """The folder where the store is made; its name must be encoded in an address."""
    return tmp_path / "first store"


@pytest.fixture
def run_id(at: Path, fresh_store: Path) -> str:
    """The only run of a store in `at`."""
    at.mkdir()
    copy_store(fresh_store, at / "mlflow.db")
    return log(open_in(at), "from the beginning")


def open_in(folder: Path) -> Store:
    # A process that moves an open store is no user's.
    mlflow_service._artifact_repos_cache.clear()
    return open_store(f"sqlite:///{folder / 'mlflow.db'}", NAME)


def log(store: Store, text: str) -> str:
    """Log a file by our own way and one by MLflow's."""
    with run_logger.tracked_run(store, "run") as run:
        run_logger.write_items(store, run, [File("ours.txt", text.encode())])
        store.client.log_text(run.info.run_id, text, "theirs.txt")
    return str(run.info.run_id)


def read(store: Store, run_id: str) -> set[str]:
    """Read these files by our own way and by MLflow's."""
    uri = str(store.client.get_run(run_id).info.artifact_uri)
    folder = run_logger.runs.local_path(store, uri)
    assert folder is not None
    theirs = [Path(store.client.download_artifacts(run_id, f"{n}.txt")) for n in ("ours", "theirs")]
    return {path.read_text() for path in (folder / "ours.txt", folder / "theirs.txt", *theirs)}


def content(folder: Path) -> dict[str, float]:
    files = [*folder.rglob("*")] if folder.exists() else []
    return {str(path): path.stat().st_mtime for path in files}


def addresses_below(database: Path, folder: Path) -> list[str]:
    """Return the columns of a store, whichever MLflow has, that name files below a folder."""
    found = []
    with sqlite3.connect(database) as connection:
        for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'"):
            for _, column, *_ in connection.execute(f"PRAGMA table_info({table})").fetchall():
                where = f"CAST({column} AS TEXT) LIKE ?"
                query = f"SELECT count(*) FROM {table} WHERE {where}"
                (count,) = connection.execute(query, (f"{folder.as_uri()}%",)).fetchone()
                found += [f"{table}.{column}"] * count
    return found


def move(old: Path, new: Path) -> None:
    old.rename(new)


def move_and_begin_anew(old: Path, new: Path) -> None:
    old.rename(new)
    old.mkdir()
    shutil.copy(new / "mlflow.db", old / "mlflow.db")
    (old / "artifacts").mkdir()


def copy(old: Path, new: Path) -> None:
    shutil.copytree(old, new)


def move_twice(old: Path, new: Path) -> None:
    between = new.with_name("between")
    old.rename(between)
    open_store(f"sqlite:///{between / 'mlflow.db'}", "made between")
    between.rename(new)


MOVES: dict[str, Callable[[Path, Path], None]] = {
    each.__name__: each for each in (move, move_and_begin_anew, copy, move_twice)
}


@pytest.mark.parametrize("way", MOVES.values(), ids=MOVES)
def test_artifacts_are_beside_a_moved_database(
    way: Callable[[Path, Path], None], at: Path, run_id: str, tmp_path: Path
) -> None:
    new = tmp_path / "new"
    way(at, new)
    before = content(at)
    store = open_in(new)
    assert read(store, run_id) == {"from the beginning"}
    later = log(store, "later")
    assert read(store, later) == {"later"}
    assert (new / "artifacts" / later).is_dir()
    assert content(at) == before
    # Once relocated, MLflow finds them without us.
    assert store.place is not None
    rewritten, kept = relocation.relocate(new / "mlflow.db", store.place)
    assert rewritten >= 4
    assert kept == 0
    again = open_in(new)
    assert (again.place.left, again.place.other) == ((), ()) if again.place else False
    for each in (run_id, later):
        uri = str(again.client.get_run(each).info.artifact_uri)
        assert uri == (new / "artifacts" / each / "artifacts").as_uri()
    assert relocation.relocate(new / "mlflow.db", again.place) == (0, 0)


def test_a_database_moved_alone_uses_the_artifacts_where_they_are(
    at: Path, run_id: str, tmp_path: Path
) -> None:
    new = tmp_path / "new"
    new.mkdir()
    (at / "mlflow.db").rename(new / "mlflow.db")
    store = open_in(new)
    assert store.place is not None
    assert relocation.note(store.place, "") is None
    assert read(store, run_id) == {"from the beginning"}
    later = log(store, "later")
    assert (at / "artifacts" / later).is_dir()
    with pytest.raises(TrackingError, match=r"cp -r '.*first store/artifacts'"):
        relocation.relocate(new / "mlflow.db", store.place)
    shutil.move(at / "artifacts", new / "artifacts")
    assert relocation.relocate(new / "mlflow.db", open_in(new).place)[0] > 0
    assert read(open_in(new), later) == {"later"}


def test_the_folder_that_an_earlier_version_made_anew(
    at: Path, run_id: str, tmp_path: Path
) -> None:
    """That version logged the runs after the move to the old folder."""
    new = tmp_path / "new"
    move(at, new)
    shutil.copytree(new / "artifacts" / run_id, at / "artifacts" / "a run made since")
    store = open_in(new)
    assert read(store, run_id) == {"from the beginning"}
    made = store.client.create_run(store.experiment_id).info
    (at / "artifacts" / "a run made since").rename(at / "artifacts" / made.run_id)
    assert read(store, made.run_id) == {"from the beginning"}
    rewritten, kept = relocation.relocate(new / "mlflow.db", store.place)
    assert (rewritten > 0, kept) == (True, 1)
    assert read(open_in(new), made.run_id) == {"from the beginning"}


def test_a_copy_without_artifacts_reads_those_of_the_original(
    at: Path, run_id: str, tmp_path: Path
) -> None:
    new = tmp_path / "new"
    new.mkdir()
    shutil.copy(at / "mlflow.db", new / "mlflow.db")
    before = content(at)
    store = open_in(new)
    assert store.place is not None
    assert "copy of the one in" in str(relocation.note(store.place, ""))
    assert read(store, run_id) == {"from the beginning"}
    assert not (new / "artifacts").exists()
    # What it changes becomes its own, with what was there.
    run = store.client.get_run(run_id)
    run_logger.write_items(store, run, [File("more.txt", b"more")])
    assert read(store, run_id) == {"from the beginning"}
    kept = log(store, "later")
    assert relocation.relocate(new / "mlflow.db", store.place)[1] == 0
    store = open_in(new)
    assert read(store, run_id) | read(store, kept) == {"from the beginning", "later"}
    assert content(at) == before


def test_mlflow_changes_no_original_either(at: Path, run_id: str, tmp_path: Path) -> None:
    new = tmp_path / "new"
    new.mkdir()
    shutil.copy(at / "mlflow.db", new / "mlflow.db")
    before = content(at)
    store = open_in(new)
    store.client.log_text(run_id, "more", "more.txt")
    assert content(at) == before
    assert (new / "artifacts" / run_id / "artifacts" / "ours.txt").is_file()
    assert read(open_in(new), run_id) == {"from the beginning"}


def test_two_open_stores_keep_their_own_artifacts(at: Path, run_id: str, tmp_path: Path) -> None:
    """One was copied, the other one moved; whichever was opened last."""
    copied, moved = tmp_path / "copied", tmp_path / "moved"
    shutil.copytree(at, copied)
    second = open_in(copied)
    at.rename(moved)
    first = open_in(moved)
    for store, folder in ((second, copied), (first, moved), (second, copied)):
        uri = str(store.client.get_run(run_id).info.artifact_uri)
        found = run_logger.runs.local_path(store, uri)
        assert found == folder / "artifacts" / run_id / "artifacts"
        run = store.client.get_run(run_id)
        run_logger.write_items(store, run, [File(f"{folder.name}.txt", b"mine")])
    assert not at.exists()
    for store, folder, other in ((second, copied, moved), (first, moved, copied)):
        files = folder / "artifacts" / run_id / "artifacts"
        assert (files / f"{folder.name}.txt").is_file()
        assert not (files / f"{other.name}.txt").exists()
        later = log(store, "later")
        assert (folder / "artifacts" / later / "artifacts" / "theirs.txt").is_file()
        assert not (other / "artifacts" / later).exists()


def test_without_a_tracking_uri_the_recorded_folder_decides(tmp_path: Path) -> None:
    places = {name: relocation.Place(tmp_path / name, (tmp_path / f"was {name}",)) for name in "ab"}
    for name, place in places.items():
        relocation.remember(f"sqlite:///{tmp_path / name}.db", place)
    for name in "ab":
        address = (tmp_path / f"was {name}" / "run").as_uri()
        expected = (tmp_path / name / "run").as_uri()
        assert relocation._redirected(address, None, write=False) == expected
    elsewhere = (tmp_path / "elsewhere").as_uri()
    assert relocation._redirected(elsewhere, None, write=False) == elsewhere


def test_the_same_folder_by_another_name_is_no_move(at: Path, run_id: str, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(at)
    store = open_in(tmp_path / "link")
    assert store.place is not None
    assert (store.place.left, store.place.other) == ((), ())
    assert read(store, log(store, "later")) == {"later"}


def test_other_addresses_are_left_alone(tmp_path: Path) -> None:
    database = tmp_path / "mlflow.db"
    named = ["mlflow-artifacts:/0", "s3://bucket/artifacts", "/elsewhere/mlruns/0"]
    assert relocation.place_of(database, named) == relocation.Place(tmp_path / "artifacts")


def test_a_rewrite_that_fails_changes_nothing(at: Path, run_id: str, tmp_path: Path) -> None:
    move(at, tmp_path / "new")
    database = tmp_path / "new" / "mlflow.db"

    def fails(address: str) -> str:
        if run_id in address:
            raise KeyboardInterrupt
        return "elsewhere"

    with pytest.raises(KeyboardInterrupt):
        _compat.rewrite_addresses(database, fails)
    with sqlite3.connect(database) as connection:
        rows = connection.execute("SELECT artifact_location FROM experiments")
        assert {row for (row,) in rows} == {(at / "artifacts").as_uri()}


def test_a_slash_too_many_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for uri in ("sqlite:///mlflow.db", f"sqlite:///{tmp_path}/mlflow.db"):
        assert resolve_uri(uri, tmp_path) == f"sqlite:///{tmp_path}/mlflow.db"
    for slashes in ("/", "//", "///"):
        assert resolve_uri(f"sqlite:///{slashes}{tmp_path}/mlflow.db", tmp_path) == (
            f"sqlite:///{tmp_path}/mlflow.db"
        )
    for uri in ("sqlite:///x.db?mode=ro", "sqlite:///", "sqlite:///:memory:"):
        with pytest.raises(TrackingError, match="give the path of a file"):
            resolve_uri(uri, tmp_path)


def test_relocating_does_not_suggest_itself(
    at: Path, run_id: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    move(at, tmp_path / "new")
    mlflow_service._artifact_repos_cache.clear()
    database = tmp_path / "new" / "mlflow.db"
    options = [f"tracking.uri=sqlite:///{database}", f"tracking.experiment={NAME}"]
    assert main.run(["clean", "wait=false", *options]) == 0
    suggested = capsys.readouterr().err
    assert f"was moved or copied from {at} to {tmp_path / 'new'}" in suggested
    assert "run: segment clean relocate=true" in suggested
    assert main.run(["clean", "relocate=true", *options]) == 0
    assert "relocate=true" not in capsys.readouterr().err


@pytest.mark.slow
def test_commands_on_a_moved_store(
    tmp_path: Path, fresh_store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"

    def segment(command: str, *overrides: str, to: Path) -> str:
        mlflow_service._artifact_repos_cache.clear()
        capsys.readouterr()
        assert main.run([command, *overrides, f"tracking.uri=sqlite:////{to}/mlflow.db"]) == 0
        return capsys.readouterr().out

    small = ("k.max=3", "choice=silhouette")
    segment("fit", *small, to=old)
    segment("promote", "override=trial", to=old)
    old.rename(new)
    out = segment("fit", *small, "scaling=robust", to=new)
    report = Path(unquote(urlsplit(out.split("Report: ")[1].split()[0]).path))
    assert report.is_relative_to(new)
    assert report.is_file()
    run_id = open_in(new).client.search_runs(["1"])[0].info.run_id
    segment("fit", f"run_id={run_id}", "seed=1", to=new)
    segment("promote", f"run_id={run_id}", "override=trial", to=new)
    segment("score", "data=demo", f"out={tmp_path / 'scored.csv'}", to=new)
    segment("monitor", "data=demo", to=new)
    shown = segment("compare", to=new)
    assert str(new) in shown
    assert not old.exists()
    assert "records now point to" in segment("clean", "relocate=true", to=new)
    assert addresses_below(new / "mlflow.db", old) == []
    # As any other program would.
    code = (
        "import mlflow, sys; mlflow.set_tracking_uri(sys.argv[1]);"
        "mlflow.pyfunc.load_model('models:/customer-segments@champion')"
    )
    uri = f"sqlite:///{new / 'mlflow.db'}"
    assert subprocess.run([sys.executable, "-c", code, uri]).returncode == 0
    assert mlflow.MlflowClient(uri).get_run(run_id).info.artifact_uri.startswith(new.as_uri())
    assert "Nothing to rewrite" in segment("clean", "relocate=true", to=new)

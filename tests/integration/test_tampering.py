"""A model whose files were changed is refused by every command, before anything of it is loaded."""

from __future__ import annotations

import json
import pickle
import py_compile
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import pandas as pd
import pytest
import skops.io
import yaml
from mlflow import MlflowClient

from conftest import copy_store
from segmentation.cli import main
from segmentation.data.demo import generate_customers
from segmentation.model.integrity import FILES_TAG, FORMAT_TAG, digests
from segmentation.model.released_code import NEWEST

from .conftest import mlflow_server
from .test_promote import COLUMNS, NAME, QUICK, Shop

CODE = "segment_model.py"
PIPELINE = "artifacts/pipeline.skops"


class Fixed:
    """Unpickled, it touches a file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return _touch, (self.path,)


def _touch(path: str) -> None:
    Path(path).touch()


def planted(canary: Path) -> str:
    return f"\nimport pathlib\npathlib.Path({str(canary)!r}).touch()\n"


def centres_moved(model: Path, canary: Path) -> None:
    pipeline = skops.io.load(model / PIPELINE)
    pipeline[-1].cluster_centers_ = np.flip(pipeline[-1].cluster_centers_, axis=0) + 0.5
    skops.io.dump(pipeline, model / PIPELINE)


def names_changed(model: Path, canary: Path) -> None:
    file = model / "artifacts" / "segments.json"
    content = json.loads(file.read_text("utf-8"))
    content["segments"][0]["name"] = "the best customers"
    file.write_text(json.dumps(content), "utf-8")


def line_added(model: Path, canary: Path) -> None:
    with (model / CODE).open("a") as code:
        code.write(planted(canary))


def file_added(model: Path, canary: Path) -> None:
    (model / "code").mkdir()
    (model / "code" / "numpy.py").write_text(planted(canary))


def file_removed(model: Path, canary: Path) -> None:
    (model / "input_example.json").unlink()


def described(model: Path, change: Callable[[dict], object]) -> None:
    file = model / "MLmodel"
    about = yaml.safe_load(file.read_text("utf-8"))
    change(about)
    file.write_text(yaml.safe_dump(about), "utf-8")


def file_elsewhere(model: Path, canary: Path) -> None:
    elsewhere = model.parent / "elsewhere.skops"
    shutil.copy(model / PIPELINE, elsewhere)
    path = {"path": "../elsewhere.skops", "uri": "../elsewhere.skops"}
    described(
        model,
        lambda about: about["flavors"]["python_function"]["artifacts"]["pipeline"].update(path),
    )


def pickle_named(model: Path, canary: Path) -> None:
    (model / "python_model.pkl").write_bytes(pickle.dumps(Fixed(str(canary))))

    def change(about: dict) -> None:
        del about["flavors"]["python_function"]["model_code_path"]
        about["flavors"]["python_function"]["python_model"] = "python_model.pkl"

    described(model, change)


def path_named(model: Path, canary: Path) -> None:
    file_added(model, canary)
    described(model, lambda about: about["flavors"]["python_function"].update(code="code"))


def requirement_added(model: Path, canary: Path) -> None:
    with (model / "requirements.txt").open("a") as file:
        file.write("something-else\n")


#: What is done to the files, and the names that the message must show.
TAMPERED = {
    centres_moved: (PIPELINE,),
    names_changed: ("artifacts/segments.json",),
    line_added: (CODE,),
    file_added: ("code/numpy.py",),
    file_removed: ("input_example.json",),
    file_elsewhere: ("MLmodel",),
    pickle_named: ("MLmodel", "python_model.pkl"),
    path_named: ("MLmodel", "code/numpy.py"),
    requirement_added: ("requirements.txt",),
}


@pytest.fixture(scope="module")
def shop(fresh_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A champion of five segments and challengers; the second version is a relabelled copy."""
    shop = Shop(tmp_path_factory.mktemp("shop"), {})
    copy_store(fresh_store, shop.folder / "mlflow.db")
    generate_customers(60, seed=1).to_csv(shop.folder / "customers.csv", index=False)
    for name, k in {"two": 2, "three": 3, "four": 4}.items():
        options = (COLUMNS, "choice=fixed", f"choice.k={k}", "k.max=4", "engine.effort=fast")
        shop.fit(name, "customers.csv", *options)
    for name in ("two", "three"):
        assert promote(shop, name, "override=trial", "copy_to=prod") == 0
    return shop


def folder_of(shop: Shop, model_id: str) -> Path:
    location = shop.client.get_logged_model(model_id).artifact_location
    return Path(unquote(urlsplit(location).path))


def id_of(shop: Shop, name: str) -> str:
    return str(shop.client.get_run(shop.runs[name]).outputs.model_outputs[0].model_id)


@pytest.fixture
def model(shop: Shop, tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Return the folder of a logged model by its id; put its files back after the test."""
    kept: dict[Path, Path] = {}
    tags: dict[str, dict[str, str]] = {}

    def opened(model_id: str) -> Path:
        folder = folder_of(shop, model_id)
        kept[folder] = tmp_path / "kept" / model_id
        shutil.copytree(folder, kept[folder])
        tags[model_id] = dict(shop.client.get_logged_model(model_id).tags)
        return folder

    yield opened
    for folder, copy in kept.items():
        shutil.rmtree(folder)
        shutil.copytree(copy, folder)
    for model_id, before in tags.items():
        shop.client.set_logged_model_tags(model_id, before)


def champion_id(shop: Shop) -> str:
    version = shop.client.get_model_version_by_alias(NAME, "champion")
    return str(version.source).removeprefix("models:/")


def data(shop: Shop) -> list[str]:
    return ["data=csv", f"data.path={shop.folder / 'customers.csv'}", "data.id=customer_id"]


def promote(shop: Shop, name: str, *overrides: str) -> int:
    """Promote with the gates off that take seconds."""
    return shop.promote(
        name, "promotion.structure=false", "promotion.min_stability=null", *overrides
    )


def score(shop: Shop, out: Path, *overrides: str) -> int:
    return shop.segment("score", *data(shop), f"out={out}", *overrides)


@pytest.mark.parametrize("tamper", TAMPERED, ids=lambda tamper: tamper.__name__)
def test_a_tampered_challenger_is_not_promoted(
    shop: Shop, model, tamper, tmp_path: Path, capfd
) -> None:
    canary, before = tmp_path / "canary", shop.dump()
    tamper(model(id_of(shop, "four")), canary)
    assert promote(shop, "four", "override=trial", "trust=true") == 2
    said = capfd.readouterr().err
    assert all(name in said for name in TAMPERED[tamper])
    assert f"segment fit run_id={shop.runs['four']}" in said
    assert len(said.strip().splitlines()) == 1
    assert not canary.exists()
    assert shop.dump() == before


def test_a_dry_run_refuses_it_too(shop: Shop, model, tmp_path: Path, capfd) -> None:
    line_added(model(id_of(shop, "four")), tmp_path / "canary")
    assert promote(shop, "four", "dry_run=true") == 2
    assert CODE in capfd.readouterr().err
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("tamper", [centres_moved, names_changed, line_added, file_removed])
def test_a_tampered_champion_scores_nobody(
    shop: Shop, model, tamper, tmp_path: Path, capfd
) -> None:
    """The champion is a relabelled copy, with digests of its own; `prod` has a copy of it."""
    canary, out = tmp_path / "canary", tmp_path / "scored.csv"
    tamper(model(champion_id(shop)), canary)
    for options in ([], ["model=models:/prod@champion"]):
        assert score(shop, out, *options) == 2
        assert TAMPERED[tamper][0] in capfd.readouterr().err
    assert not canary.exists()
    assert not out.exists()


@pytest.mark.parametrize("tamper", [centres_moved, line_added])
def test_a_tampered_champion_is_compared_with_nothing(
    shop: Shop, model, tamper, tmp_path: Path, capfd
) -> None:
    canary, before = tmp_path / "canary", shop.dump()
    tamper(model(champion_id(shop)), canary)
    assert promote(shop, "four", "dry_run=true") == 2
    assert shop.segment("monitor", *data(shop)) == 2
    said = capfd.readouterr().err.splitlines()
    assert all(TAMPERED[tamper][0] in line for line in (said[0], said[-1]))
    assert not canary.exists()
    assert shop.dump() == before


def test_a_tampered_copy_does_not_become_the_champion_again(shop: Shop, model, capfd) -> None:
    """Its version of the earlier promotion has other files than the run's own model."""
    for name in ("two", "three", "four"):
        assert promote(shop, name, "override=trial", "model=again") == 0
    source = shop.client.get_model_version("again", "2").source
    names_changed(model(source.removeprefix("models:/")), Path())
    before = shop.dump()
    for options in (["dry_run=true"], ["trust=true"]):
        assert promote(shop, "three", "override=trial", "model=again", *options) == 2
        assert "changed: artifacts/segments.json" in capfd.readouterr().err
    assert shop.dump() == before


def test_a_tampered_champion_is_not_copied(shop: Shop, model, tmp_path: Path, capfd) -> None:
    centres_moved(model(champion_id(shop)), tmp_path)
    before = shop.dump()
    assert promote(shop, "three", "copy_to=other", "trust=true") == 2
    assert f"changed: {PIPELINE}" in capfd.readouterr().err
    assert shop.dump() == before


@pytest.mark.parametrize("which", ["/2", "/latest", "/Latest", "@champion"])
def test_however_a_version_is_named(shop: Shop, model, which: str, tmp_path, capfd) -> None:
    uri, out = f"model=models:/{NAME}{which}", tmp_path / "scored.csv"
    assert score(shop, out, uri) == 0
    said = capfd.readouterr()
    assert "version 2" in said.out + said.err
    assert "digests" not in said.err
    names_changed(model(champion_id(shop)), tmp_path)
    assert score(shop, out, uri, "overwrite=true") == 2
    assert shop.segment("monitor", *data(shop), uri) == 2
    assert capfd.readouterr().err.count("changed: artifacts/segments.json") == 2


def test_untouched_models_pass(shop: Shop, tmp_path: Path, capfd) -> None:
    assert promote(shop, "four", "dry_run=true") in (0, 3)
    for options in ([], ["model=models:/prod@champion"], [f"model=models:/{champion_id(shop)}"]):
        out = tmp_path / f"{len(options)}{len(options and options[0])}.csv"
        assert score(shop, out, *options) == 0
        assert len(pd.read_csv(out)) == 60
    assert "digests" not in capfd.readouterr().err


def test_planted_compiled_code_does_not_run(shop: Shop, model, tmp_path: Path, capfd) -> None:
    """Python would run it in place of the code, whose digest is right."""
    canary, folder = tmp_path / "canary", model(id_of(shop, "four"))
    source = tmp_path / CODE
    source.write_text((folder / CODE).read_text("utf-8") + planted(canary), "utf-8")
    unchecked = py_compile.PycInvalidationMode.UNCHECKED_HASH
    from importlib.util import cache_from_source

    target = cache_from_source(str(folder / CODE))
    py_compile.compile(str(source), cfile=target, invalidation_mode=unchecked)
    assert promote(shop, "four", "dry_run=true") in (0, 3)
    assert "Gates:" in capfd.readouterr().out
    assert not canary.exists()


class TestWithoutDigests:
    """Models of earlier versions."""

    @pytest.fixture
    def old(self, shop: Shop, model) -> Path:
        """The challenger's model, as if it had been made before there were digests."""
        folder = model(id_of(shop, "four"))
        for tag in (FILES_TAG, FORMAT_TAG):
            shop.client.delete_logged_model_tag(id_of(shop, "four"), tag)
        return folder

    def test_they_score_with_a_note(self, shop: Shop, old: Path, tmp_path: Path, capfd) -> None:
        uri = f"models:/{id_of(shop, 'four')}"
        assert score(shop, tmp_path / "scored.csv", f"model={uri}") == 0
        assert f"note: model={uri} has no digests of its files" in capfd.readouterr().err

    def test_they_are_promoted_with_trust_only(self, shop: Shop, old: Path, capfd) -> None:
        assert promote(shop, "four", "dry_run=true") == 2
        assert "add trust=true" in capfd.readouterr().err
        assert promote(shop, "four", "dry_run=true", "trust=true") in (0, 3)
        assert FILES_TAG not in shop.client.get_logged_model(id_of(shop, "four")).tags

    def test_once_trusted_they_have_digests(self, shop: Shop, old: Path, capfd) -> None:
        first = ["trust=true", "override=trial", "model=first"]
        assert promote(shop, "four", *first) == 0
        names_changed(old, old)
        assert promote(shop, "four", *first, "model=second") == 2
        assert "artifacts/segments.json" in capfd.readouterr().err

    def test_once_trusted_the_old_champion_and_the_run_have_digests(
        self, shop: Shop, old: Path, model
    ) -> None:
        """The challenger gets new ids, so what is promoted is a copy of the run's own model."""
        first = ["override=trial", "model=third"]
        assert promote(shop, "two", *first) == 0
        ids = [id_of(shop, name) for name in ("two", "four")]
        model(ids[0])
        kept = json.loads(shop.client.get_logged_model(ids[0]).tags[FILES_TAG])
        for tag in (FILES_TAG, FORMAT_TAG):
            shop.client.delete_logged_model_tag(ids[0], tag)
        assert promote(shop, "four", *first) == 2
        assert promote(shop, "four", *first, "trust=true") == 0
        tags = [shop.client.get_logged_model(one).tags for one in ids]
        assert json.loads(tags[0][FILES_TAG]) == kept
        assert json.loads(tags[1][FILES_TAG]) == digests(old)
        assert [each[FORMAT_TAG] for each in tags] == [str(NEWEST)] * 2
        # From now on nobody has to trust anybody.
        for name in ("two", "four"):
            assert promote(shop, name, *first) in (0, 3)

    @pytest.mark.parametrize("file", ["MLmodel", PIPELINE])
    def test_missing_files(self, shop: Shop, old: Path, file: str, tmp_path: Path, capfd) -> None:
        (old / file).unlink()
        assert promote(shop, "four", "dry_run=true", "trust=true") == 2
        assert score(shop, tmp_path / "s.csv", f"model=models:/{id_of(shop, 'four')}") == 2
        said = capfd.readouterr().err.strip().splitlines()
        assert len(said) == 2
        assert all(f"missing: {file}" in line for line in said)

    @pytest.mark.parametrize("tamper", [line_added, file_elsewhere, pickle_named, path_named])
    def test_they_run_no_code_but_ours(
        self, shop: Shop, old: Path, tamper, tmp_path: Path, capfd
    ) -> None:
        canary = tmp_path / "canary"
        tamper(old, canary)
        uri = f"models:/{id_of(shop, 'four')}"
        assert promote(shop, "four", "dry_run=true", "trust=true") == 2
        assert score(shop, tmp_path / "scored.csv", f"model={uri}") == 2
        for line in capfd.readouterr().err.splitlines():
            assert TAMPERED[tamper][0] in line
        assert not canary.exists()

    def test_a_newer_version_is_named(self, shop: Shop, old: Path, tmp_path: Path, capfd) -> None:
        line_added(old, tmp_path / "canary")
        model_id = id_of(shop, "four")
        shop.client.set_logged_model_tags(model_id, {FORMAT_TAG: str(NEWEST + 1)})
        assert promote(shop, "four", "dry_run=true", "trust=true") == 2
        assert score(shop, tmp_path / "scored.csv", f"model=models:/{model_id}") == 2
        assert capfd.readouterr().err.count("made by a newer version of segment") == 2

    def test_foreign_types_in_the_pipeline(self, shop: Shop, old: Path, tmp_path, capfd) -> None:
        pipeline = skops.io.load(old / PIPELINE)
        pipeline.memory = Path("x")
        pipeline.steps.append(("own", Fixed("x")))
        skops.io.dump(pipeline, old / PIPELINE)
        assert promote(shop, "four", "dry_run=true", "trust=true") == 2
        assert score(shop, tmp_path / "s.csv", f"model=models:/{id_of(shop, 'four')}") == 2
        said = capfd.readouterr().err.strip().splitlines()
        assert len(said) == 2
        assert all("Fixed" in line and "not loaded" in line for line in said)

    @pytest.mark.parametrize(
        ("file", "content"),
        [
            (PIPELINE, b"\x00[" * 30),
            ("artifacts/segments.json", b"{}"),
            ("artifacts/segments.json", b"\xff"),
            ("MLmodel", b"\x00["),
            ("MLmodel", b"a: &a [*a]\n1: 2"),
        ],
    )
    def test_damaged_files(
        self, shop: Shop, old: Path, file: str, content: bytes, tmp_path: Path, capfd
    ) -> None:
        (old / file).write_bytes(content)
        assert promote(shop, "four", "dry_run=true", "trust=true") == 2
        assert score(shop, tmp_path / "s.csv", f"model=models:/{id_of(shop, 'four')}") == 2
        assert len(capfd.readouterr().err.strip().splitlines()) == 2


@pytest.mark.slow
def test_on_a_server_with_proxied_artifacts(fresh_store: Path, tmp_path: Path, capfd) -> None:
    copy_store(fresh_store, tmp_path / "mlflow.db")
    customers = tmp_path / "customers.csv"
    generate_customers(60, seed=1).to_csv(customers, index=False)
    own = ["data=csv", f"data.path={customers}"]
    with mlflow_server(f"sqlite:///{tmp_path}/mlflow.db", tmp_path) as address:
        to = ["tracking=server", f"tracking.uri={address}"]
        for k in (2, 3):
            fit = ["choice=fixed", f"choice.k={k}", "k.max=3", "engine.effort=fast"]
            assert main.run(["fit", *own, COLUMNS, *fit, *to]) == 0
            experiment = MlflowClient(address).get_experiment_by_name("customer-segments")
            (run, *_) = MlflowClient(address).search_runs([experiment.experiment_id])
            promote = ["promote", f"run_id={run.info.run_id}", QUICK, "override=trial", *to]
            assert main.run(promote) == 0
        score = ["score", *own, f"out={tmp_path / 'scored.csv'}", "overwrite=true", *to]
        assert main.run(score) == 0
        version = MlflowClient(address).get_model_version_by_alias(NAME, "champion")
        copy = version.source.removeprefix("models:/")
        assert MlflowClient(address).get_logged_model(copy).name == "promoted"
        capfd.readouterr()
        (folder,) = (tmp_path / "artifacts").rglob(f"{copy}/artifacts")
        names_changed(folder, tmp_path)
        line_added(folder, tmp_path / "canary")
        assert main.run(score) == 2
        assert "changed: artifacts/segments.json, segment_model.py" in capfd.readouterr().err
        assert not (tmp_path / "canary").exists()

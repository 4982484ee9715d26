from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import yaml

from portable_models import customers, portable
from segmentation.errors import RegistryError
from segmentation.model import flavor, integrity
from segmentation.model.integrity import FILES_TAG, FORMAT_TAG, Record, check, digests, tags
from segmentation.model.released_code import CODE, NEWEST, RELEASED, installed_digest, number


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "model"
    flavor.save(portable(customers()), path)
    return path


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "model"))


def edit(folder: Path, **changes: object) -> None:
    file = folder / "MLmodel"
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text("utf-8")), **changes}), "utf-8")


def test_the_code_of_models_is_listed() -> None:
    assert installed_digest() in RELEASED, (
        f"{CODE.name} has changed. Models made with it would be refused by every other version of "
        "this package: add the line below at the end of RELEASED in "
        "src/segmentation/model/released_code.py, and keep the lines above it.\n"
        f'    "{installed_digest()}",  # what has changed'
    )
    assert len(set(RELEASED)) == len(RELEASED)


def test_every_file_counts(folder: Path) -> None:
    known = Record(files=json.loads(tags(folder)[FILES_TAG]))
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {path.relative_to(folder).as_posix() for path in files} == set(known.files or {})
    check(folder, known, "it")
    for path in files:
        before = path.read_bytes()
        path.write_bytes(before.replace(b"1", b"2").replace(b"numpy", b"nunpy"))
        name = path.relative_to(folder).as_posix()
        with pytest.raises(RegistryError, match=f"changed: {name}"):
            check(folder, known, "it")
        path.unlink()
        with pytest.raises(RegistryError, match=f"missing: {name}"):
            check(folder, known, "it")
        path.write_bytes(before)
    (folder / "sub").mkdir()
    (folder / "sub" / "more.txt").touch()
    with pytest.raises(RegistryError, match=r"added: sub/more\.txt"):
        check(folder, known, "it")


def test_what_mlflow_writes_does_not_count(folder: Path) -> None:
    before = digests(folder)
    (folder / integrity.FETCH_NOTE).write_text("model_name: m\n", "utf-8")
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "segment_model.cpython-311.pyc").touch()
    # A store that has moved, and a file written again by another version of MLflow.
    edit(folder, artifact_path="file:///elsewhere/model")
    assert digests(folder) == before
    edit(folder, run_id="another")
    assert digests(folder) != before


@pytest.mark.parametrize("content", [b"a: &a [*a]", b"1: 2\na: b", b"[" * 5000, b"\x00", b""])
def test_a_description_of_any_form_has_a_digest(folder: Path, content: bytes) -> None:
    known = Record(files=digests(folder))
    (folder / "MLmodel").write_bytes(content)
    with pytest.raises(RegistryError, match="changed: MLmodel"):
        check(folder, known, "it")


def test_a_tag_is_small_enough_for_every_store(folder: Path) -> None:
    # MySQL and Databricks hold 5,000 characters and more; MLflow's other tags 8,000.
    assert len(tags(folder)[FILES_TAG]) < 2000


@pytest.mark.parametrize(
    ("flavor_name", "changes"),
    [
        ("python_function", {"loader_module": "mlflow.sklearn"}),
        ("python_function", {"model_code_path": "/tmp/segment_model.py"}),
        ("python_function", {"model_code_path": "../segment_model.py"}),
        ("python_function", {"python_model": "python_model.pkl"}),
        ("python_function", {"data": "code"}),
        ("python_function", {"code": "code"}),
        ("sklearn", {"pickled_model": "model.pkl"}),
        ("sklearn", {"serialization_format": "pickle"}),
        ("sklearn", {"skops_trusted_types": ["os.system"]}),
        ("sklearn", {"code": "code"}),
    ],
)
def test_a_description_without_digests_names_nothing_else(
    folder: Path, flavor_name: str, changes: dict[str, object]
) -> None:
    check(folder, Record(), "it")
    flavors = yaml.safe_load((folder / "MLmodel").read_text("utf-8"))["flavors"]
    flavors[flavor_name].update(changes)
    edit(folder, flavors=flavors)
    with pytest.raises(RegistryError, match=next(iter(changes))):
        check(folder, Record(), "it")


def test_an_example_outside_the_folder_is_not_read(folder: Path) -> None:
    edit(folder, saved_input_example_info={"artifact_path": "/etc/hostname", "type": "dataframe"})
    with pytest.raises(RegistryError, match="saved_input_example_info"):
        check(folder, Record(), "it")


def test_only_listed_code_runs(folder: Path) -> None:
    with (folder / CODE.name).open("a") as code:
        code.write("# a comment\n")
    with pytest.raises(RegistryError, match="so it was not run"):
        check(folder, Record(), "it")
    with pytest.raises(RegistryError, match="made by a newer version"):
        check(folder, Record(format=len(RELEASED) + 1), "it")


def test_numbers_of_code_stay(folder: Path, monkeypatch) -> None:
    """Models have been logged with them."""
    starts = ("3e485a61", "9283e425", "c4b9bc4c", "fb0f875c", "2a4b7796")
    assert [digest[:8] for digest in RELEASED[: len(starts)]] == [*starts]
    assert [number(digest) for digest in RELEASED] == [*range(NEWEST + 1)]
    assert tags(folder)[FORMAT_TAG] == str(NEWEST)
    # As in a model that an earlier version made.
    code = b"print('earlier')\n"
    earlier = (RELEASED[0], hashlib.sha256(code).hexdigest(), *RELEASED[2:])
    monkeypatch.setattr("segmentation.model.released_code.RELEASED", earlier)
    (folder / CODE.name).rename(folder / "model.py")
    (folder / "model.py").write_bytes(code)
    assert tags(folder)[FORMAT_TAG] == "1"


@pytest.mark.parametrize("name", ["MLmodel", "artifacts/pipeline.skops", "artifacts/segments.json"])
def test_a_missing_file_without_digests(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(RegistryError, match=rf"incomplete \(missing: {name}\)"):
        check(folder, Record(), "it")

from __future__ import annotations

import ast
import json
import os
import zipfile
from datetime import date
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

import mlflow
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow.exceptions import MlflowException
from mlflow.utils import environment, requirements_utils

from portable_models import customers, new_store, portable
from segmentation.model import flavor

GENDERS = {"gender": ["Female", "Male"]}
IDS = [7, 0, 4]


@pytest.fixture(scope="module")
def model():
    """The model whose saved form most tests look at."""
    return portable(customers(), categories=GENDERS, segment_ids=IDS)


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "model"
    flavor.save(model, path)
    return path


@pytest.fixture(scope="module")
def loaded(folder):
    return mlflow.pyfunc.load_model(str(folder))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    yield new_store(tmp_path_factory)
    mlflow.set_tracking_uri(None)


def error_of(loaded, frame: pd.DataFrame) -> str:
    """What a consumer reads; every refusal must be one that a scoring server answers with 400."""
    with pytest.raises(MlflowException) as caught:
        loaded.predict(frame)
    assert caught.value.error_code == "INVALID_PARAMETER_VALUE"
    return caught.value.message


# --- what it answers ---------------------------------------------------------------------------


def test_both_flavours_agree_and_distance_is_to_the_own_centre(model, folder, loaded):
    frame = customers(50, seed=1).set_index(pd.Index([f"c{i}" for i in range(50)]))
    answer = loaded.predict(frame)
    pipeline = mlflow.sklearn.load_model(str(folder))
    index = pipeline.predict(frame)

    np.testing.assert_array_equal(index, model.pipeline.predict(frame))
    assert set(index) == {0, 1, 2}
    assert answer["segment"].tolist() == [IDS[i] for i in index]
    assert answer["segment_name"].tolist() == [f"s{IDS[i]}" for i in index]
    np.testing.assert_allclose(answer["distance"], pipeline.transform(frame).min(axis=1))
    assert answer.columns.tolist() == ["segment", "segment_name", "distance"]
    assert answer["segment"].dtype == np.int64
    assert answer["distance"].dtype == np.float64
    assert answer.index.equals(frame.index)


def test_saved_again_gives_the_same_bits(model, loaded, tmp_path):
    frame = customers(50, seed=2)
    flavor.save(model, tmp_path / "again")
    again = mlflow.pyfunc.load_model(str(tmp_path / "again"))
    pd.testing.assert_frame_equal(again.predict(frame), loaded.predict(frame), check_exact=True)


@pytest.mark.parametrize(
    "convert",
    [
        lambda column: column.astype("int32"),
        lambda column: column.astype("float64"),
        lambda column: column.astype("float32"),
        lambda column: column.astype("Int64"),
        lambda column: column.astype("Float64"),
        lambda column: column.astype(str),
        lambda column: column.map(lambda value: f" {value}.0"),
        lambda column: column.map(Decimal),
        lambda column: column.astype("category"),
        lambda column: column.astype(object),
    ],
)
def test_any_type_that_reads_as_a_number(loaded, convert):
    frame = customers(20, seed=3)
    converted = frame.assign(age=convert(frame["age"]), income=convert(frame["income"]))
    pd.testing.assert_frame_equal(loaded.predict(converted), loaded.predict(frame))


def test_text_columns_of_any_pandas_type(loaded):
    frame = customers(20, seed=3)
    for kind in ("object", "string", "category"):
        converted = frame.assign(gender=frame["gender"].astype(kind))
        pd.testing.assert_frame_equal(loaded.predict(converted), loaded.predict(frame))


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_each_customer_is_named_alone_whatever_stands_beside(loaded, data):
    frame = customers(30, seed=4)
    rows = data.draw(st.lists(st.integers(0, 29), min_size=1, unique=True))
    columns = data.draw(st.permutations([*frame.columns, "customer_id"]))
    some = frame.assign(customer_id="x").iloc[rows][columns]
    expected = loaded.predict(frame).iloc[rows]
    pd.testing.assert_frame_equal(loaded.predict(some), expected, rtol=1e-12)


def test_index_labels_may_repeat(loaded):
    frame = customers(4)
    answer = loaded.predict(frame.set_index(pd.Index(["a", "a", "b", "a"])))
    assert answer.index.tolist() == ["a", "a", "b", "a"]
    assert answer["segment"].tolist() == loaded.predict(frame)["segment"].tolist()


def test_one_segment(tmp_path):
    frame = customers()
    flavor.save(portable(frame, k=1), tmp_path / "one")
    answer = mlflow.pyfunc.load_model(str(tmp_path / "one")).predict(frame)
    assert set(answer["segment"]) == {0}
    assert answer["distance"].max() > answer["distance"].min() > 0


def test_no_customers(loaded):
    answer = loaded.predict(customers().head(0))
    assert len(answer) == 0
    assert answer.columns.tolist() == ["segment", "segment_name", "distance"]


def test_categories_that_are_numbers(tmp_path):
    frame = customers()
    frame["region"] = np.arange(len(frame)) % 3 + 1
    flavor.save(portable(frame, categories={"region": [1, 2, 3]}), tmp_path / "m")
    loaded = mlflow.pyfunc.load_model(str(tmp_path / "m"))
    expected = loaded.predict(frame)
    for kind in (float, str):
        other = frame.assign(region=frame["region"].astype(kind))
        pd.testing.assert_frame_equal(loaded.predict(other), expected)
    message = error_of(loaded, frame.head(1).assign(region=4))
    assert "'region'" in message
    assert "1, 2, 3" in message


# --- what it refuses ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("age", "abc", "'abc'"),
        ("age", "", "''"),
        pytest.param("age", "x" * 10_000, "'xxxxx", id="age-long"),
        ("age", "12,5", "'12,5'"),
        ("age", float("nan"), "nan"),
        ("age", None, "index 2"),
        ("age", pd.NA, "index 2"),
        ("age", float("inf"), "inf"),
        ("age", "-inf", "-inf"),
        ("age", 1e308, "1e+308"),
        pytest.param(
            *("age", 10**400, "index 2: 1000"),
            id="age-huge",
            marks=pytest.mark.skipif(
                pd.__version__ < "3", reason="pandas 2 refuses the number before the model sees it"
            ),
        ),
        ("age", [1], "[1]"),
        ("gender", "Other", "'Other'"),
        ("gender", "male", "'male'"),
        ("gender", 1, "index 2: 1"),
        ("gender", None, "index 2"),
    ],
)
def test_one_bad_value_is_named(loaded, column, value, said):
    frame = customers(5)
    frame[column] = frame[column].astype(object)
    frame.at[2, column] = value
    message = error_of(loaded, frame)
    assert f"column '{column}'" in message
    assert "1 of 5 rows" in message
    assert said in message
    assert len(message) < 200
    if column == "gender":
        assert "'Female', 'Male'" in message


@pytest.mark.parametrize(
    "no_numbers",
    [
        pd.date_range("2020-01-01", periods=3),
        pd.to_timedelta([1, 2, 3], "D"),
        [date(2020, 1, 1)] * 3,
        [1 + 2j, 1j, 2],
    ],
)
def test_dates_and_complex_numbers_are_no_numbers(loaded, no_numbers):
    assert "column 'age'" in error_of(loaded, customers(3).assign(age=no_numbers))


def test_all_that_is_wrong_is_said_at_once_with_at_most_three_rows_each(loaded):
    frame = customers(10).assign(age="?", gender=["X"] + ["Male"] * 9)
    message = error_of(loaded, frame)
    assert "10 of 10 rows" in message
    assert message.count("index") == 3 + 1
    assert "'gender'" in message


@pytest.mark.parametrize("missing", ["age", "income", "gender"])
def test_missing_column_is_named(loaded, missing):
    assert f"'{missing}'" in error_of(loaded, customers(3).drop(columns=missing))


def test_column_that_is_there_twice(loaded):
    frame = customers(3)
    error_of(loaded, pd.concat([frame, frame[["age"]]], axis=1))


def test_log1p_says_its_lower_bound(tmp_path):
    frame = customers()
    flavor.save(portable(frame, log1p=["income"]), tmp_path / "m")
    loaded = mlflow.pyfunc.load_model(str(tmp_path / "m"))
    assert len(loaded.predict(frame.assign(income=-0.5))) == len(frame)
    for value in (-1, -5):
        message = error_of(loaded, frame.head(2).assign(income=[10, value]))
        assert "column 'income'" in message
        assert "above -1" in message
        assert "index 1" in message
    loaded.predict(frame.assign(age=-5))


def test_distance_that_would_overflow_is_refused(tmp_path):
    frame = customers()
    tiny = frame.assign(age=frame["age"] * 1e-60)
    flavor.save(portable(tiny), tmp_path / "m")
    loaded = mlflow.pyfunc.load_model(str(tmp_path / "m"))
    assert "index 1" in error_of(loaded, tiny.head(3).assign(age=[1e-60, 1e120, 2e-60]))


# --- what lies on disk -------------------------------------------------------------------------


def test_no_pickle_anywhere(folder, monkeypatch):
    contents = {}
    for path in folder.rglob("*"):
        if path.is_file():
            contents[path.name] = path.read_bytes()
            if zipfile.is_zipfile(path):
                with zipfile.ZipFile(path) as archive:
                    contents |= {name: archive.read(name) for name in archive.namelist()}
    assert {"MLmodel", "segment_model.py", "pipeline.skops", "schema.json", "segments.json"} <= set(
        contents
    )
    assert not [name for name in contents if name.endswith((".pkl", ".pickle", ".joblib"))]
    assert not [name for name, content in contents.items() if content.startswith(b"\x80")]
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    mlflow.pyfunc.load_model(str(folder)).predict(customers(3))


def test_segments_and_their_radius_are_readable_as_json(folder):
    names = json.loads((folder / "artifacts" / "segments.json").read_text(encoding="utf-8"))
    assert names["segments"][0] == {"id": 7, "name": "s7", "radius": 2.5}
    assert names["columns"][2] == {"name": "gender", "categories": ["Female", "Male"]}


def test_signature_example_and_requirements_are_the_given_ones(folder):
    info = mlflow.models.get_model_info(str(folder))
    assert info.signature.inputs.input_names() == ["age", "income", "gender"]
    assert info.signature.outputs.input_names() == ["segment", "segment_name", "distance"]
    packages = ["mlflow", "numpy", "pandas", "scikit-learn", "scipy", "skops"]
    wanted = [f"{package}=={version(package)}" for package in packages]
    assert (folder / "requirements.txt").read_text(encoding="utf-8").split() == wanted
    example = mlflow.pyfunc.load_model(str(folder)).input_example
    pd.testing.assert_frame_equal(example, customers().head(5), check_dtype=False)


def test_nothing_of_the_saving_machine_gets_in(model, tmp_path, monkeypatch):
    project = tmp_path / "project"
    project.mkdir()
    (project / "uv.lock").write_text("version = 1\n")
    (project / "pyproject.toml").write_text("[project]\nname = 'x'\nversion = '1'\n")
    monkeypatch.chdir(project)
    flavor.save(model, tmp_path / "m")
    saved = {path.name for path in (tmp_path / "m").rglob("*")}
    assert not saved & {"uv.lock", "pyproject.toml"}
    text = (tmp_path / "m" / "MLmodel").read_text(encoding="utf-8")
    assert str(Path(flavor.__file__).parent) not in text
    assert str(tmp_path) not in text
    assert "/tmp" not in text


def test_what_is_installed_is_not_looked_through(model, tmp_path, monkeypatch):
    looked = []
    monkeypatch.setattr(requirements_utils, "_check_requirement_satisfied", looked.append)
    flavor.save(model, tmp_path / "model")
    assert looked == []
    # Only while a model of ours is saved.
    environment._process_pip_requirements(["mlflow"])
    assert looked == ["mlflow"]


def test_the_copied_code_needs_nothing_of_this_package():
    tree = ast.parse(flavor.CODE.read_text(encoding="utf-8"))
    modules = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            modules.add(str(node.module).split(".")[0])
    assert "segmentation" not in modules
    third_party = {"mlflow", "numpy", "pandas", "skops"}
    assert modules - third_party <= {
        "__future__",
        "collections",
        "json",
        "pathlib",
        "reprlib",
        "typing",
    }


@pytest.mark.parametrize(
    "wrong",
    [
        {"segment_ids": [0, 1]},
        {"segment_ids": [0, 1, 1]},
        {"segment_names": ["a"]},
        {"radius": []},
        {"categories": {"colour": ["red"]}},
        {"log1p": ["colour"]},
    ],
)
def test_parts_that_do_not_belong_together(model, wrong):
    with pytest.raises(ValueError, match=r"segment_ids|segment_names|radius|colour"):
        flavor.PortableModel(**{**vars(model), **wrong})


# --- in the store ------------------------------------------------------------------------------


def test_logged_to_its_run_in_silence(model, store, capfd, recwarn):
    uri, experiment = store
    client = mlflow.MlflowClient(uri)
    run_id = client.create_run(experiment).info.run_id
    client.log_param(run_id, "features", "age_income")
    capfd.readouterr()
    recwarn.clear()
    info = flavor.log(model, client=client, run=client.get_run(run_id))

    assert [str(one.message) for one in recwarn] == []
    assert capfd.readouterr() == ("", "")
    assert mlflow.active_run() is None
    logged = client.get_logged_model(info.model_id)
    assert logged.experiment_id == experiment
    assert logged.source_run_id == run_id
    assert logged.params == {"features": "age_income"}
    assert logged.status == "READY"
    outputs = client.get_run(run_id).outputs.model_outputs
    assert [output.model_id for output in outputs] == [info.model_id]


def test_one_logged_model_opens_both_ways(model, store):
    uri, experiment = store
    client = mlflow.MlflowClient(uri)
    info = flavor.log(model, client=client, run=client.create_run(experiment))
    frame = customers(10, seed=5)
    index = mlflow.sklearn.load_model(info.model_uri).predict(frame)
    answer = mlflow.pyfunc.load_model(info.model_uri).predict(frame)
    assert answer["segment"].tolist() == [IDS[i] for i in index]
    assert set(info.flavors) == {"python_function", "sklearn"}

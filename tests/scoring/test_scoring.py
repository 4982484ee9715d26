from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portable_models import customers, portable
from segmentation.cli import main
from segmentation.data import streaming, text_encoding
from segmentation.errors import DataError
from segmentation.evaluation import drift
from segmentation.model import flavor
from segmentation.scoring.chunks import headers, scored_chunks

ADDED = ["segment", "segment_name", "distance", "second_segment", "margin", "in_range"]
GENDERS = {"gender": ["Female", "Male"]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "model"
    flavor.save(portable(customers(), categories=GENDERS, segment_ids=[7, 0, 4]), path)
    return path


@pytest.fixture(scope="module")
def pyfunc(folder):
    return mlflow.pyfunc.load_model(str(folder))


@pytest.fixture
def score(folder, store_uri, tmp_path):
    """Run ``segment score`` on a file; the exit code."""

    def run(path: Path, out: Path, *overrides: str, model: Path = folder) -> int:
        return main.run(
            [
                "score",
                f"data.path={path}",
                f"out={out}",
                f"model={model}",
                f"tracking.uri={store_uri}",
                *overrides,
            ]
        )

    return run


def new_file(tmp_path: Path, n: int = 40) -> tuple[Path, pd.DataFrame]:
    frame = customers(n, seed=9)
    frame.insert(0, "id", [f"{row:05d}" for row in range(n)])
    frame["note"] = ['a, "b"\nc' if row % 3 else "1.50" for row in range(n)]
    path = tmp_path / "new.csv"
    frame.to_csv(path, index=False)
    return path, frame


def rows_of(path: Path, delimiter: str = ",") -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter=delimiter))


# --- what it writes ----------------------------------------------------------------------------


def test_every_row_comes_back_with_the_answer_of_the_portable_model(
    score, pyfunc, tmp_path, capsys
):
    path, frame = new_file(tmp_path)
    assert score(path, tmp_path / "scored.csv") == 0
    before, after = rows_of(path), rows_of(tmp_path / "scored.csv")
    assert list(after[0]) == [*before[0], *ADDED]
    assert [{key: row[key] for key in before[0]} for row in after] == before
    expected = pyfunc.predict(frame, params={"details": True})
    scored = pd.read_csv(tmp_path / "scored.csv")
    pd.testing.assert_frame_equal(
        scored[ADDED], expected[ADDED].reset_index(drop=True), check_dtype=False
    )
    assert scored["in_range"].dtype == bool
    assert not (tmp_path / "scored.rejects.csv").exists()
    said = capsys.readouterr().out
    assert "40 rows scored, 0 rejected" in said
    assert "rows/s" in said
    for id_, size in scored["segment"].value_counts().items():
        assert f"  {id_}  {size:>8,}  {size / 40:6.1%}  s{id_}" in said
    assert [p.name for p in tmp_path.iterdir() if p.name.endswith(".part")] == []


def test_details_are_what_they_are_called(folder, pyfunc):
    frame = customers(200, seed=3)
    answer = pyfunc.predict(frame, params={"details": True})
    assert pyfunc.predict(frame).columns.tolist() == ADDED[:3]
    pipeline = mlflow.sklearn.load_model(str(folder))
    distances = np.sort(pipeline.transform(frame), axis=1)
    ids = np.array([7, 0, 4])
    order = np.argsort(pipeline.transform(frame), axis=1)
    assert answer["second_segment"].tolist() == ids[order[:, 1]].tolist()
    margin = (distances[:, 1] - distances[:, 0]) / (distances[:, 1] + distances[:, 0])
    np.testing.assert_allclose(answer["margin"], margin, atol=1e-12)
    assert answer["in_range"].tolist() == (answer["distance"] <= 2.5).tolist()


@pytest.mark.parametrize("name", ["scored.parquet", "scored.csv.gz"])
def test_other_kinds_of_output_hold_the_same(score, tmp_path, name):
    path, frame = new_file(tmp_path)
    assert score(path, tmp_path / "plain.csv") == 0
    assert score(path, tmp_path / name) == 0
    read = pd.read_parquet if name.endswith("parquet") else pd.read_csv
    plain, other = pd.read_csv(tmp_path / "plain.csv"), read(tmp_path / name)
    pd.testing.assert_frame_equal(other[ADDED], plain[ADDED], check_dtype=False)
    if name.endswith("parquet"):
        assert other["id"].tolist() == frame["id"].tolist()


def test_parquet_keeps_the_types_of_its_columns(score, tmp_path):
    _, frame = new_file(tmp_path)
    frame["since"] = pd.Timestamp("2024-02-29")
    frame.to_parquet(tmp_path / "new.parquet")
    args = (tmp_path / "new.parquet", tmp_path / "scored.parquet", "data=parquet")
    assert score(*args) == 0
    before, after = pq.read_table(args[0]), pq.read_table(args[1])
    assert after.select(before.column_names).equals(before)
    assert score(args[0], tmp_path / "scored.csv", "data=parquet") == 0
    assert rows_of(tmp_path / "scored.csv")[0]["since"].startswith("2024-02-29")


@settings(max_examples=30, deadline=None)
@given(
    fields=st.lists(
        st.tuples(
            st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=8),
            st.integers(-999, 999),
        ),
        min_size=1,
        max_size=30,
    ),
    block=st.integers(60, 400),
)
def test_any_text_in_any_chunks_is_read_as_python_reads_it(tmp_path_factory, fields, block):
    path = tmp_path_factory.mktemp("stream") / "x.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text", "number"), *fields])
    original, text_encoding.BLOCK = text_encoding.BLOCK, block
    try:
        chunks = list(streaming.stream_csv(path, delimiter=",", encoding="utf-8").chunks)
    finally:
        text_encoding.BLOCK = original
    found = [
        row for c in chunks for row in zip(*(x.to_pylist() for x in c.table.columns), strict=True)
    ]
    assert found == [(text, str(number)) for text, number in fields]
    lines = [n for c in chunks for n in c.number(range(c.table.num_rows))]
    expected, line = [], 2
    for text, _ in fields:
        expected.append(line)
        line += 1 + text.count("\n")
    assert lines == expected
    assert not [r for c in chunks for r in c.ragged]


def test_the_answer_does_not_depend_on_the_chunks(score, tmp_path, monkeypatch):
    path, _ = new_file(tmp_path, n=300)
    assert score(path, tmp_path / "whole.csv") == 0
    monkeypatch.setattr(text_encoding, "BLOCK", 1000)
    assert score(path, tmp_path / "pieces.csv") == 0
    assert (tmp_path / "pieces.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_one_segment_has_no_second(score, tmp_path):
    flavor.save(portable(customers(), k=1), tmp_path / "one")
    path, _ = new_file(tmp_path)
    assert score(path, tmp_path / "scored.csv", model=tmp_path / "one") == 0
    row = rows_of(tmp_path / "scored.csv")[0]
    assert (row["segment"], row["second_segment"], row["margin"]) == ("0", "", "")
    assert row["in_range"] in ("true", "false")


@pytest.mark.parametrize(
    ("encode", "overrides", "delimiter"),
    [
        (lambda text: text.encode("latin-1"), (), ","),
        (lambda text: text.encode("utf-16"), (), ","),
        (lambda text: b"\xef\xbb\xbf" + text.encode(), (), ","),
        (lambda text: gzip.compress(text.encode()), (), ","),
        (lambda text: text.replace("\n", "\r\n").encode(), (), ","),
        (lambda text: text.encode("cp437"), ("data.encoding=cp437",), ","),
        (lambda text: text.replace(",", ";").encode(), (), ";"),
        (lambda text: text.replace(",", "\t").encode(), ("data.delimiter=tab",), "\t"),
    ],
)
def test_files_as_people_have_them(score, tmp_path, encode, overrides, delimiter):
    text = "id,town,age,income,gender\n001,Köln,25,20,Male\n\n002,Łódź,45,60,Female\n"
    text = text.replace("Łódź", "Málaga")
    path = tmp_path / "new.csv"
    path.write_bytes(encode(text))
    assert score(path, tmp_path / "scored.csv", *overrides) == 0
    rows = rows_of(tmp_path / "scored.csv", delimiter)
    assert [(row["id"], row["town"]) for row in rows] == [("001", "Köln"), ("002", "Málaga")]


def _text(path: Path) -> str:
    return path.read_bytes().decode("latin-1")


def test_decimal_comma_in_and_out(score, tmp_path):
    path = tmp_path / "new.csv"
    path.write_text("age;income;gender\n25,5;20;Male\n45;1.000;Male\n")
    assert score(path, tmp_path / "scored.csv", "data.decimal=','") == 0
    row = rows_of(tmp_path / "scored.csv", ";")[0]
    assert row["age"] == "25,5"
    assert float(row["distance"].replace(",", ".")) > 0
    assert "'1.000'" in rows_of(tmp_path / "scored.rejects.csv", ";")[0]["reason"]


def test_headers_may_be_renamed_for_the_model_alone(score, tmp_path):
    path = tmp_path / "new.csv"
    path.write_text("Age,income,gender\n25,20,Male\n")
    assert score(path, tmp_path / "scored.csv", "+data.rename={Age: age}") == 0
    assert "Age" in rows_of(tmp_path / "scored.csv")[0]


# --- what it refuses ---------------------------------------------------------------------------


def test_each_rejected_row_stands_in_the_rejects_with_line_and_reason(score, tmp_path, capsys):
    path = tmp_path / "new.csv"
    path.write_text(
        "id,age,income,gender\n"
        "01,25,20,Male\n"
        '02,,20,"Male"\n'
        "\n"
        "03,abc,NA,Male\n"
        '"04\n",inf,20,Male\n'
        "05,25,20,Other\n"
        "06,25,20\n"
        "07,25,20,Male,9\n"
        "08,1e155,20,Male\n"
        "09,true,20,Male\n"
        "10,45,60,Female\n"
    )
    assert score(path, tmp_path / "scored.csv") == 0
    assert [row["id"] for row in rows_of(tmp_path / "scored.csv")] == ["01", "10"]
    rejects = rows_of(tmp_path / "scored.rejects.csv")
    assert [(row["line"], row["id"].strip()) for row in rejects] == [
        ("3", "02"),
        ("5", "03"),
        ("6", "04"),
        ("8", "05"),
        ("9", "06"),
        ("10", "07"),
        ("11", "08"),
        ("12", "09"),
    ]
    reasons = [row["reason"] for row in rejects]
    assert reasons[0] == "age is missing"
    assert reasons[1] == "age must be a finite number, not 'abc'; income is missing"
    assert "'inf'" in reasons[2]
    assert "'Other'" in reasons[3]
    assert "'Female', 'Male'" in reasons[3]
    assert reasons[4] == "3 fields, the header has 4"
    assert rejects[5]["gender"] == "Male,9"
    assert "'true'" in reasons[7]
    said = capsys.readouterr().out
    assert "2 rows scored, 8 rejected" in said
    assert "wrong number of fields 2" in said


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_no_row_is_lost(folder, tmp_path_factory, data):
    cell = st.sampled_from(["1", "25", "", "x", "inf", "1e400", "-3", " 7 ", "Male", "NaN", "5,5"])
    rows = data.draw(st.lists(st.lists(cell, min_size=2, max_size=4), min_size=1, max_size=20))
    path = tmp_path_factory.mktemp("lost") / "x.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["age", "income", "gender"], *rows])
    model = flavor.load(str(folder), tracking_uri="sqlite:///unused.db").model
    stream = streaming.stream_csv(path, delimiter=",")
    chunks = list(scored_chunks(stream, model, headers(stream, model, {})))
    assert sum(c.rows.num_rows + len(c.rejects) for c in chunks) == len(rows)
    for chunk in chunks:
        assert chunk.rows.num_rows == len(chunk.answer)
        assert np.isfinite(chunk.answer["distance"]).all()


def test_true_and_false_count_only_where_training_had_nothing_else(tmp_path, score):
    frame = customers()
    frame["member"] = np.arange(len(frame)) % 2
    model = portable(frame, numeric=["age", "member"])
    reference = drift.reference(
        frame[["age", "member"]],
        {},
        model.pipeline.predict(frame),
        np.ones(len(frame)),
        3,
    )
    flavor.save(flavor.PortableModel(**{**vars(model), "reference": reference}), tmp_path / "m")
    path = tmp_path / "new.csv"
    path.write_text("age,member\n30,True\n30,1\n30,false\n30,yes\n")
    assert score(path, tmp_path / "scored.csv", model=tmp_path / "m") == 0
    rows = rows_of(tmp_path / "scored.csv")
    assert [row["member"] for row in rows] == ["True", "1", "false"]
    assert rows[0]["distance"] == rows[1]["distance"]


def test_too_far_away_to_measure(tmp_path, score):
    frame = customers()
    tiny = frame.assign(age=frame["age"] * 1e-60)
    flavor.save(portable(tiny), tmp_path / "m")
    path = tmp_path / "new.csv"
    path.write_text("age,income\n1e-60,20\n1e120,20\n")
    assert score(path, tmp_path / "scored.csv", model=tmp_path / "m") == 0
    assert "too far" in rows_of(tmp_path / "scored.rejects.csv")[0]["reason"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        ("age,income,gender\n", "no customers"),
        ("age,income\n1,2\n", "'gender'"),
        ("age,age,income,gender\n1,1,2,Male\n", "'age'"),
        ("age,income,gender,segment\n1,2,Male,3\n", "'segment'"),
        ('age,income,gender\n1,2,"Male\n3,4,Female\n', "line 2: a quote is opened"),
        ("age,income,gender\nx,2,Male\n", "none of the 1 rows"),
        ("PK\x03\x04", "Excel"),
    ],
)
def test_a_file_that_cannot_be_scored_leaves_no_output(score, tmp_path, capsys, text, said):
    path = tmp_path / "new.csv"
    path.write_text(text)
    assert score(path, tmp_path / "scored.csv") == 2
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error
    left = {p.name for p in tmp_path.iterdir()} - {"new.csv", "store"}
    assert left <= {"scored.rejects.csv"}
    assert bool(left) == ("none of the" in said)


def test_an_existing_file_is_kept_unless_told_otherwise(score, tmp_path, capsys):
    path, _ = new_file(tmp_path)
    out = tmp_path / "scored.csv"
    out.write_text("precious")
    assert score(path, out) == 2
    assert "overwrite=true" in capsys.readouterr().err
    assert out.read_text() == "precious"
    (tmp_path / "scored.rejects.csv").write_text("stale")
    assert score(path, out, "overwrite=true") == 0
    assert len(rows_of(out)) == 40
    assert not (tmp_path / "scored.rejects.csv").exists()


@pytest.mark.parametrize(
    ("out", "said"),
    [
        ("new.csv", "is the input file"),
        ("scored.xlsx", ".parquet"),
        ("nowhere/scored.csv", "no folder"),
        (".csv", "must end in"),
    ],
)
def test_places_that_cannot_be_written_to(score, tmp_path, capsys, out, said):
    path, _ = new_file(tmp_path)
    before = path.read_bytes()
    assert score(path, tmp_path / out, "overwrite=true") == 2
    assert said in capsys.readouterr().err
    assert path.read_bytes() == before


def test_median_is_not_filled_in_silently(score, tmp_path, capsys):
    path, _ = new_file(tmp_path)
    assert score(path, tmp_path / "scored.csv", "data.missing=median") == 2
    assert "data.missing=median" in capsys.readouterr().err


def test_no_champion_yet(store_uri, tmp_path, capsys):
    path, _ = new_file(tmp_path)
    out = tmp_path / "scored.csv"
    args = ["score", f"data.path={path}", f"out={out}", f"tracking.uri={store_uri}"]
    assert main.run(args) == 2
    error = capsys.readouterr().err
    assert "segment promote" in error
    assert not out.exists()


def test_a_model_that_is_not_ours(score, folder, tmp_path, capsys):
    path, _ = new_file(tmp_path)
    mlflow.sklearn.save_model(
        mlflow.sklearn.load_model(str(folder)), tmp_path / "other", serialization_format="skops"
    )
    assert score(path, tmp_path / "scored.csv", model=tmp_path / "other") == 2
    assert "not made by" in capsys.readouterr().err


def test_a_parquet_file_that_is_none(tmp_path):
    path = tmp_path / "new.parquet"
    path.write_text("age\n1\n")
    with pytest.raises(DataError, match="data=csv"):
        streaming.stream_parquet(path)


def test_the_reference_holds_counts_and_no_customer(tmp_path):
    frame = customers(50)
    columns = ["age", "income", "gender"]
    model = portable(frame, categories=GENDERS)
    labels = model.pipeline.predict(frame)
    reference = drift.reference(frame[columns], GENDERS, labels, np.ones(50), 3)
    flavor.save(flavor.PortableModel(**{**vars(model), "reference": reference}), tmp_path / "m")
    names = json.loads((tmp_path / "m" / "artifacts" / "segments.json").read_text())
    assert names["reference"] == reference
    assert [feature["name"] for feature in reference["features"]] == columns
    for feature in reference["features"]:
        assert sum(feature["shares"]) == pytest.approx(1)
        assert len(feature["shares"]) <= 10
    assert sum(reference["shares"]) == pytest.approx(1)

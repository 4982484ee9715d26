from __future__ import annotations

import codecs
import csv
import gzip
import os
import string
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segmentation.config import DataConfig, EngineConfig, FeaturesConfig, FitConfig
from segmentation.data import csv_table, text_encoding
from segmentation.data import customers as tables
from segmentation.data.csv_dialect import DELIMITERS, detect_delimiter
from segmentation.data.customers import Customers, from_frame, read_csv, read_parquet
from segmentation.errors import ConfigError, DataError
from segmentation.experiments.read import customers_of

MALL = {
    "CustomerID": "customer_id",
    "Gender": "gender",
    "Genre": "gender",
    "Age": "age",
    "Annual Income (k$)": "annual_income",
    "Spending Score (1-100)": "spending_score",
}


def written(folder: Path, content: str | bytes, name: str = "customers.csv") -> Path:
    file = folder / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


def refused(folder: Path, content: str | bytes, **options: object) -> str:
    """Message with which a file of this content is refused."""
    with pytest.raises(DataError) as error:
        read_csv(written(folder, content), **options)  # type: ignore[arg-type]
    message = str(error.value)
    assert "\n" not in message
    return message


# --- the real files -------------------------------------------------------------------------


def test_the_three_mall_files_are_the_same_customers(shared_data: Path) -> None:
    gender, genre, padded = (
        read_csv(shared_data / f"Mall_Customers_{name}.csv", rename=MALL)
        for name in ("Gender", "Genre", "Genre_padded")
    )
    assert list(gender.frame) == ["gender", "age", "annual_income", "spending_score"]
    assert [str(kind) for kind in gender.frame.dtypes[1:]] == ["int64"] * 3
    pd.testing.assert_frame_equal(gender.frame, genre.frame)
    pd.testing.assert_frame_equal(gender.frame, padded.frame)
    assert gender.digest == genre.digest != padded.digest  # the ids differ
    assert gender.ids.tolist()[:2] == ["1", "2"]
    assert padded.ids.tolist()[:2] == ["0001", "0002"]
    assert padded.ids.name == "customer_id"
    assert padded.source == "Mall_Customers_Genre_padded.csv"
    assert gender.frame["annual_income"].sum() == 12112


def test_wholesale_has_no_id_so_rows_are_numbered(shared_data: Path) -> None:
    customers = read_csv(shared_data / "Wholesale customers data.csv")
    assert customers.ids.name == "row"
    assert customers.ids.iloc[[0, -1]].tolist() == ["1", "440"]
    assert customers.frame.shape == (440, 8)
    assert any("row numbers" in note for note in customers.notes)


# --- formats --------------------------------------------------------------------------------

names = st.text(string.ascii_letters, min_size=1, max_size=8)
texts = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=2, max_size=8)


@settings(max_examples=30, deadline=None)
@given(
    delimiter=st.sampled_from(DELIMITERS),
    header=st.lists(names, min_size=2, max_size=5, unique_by=str.lower),
    rows=st.integers(2, 8),
    data=st.data(),
)
def test_a_table_written_with_any_delimiter_is_detected(
    delimiter: str, header: list[str], rows: int, data: st.DataObject
) -> None:
    table = data.draw(st.lists(st.tuples(*[texts] * len(header)), min_size=rows, max_size=rows))
    frame = pd.DataFrame(table, columns=header)
    text = frame.to_csv(sep=delimiter, index=False, quoting=csv.QUOTE_MINIMAL)
    assert detect_delimiter(text) == delimiter


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(
    delimiter=st.sampled_from(DELIMITERS),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    end=st.sampled_from(["\n", "\r\n"]),
    zipped=st.booleans(),
    decimal=st.sampled_from([".", ","]),
    data=st.data(),
)
def test_numbers_and_texts_survive_every_way_to_write_a_csv(
    tmp_path_factory: pytest.TempPathFactory,
    delimiter: str,
    encoding: str,
    end: str,
    zipped: bool,
    decimal: str,
    data: st.DataObject,
) -> None:
    n = data.draw(st.integers(2, 6))
    reals = st.floats(-1e100, 1e100).filter(lambda x: x != int(x))
    frame = pd.DataFrame(
        {
            "whole": data.draw(st.lists(st.integers(-(10**9), 10**9), min_size=n, max_size=n)),
            "real": data.draw(st.lists(reals, min_size=n, max_size=n)),
            "name": [f"x{t}" for t in data.draw(st.lists(texts, min_size=n, max_size=n))],
        }
    )
    raw = frame.to_csv(index=False, sep=delimiter, decimal=decimal, lineterminator=end)
    content = raw.encode(encoding)
    folder = tmp_path_factory.mktemp("csv")
    file = written(folder, gzip.compress(content) if zipped else content)
    pd.testing.assert_frame_equal(
        read_csv(file, decimal=decimal).frame, from_frame(frame).frame, check_exact=True
    )


def test_csv_parquet_and_frame_give_the_same_customers(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"customer_id": [3, 1, 2], "age": [20, 30, 41], "x": [0.1, 0.25, 3], "g": ["a", "b", "a"]}
    )
    frame.to_csv(tmp_path / "c.csv", index=False)
    frame.to_parquet(tmp_path / "c.parquet")
    read = [read_csv(tmp_path / "c.csv"), read_parquet(tmp_path / "c.parquet"), from_frame(frame)]
    for customers in read:
        pd.testing.assert_frame_equal(customers.frame, frame.drop(columns="customer_id"))
        assert customers.ids.tolist() == ["3", "1", "2"]
        assert customers.ids.dtype == read[0].ids.dtype
        assert customers.digest == read[0].digest


@pytest.fixture
def typed(monkeypatch) -> list[bool]:
    """Blocks are short; says of each file whether they were enough to type its columns."""
    read, enough = tables.read_typed_csv, []

    def noted(*arguments, **options):
        found = read(*arguments, **options)
        enough.append(found is not None)
        return found

    monkeypatch.setattr(tables, "read_typed_csv", noted)
    monkeypatch.setattr(text_encoding, "BLOCK", 128)
    monkeypatch.setattr(csv_table, "JOINED_ROWS", 20)
    return enough


ROWS = 60
#: Columns of a large file, and whether blocks tell what they are.
COLUMNS = {
    "whole": ([str(row - 9) for row in range(ROWS)], True),
    "first whole": ([str(row) if row < 30 else f"{row}.25" for row in range(ROWS)], True),
    "long": ([str(9_007_199_254_740_993 + row) for row in range(ROWS)], True),
    "leading zeros": ([f"{row:04d}" for row in range(ROWS)], True),
    "gaps": (["" if row % 7 else str(row) for row in range(ROWS)], True),
    "late": (["NA" if row < 40 else str(row) for row in range(ROWS)], True),
    "answers": (["true", "false"] * (ROWS // 2), True),
    "texts": (["red", "blue", ""] * (ROWS // 3), True),
    "empty": ([""] * ROWS, True),
    "late texts": (["" if row < 40 else "red" for row in range(ROWS)], False),
    "answers, then numbers": (["true" if row < 40 else "1" for row in range(ROWS)], False),
    "a mistake": (["1" if row < 50 else "one" for row in range(ROWS)], False),
}


@pytest.mark.parametrize("name", COLUMNS)
@pytest.mark.parametrize("id", ["customer_id", "key"])
def test_a_large_csv_is_read_in_blocks_to_the_same(
    tmp_path: Path, typed: list[bool], monkeypatch, name: str, id: str
) -> None:
    values, enough = COLUMNS[name]
    frame = pd.DataFrame({id: [f"{row:03d}" for row in range(ROWS)], "x": values})
    frame["other"] = "3"
    path = tmp_path / "large.csv"
    frame.to_csv(path, index=False, sep=";")
    options = {"id": id, "columns": ["other"]}
    customers = read_csv(path, **options)
    assert typed == [enough]
    monkeypatch.setattr(text_encoding, "BLOCK", 1 << 22)
    whole = read_csv(path, **options)
    assert customers.digest == whole.digest
    assert customers.notes == whole.notes
    pd.testing.assert_series_equal(customers.ids, whole.ids)
    assert customers.ids.iloc[1] == "001"
    assert list(customers.others.columns) == list(whole.others.columns)
    for column in customers.others.columns:
        pd.testing.assert_series_equal(customers.column(column), whole.column(column))


@pytest.mark.parametrize(
    ("line", "said"),
    [("7,", "line 33"), ("7,inf", "line 33"), ("7,one", "line 33"), ("7", "line 33"), ('7,"1', "")],
)
def test_what_is_wrong_in_a_large_csv_is_told_as_of_a_small_one(
    tmp_path: Path, typed: list[bool], monkeypatch, line: str, said: str
) -> None:
    lines = ["k,x", *(f"{row},{row}" for row in range(ROWS))]
    lines[32] = line
    path = tmp_path / "large.csv"
    path.write_text("\n".join(lines) + "\n")
    messages = []
    for block in (128, 1 << 22):
        monkeypatch.setattr(text_encoding, "BLOCK", block)
        with pytest.raises(DataError) as raised:
            read_csv(path)
        messages.append(str(raised.value))
    assert messages[0] == messages[1]
    assert said in messages[0]


def test_a_large_file_is_said_to_be_read(tmp_path: Path, typed: list[bool], monkeypatch) -> None:
    monkeypatch.setattr(tables, "LARGE_BYTES", 0)
    path = tmp_path / "large.csv"
    path.write_text("x,y\n" + "1,2\n3,4\n" * 40)
    data = DataConfig(source="csv", path=str(path))
    said: list[str] = []
    config = FitConfig(
        data=data,
        features=FeaturesConfig(name="auto"),
        engine=EngineConfig(name="sklearn"),
    )
    customers_of(config, said.append)
    assert said == ["Reading large.csv …"]
    assert typed == [True]


def test_quotes_hold_delimiters_quotes_and_line_breaks(tmp_path: Path) -> None:
    file = written(tmp_path, 'id,name\n1,"a, ""b"""\n2,"x\ny"\n')
    assert read_csv(file).frame["name"].tolist() == ['a, "b"', "x\ny"]


def test_a_table_may_be_very_wide() -> None:
    header = ";".join(f"a_column_with_a_long_name_{i}" for i in range(12_000))
    rows = "\n".join(";".join([str(i)] * 12_000) for i in range(2))
    assert detect_delimiter(f"{header}\n{rows}\n") == ";"


def test_a_byte_order_mark_is_no_part_of_the_first_header(tmp_path: Path) -> None:
    file = written(tmp_path, codecs.BOM_UTF8 + b"id;age\r\n1;20\r\n2;30\r\n")
    customers = read_csv(file)
    assert customers.ids.name == "id"
    assert "separator ';' detected" in customers.notes


def test_latin_1_is_read_with_a_note_and_another_encoding_on_request(tmp_path: Path) -> None:
    file = written(tmp_path, "id,city,x\n1,Köln €,1\n2,Bonn,2\n".encode("cp1252"))
    assert read_csv(file).frame["city"][0].startswith("Köln")
    assert any("Latin-1" in note for note in read_csv(file).notes)
    assert read_csv(file, encoding="cp1252").frame["city"][0] == "Köln €"
    with pytest.raises(DataError, match=r"not utf-8 text.*data\.encoding"):
        read_csv(file, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"data\.encoding=klingon"):
        read_csv(file, encoding="klingon")


def test_a_plus_sign_is_part_of_a_number(tmp_path: Path) -> None:
    customers = read_csv(written(tmp_path, "id,x,y\n1,+20,+2.5\n2,-3,4\n"))
    assert customers.frame.to_dict("list") == {"x": [20, -3], "y": [2.5, 4]}


def test_quotes_that_are_part_of_a_text_cut_no_record_in_two(tmp_path: Path, monkeypatch) -> None:
    lines = ['5" pipe,1', '"a\nb",2', '"say ""x""\n",3', "plain,4"] * 30
    file = written(tmp_path, "name,x\n" + "\n".join(lines) + '\n7" pipe,"6\n"\n')
    whole = read_csv(file)
    assert whole.frame["name"].tolist() == [
        *['5" pipe', "a\nb", 'say "x"', "plain"] * 30,
        '7" pipe',
    ]
    for block in range(11, 60, 7):
        monkeypatch.setattr(text_encoding, "BLOCK", block)
        assert read_csv(file).digest == whole.digest


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_are_counted_whatever_ends_them_and_wherever_blocks_do(
    tmp_path: Path, monkeypatch, end: str
) -> None:
    lines = ["", "k,x", *(f'"{row}\r",{row}' for row in range(ROWS))]
    lines[40] = "7,"
    file = written(tmp_path, end.join(lines))
    for block in (16, 37, 1 << 22):
        monkeypatch.setattr(text_encoding, "BLOCK", block)
        with pytest.raises(DataError, match=r"x 1 \(line 79\)"):
            read_csv(file)


def test_what_is_not_in_the_encoding_is_said_with_its_place_in_the_file(
    tmp_path: Path, monkeypatch
) -> None:
    file = written(tmp_path, b"a,b\n" + "1,ä\n".encode() * 30 + b"1,\xff\n")
    for block in (7, 1 << 22):
        monkeypatch.setattr(text_encoding, "BLOCK", block)
        with pytest.raises(DataError, match="byte 0xff in position 156: invalid start byte"):
            read_csv(file, encoding="utf-8")


def test_blanks_around_headers_and_values_do_not_count(tmp_path: Path) -> None:
    customers = read_csv(written(tmp_path, " id , age ,g\n 1 , 20 , a\n 2 , 30 , b\n"))
    assert customers.frame.to_dict("list") == {"age": [20, 30], "g": ["a", "b"]}


def test_a_saved_row_index_is_left_out(tmp_path: Path) -> None:
    pd.DataFrame({"age": [3, 4]}).to_csv(tmp_path / "c.csv")
    customers = read_csv(tmp_path / "c.csv")
    assert list(customers.frame) == ["age"]
    assert any("row index" in note for note in customers.notes)


def test_a_delimiter_at_the_end_of_every_line_makes_no_column(tmp_path: Path) -> None:
    assert list(read_csv(written(tmp_path, "age,x,\n1,2,\n3,4,\n")).frame) == ["age", "x"]
    assert "no name" in refused(tmp_path, "age,x,\n1,2,5\n3,4,6\n")


def test_every_pandas_type_becomes_a_number_or_text() -> None:
    customers = from_frame(
        pd.DataFrame(
            {
                "flag": [True, False, True],
                "nullable": pd.array([1, 2, 3], "Int64"),
                "category": pd.Categorical(["x", "y", "x"]),
                "day": pd.to_datetime(["2024-01-01", "2024-01-02", "2024-01-03"]),
                "mixed": [1, "2", 3.5],
                "money": [Decimal("1.5"), Decimal("2"), Decimal("3")],
                "small": np.array([1, 2, 3], "float32"),
                "list": [[1], [2], [3]],
            }
        )
    )
    frame = customers.frame
    assert "list" not in frame
    assert frame["flag"].tolist() == [1, 0, 1]
    assert frame["nullable"].dtype == "int64"
    assert frame["mixed"].tolist() == [1.0, 2.0, 3.5]
    assert frame["money"].dtype == frame["small"].dtype == "float64"
    assert frame["day"][1].startswith("2024-01-02")
    assert frame["category"].tolist() == ["x", "y", "x"]


def test_true_and_false_in_a_csv_are_numbers_as_in_parquet(tmp_path: Path) -> None:
    file = written(tmp_path, "id,member\n1,True\n2,False\n")
    assert read_csv(file).frame["member"].tolist() == [1, 0]


# --- ids and columns ------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["id", "ID", "CustomerID", "customer_id", "Client No", "user-id"])
def test_a_column_that_looks_like_an_id_is_taken_for_it(name: str) -> None:
    customers = from_frame(pd.DataFrame({"age": [1, 2], name: ["007", "008"]}))
    assert customers.ids.tolist() == ["007", "008"]
    assert customers.ids.name == name
    assert f"column '{name}' used as id" in customers.notes
    assert list(customers.frame) == ["age"]


def test_a_number_column_that_repeats_is_a_feature() -> None:
    customers = from_frame(pd.DataFrame({"number": [1, 1], "age": [2, 3]}))
    assert customers.ids.name == "row"
    assert list(customers.frame) == ["number", "age"]


def test_the_id_may_be_named_by_header_or_by_new_name_or_be_the_index() -> None:
    frame = pd.DataFrame({"Kunde": ["a", "b"], "age": [1, 2]})
    for id in ("Kunde", "who"):
        customers = from_frame(frame, id=id, rename={"Kunde": "who"})
        assert customers.ids.tolist() == ["a", "b"]
        assert customers.ids.name == "who"
    assert from_frame(frame.set_index("Kunde"), id="Kunde").ids.tolist() == ["a", "b"]


def test_whole_float_ids_lose_their_point() -> None:
    assert from_frame(pd.DataFrame({"id": [7.0, 8.0], "x": [1, 2]})).ids.tolist() == ["7", "8"]


def test_bad_ids_are_refused_with_their_lines(tmp_path: Path) -> None:
    message = refused(tmp_path, "k,age\n1,2\n2,3\n1,4\n\n3,9\n", id="k")
    assert "not unique" in message
    assert "lines 2, 4)" in message
    message = refused(tmp_path, "customer_id,age\n1,2\n2,3\n\n2,4\n")
    assert "lines 3, 5)" in message
    assert "data.id" in message
    assert "line 3" in refused(tmp_path, "id,age\n1,2\n,3\n")
    assert "has no column 'kunde'. Columns: a, b." in refused(tmp_path, "a,b\n1,2\n", id="kunde")
    with pytest.raises(ConfigError, match="an id is not a feature"):
        from_frame(pd.DataFrame({"k": [1, 2]}), id="k", columns=["k"])


def test_ids_of_one_hash_are_not_one_id(monkeypatch) -> None:
    monkeypatch.setattr(
        pd.util, "hash_array", lambda values, categorize: np.zeros(len(values), np.uint64)
    )
    frame = pd.DataFrame({"id": ["a", "b", "c"], "x": [1, 2, 3]})
    assert list(from_frame(frame).ids) == ["a", "b", "c"]
    with pytest.raises(DataError, match="not unique: 2 rows share an id"):
        from_frame(frame.assign(id=["a", "b", "a"]))


def test_asked_columns_are_kept_in_their_order_and_missing_ones_named(tmp_path: Path) -> None:
    file = written(tmp_path, "a,b,Age\n1,2,3\n4,5,6\n")
    assert list(read_csv(file, columns=["age", "a"], rename={"Age": "age"}).frame) == ["age", "a"]
    message = refused(tmp_path, "age,income\n1,2\n", columns=["agge"])
    assert message == (
        "customers.csv has no column 'agge'. Did you mean 'age'? Columns: age, income."
    )


def test_unasked_columns_are_not_checked() -> None:
    frame = pd.DataFrame({"a": [1, 2], "gap": [1.0, None], "huge": [1e308, 0]})
    assert list(from_frame(frame, columns=["a"]).frame) == ["a"]


def test_two_headers_of_one_name_are_refused(tmp_path: Path) -> None:
    assert "2 columns are called 'a'" in refused(tmp_path, "a,a\n1,2\n3,4\n")
    message = refused(tmp_path, "Gender,Genre\nm,f\nf,m\n", rename=MALL)
    assert "headers Gender, Genre" in message


# --- values ---------------------------------------------------------------------------------


def test_text_in_a_number_column_is_named_with_its_line(tmp_path: Path) -> None:
    content = 'id,name,age\n1,"a\nb",20\n\n2,c,thirty\n3,d,40\n4,e,?\n'
    message = refused(tmp_path, content)
    assert "customers.csv, column 'age'" in message
    assert "'thirty', '?'" in message
    assert "lines 5, 7" in message


def test_a_column_of_mostly_texts_is_a_category(tmp_path: Path) -> None:
    file = written(tmp_path, "id,size\n1,S\n2,38\n3,M\n")
    assert read_csv(file).frame["size"].tolist() == ["S", "38", "M"]


@pytest.mark.parametrize(
    ("values", "decimal", "advice"),
    [
        (["1,5", "2,5", "3"], ".", "data.decimal=','"),
        (["1.5", "2.5", "3"], ",", "data.decimal='.'"),
        (["$15", "$1,200.50", "$7"], ".", "currency"),
        (["1e5", "2e5", "x"], ".", "Correct"),
    ],
)
def test_the_other_ways_to_write_numbers_are_explained(
    tmp_path: Path, values: list[str], decimal: str, advice: str
) -> None:
    content = "id;x\n" + "".join(f"{i};{v}\n" for i, v in enumerate(values))
    assert advice in refused(tmp_path, content, decimal=decimal)


def test_dates_are_text(tmp_path: Path) -> None:
    file = written(tmp_path, "id,a,b\n1,2024-01-02,1.2.2024\n2,2024-01-03,2.2.2024\n")
    assert read_csv(file).frame["a"].tolist() == ["2024-01-02", "2024-01-03"]
    assert read_csv(file).frame["b"].tolist() == ["1.2.2024", "2.2.2024"]


@pytest.mark.parametrize("value", ["inf", "-Infinity", "1e308", "-1e151", "1e400"])
def test_infinite_and_overflowing_numbers_are_refused(tmp_path: Path, value: str) -> None:
    message = refused(tmp_path, f"id,age\n1,20\n2,{value}\n3,30\n")
    assert "column 'age'" in message
    assert "line 3" in message


def test_missing_values_stop_by_default_and_say_where_and_what_to_do(tmp_path: Path) -> None:
    message = refused(tmp_path, "id,age,x\n1,20,1\n2,,2\n3,NA,3\n4,50,\n")
    assert "age 2 (lines 3, 4), x 1 (line 5)" in message
    assert "data.missing=drop" in message
    assert "data.missing=median" in message


def test_many_missing_values_are_counted_and_only_the_first_listed(tmp_path: Path) -> None:
    message = refused(tmp_path, "id,age\n" + "".join(f"{i},\n" for i in range(9)) + "9,1\n")
    assert "age 9 (lines 2, 3, 4, 5, 6, ...)" in message


def test_dropping_keeps_the_right_ids_and_the_types(tmp_path: Path) -> None:
    file = written(tmp_path, "id,age,g\na,20,m\nb,,f\nc,30,\nd,50,f\n")
    everywhere = read_csv(file, missing="drop", columns=["age", "g"])
    assert everywhere.ids.tolist() == ["a", "d"]
    assert everywhere.frame.to_dict("list") == {"age": [20, 50], "g": ["m", "f"]}
    assert everywhere.frame["age"].dtype == "int64"
    assert everywhere.frame.index.equals(pd.RangeIndex(2))
    assert any("rows dropped: 2" in note for note in everywhere.notes)
    assert read_csv(file, missing="drop", columns=["age"]).ids.tolist() == ["a", "c", "d"]


def test_the_median_fills_numbers_and_refuses_text(tmp_path: Path) -> None:
    content = "id,a,b,g\n1,20,1,m\n2,,2,f\n3,30,,m\n4,51,4,\n"
    file = written(tmp_path, content)
    customers = read_csv(file, missing="median", columns=["a", "b"])
    assert customers.frame["a"].tolist() == [20, 30, 30, 51]
    assert customers.frame["a"].dtype == "int64"
    assert customers.frame["b"].tolist() == [1, 2, 2, 4]
    assert any("median 30 (1: line 3)" in note for note in customers.notes)
    half = read_csv(written(tmp_path, "id,a\n1,1\n2,2\n3,\n"), missing="median")
    assert half.frame["a"].tolist() == [1, 2, 1.5]
    assert "text has no median" in refused(tmp_path, content, missing="median", columns=["g"])


@pytest.mark.parametrize("missing", ["error", "drop", "median"])
def test_an_empty_column_is_refused_when_used_and_ignored_else(
    tmp_path: Path, missing: str
) -> None:
    content = "id,a,b\n1,,2\n2,,3\n"
    assert "is empty" in refused(tmp_path, content, columns=["a"], missing=missing)
    assert read_csv(written(tmp_path, content)).frame["b"].tolist() == [2, 3]


# --- files that are no table ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"\n \n", "is empty"),
        (b"a,b\n", "no customers"),
        (b"a,b", "no customers"),
        (b"a,b\n1,2\n", "at least 2"),
        (b"a,b\n1,2\n3,4,5\n", "line 3: the number of fields (3)"),
        (b"a,b,c\n1,2,3\n\n3,4\n", "line 4: the number of fields (2)"),
        (b"a,b\n1,2,3\n3,4,5\n", "line 2: the number of fields (3)"),
        (b"a^b\n1^2\n3^4\n", "data.delimiter='^'"),
        (b'a,b\n1,2\n3,"4\n5,6\n', "line 3: a quote is opened"),
        (b"a,b\n1,\x002\n3,4\n", "not a text file"),
        (np.random.default_rng(0).bytes(3000), "not a text file"),
        (b"PK\x03\x04rest", "Excel"),
        (b"PAR1rest", "data=parquet"),
        (gzip.compress(b"a,b\n1,2\n3,4\n", mtime=0)[:-6], "cannot be read"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    assert said in refused(tmp_path, content)


def test_a_wrong_delimiter_is_answered_with_the_right_one(tmp_path: Path) -> None:
    message = refused(tmp_path, "a;b\n1;2\n3;4\n", delimiter=",")
    assert "data.delimiter=';'" in message
    for delimiter in (",,", "a", '"'):
        with pytest.raises(ConfigError, match=r"data\.delimiter"):
            read_csv(written(tmp_path, "a,b\n1,2\n3,4\n"), delimiter=delimiter)


def test_a_table_of_one_column_is_a_table(tmp_path: Path) -> None:
    assert read_csv(written(tmp_path, "age\n1\n2\n")).frame["age"].tolist() == [1, 2]


def test_a_file_that_is_not_there_is_named_in_full_with_its_likes(tmp_path: Path) -> None:
    written(tmp_path, "a,b\n1,2\n3,4\n")
    with pytest.raises(DataError) as error:
        read_csv(tmp_path / "custmers.csv")
    assert str(tmp_path / "custmers.csv") in str(error.value)
    assert "customers.csv" in str(error.value).split("Similar")[1]
    with pytest.raises(DataError, match="there is no folder"):
        read_csv(tmp_path / "nowhere" / "customers.csv")
    with pytest.raises(DataError, match="is a folder"):
        read_parquet(tmp_path)
    with pytest.raises(ConfigError, match=r"data\.path is empty"):
        read_csv("")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="this user may read everything")
def test_a_file_without_permission_is_refused(tmp_path: Path) -> None:
    file = written(tmp_path, "a,b\n1,2\n3,4\n")
    file.chmod(0)
    with pytest.raises(DataError, match="No permission"):
        read_csv(file)


def test_a_parquet_file_that_is_none_is_refused(tmp_path: Path) -> None:
    for content in (b"", b"a,b\n1,2\n", b"PAR1" + b"x" * 100):
        with pytest.raises(DataError, match="not a readable Parquet file"):
            read_parquet(written(tmp_path, content, "c.parquet"))


def test_tables_without_rows_or_columns_are_refused() -> None:
    for frame in (pd.DataFrame(), pd.DataFrame({"a": []}), pd.DataFrame({"a": [1]})):
        with pytest.raises(DataError, match="at least 2"):
            from_frame(frame)
    with pytest.raises(DataError, match="DataFrame is needed"):
        from_frame([1, 2])  # type: ignore[arg-type]


def test_options_have_few_values(tmp_path: Path) -> None:
    file = written(tmp_path, "a,b\n1,2\n3,4\n")
    with pytest.raises(ConfigError, match="error, drop, median"):
        read_csv(file, missing="mean")
    with pytest.raises(ConfigError, match=r"data\.decimal"):
        read_csv(file, decimal=";")


# --- digest ---------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_the_digest_sees_every_single_value_name_and_id(data: st.DataObject) -> None:
    n = data.draw(st.integers(2, 30))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    frame = pd.DataFrame(
        {
            "id": [f"c{i}" for i in range(n)],
            "whole": rng.integers(0, 9, n),
            "real": rng.normal(size=n),
            "text": rng.choice(["ab", "c", "abc"], n),
        }
    )
    digest = from_frame(frame).digest
    assert from_frame(frame.copy()).digest == digest
    other = frame.copy()
    row = data.draw(st.integers(0, n - 1))
    change = data.draw(st.sampled_from(["id", "whole", "real", "text", "name", "order"]))
    if change == "name":
        other = other.rename(columns={"real": "rael"})
    elif change == "order":
        other = other.iloc[::-1].reset_index(drop=True)
    else:
        old = other[change][row]
        other.loc[row, change] = old + ("x" if isinstance(old, str) else 1)
    assert from_frame(other).digest != digest


def test_the_digest_keeps_neighbouring_texts_apart() -> None:
    def digest(a: str, b: str) -> str:
        return from_frame(pd.DataFrame({"x": [1, 2], "t": [a, b]})).digest

    assert digest("ab", "c") != digest("a", "bc")


def test_the_digest_is_of_the_data_whichever_columns_are_used() -> None:
    frame = pd.DataFrame({"id": [1, 2], "a": [1, 2], "b": [3, 4], "t": ["x", None]})
    assert from_frame(frame).digest == from_frame(frame, columns=["b"]).digest


def test_the_digest_tells_the_policies_apart() -> None:
    frame = pd.DataFrame({"id": [1, 2, 3], "a": [1, 2, None]})
    dropped, filled = (from_frame(frame, missing=m) for m in ("drop", "median"))
    assert dropped.digest != filled.digest


def test_the_frame_given_is_left_alone() -> None:
    frame = pd.DataFrame({"id": [1, 2, 3], "a": [1.0, np.nan, 3.0]})
    before = frame.copy()
    customers: Customers = from_frame(frame, missing="median")
    assert customers.frame["a"].tolist() == [1, 2, 3]
    pd.testing.assert_frame_equal(frame, before)

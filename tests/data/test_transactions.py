"""From a purchase log to customers: what is counted, what is left out, what is refused."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pa_parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segmentation.cli import main
from segmentation.data.customers import Customers, read_csv
from segmentation.data.rfm import RETURNS
from segmentation.data.transactions import read_transactions
from segmentation.errors import ConfigError, DataError

LOG = """customer_id,date,amount
b,2024-03-01,10.0
a,2024-01-01,20.0
a,2024-01-01,5.0
a,2024-01-11,30.0
b,2024-03-05,0
a,2024-01-31,15.5
"""
WITH_RETURNS = """customer_id,date,amount,quantity
a,2024-01-01,20,2
a,2024-01-10,-5,-1
b,2024-01-02,8,1
b,2024-01-20,-50,-1
c,2024-01-03,-7,-1
"""
CDNOW = {"amount": "dollar_value", "quantity": "number_of_cds", "delimiter": "whitespace"}


def written(folder: Path, text: str) -> Path:
    path = folder / "purchases.csv"
    path.write_text(text, encoding="utf-8")
    return path


def table(customers: Customers) -> pd.DataFrame:
    return customers.frame.set_index(pd.Index(customers.ids, name="customer_id"))


def read(folder: Path, text: str, **options: Any) -> pd.DataFrame:
    return table(read_transactions(written(folder, text), **options))


def refused(folder: Path, text: str, kind: type[Exception] = DataError, **options: Any) -> str:
    with pytest.raises(kind) as caught:
        read_transactions(written(folder, text), **options)
    return str(caught.value)


def test_what_a_customer_is_made_of(tmp_path: Path) -> None:
    found = read(tmp_path, LOG)
    assert list(found.index) == ["a", "b"]
    a, b = found.loc["a"], found.loc["b"]
    # Seen from 2024-03-06; the two lines of January 1st are one purchase.
    assert a.to_dict() == {
        "recency": 35,
        "frequency": 3,
        "monetary": 70.5,
        "average_basket": 23.5,
        "tenure": 65,
        "inter_purchase_days": 15.0,
    }
    assert (b.recency, b.frequency, b.monetary, b.inter_purchase_days) == (1, 2, 10.0, 4.0)


def test_one_purchase_has_waited_for_the_second_ever_since(tmp_path: Path) -> None:
    found = read(tmp_path, LOG + "c,2024-02-26,9\n")
    assert found.loc["c"].tolist() == [9, 1, 9.0, 9.0, 9, 9.0]


def test_cdnow_by_hand(shared_data: Path) -> None:
    customers = read_transactions(shared_data / "CDNOW_master.txt", **CDNOW)
    found = table(customers)
    assert len(found) == 23_570
    # The file's lines of four customers, counted by hand; the last purchase is of 1998-06-30.
    assert found.loc["00001"].tolist() == [546, 1, 11.77, 11.77, 546, 546, 1]
    assert found.loc["00002"].tolist() == [535, 1, 89.0, 89.0, 535, 535, 6]
    assert found.loc["00003"].tolist() == pytest.approx(
        [34, 6, 156.46, 156.46 / 6, 545, 511 / 5, 16]
    )
    assert found.loc["00004"].tolist() == pytest.approx([201, 4, 100.5, 25.125, 546, 345 / 3, 7])
    assert found.monetary.sum() == pytest.approx(2_500_315.63)
    assert found.frequency.sum() == 67_591
    (note,) = customers.notes
    assert "69,659 lines from 1997-01-01 to 1998-06-30" in note


@pytest.mark.parametrize(
    ("returns", "ids", "monetary", "frequency", "items"),
    [
        ("net", ["a", "b"], [15, 0], [1, 1], [1, 0]),
        ("drop", ["a", "b"], [20, 8], [1, 1], [2, 1]),
        ("keep", ["a", "b", "c"], [15, -42, -7], [2, 2, 1], [1, 0, -1]),
    ],
)
def test_rules_for_returns(tmp_path, returns, ids, monetary, frequency, items) -> None:
    found = read(tmp_path, WITH_RETURNS, quantity="quantity", returns=returns)
    assert found.index.tolist() == ids
    assert found.monetary.tolist() == monetary
    assert found.frequency.tolist() == frequency
    assert found["items"].tolist() == items


def test_what_was_done_with_returns_is_said(tmp_path: Path) -> None:
    notes = " ".join(read_transactions(written(tmp_path, WITH_RETURNS)).notes)
    assert "returns: 3, subtracted from the amount paid" in notes
    assert "customers left out: 1," in notes


def test_either_sign_makes_a_return(tmp_path: Path) -> None:
    """Some logs sign the quantity alone, others the amount alone."""
    signed = "customer_id,date,amount,quantity\na,2024-01-01,9,3\nb,2024-01-01,9,3\n"
    one = read(tmp_path, signed + "a,2024-01-02,3,-1\n", quantity="quantity")
    other = read(tmp_path, signed + "a,2024-01-02,-3,1\n", quantity="quantity")
    assert one.equals(other)
    assert one.loc["a", "monetary"] == 6
    assert one.loc["a", "items"] == 2


def test_price_times_quantity(tmp_path: Path) -> None:
    text = "who;when;each;n\n17850;01/12/2010 08:26;2,55;6\n17850;01/12/2010 08:26;3,39;2\n"
    text += "C1;02/12/2010 10:00;4,25;-1\nC1;01/12/2010 09:00;4,25;8\n"
    found = read(
        tmp_path,
        text,
        id="who",
        date="when",
        price="each",
        quantity="n",
        decimal=",",
        date_format="%d/%m/%Y %H:%M",
    )
    assert found.loc["17850", "monetary"] == pytest.approx(6 * 2.55 + 2 * 3.39)
    assert found.loc["C1", "monetary"] == pytest.approx(7 * 4.25)
    assert found.frequency.tolist() == [1, 1]


def test_as_of_leaves_out_what_came_later(tmp_path: Path) -> None:
    customers = read_transactions(written(tmp_path, LOG), as_of="2024-03-05")
    found = table(customers)
    assert found.loc["b"].tolist() == [4, 1, 10.0, 10.0, 4, 4.0]
    assert any("lines left out: 1, dated 2024-03-05 or later" in note for note in customers.notes)
    assert read(tmp_path, LOG, as_of="20240305").equals(found)


logs = st.lists(
    st.tuples(
        st.sampled_from(["u", "v", "w", "x"]),
        st.integers(0, 40),
        st.integers(-30, 60),
    ),
    min_size=1,
    max_size=40,
)


def as_csv(rows: list[tuple[str, int, int]]) -> str:
    first = dt.date(2023, 12, 20)
    lines = [f"{who},{first + dt.timedelta(days=day)},{amount}" for who, day, amount in rows]
    # Two customers that are always there, so that there is a table.
    lines += ["y,2024-02-10,1", "z,2024-02-11,2"]
    return "customer_id,date,amount\n" + "\n".join(lines) + "\n"


@given(rows=logs, returns=st.sampled_from(RETURNS))
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_as_pandas_would_count(tmp_path: Path, rows, returns) -> None:
    text = as_csv(rows)
    found = read(tmp_path, text, returns=returns)
    log = pd.read_csv(tmp_path / "purchases.csv", parse_dates=["date"])
    as_of = log.date.max() + pd.Timedelta(days=1)
    bought = log if returns == "keep" else log[log.amount >= 0]
    days = bought.drop_duplicates(["customer_id", "date"]).groupby("customer_id").date
    paid = (bought if returns == "drop" else log).groupby("customer_id").amount.sum()
    paid = paid[days.count().index]
    assert found.index.tolist() == days.count().index.tolist()
    assert found.frequency.tolist() == days.count().tolist()
    assert found.recency.tolist() == (as_of - days.max()).dt.days.tolist()
    assert found.tenure.tolist() == (as_of - days.min()).dt.days.tolist()
    assert found.monetary.tolist() == (paid.clip(lower=0) if returns == "net" else paid).tolist()
    for who, dates in days:
        gaps = np.diff(np.sort(dates)).astype("timedelta64[D]").astype(float)
        expected = gaps.mean() if len(gaps) else found.loc[who, "tenure"]
        assert found.loc[who, "inter_purchase_days"] == pytest.approx(expected)


@given(rows=logs, data=st.data())
@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_order_of_the_lines_does_not_matter(tmp_path: Path, rows, data) -> None:
    one = read_transactions(written(tmp_path, as_csv(rows)))
    other = read_transactions(written(tmp_path, as_csv(data.draw(st.permutations(rows)))))
    assert one.digest == other.digest


@pytest.mark.parametrize(
    "written_as",
    [
        "%Y-%m-%d",
        "%Y%m%d",
        "%Y-%m-%d %H:%M:%S",
        "%Y-%m-%dT%H:%M:%S.250Z",
        "%Y-%m-%d %H:%M+02:00",
    ],
)
def test_dates_as_logs_write_them(tmp_path: Path, written_as: str) -> None:
    lines = [line.split(",") for line in LOG.splitlines()]
    for line in lines[1:]:
        line[1] = dt.datetime.fromisoformat(line[1]).replace(hour=23, minute=5).strftime(written_as)
    text = "\n".join(",".join(line) for line in lines)
    assert read(tmp_path, text).equals(read(tmp_path, LOG))


@pytest.mark.parametrize(
    "kind",
    [pa.date32(), pa.date64(), pa.timestamp("us"), pa.timestamp("ns", "Asia/Tokyo"), pa.int64()],
    ids=str,
)
def test_parquet_is_as_good_as_csv(tmp_path: Path, kind: pa.DataType) -> None:
    expected = read_transactions(written(tmp_path, LOG))
    frame = pd.read_csv(tmp_path / "purchases.csv", parse_dates=["date"])
    if kind == pa.int64():
        dates = pa.array(frame.date.dt.strftime("%Y%m%d").astype(int))
    elif getattr(kind, "tz", None):
        # Late in the evening in Tokyo is another day in UTC.
        late = (frame.date + pd.Timedelta(hours=2)).dt.tz_localize(kind.tz)
        dates = pa.array(late.to_list(), kind)
    else:
        dates = pa.array(frame.date.dt.date, pa.date32()).cast(kind)
    columns = {"customer_id": frame.customer_id.to_list(), "date": dates}
    path = tmp_path / "log.bin"
    pa_parquet.write_table(pa.table({**columns, "amount": frame.amount.to_list()}), path)
    assert read_transactions(path).digest == expected.digest


def test_columns_with_other_names(tmp_path: Path) -> None:
    text = LOG.replace("customer_id,date,amount", "Customer ID,When,Paid")
    options = {"id": "Customer ID", "date": "When", "amount": "Paid"}
    assert read(tmp_path, text, **options).equals(read(tmp_path, LOG))
    message = refused(tmp_path, text, id="Customer ID", date="When")
    assert "no column 'amount'" in message
    assert "Customer ID, When, Paid" in message
    assert "data.amount=" in message


def test_a_log_read_with_the_wrong_separator_says_which(shared_data: Path) -> None:
    with pytest.raises(DataError, match=r"data\.delimiter=whitespace"):
        read_csv(shared_data / "CDNOW_master.txt")


MISTAKES: dict[str, tuple[str, dict[str, str], list[str]]] = {
    "a date": (LOG + "a,31.12.2024,3\n", {}, ["'date'", "'31.12.2024'", "line 8", "date_format"]),
    "a day that is none": (LOG + "a,2024-02-30,3\n", {}, ["'2024-02-30'", "line 8"]),
    "half a date": (LOG + "a,2024-02,3\n", {}, ["'2024-02'", "line 8"]),
    "another format": (LOG, {"date_format": "%d.%m.%Y"}, ["%d.%m.%Y", "lines 2, 3"]),
    "an amount": (LOG + "a,2024-02-02,$4\n", {}, ["'amount'", "'$4'", "line 8"]),
    "an infinite amount": (LOG + "a,2024-02-02,inf\n", {}, ["'amount'", "inf", "line 8"]),
    "a decimal comma": (
        "customer_id;date;amount\na;2024-01-01;2,5\nb;2024-01-01;3,5\n",
        {},
        ["data.decimal=','"],
    ),
    "words for amounts": (
        "customer_id,date,amount\na,2024-01-01,x\nb,2024-01-01,y\n",
        {},
        ["'amount'", "'x'", "lines 2, 3"],
    ),
    "no customer": (LOG + ",2024-02-02,4\n", {}, ["customer_id 1 (line 8)", "data.missing=drop"]),
    "no date": (LOG + "a,,4\n", {}, ["date 1 (line 8)"]),
    "no amount": (LOG + "a,2024-02-02,\n", {}, ["amount 1 (line 8)"]),
    "no amounts at all": (
        "customer_id,date,amount\na,2024-01-01,\nb,2024-01-01,\n",
        {},
        ["'amount'", "holds no numbers"],
    ),
    "before everything": (LOG, {"as_of": "2020-01-01"}, ["no purchases before 2020-01-01"]),
    "returns only": (
        "customer_id,date,amount\na,2024-01-01,-1\nb,2024-01-01,-2\n",
        {},
        ["has only returns"],
    ),
    "one customer": ("customer_id,date,amount\na,2024-01-01,1\n", {}, ["only 1 customer"]),
    "twice the same header": (
        "customer_id,date,amount,amount\na,2024-01-01,1,2\n",
        {},
        ["2 columns 'amount'"],
    ),
}


@pytest.mark.parametrize("kind", MISTAKES)
def test_a_mistake_is_named_with_its_place(tmp_path: Path, kind: str) -> None:
    text, options, words = MISTAKES[kind]
    message = refused(tmp_path, text, **options)
    for word in ["purchases.csv", *words]:
        assert word in message


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"returns": "ignore"}, "net, drop, keep"),
        ({"missing": "median"}, "error, drop"),
        ({"as_of": "31.12.2024"}, "data.as_of"),
        ({"decimal": ";"}, "data.decimal"),
        ({"price": "amount"}, "data.quantity"),
        ({"price": "amount", "amount": "amount"}, "cannot both be set"),
    ],
)
def test_options_that_cannot_be(tmp_path: Path, options: dict[str, str], word: str) -> None:
    assert word in refused(tmp_path, LOG, ConfigError, **options)


def test_lines_with_gaps_can_be_left_out(tmp_path: Path) -> None:
    text = LOG + ",2024-02-02,4\na,,4\nNaN,2024-09-09,4\n"
    customers = read_transactions(written(tmp_path, text), missing="drop")
    assert table(customers).equals(read(tmp_path, LOG))
    assert "lines left out: 3" in customers.notes[0]


def fit(store_uri: str, *arguments: str) -> int:
    return main.run(["fit", *arguments, f"tracking.uri={store_uri}"])


def test_from_the_command_line(tmp_path: Path, store_uri: str, capfd) -> None:
    rng = np.random.default_rng(3)
    days = pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 300, 400), unit="D")
    frame = pd.DataFrame({"customer_id": rng.integers(0, 60, 400), "date": days})
    frame["amount"] = np.round(rng.gamma(2, 20, 400), 2)
    path = tmp_path / "log.csv"
    frame.to_csv(path, index=False)
    given = ("data=transactions", f"data.path={path}", "choice=silhouette", "k.max=3")
    assert fit(store_uri, *given, "data.as_of=2024-10-01") == 0
    out, err = capfd.readouterr()
    assert "rfm·standard" in out
    assert "as of 2024-10-01" in err
    assert fit(store_uri, *given, "data.returns=perhaps") == 2
    assert "net, drop, keep" in capfd.readouterr().err
    assert fit(store_uri, *given, "data.url=x") == 2
    assert "data=sql" in capfd.readouterr().err


@pytest.mark.slow
def test_cdnow_from_the_command_line(shared_data: Path, store_uri: str, capfd) -> None:
    path = f"data.path={shared_data / 'CDNOW_master.txt'}"
    assert fit(store_uri, "data=cdnow", path, "features=rfm_log") == 0
    out, err = capfd.readouterr()
    assert "rfm_log·standard·k" in out
    assert "23,570 customers" in err

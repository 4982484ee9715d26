"""Customers from a database: what is read, what is refused, and that credentials stay unseen."""

from __future__ import annotations

import os
import socket
import sqlite3
import traceback
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segmentation.cli import main
from segmentation.data.customers import read_csv
from segmentation.data.sql import read_sql
from segmentation.errors import ConfigError, DataError
from segmentation.runtime.redaction import masked, masked_url

CUSTOMERS = "SELECT id, age, income, city FROM customers ORDER BY id"
SECRETS = ("analyst", "s3cret-Pa55", "s3cret%2DPa55")


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "shop.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE customers (id TEXT, age INTEGER, income REAL, city TEXT)")
        connection.executemany(
            "INSERT INTO customers VALUES (?, ?, ?, ?)",
            [(f"{i:03d}", 20 + i % 40, 1000.5 + 37 * i % 900, "NY:1%"[i % 4 :]) for i in range(40)],
        )
    connection.close()
    return path


def refused(url: str, query: str = CUSTOMERS, kind: type[Exception] = DataError) -> str:
    """The message; nothing secret is in it, nor in the traceback a debugger would show."""
    with pytest.raises(kind) as caught:
        read_sql(url, query)
    shown = "".join(traceback.format_exception(caught.value))
    assert caught.value.__context__ is None or "__context__" not in shown
    for secret in SECRETS:
        assert secret not in str(caught.value)
        assert secret not in "".join(
            line for line in shown.splitlines(keepends=True) if not line.startswith("  ")
        )
    return str(caught.value)


def test_a_query_reads_as_a_file_does(database: Path, tmp_path: Path) -> None:
    customers = read_sql(f"sqlite:///{database}", CUSTOMERS, id="id")
    rows = sqlite3.connect(database).execute(CUSTOMERS).fetchall()
    path = tmp_path / "same.csv"
    path.write_text("id,age,income,city\n" + "\n".join(",".join(map(str, r)) for r in rows))
    same = read_csv(path, id="id")
    assert customers.digest == same.digest
    assert customers.frame.equals(same.frame)
    assert customers.ids[7] == "007"
    assert customers.source == "shop.db (sqlite)"


def test_whole_numbers_beside_a_missing_one_stay_whole(database: Path) -> None:
    query = (
        "SELECT id, CASE WHEN id = '003' THEN NULL ELSE 9007199254740993 + age END AS n, age "
        "FROM customers"
    )
    with pytest.raises(DataError, match=r"n 1 \(row 4\)"):
        read_sql(f"sqlite:///{database}", query, id="id")
    customers = read_sql(f"sqlite:///{database}", query, id="id", missing="drop")
    assert customers.frame["n"][0] == 9007199254740993 + 20


def test_a_query_is_taken_as_it_stands(database: Path) -> None:
    """Neither a colon nor a percent sign in it stands for a parameter."""
    query = "SELECT id, age FROM customers WHERE city LIKE '%:1\\%' ESCAPE '\\' AND '12:30' < ':x'"
    assert len(read_sql(f"sqlite:///{database}", query).ids) > 10


def test_a_query_in_a_file(database: Path, tmp_path: Path) -> None:
    path = tmp_path / "customers.sql"
    path.write_text(f"-- all of them\n{CUSTOMERS};\n")
    url = f"sqlite:///{database}"
    assert read_sql(url, str(path)).digest == read_sql(url, CUSTOMERS).digest
    assert str(tmp_path / "none.sql") in refused(url, str(tmp_path / "none.sql"))


@pytest.mark.parametrize(
    "query",
    [
        "DELETE FROM customers",
        "INSERT INTO customers VALUES ('x', 1, 1, 'x') RETURNING id, age",
        "CREATE TABLE more AS SELECT * FROM customers",
        "DROP TABLE customers",
    ],
)
def test_nothing_is_written(database: Path, query: str) -> None:
    before = database.read_bytes()
    refused(f"sqlite:///{database}", query)
    assert database.read_bytes() == before


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("SELECT * FROM clients", ["shop.db", "no such table: clients", "data.query"]),
        ("SELEC 1", ["syntax error"]),
        ("SELECT id, age FROM customers WHERE age > 900", ["no customers"]),
        ("SELECT id, age FROM customers LIMIT 1", ["only 1 customer"]),
        ("SELECT id, age, age FROM customers", ["'age'", "unique"]),
        ("SELECT 1; SELECT 2", ["one statement"]),
        ("PRAGMA user_version = 3", ["query"]),
    ],
)
def test_a_query_that_cannot_be_used(database: Path, query: str, words: list[str]) -> None:
    message = refused(f"sqlite:///{database}", query)
    for word in words:
        assert word in message


def test_no_new_database_is_made(tmp_path: Path) -> None:
    path = tmp_path / "shpo.db"
    assert str(path) in refused(f"sqlite:///{path}")
    assert not path.exists()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("nothing", ["not the address", "sqlite:///shop.db"]),
        ("postgresql://analyst:s3cret-Pa55@db:port/shop", ["not the address"]),
        ("postgresql://analyst:p@ss/s3cret-Pa55@db/shop", ["%40"]),
        ("postgresql://db:5432/shop?user=analyst&password=s3cret-Pa55@x", ["%40"]),
        ("postgresql://***@db:5432/shop", ["postgresql://***@db:5432/shop", "DATABASE_URL"]),
        ("postgresql://analyst:s3cret-Pa55'@db/shop", ["%27"]),
        (
            "klingon://analyst:s3cret-Pa55@db/shop",
            ["klingon://***@db/shop", "does not support this"],
        ),
        ("mssql+nodriver://analyst:s3cret-Pa55@db/shop", ["does not support this"]),
        ("oracle+cx_oracle://analyst:s3cret%2DPa55@db/shop", ["cx_Oracle", "not installed"]),
    ],
)
def test_an_address_that_cannot_be_used(url: str, words: list[str]) -> None:
    message = refused(url, kind=ConfigError)
    for word in words:
        assert word in message


def test_a_driver_that_repeats_the_address_is_not_believed() -> None:
    """SQLAlchemy's SQLite quotes the whole address it cannot use."""
    message = refused("sqlite://analyst:s3cret-Pa55@db/shop", kind=DataError)
    assert "no database file" in message or "Invalid SQLite URL" in message


def test_an_unreachable_server() -> None:
    pytest.importorskip("psycopg", reason="the PostgreSQL driver psycopg is not installed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    message = refused(f"postgres://analyst:s3cret%2DPa55@127.0.0.1:{port}/shop")
    assert f"postgresql+psycopg://***@127.0.0.1:{port}/shop" in message
    assert "refused" in message


text = st.text(st.characters(codec="ascii", categories=("L", "N", "P", "S")), min_size=3)


@given(user=text, password=text, encoded=st.booleans())
def test_an_address_is_masked_however_it_is_written(
    user: str, password: str, encoded: bool
) -> None:
    if encoded:
        user, password = quote(user, safe=""), quote(password, safe="")
    hidden = masked_url(f"postgresql://{user}:{password}@host:5432/shop?sslpassword={password}")
    assert hidden in ("postgresql://***@host:5432/shop?***", "postgresql://***")
    assert hidden == "postgresql://***@host:5432/shop?***" or not encoded
    assert masked_url(hidden) == hidden


def test_an_address_without_credentials_is_left_as_it_is() -> None:
    for url in ("sqlite:////data/shop.db", "postgresql://host:5432/shop", "postgresql:///shop"):
        assert masked_url(url) == url
        assert (
            masked(f"segment fit data.url={url} k.max=3") == f"segment fit data.url={url} k.max=3"
        )
    assert masked("no address, user@host") == "no address, user@host"


#: SQLite has no passwords, but options, which are hidden as passwords are.
SECRET = "7391.25"
FROM_SQL = ["fit", "data=sql", 'data.query="SELECT id, age, income FROM customers"', "data.id=id"]
QUICK = ["choice=silhouette", "k.max=3"]


def check_no_trace(folder: Path) -> list[Path]:
    """Look at every byte of a store; returns the stored configs."""
    kept = [path for path in folder.rglob("*") if path.is_file()]
    assert len(kept) > 15
    for path in kept:
        assert SECRET.encode() not in path.read_bytes(), path
    return [path for path in kept if path.name == "config.yaml"]


def test_no_trace_of_credentials_in_a_run(
    database: Path, store_uri: str, tmp_path: Path, monkeypatch, capfd
) -> None:
    url = f"sqlite:///{database}?timeout={SECRET}"
    monkeypatch.setenv("DATABASE_URL", url)
    to = f"tracking.uri={store_uri}"
    assert main.run([*FROM_SQL, *QUICK, to, "data.url=${oc.env:DATABASE_URL}"]) == 0
    out, err = capfd.readouterr()
    assert "40 customers from shop.db (sqlite)" in err
    assert SECRET not in out + err
    (stored,) = check_no_trace(tmp_path / "store")
    # The run keeps where the address was found, and finds it there again.
    assert "url: ${oc.env:DATABASE_URL}" in stored.read_text()
    again = ["fit", f"run_id={stored.parents[1].name}", to]
    assert main.run(again) == 0
    assert SECRET not in "".join(capfd.readouterr())
    assert len(check_no_trace(tmp_path / "store")) == 2
    monkeypatch.delenv("DATABASE_URL")
    assert main.run(again) == 2
    assert "DATABASE_URL" in capfd.readouterr().err


def test_an_address_that_was_typed_must_be_given_again(
    database: Path, store_uri: str, tmp_path: Path, capfd
) -> None:
    url = f"data.url='sqlite:///{database}?timeout={SECRET}'"
    to = f"tracking.uri={store_uri}"
    assert main.run([*FROM_SQL, *QUICK, to, url]) == 0
    (stored,) = check_no_trace(tmp_path / "store")
    assert f"url: sqlite:///{database}?***" in stored.read_text()
    again = ["fit", f"run_id={stored.parents[1].name}", to]
    assert main.run(again) == 2
    assert "without its credentials" in capfd.readouterr().err
    assert main.run([*again, url]) == 0
    assert SECRET not in "".join(capfd.readouterr())


@pytest.mark.slow
def test_no_trace_of_credentials_in_a_sweep(
    database: Path, store_uri: str, tmp_path: Path, capfd
) -> None:
    url = f"data.url='sqlite:///{database}?timeout={SECRET}'"
    given = [*FROM_SQL, *QUICK, f"tracking.uri={store_uri}", url]
    assert main.run([*given, "-m", "scaling=none,standard"]) == 0
    # A job that fails is named with its overrides.
    assert main.run([*given, "-m", "k.max=3,90"]) == 2
    assert SECRET not in "".join(capfd.readouterr())
    assert len(check_no_trace(tmp_path / "store")) == 3


def test_a_database_without_secrets_runs_again(database, store_uri, tmp_path, capfd) -> None:
    given = [*FROM_SQL, *QUICK, f"tracking.uri={store_uri}"]
    assert main.run([*given, f"data.url=sqlite:///{database}"]) == 0
    (stored,) = (tmp_path / "store").rglob("config.yaml")
    assert main.run(["fit", f"run_id={stored.parents[1].name}", f"tracking.uri={store_uri}"]) == 0


def test_what_must_be_given(store_uri: str, capfd) -> None:
    assert main.run(["fit", "data=sql", f"tracking.uri={store_uri}"]) == 2
    assert "data.url is not set" in capfd.readouterr().err
    os.environ.pop("NO_SUCH_URL", None)
    missing = ["fit", "data=sql", "data.url=${oc.env:NO_SUCH_URL}", "data.query='SELECT 1'"]
    assert main.run([*missing, f"tracking.uri={store_uri}"]) == 2
    assert "NO_SUCH_URL" in capfd.readouterr().err

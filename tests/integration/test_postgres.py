"""Customers from a real PostgreSQL server, started here and stopped again."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

from segmentation.cli import main
from segmentation.data.sql import read_sql
from segmentation.errors import DataError

psycopg = pytest.importorskip("psycopg", reason="the PostgreSQL driver psycopg is not installed")
pytestmark = pytest.mark.slow

USER, PASSWORD = "analyst_7q", "p@ss/w:rd 9#"
ENCODED = "p%40ss%2Fw%3Ard%209%23"
QUERY = "SELECT id, age, income FROM customers"
SECRETS = (USER, PASSWORD, ENCODED)


def _programs() -> Path | None:
    found = shutil.which("initdb") or shutil.which("postgres")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((f for f in folders if (f / "initdb").exists() and (f / "postgres").exists()), None)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """``host:port`` of a server with one table and one user; PostgreSQL does not run as root."""
    programs = _programs()
    if programs is None:
        pytest.skip("PostgreSQL's server is not installed")
    owner = pwd.getpwnam("nobody") if os.getuid() == 0 else pwd.getpwuid(os.getuid())
    identity = {"user": owner.pw_uid, "group": owner.pw_gid} if os.getuid() == 0 else {}
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # Not below tmp_path: the server's user may not enter that.
    folder = Path(tempfile.mkdtemp(prefix="segment-postgres-"))
    (folder / "password").write_text(PASSWORD)
    for path in (folder, folder / "password"):
        os.chown(path, owner.pw_uid, owner.pw_gid)
    subprocess.run(
        [
            *(programs / "initdb", "-D", folder / "data", "-U", USER, "--auth=scram-sha-256"),
            *(f"--pwfile={folder / 'password'}", "--no-sync", "-E", "UTF8", "--locale=C"),
        ],
        check=True,
        capture_output=True,
        cwd=folder,
        **identity,
    )
    process = subprocess.Popen(
        [
            *(programs / "postgres", "-D", folder / "data", "-p", str(port), "-k", folder),
            *("-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=folder,
        **identity,
    )
    try:
        _fill(port, process)
        yield f"127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGINT)  # PostgreSQL's fast shutdown
        process.wait(30)
        shutil.rmtree(folder)


def _fill(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            connection = psycopg.connect(
                host="127.0.0.1", port=port, user=USER, password=PASSWORD, dbname="postgres"
            )
            break
        except psycopg.OperationalError:
            assert process.poll() is None, "the server has ended"
            assert time.monotonic() < deadline, "the server does not answer"
            time.sleep(0.1)
    with connection:
        connection.execute(
            "CREATE TABLE customers (id bigint PRIMARY KEY, age smallint, income numeric(10, 2), "
            "visits bigint, member boolean, city text, since date, code uuid)"
        )
        connection.execute(
            "INSERT INTO customers SELECT i, 20 + i % 40, 1000 + (37 * i) % 900 + 0.25, "
            "CASE WHEN i = 7 THEN NULL ELSE 9007199254740993 + i END, i % 2 = 0, "
            "CASE WHEN i % 2 = 0 THEN 'a:b 5%' ELSE 'Zürich' END, date '2024-01-01' + i, "
            "gen_random_uuid() FROM generate_series(1, 60) AS i"
        )


@pytest.fixture
def url(server: str) -> str:
    return f"postgresql://{USER}:{ENCODED}@{server}/postgres"


def test_types_arrive_as_they_are(url: str) -> None:
    query = "SELECT * FROM customers ORDER BY id"
    customers = read_sql(url, query, id="id", missing="drop")
    frame = customers.frame
    assert customers.source == "postgres (postgresql)"
    assert len(frame) == 59
    assert frame.age.dtype == "int64"
    assert frame.income.tolist()[:2] == [1037.25, 1074.25]
    assert frame.visits[0] == 9007199254740994
    assert frame.member.tolist()[:2] == [0, 1]
    assert frame.city[0] == "Zürich"
    assert frame.since[0] == "2024-01-02"
    assert len(frame["code"][0]) == 36


def test_a_query_is_taken_as_it_stands(url: str) -> None:
    query = QUERY + " WHERE city LIKE 'a:b%5\\%' AND since::text <> ':x'"
    assert len(read_sql(url, query).ids) == 30


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ("DELETE FROM customers RETURNING id, age", "read-only transaction"),
        ("CREATE TABLE more AS SELECT * FROM customers", "read-only transaction"),
        ("SELECT id, nextval('counter') AS n FROM customers", "counter"),
        ("SELECT * FROM clients", '"clients" does not exist'),
    ],
)
def test_what_the_server_refuses_is_said(url: str, query: str, word: str) -> None:
    with pytest.raises(DataError) as caught:
        read_sql(url, query)
    assert word in str(caught.value)
    assert "data.query" in str(caught.value)
    check_no_secret("".join(traceback.format_exception(caught.value)))
    assert len(read_sql(url, QUERY).ids) == 60


@pytest.mark.parametrize(
    ("user", "password", "name"),
    [(USER, "wrong-9q", "postgres"), ("nobody_9q", ENCODED, "postgres"), (USER, ENCODED, "shop")],
)
def test_who_cannot_log_in_reads_no_secret(server: str, user, password, name, capfd) -> None:
    given = f"data.url=postgresql://{user}:{password}@{server}/{name}"
    assert main.run(["fit", "data=sql", given, f"data.query='{QUERY}'"]) == 2
    out, err = capfd.readouterr()
    assert "FATAL" in err
    check_no_secret(out + err, "wrong-9q", "nobody_9q")


def test_no_trace_of_credentials_in_a_run(
    url: str, store_uri: str, tmp_path: Path, monkeypatch, capfd
) -> None:
    monkeypatch.setenv("DATABASE_URL", url.replace("postgresql:", "postgres:"))
    options = ["choice=silhouette", "k.max=3", f"tracking.uri={store_uri}"]
    given = ["fit", "data=sql", f"data.query='{QUERY}'", "data.id=id", *options]
    assert main.run([*given, "data.url=${oc.env:DATABASE_URL}"]) == 0
    assert main.run([*given, f"data.url='{url}'", "-m", "scaling=none,standard"]) == 0
    check_no_secret("".join(capfd.readouterr()))
    kept = [path for path in (tmp_path / "store").rglob("*") if path.is_file()]
    assert sum(path.name == "config.yaml" for path in kept) == 3
    for path in kept:
        content = path.read_bytes()
        for secret in SECRETS:
            assert secret.encode() not in content, path


def check_no_secret(text: str, *more: str) -> None:
    # A traceback shows the test's own lines too.
    shown = "".join(line for line in text.splitlines(True) if not line.startswith("    "))
    for secret in (*SECRETS, *more):
        assert secret not in shown

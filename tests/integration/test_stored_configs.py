"""A run's config is data: others may have written it, and it is read with this user's rights."""

from __future__ import annotations

import copy
import os
import re
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import copy_store
from segmentation.data.demo import generate_customers
from segmentation.errors import SegmentationError
from segmentation.experiments import stored_config
from segmentation.tracking import runs
from segmentation.tracking.store import open_store

from .test_promote import COLUMNS, Shop

SECRET = "s3cr3t-of-the-reader"
VARIABLE = "${oc.env:SECRET}"
QUERY = "SELECT * FROM customers"
FIXED = ("choice=fixed", "choice.k=2", "k.max=2", "engine.effort=fast")
GATES = ("promotion.structure=false", "promotion.min_stability=null")

#: What others may write into a config, by its key.
HOSTILE: list[tuple[str, Any]] = [
    ("naming.names", {0: VARIABLE}),
    ("naming.names", {VARIABLE: "all"}),
    ("naming.labels", {"annual_income": f"income {VARIABLE}"}),
    ("naming.words.high", "{feature} ${oc.decode:${oc.env:SECRET}}"),
    ("features.name", VARIABLE),
    ("features.name", "${data.path}"),
    ("features.name", "${hydra:runtime.cwd}"),
    ("features.name", "\\\\" + VARIABLE),
    ("features.columns", ["annual_income", VARIABLE]),
    ("features", VARIABLE),
    ("scaling", {"_target_": VARIABLE}),
    ("engine.name", VARIABLE),
    ("data.path", f"{VARIABLE}/customers.csv"),
    ("data.rename", {"annual_income": VARIABLE}),
    ("data.default_features", {"name": VARIABLE, "columns": ["age"]}),
    ("data.url", f"postgresql://{VARIABLE}@127.0.0.1:1/shop"),
    ("data.url", VARIABLE),
    ("data.query", f"SELECT '{VARIABLE}'"),
    ("choice.k", VARIABLE),
    ("seed", VARIABLE),
]


def address(shop: Shop) -> str:
    """With an option, so that a run stores the variable's name instead."""
    return f"sqlite:///{shop.folder / 'shop.db'}?timeout=30"


@pytest.fixture(scope="module")
def shop(fresh_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A run on a file, and one on a database whose address is in an environment variable."""
    umask = os.umask(0o022)
    shop = Shop(tmp_path_factory.mktemp("shop"), {})
    shop.folder.chmod(0o755)
    copy_store(fresh_store, shop.folder / "mlflow.db")
    frame = generate_customers(60, seed=1)
    frame.to_csv(shop.folder / "customers.csv", index=False)
    with sqlite3.connect(shop.folder / "shop.db") as database:
        frame.to_sql("customers", database, index=False)
    shop.fit("file", "customers.csv", COLUMNS, *FIXED)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHOP", address(shop))
        patch.setattr("segmentation.tracking.run_items.FIGURES", {})
        sql = ["data=sql", "data.url=${oc.env:SHOP}", f"data.query='{QUERY}'"]
        assert shop.segment("fit", *sql, COLUMNS, *FIXED) == 0
    experiment = shop.client.get_experiment_by_name("customer-segments")
    (newest, *_) = shop.client.search_runs([experiment.experiment_id], max_results=1)
    shop.runs["sql"] = newest.info.run_id
    yield shop
    os.umask(umask)


@pytest.fixture
def secret(shop: Shop, monkeypatch: pytest.MonkeyPatch, capfd) -> Iterator[None]:
    """A secret in the environment, looked for in everything that is printed or stored."""
    monkeypatch.setenv("SECRET", SECRET)
    monkeypatch.setenv("SHOP", address(shop))
    monkeypatch.setattr("segmentation.tracking.run_items.FIGURES", {})
    said: list[str] = []
    read = capfd.readouterr

    def readouterr() -> Any:
        captured = read()
        said.extend(captured)
        return captured

    monkeypatch.setattr(capfd, "readouterr", readouterr)
    yield
    capfd.readouterr()
    assert not any(SECRET in text for text in said)
    files = [path for path in shop.folder.rglob("*") if path.is_file()]
    assert not [path for path in files if SECRET.encode() in path.read_bytes()]


@pytest.fixture
def rewrite(shop: Shop) -> Iterator[Callable[[str, str, Any], None]]:
    """Return a function that sets a key of a run's stored config; undone after the test."""
    kept: dict[Path, bytes] = {}

    def write(run: str, key: str, value: Any) -> None:
        file = shop.artifacts(run) / "config.yaml"
        kept.setdefault(file, file.read_bytes())
        config = yaml.safe_load(file.read_bytes())
        *parents, last = key.split(".")
        node = config
        for parent in parents:
            node = node[parent]
        node[last] = value
        file.write_text(yaml.safe_dump(config), "utf-8")

    yield write
    for file, content in kept.items():
        file.write_bytes(content)


def rerun(shop: Shop, run: str, *overrides: str) -> int:
    return shop.segment("fit", f"run_id={shop.runs[run]}", *overrides)


@pytest.mark.parametrize(("key", "value"), HOSTILE[::2])
def test_nothing_is_resolved_in_a_rerun(
    shop: Shop, secret: None, rewrite, key: str, value: Any, capfd
) -> None:
    before = shop.dump()
    rewrite("file", key, value)
    assert rerun(shop, "file", "trust=true") == 2
    said = capfd.readouterr().err
    assert key.partition(".names")[0] in said
    assert len(said.strip().splitlines()) == 1
    assert shop.dump() == before


def test_nothing_is_resolved_wherever_it_stands(shop: Shop, secret: None, rewrite) -> None:
    store = open_store(shop.uri, "customer-segments")
    run = store.client.get_run(shop.runs["file"])
    original = runs.stored_config(store, run.info.run_id)
    for key, value in HOSTILE:
        *parents, last = key.split(".")
        hostile = copy.deepcopy(original)
        node = hostile
        for parent in parents:
            node = node[parent]
        node[last] = value
        with pytest.raises(SegmentationError, match=re.escape(key.partition(".names")[0])):
            stored_config.cleared(hostile, store=store, run=run, trust=True)


@pytest.mark.parametrize(
    ("key", "value"),
    [("features.columns", ["age", VARIABLE]), ("data.path", VARIABLE), ("data.url", VARIABLE)],
)
def test_nothing_is_resolved_in_a_promotion(
    shop: Shop, secret: None, rewrite, key: str, value: Any, capfd
) -> None:
    before = shop.dump()
    rewrite("file", key, value)
    command = [f"run_id={shop.runs['file']}", "override=trial", "trust=true", *GATES]
    assert shop.segment("promote", *command) == 2
    assert key in capfd.readouterr().err
    assert shop.dump() == before


def test_nothing_is_resolved_in_a_sweep(shop: Shop, secret: None, rewrite, capfd) -> None:
    rewrite("file", "naming.names", {0: VARIABLE})
    assert rerun(shop, "file", "-m", "seed=1,2", "hydra/launcher=basic") != 0
    assert "naming.names.0" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("scaling", {"_target_": "os.system", "command": "touch canary"}),
        ("scaling", {"_target_": "sklearn.preprocessing.FunctionTransformer", "func": "x"}),
        ("hydra", {"launcher": {"_target_": "os.system"}}),
        ("engine.unknown", 1),
        ("data", "customers.csv"),
        ("k", [1, 2]),
    ],
)
def test_it_creates_no_objects(
    shop: Shop, secret: None, rewrite, key: str, value: Any, tmp_path: Path, capfd, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rewrite("file", key, value)
    assert rerun(shop, "file") == 2
    assert len(capfd.readouterr().err.strip().splitlines()) <= 6
    assert not (tmp_path / "canary").exists()


def test_a_damaged_config_is_named(shop: Shop, secret: None, rewrite, capfd) -> None:
    rewrite("file", "seed", 0)
    for content in ("[1, 2]", "data: ]", ""):
        (shop.artifacts("file") / "config.yaml").write_text(content)
        assert rerun(shop, "file") == 2
        assert "is damaged" in capfd.readouterr().err


def test_a_key_given_on_the_command_line_counts(shop: Shop, secret: None, rewrite, capfd) -> None:
    """Also if its text looks like an interpolation."""
    rewrite("file", "features.name", VARIABLE)
    assert rerun(shop, "file", r"features.name='\${oc.env:SECRET}'") == 0
    assert f"{VARIABLE}·standard·k2" in capfd.readouterr().out


def test_names_with_dollars_stay_as_they_are(shop: Shop, secret: None, capfd) -> None:
    fit = [r"naming.names={0: 'cash \${x}', 1: 'a\\\\b \${oc.env:SECRET}'}"]
    assert rerun(shop, "file", *fit) == 0
    out = capfd.readouterr().out
    assert "cash ${x}" in out
    assert VARIABLE in out


class TestAddresses:
    """A stored address is followed from a store of this user's own, or when told to."""

    def test_the_variable_of_an_own_run(self, shop: Shop, secret: None, capfd) -> None:
        assert "url: ${oc.env:SHOP}" in (shop.artifacts("sql") / "config.yaml").read_text()
        assert rerun(shop, "sql") == 0
        said = capfd.readouterr().err
        first, *later = said.splitlines()
        assert "a sqlite database (the environment variable SHOP)" in first
        assert QUERY in first
        assert any("60 customers" in line for line in later)
        command = [f"run_id={shop.runs['sql']}", "dry_run=true", "promotion.loads=false", *GATES]
        assert shop.segment("promote", *command) in (0, 3)
        captured = capfd.readouterr()
        assert QUERY in captured.err
        assert "data_known      the customers were read again" in captured.out

    def test_it_must_be_set_and_a_database(
        self, shop: Shop, secret: None, rewrite, monkeypatch, capfd
    ) -> None:
        monkeypatch.delenv("SHOP")
        assert rerun(shop, "sql") == 2
        assert "environment variable SHOP, which is not set" in capfd.readouterr().err
        for value in (SECRET, f"https://user:{SECRET}@127.0.0.1:1/", f"/home/{SECRET}", ""):
            monkeypatch.setenv("SHOP", value)
            assert rerun(shop, "sql", "trust=true") == 2
            assert "SHOP" in capfd.readouterr().err

    @pytest.mark.parametrize("others", [".", "config.yaml"])
    def test_others_may_have_written_it(self, shop: Shop, secret: None, others: str, capfd) -> None:
        artifacts = shop.artifacts("sql")
        path = shop.folder if others == "." else artifacts / others
        mode = path.stat().st_mode
        path.chmod(mode | 0o020)
        try:
            assert rerun(shop, "sql") == 2
            said = capfd.readouterr().err
            for part in ("add trust=true", "the environment variable SHOP", QUERY, str(path)):
                assert part in said
            before = shop.dump()
            promote = [f"run_id={shop.runs['sql']}", "override=trial", *GATES]
            assert shop.segment("promote", *promote) == 2
            assert "add trust=true" in capfd.readouterr().err
            assert shop.dump() == before
            if others == ".":
                assert rerun(shop, "sql", "trust=true") == 0
        finally:
            path.chmod(mode)

    def test_another_user_wrote_it(self, shop: Shop, secret: None, monkeypatch, capfd) -> None:
        owner = (shop.folder / "mlflow.db").stat().st_uid
        monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
        assert rerun(shop, "sql") == 2
        assert "belongs to another user" in capfd.readouterr().err

    def test_it_cannot_trust_itself(self, shop: Shop, secret: None, rewrite, capfd) -> None:
        rewrite("sql", "trust", True)
        shop.folder.chmod(0o777)
        try:
            assert rerun(shop, "sql") == 2
        finally:
            shop.folder.chmod(0o755)
        assert "add trust=true" in capfd.readouterr().err

    @pytest.mark.parametrize(
        ("key", "value", "shown"),
        [
            ("data.url", "postgresql://me:pw-x@db.example.com/shop", "***@db.example.com/shop"),
            ("data.path", "s3a://evil/customers.parquet", "s3a://evil/customers.parquet"),
            ("data.table", "parquet.`https://evil/t`", "https://evil/t"),
            ("engine.master", "spark://evil:7077", "spark://evil:7077"),
        ],
    )
    def test_every_address_is_named(
        self, shop: Shop, secret: None, rewrite, key: str, value: str, shown: str, capfd
    ) -> None:
        rewrite("sql", key, value)
        shop.folder.chmod(0o777)
        try:
            assert rerun(shop, "sql") == 2
            said = capfd.readouterr().err
            assert shown in said
            assert "pw-x" not in said
            assert "add trust=true" in said
        finally:
            shop.folder.chmod(0o755)

    def test_an_own_address_and_query_need_no_trust(self, shop: Shop, secret: None, capfd) -> None:
        shop.folder.chmod(0o777)
        own = ["data.url=${oc.env:SHOP}", f"data.query='{QUERY}'"]
        try:
            assert rerun(shop, "sql", own[0]) == 2
            assert rerun(shop, "sql", own[1]) == 2
            assert rerun(shop, "sql", *own) == 0
        finally:
            shop.folder.chmod(0o755)

    def test_an_address_without_its_password(
        self, shop: Shop, secret: None, rewrite, capfd
    ) -> None:
        rewrite("sql", "data.url", "postgresql://***@db.example.com/shop")
        shop.folder.chmod(0o777)
        try:
            assert rerun(shop, "sql") == 2
        finally:
            shop.folder.chmod(0o755)
        assert "an address as runs store it" in capfd.readouterr().err

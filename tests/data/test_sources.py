"""The table of sources is all there is to know about a source."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient

from segmentation import config
from segmentation.cli import main
from segmentation.data import sources
from segmentation.data.customers import from_frame
from segmentation.data.demo import generate_customers
from segmentation.data.sources import SOURCES, DataOptions, Select, Source
from segmentation.errors import ConfigError


@dataclass
class JsonLines:
    path: str = field(metadata={"example": "customers.jsonl"})
    most_lines: int = 1000


@dataclass
class Reads:
    """How often the file was read."""

    count: int = 0

    def lines(self, options: JsonLines, common: DataOptions) -> Select:
        self.count += 1
        frame = pd.read_json(options.path, lines=True, nrows=options.most_lines)
        return partial(from_frame, frame, source=Path(options.path).name, **common.checks())


@pytest.fixture
def reads() -> Iterator[Reads]:
    counted = Reads()
    SOURCES["jsonl"] = Source("a file with one JSON object per line", JsonLines, counted.lines)
    yield counted
    del SOURCES["jsonl"]


@pytest.fixture
def json_lines(tmp_path: Path) -> Path:
    path = tmp_path / "shop.jsonl"
    generate_customers(80, seed=1).to_json(path, orient="records", lines=True)
    return path


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    """A folder with the YAML of the new source."""
    folder = tmp_path / "conf"
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "jsonl.yaml").write_text("source: jsonl\npath: ???\nmost_lines: 70\n")
    return folder


FIT = ("choice=silhouette", "k.max=3", "features.columns=[age,annual_income]")


def test_a_source_from_outside_is_one_line_and_its_yaml(
    reads: Reads, json_lines: Path, conf: Path, store_uri: str, capfd
) -> None:
    asked = [f"--config-dir={conf}", "data=jsonl", f"tracking.uri={store_uri}"]
    assert main.run(["fit", *asked, f"data.path={json_lines}", *FIT]) == 0
    # Read once: the run's own columns and those of the reference space.
    assert reads.count == 1
    client = MlflowClient(store_uri)
    experiment = client.get_experiment_by_name("customer-segments")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.data.params["data"] == "shop.jsonl"
    assert run.data.params["customers"] == "70"
    assert "reference/silhouette" in run.data.metrics
    assert main.run(["fit", f"run_id={run.info.run_id}", f"tracking.uri={store_uri}"]) == 0
    assert reads.count == 2
    capfd.readouterr()
    assert main.run(["fit", *asked]) == 2
    assert "data.path is not set; set it, for example" in capfd.readouterr().err
    assert main.run(["fit", *asked, "data.most_line=3", *FIT]) == 2
    assert "Did you mean data.most_lines?" in capfd.readouterr().err
    assert main.run(["fit", "data=parquet", "data.most_lines=3", "data.path=x"]) == 2
    assert "it belongs to jsonl: add data=jsonl" in capfd.readouterr().err
    assert main.run(["fit", "--help"]) == 0
    assert "a file with one JSON object per line" in capfd.readouterr().out


@pytest.mark.parametrize("processes", [1, 2])
def test_a_sweep_reads_its_source_once(
    reads: Reads, json_lines: Path, conf: Path, store_uri: str, processes: int, capfd
) -> None:
    asked = [f"--config-dir={conf}", "data=jsonl", f"data.path={json_lines}"]
    columns = "features.columns=[age],[annual_income],[age,annual_income]"
    options = [f"hydra.launcher.processes={processes}", f"tracking.uri={store_uri}"]
    assert main.run(["fit", "-m", *asked, *FIT[:2], columns, *options]) == 0
    assert reads.count == 1
    assert "[3/3]" in capfd.readouterr().err


def test_every_source_has_help_and_its_keys_are_those_of_the_schema() -> None:
    schema = {each.name for each in fields(config.DataConfig)}
    for name, line in SOURCES.items():
        own = {each.name for each in fields(line.options)}
        assert own <= schema
        assert line.help in sources.help_text()
        assert sources.source_keys()[name] >= own


def test_the_keys_of_another_source_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"data\.url does not apply to data\.source=csv"):
        sources.check_keys(config.DataConfig("csv", path="x.csv", url="sqlite:///x.db"))
    with pytest.raises(ConfigError, match=r"data\.id does not apply .* belongs to csv and parquet"):
        sources.check_keys(config.DataConfig("demo", id="customer_id"))
    with pytest.raises(ConfigError, match=r"data\.source=excel: allowed are demo, csv"):
        sources.check_keys(config.DataConfig("excel"))
    with pytest.raises(ConfigError, match=r"set it, for example data\.url=sqlite:///shop\.db"):
        sources.own_options(config.DataConfig("sql", query="SELECT 1"))


def test_a_source_that_cannot_be_streamed_is_read_whole(reads: Reads, json_lines: Path) -> None:
    stream = sources.open_stream(config.latest(config.DataConfig)("jsonl", path=str(json_lines)))
    (chunk,) = stream.chunks
    assert len(chunk.table) == len(json_lines.read_text().splitlines()) == 80
    assert json.loads(json_lines.read_text().splitlines()[0]).keys() == set(stream.names)

"""Every YAML file composes, every experiment runs and every command has help."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from conftest import REPO
from segmentation import config
from segmentation.cli import hydra_app, main
from segmentation.cli.commands import COMMANDS
from segmentation.clustering import ENGINES
from segmentation.features.scaling import SCALINGS
from segmentation.selection.choice import CHOICES

GROUPS = ("data", "features", "scaling", "k", "choice", "engine", "tracking")
OPTIONS = [
    f"{group}={path.stem}" for group in GROUPS for path in (REPO / "conf" / group).glob("*.yaml")
]
OVERLAYS = [
    f"{path.parent.name}={path.stem}" for path in sorted((REPO / "experiments").glob("*/*.yaml"))
]


@dataclass
class _Texts:
    naming: config.NamingConfig = field(default_factory=config.NamingConfig)
    reason: str | None = None


def composed(*overrides: str) -> config.FitConfig:
    hydra_app.register("fit")
    with initialize_config_dir(str(REPO / "conf"), version_base="1.3"):
        plain = OmegaConf.to_container(compose("fit", overrides=list(overrides)), resolve=True)
    assert isinstance(plain, dict)
    # Values that only a user can set.
    plain["data"] = {k: v if v != "???" else "given.csv" for k, v in plain["data"].items()}
    plain["choice"] = {k: v if v != "???" else 5 for k, v in plain["choice"].items()}
    plain["tracking"] = {k: v if v != "???" else "http://x" for k, v in plain["tracking"].items()}
    return config.load(plain, config.FitConfig)


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_composes(option: str) -> None:
    group, name = option.split("=")
    needed = ("engine=spark",) if option == "data=spark_table" else ()
    chosen = getattr(composed(option, *needed), group)
    if group in ("scaling", "choice"):
        assert chosen["name"] == name


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_overlay_composes_and_says_what_it_asks(overlay: str) -> None:
    composed(overlay)
    group, name = overlay.split("=")
    header = (REPO / "experiments" / group / f"{name}.yaml").read_text().splitlines()
    assert header[0] == "# @package _global_"
    assert header[1].startswith("# Question: ")
    assert f"segment fit {overlay}" in header[2]


def test_options_are_those_of_the_tables() -> None:
    def names(group: str) -> set[str]:
        return {path.stem for path in (REPO / "conf" / group).glob("*.yaml")}

    assert names("scaling") == set(SCALINGS)
    assert names("choice") == set(CHOICES)
    assert names("engine") == set(ENGINES)


def test_default_features_of_a_source_are_a_feature_set() -> None:
    for path in (REPO / "conf" / "data").glob("*.yaml"):
        default = yaml.safe_load(path.read_text()).get("default_features")
        if default:
            known = yaml.safe_load((REPO / f"conf/features/{default['name']}.yaml").read_text())
            assert default["columns"] == known["columns"]


def test_help_names_what_can_be_varied(capfd) -> None:
    assert main.run(["--help"]) == 0
    out = capfd.readouterr().out
    for command in COMMANDS:
        assert f"segment {command}" in out
    for command in COMMANDS:
        assert main.run([command, "--help"]) == 0
        assert f"  segment {command}" in capfd.readouterr().out


def test_show_the_config_only(capfd) -> None:
    assert main.run(["fit", "scaling=robust", "--cfg", "job"]) == 0
    assert yaml.safe_load(capfd.readouterr().out)["scaling"] == {"name": "robust"}


def completions(line: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-m", "segmentation", "-sc", "query=bash"],
        env={**os.environ, "COMP_LINE": line, "COMP_POINT": str(len(line))},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


def test_tab_completion() -> None:
    assert completions("segment ") == list(COMMANDS)
    assert "scaling=robust" in completions("segment fit scaling=")
    assert "top=" in completions("segment compare to")


def test_help_does_not_import_what_computes() -> None:
    code = (
        "import sys; from segmentation import cli; cli.run(['--help']); "
        "print([m for m in ('mlflow', 'sklearn', 'pandas', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_no_output_in_the_current_directory(
    tmp_path: Path, store_uri: str, monkeypatch, capfd
) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    arguments = ["fit", "choice=silhouette", "k.max=3", f"tracking.uri={store_uri}"]
    assert main.run(arguments) == 0
    assert main.run([*arguments, "-m", "scaling=none,standard"]) == 0
    assert not list(folder.iterdir())


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("engine.master=spark://host:7077",), "engine.master has no meaning without Spark"),
        (("data=spark_table",), "add engine=spark"),
        (("engine=spark", "engine.sample=1000"), "at least 50,000 customers"),
        (("engine=spark", "engine.partitions=0"), "at least 1"),
        (("engine=spark", "engine.path=exact"), "engine=spark has one path"),
    ],
)
def test_what_has_no_meaning_for_the_engine_is_refused(
    overrides: tuple[str, ...], message: str
) -> None:
    with pytest.raises(config.ConfigError, match=message):
        composed(*overrides)


def test_a_local_master_needs_no_quotes() -> None:
    assert main._split("engine.master=local[2]") == ["engine.master='local[2]'"]


def test_a_second_command_keeps_no_garbage_of_the_first(store_uri: str) -> None:
    """Frozen objects are never collected, so only imports may be frozen, not job results."""
    assert main.run(["clean", f"tracking.uri={store_uri}"]) == 0
    frozen = gc.get_freeze_count()
    assert frozen
    assert main.run(["clean", f"tracking.uri={store_uri}"]) == 0
    assert gc.get_freeze_count() <= frozen


@given(st.lists(st.sampled_from(["\\", "${", "}", "$", "{", "'", "oc.env:HOME", "a", ":", " "])))
def test_a_loaded_config_takes_every_text_as_it_is(parts: list[str]) -> None:
    """Interpolations are resolved once, on composition; values and stored configs hold text."""
    text = "x" + "".join(parts)
    naming = {"names": {0: text}, "words": {"high": text}}
    loaded = config.load({"naming": naming, "reason": text}, _Texts)
    assert loaded.reason == text
    assert loaded.naming.names == {0: text}
    assert loaded.naming.words == {"high": text}

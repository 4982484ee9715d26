"""What we rest on in Hydra and may not: when this fails, read the `_compat` it names.

Run against the oldest and the newest hydra-core that pyproject.toml allows.
"""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException
from omegaconf import OmegaConf, flag_override

from hydra_plugins.segment_sweep import _compat as sweep_compat
from hydra_plugins.segment_sweep._compat import ConfigLoaderImpl
from segmentation.cli import _compat, hydra_app
from segmentation.cli.paths import ROOT


def mistake(*overrides: str) -> Exception:
    hydra_app.register("fit")
    with (
        initialize_config_dir(str(ROOT / "conf"), version_base="1.3"),
        pytest.raises(HydraException) as caught,
    ):
        compose("fit", overrides=list(overrides))
    return caught.value


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("sed=3", "sed"),
        ("k.maximum=3", "k.maximum"),
        ("promotion/x=y", "promotion/x"),
        ("~nothing", None),
        ("k.max=many", None),
        ("scaling=nope", None),
        ("data.path=customers (1).csv", None),
    ],
)
def test_an_unknown_key_is_read_from_hydras_error(override: str, key: str | None) -> None:
    assert _compat.unknown_key(mistake(override)) == key


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "k=nope",
            "In 'fit': Could not find 'k/nope'. Available options in 'k': default, small, wide.",
        ),
        ("data.path=customers (1).csv", " Quote values with spaces, brackets or comparisons"),
        ("k.max=many", "Error merging override k.max=many (Value 'many' of type 'str' could not"),
    ],
)
def test_other_mistakes_are_a_sentence_of_hydras(override: str, message: str) -> None:
    text = _compat.composition_error(mistake(override))
    assert message in text
    assert "\n" not in text


def parameters(function: Callable[..., Any]) -> list[str]:
    return list(inspect.signature(function).parameters)


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("_parse_overrides_and_create_caching_repo", ["self", "config_name", "overrides"]),
        ("_process_config_searchpath", ["self", "config_name", "parsed_overrides", "repo"]),
        ("_compose_config_from_defaults_list", ["self", "defaults", "repo"]),
        ("load_sweep_config", ["self", "master_config", "sweep_overrides"]),
    ],
)
def test_the_loader_has_the_methods_that_ours_replaces(method: str, expected: list[str]) -> None:
    assert parameters(getattr(ConfigLoaderImpl, method)) == expected
    assert method in vars(ConfigLoaderImpl)


def test_the_loader_asks_its_own_methods() -> None:
    """Hydra composes a job through them; were it not so, ours would have no effect."""
    source = inspect.getsource(ConfigLoaderImpl)
    for method in (
        "_parse_overrides_and_create_caching_repo",
        "_compose_config_from_defaults_list",
    ):
        assert f"self.{method}(" in source


def test_the_repository_keeps_its_files_by_this_key() -> None:
    from hydra._internal.config_repository import CachingConfigRepository

    source = inspect.getsource(CachingConfigRepository.load_config)
    assert "config_path={config_path}" in source
    assert {"cache", "delegate"} <= {*CachingConfigRepository.__init__.__code__.co_names}


def test_the_sweeper_splits_and_checks_through_these() -> None:
    sweeper = sweep_compat.BasicSweeper
    assert parameters(sweeper.validate_batch_is_legal) == ["self", "batch"]
    assert "self.validate_batch_is_legal(" in inspect.getsource(sweeper.sweep)


def test_a_config_is_put_into_another_without_a_copy() -> None:
    config, inner = OmegaConf.create(), OmegaConf.create({"a": 1})
    with flag_override(config, "no_deepcopy_set_nodes", True):
        config["inner"] = inner
    assert config._get_node("inner") is inner


def test_what_a_job_raised_is_read_without_raising_it(capsys) -> None:
    error = ValueError("mine")
    assert sweep_compat.error_of(sweep_compat.returned(["k.max=3"], error)) is error
    assert sweep_compat.error_of(sweep_compat.returned(["k.max=3"], None)) is None
    assert sweep_compat.error_of(JobReturn(status=JobStatus.COMPLETED, _return_value=1)) is None
    assert capsys.readouterr().err == ""


def test_our_sweeper_works_whoever_is_imported_first() -> None:
    """Hydra's search for plugins runs the modules of sweepers again if they are there already."""
    code = (
        "from hydra_plugins.segment_sweep.sweeper import ComposeOnceSweeper as first; "
        "from hydra.core.plugins import Plugins; Plugins.instance(); "
        "from hydra_plugins.segment_sweep.sweeper import ComposeOnceSweeper as second; "
        "second(max_batch_size=None); print(first is second)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"

"""The sweep's own loader of configs: the same as Hydra's, from less work."""

import pickle

import cloudpickle
import pytest
from hydra import version
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_automatic_config_search_path
from hydra.conf import HydraConf
from hydra.errors import ConfigCompositionException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from hydra_plugins.segment_sweep.sweeper import JobLoader
from segmentation.cli import hydra_app
from segmentation.cli.paths import ROOT


@pytest.fixture
def hydras() -> ConfigLoaderImpl:
    hydra_app.register("fit")
    version.setbase("1.3")
    path = create_automatic_config_search_path(str(ROOT / "x"), None, str(ROOT / "conf"))
    return ConfigLoaderImpl(path)


def master(loader: ConfigLoaderImpl, *overrides: str) -> DictConfig:
    asked = [*overrides, "hydra.mode=MULTIRUN"]
    return loader.load_configuration("fit", asked, RunMode.MULTIRUN)


@pytest.mark.parametrize(
    "job",
    [
        ["data=mall", "features=all", "scaling=minmax"],
        ["data=csv", "data.path=x", "features.columns=[a,b]", "++features.weights={a: 2}"],
        ["experiment=mall_classic", "k.max=4"],
    ],
)
def test_a_job_is_what_hydra_would_make_of_it(hydras, job) -> None:
    sweep = master(hydras, "hydra.launcher.processes=2", "hydra/callbacks=study")
    theirs = hydras.load_sweep_config(sweep, job)
    ours = JobLoader(hydras).load_sweep_config(sweep, job)
    assert OmegaConf.to_yaml(ours) == OmegaConf.to_yaml(theirs)
    assert OmegaConf.get_type(ours, "hydra") is HydraConf
    assert OmegaConf.is_struct(ours)


def test_a_job_knows_the_users_own_folder(hydras, tmp_path) -> None:
    (tmp_path / "k").mkdir()
    (tmp_path / "k" / "mine.yaml").write_text("min: 3\nmax: 5\n")
    sweep, loader = master(hydras, f"hydra.searchpath=['file://{tmp_path}']"), JobLoader(hydras)
    for _ in range(2):
        job = loader.load_sweep_config(sweep, ["k=mine"])
        assert (job.k.min, job.k.max) == (3, 5)


def test_a_job_does_not_change_the_sweep_or_the_next_job(hydras) -> None:
    sweep, loader = master(hydras), JobLoader(hydras)
    before = OmegaConf.to_yaml(sweep)
    first = loader.load_sweep_config(sweep, ["scaling=none"])
    first.hydra.job.num = 7
    second = loader.load_sweep_config(sweep, ["scaling=minmax"])
    assert OmegaConf.to_yaml(sweep) == before
    assert OmegaConf.is_missing(second.hydra.job, "num")
    assert [*second.hydra.overrides.task] == ["scaling=minmax"]


def test_a_mistake_in_a_job_is_hydras_own_error(hydras) -> None:
    with pytest.raises(ConfigCompositionException, match=r"Could not override 'k\.most'"):
        JobLoader(hydras).load_sweep_config(master(hydras), ["k.most=3"])


def test_it_goes_to_another_process(hydras) -> None:
    """As joblib sends it: with all schemas; that of promote is made from the table of gates."""
    hydra_app.register("promote")
    loader = pickle.loads(cloudpickle.dumps(JobLoader(hydras)))
    config = loader.load_sweep_config(master(hydras), ["scaling=robust"])
    assert config.scaling.name == "robust"

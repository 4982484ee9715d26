"""Hydra's sweeps for `segment`: each configuration composed once, jobs in forked processes.

Hydra finds launchers and sweepers only in the package ``hydra_plugins``. Every command imports this
module, so it must be light.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore

from hydra_plugins.segment_sweep.launcher import ForkLauncher
from hydra_plugins.segment_sweep.sweeper import ComposeOnceSweeper

__all__ = ["ComposeOnceSweeper", "ForkLauncher"]


@dataclass
class ForkLauncherConf:
    """``hydra/launcher=fork``: jobs in processes that share what this one has imported and read."""

    _target_: str = "hydra_plugins.segment_sweep.launcher.ForkLauncher"
    #: null: as many as shorten the sweep, see `segmentation.cli.commands.sweep.processes`.
    processes: int | None = None


@dataclass
class SweeperConf:
    """``hydra/sweeper=segment``: Hydra's basic sweeper, each job composed once instead of twice."""

    _target_: str = "hydra_plugins.segment_sweep.sweeper.ComposeOnceSweeper"
    max_batch_size: int | None = None
    params: dict[str, Any] | None = field(default=None)


ConfigStore.instance().store(
    group="hydra/launcher", name="fork", node=ForkLauncherConf, provider="segment"
)
ConfigStore.instance().store(
    group="hydra/sweeper", name="segment", node=SweeperConf, provider="segment"
)

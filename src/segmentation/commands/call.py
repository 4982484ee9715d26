"""What a command knows about how it was called, besides its config. Light: no heavy imports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from segmentation.config import TrackingConfig
    from segmentation.store import Store


@dataclass(frozen=True)
class Call:
    """A command line.

    Attributes
    ----------
    home : Path
        Folder of the default store.
    overrides : tuple of str
        As given, such as ``scaling=robust``.
    """

    home: Path
    overrides: tuple[str, ...]

    def open_store(self, tracking: TrackingConfig) -> Store:
        """The store and experiment a tracking config names."""
        from segmentation.store import open_store, resolve_uri

        return open_store(resolve_uri(tracking.uri, self.home), tracking.experiment)


@dataclass(frozen=True)
class SweepDefinition:
    """A multirun as composed.

    Attributes
    ----------
    base : mapping
        The config common to all jobs, before anything is swept.
    params : mapping
        What the sweep file varies.
    overrides : tuple of str
        The command line's overrides, swept ones included.
    swept : tuple of str
        Keys that vary.
    total : int
        How many jobs that makes.
    name : str or None
        Of the sweep file.
    file : Path
        The sweep file; need not exist.
    """

    base: Mapping[str, Any]
    params: Mapping[str, str]
    overrides: tuple[str, ...]
    swept: tuple[str, ...]
    total: int
    name: str | None
    file: Path

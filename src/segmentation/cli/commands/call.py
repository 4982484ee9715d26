"""How a command was called, besides its config. Imports nothing heavy."""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from segmentation.config import TrackingConfig
    from segmentation.tracking.store import Store


@dataclass(frozen=True)
class Call:
    """A command line.

    Attributes
    ----------
    home : Path
        Folder of the default store.
    overrides : tuple of str
        As typed, such as ``scaling=robust``.
    """

    home: Path
    overrides: tuple[str, ...]

    def store_uri(self, tracking: TrackingConfig) -> str:
        """Return the tracking URI: the config's, the environment's or the default."""
        from segmentation.tracking.store import resolve_uri

        return resolve_uri(tracking.uri, self.home)

    def next(self, command: str, tracking: TrackingConfig) -> str:
        """Return a command to run next, with the options that select the same store."""
        options = []
        if tracking.uri is not None:
            options.append(f"tracking.uri={tracking.uri}")
        if tracking.experiment != type(tracking).experiment:
            options.append(f"tracking.experiment={tracking.experiment}")
        return " ".join([command, *options])

    def open_store(
        self,
        tracking: TrackingConfig,
        *,
        reading: bool = False,
        existing: bool = False,
        say_moved: bool = True,
    ) -> Store:
        """Open the store and experiment that a tracking config names; say if it was moved.

        Parameters
        ----------
        tracking : TrackingConfig
        reading : bool
            Accept a store that cannot be written, but not one that does not exist.
        existing : bool
            Do not create a SQLite file: a command that needs runs has nothing to do in a new one.
        say_moved : bool
            Print a note if the store was moved.
        """
        from segmentation.errors import TrackingError
        from segmentation.tracking import relocation
        from segmentation.tracking.store import SQLITE, open_store

        uri = self.store_uri(tracking)
        if (reading or existing) and uri.startswith(SQLITE):
            path = Path(uri.removeprefix(SQLITE))
            if not path.exists():
                raise TrackingError(
                    f"there is no store {path} yet. Make one with `segment fit`, or correct "
                    "tracking.uri."
                )
        store = open_store(uri, tracking.experiment, reading=reading)
        if say_moved and store.place is not None:
            command = self.next("segment clean relocate=true", tracking)
            _say_once(relocation.note(store.place, command))
        return store


@functools.cache
def _say_once(note: str | None) -> None:
    if note is not None:
        print(f"  {note}", file=sys.stderr, flush=True)


@dataclass(frozen=True)
class SweepDefinition:
    """A composed multirun.

    Attributes
    ----------
    base : mapping
        The config common to all jobs, before anything is swept.
    params : mapping
        Keys that the sweep file varies, with their values.
    overrides : tuple of str
        The command line's overrides, swept ones included.
    swept : tuple of str
        Keys that vary.
    total : int
        Number of jobs.
    name : str or None
        Name of the sweep file.
    file : Path
        Path of the sweep file; it may not exist.
    """

    base: Mapping[str, Any]
    params: Mapping[str, str]
    overrides: tuple[str, ...]
    swept: tuple[str, ...]
    total: int
    name: str | None
    file: Path

"""A SQLite store that was moved or copied: its artifacts lie beside it, not where it recorded.

MLflow records absolute addresses. After ``mv A B`` the records of the store in B name A. While such
a store is open, addresses below A are translated to B, in our own code and in MLflow's; `relocate`
rewrites the records. The translation is not written, so that a folder which a container sees under
another path works inside and outside of it.
"""

from __future__ import annotations

import contextlib
import shlex
import shutil
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from segmentation.errors import TrackingError
from segmentation.tracking import _compat

#: Folder of the artifacts, beside the database.
ARTIFACTS = "artifacts"
_SQLITE_HEADER = b"SQLite format 3\0"


@dataclass(frozen=True)
class Place:
    """Where the artifacts of a local store are, and where its records say they are.

    Attributes
    ----------
    here : Path
        The folder beside the database.
    left : tuple of Path
        Recorded folders that no longer belong to this store: they are gone, or lie beside another
        store because this one was copied. They are never written, and read only for what is not
        here.
    other : tuple of Path
        Recorded folders that exist, such as those of a database that was moved without them.
    """

    here: Path
    left: tuple[Path, ...] = ()
    other: tuple[Path, ...] = ()

    def find(self, path: Path) -> Path:
        """Return where a recorded file or folder is read."""
        near = self.near(path, self.left)
        if near is not None:
            return near if near.exists() or not path.exists() else path
        near = self.near(path, self.other)
        return near if near is not None and near.exists() and not path.exists() else path

    def own(self, path: Path) -> Path:
        """Return where a recorded folder is written.

        What a copy without artifacts shares with the original is copied before it is changed.
        """
        near, found = self.near(path, self.left), self.find(path)
        if near is None or found == near:
            return found
        shutil.copytree(found, near)
        return near

    def near(self, path: Path, folders: Iterable[Path]) -> Path | None:
        """Return where a path below one of some folders would be beside the database."""
        for folder in folders:
            if path.is_relative_to(folder):
                return self.here / path.relative_to(folder)
        return None


# MLflow's artifact repositories are global, too. By tracking URI, the store opened last at the end.
_places: dict[str, Place] = {}


def place_of(database: Path, locations: Iterable[str]) -> Place:
    """Compare where the experiments of a store record their artifacts with where it lies.

    Parameters
    ----------
    database : Path
    locations : iterable of str
        Recorded addresses of artifacts. Those that do not end in `ARTIFACTS` were not chosen by
        this project and are left alone.
    """
    here = database.parent / ARTIFACTS
    folders = {path for location in locations if (path := path_of(location)) is not None}
    moved = sorted(
        path
        for path in folders
        if path.name == ARTIFACTS and path != here and not _is_same(path.parent, here.parent)
    )
    left = tuple(
        path for path in moved if not path.exists() or _has_other_store(path.parent, database)
    )
    return Place(here, left, tuple(path for path in moved if path not in left))


def remember(uri: str, place: Place) -> None:
    """Have MLflow find the artifacts of an opened store from now on.

    MLflow keeps artifact repositories by run. So of two opened copies of one store, which have the
    same runs, MLflow's own calls may use the artifacts of the other; ours do not.
    """
    _places.pop(uri, None)
    _places[uri] = place
    if place.left or place.other:
        _compat.redirect_artifacts(_redirected)


def path_of(uri: str) -> Path | None:
    """Return the recorded path of an address, or None if it is not a file of this machine."""
    parts = urlsplit(uri)
    return Path(unquote(parts.path)) if parts.scheme in ("", "file") else None


def note(place: Place, command: str) -> str | None:
    """Return what users of a moved store should know, in one line; None for any other store.

    Parameters
    ----------
    place : Place
    command : str
        The command that rewrites its addresses.
    """
    if not place.left:
        return None
    was, now = place.left[0].parent, place.here.parent
    if not place.here.is_dir() and place.left[0].is_dir():
        return (
            f"this store is a copy of the one in {was} and still reads its artifacts. To make it "
            f"independent of it: {_copying(place.left[0], place.here)}"
        )
    return (
        f"this store was moved or copied from {was} to {now}. segment finds its artifacts in "
        f"{now}; for other programs, such as the MLflow UI, run: {command}"
    )


def relocate(database: Path, place: Place) -> tuple[int, int]:
    """Rewrite where a moved store records its artifacts, all at once or not at all.

    Parameters
    ----------
    database : Path
    place : Place

    Returns
    -------
    rewritten, kept : int
        Number of addresses rewritten, and of those kept because their files are still elsewhere.

    Raises
    ------
    TrackingError
        There are no artifacts beside the database, or it cannot be written.
    """
    old = (*place.left, *place.other)
    if not old:
        return 0, 0
    if not place.here.is_dir() and any(folder.is_dir() for folder in old):
        source = next(folder for folder in old if folder.is_dir())
        raise TrackingError(
            f"there is no folder {place.here}. Copy or move the artifacts there first: "
            f"{_copying(source, place.here)}"
        )
    kept = 0

    def rewritten(address: str) -> str | None:
        nonlocal kept
        path = path_of(address)
        near = None if path is None else place.near(path, old)
        if path is None or near is None:
            return None
        if path not in old and place.find(path) == path and path.exists():
            kept += 1
            return None
        return near.as_uri() if urlsplit(address).scheme else str(near)

    try:
        return _compat.rewrite_addresses(database, rewritten), kept
    except sqlite3.Error as error:
        raise TrackingError(
            f"the store {database} cannot be rewritten: {error}; it was left as it was."
        ) from error


def _copying(source: Path, target: Path) -> str:
    return shlex.join(["cp", "-r", str(source), str(target)])


def _redirected(address: str, tracking_uri: str | None, *, write: bool) -> str:
    path = path_of(address)
    place = None if path is None else _places.get(tracking_uri or "") or _place_with(path)
    if place is None or path is None:
        return address
    found = place.own(path) if write else place.find(path)
    return address if found == path else found.as_uri()


def _place_with(path: Path) -> Place | None:
    """Return the place that translates a recorded path, for calls without a tracking URI."""
    found = (place for place in reversed(_places.values()) if _translates(place, path))
    return next(found, None)


def _translates(place: Place, path: Path) -> bool:
    return place.near(path, (*place.left, *place.other)) is not None


def _is_same(one: Path, other: Path) -> bool:
    with contextlib.suppress(OSError):
        return one.samefile(other)
    return False


def _has_other_store(folder: Path, database: Path) -> bool:
    """Return whether there is another SQLite file in a folder."""
    with contextlib.suppress(OSError):
        return any(
            _is_sqlite(path) and not _is_same(path, database)
            for path in folder.iterdir()
            if path.is_file()
        )
    return False


def _is_sqlite(path: Path) -> bool:
    with contextlib.suppress(OSError), path.open("rb") as file:
        return file.read(len(_SQLITE_HEADER)) == _SQLITE_HEADER
    return False

"""The kinds of items a run can log, as small dataclasses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True)
class Param:
    """A short setting: a name or a count."""

    name: str
    value: str


@dataclass(frozen=True)
class Metric:
    """A number; `step` is k for numbers that exist for every fitted k."""

    name: str
    value: float
    step: int = 0


@dataclass(frozen=True)
class Tag:
    """A string to filter runs by."""

    name: str
    value: str


@dataclass(frozen=True)
class Table:
    """A small table that the MLflow UI can show."""

    path: str
    frame: pd.DataFrame


@dataclass(frozen=True)
class File:
    """A figure, page or large table: the bytes of its file, whole or in parts."""

    path: str
    content: bytes | Iterator[bytes]


LogItem = Param | Metric | Tag | Table | File

"""Locations of the configs and the default store, in a checkout and when installed."""

from __future__ import annotations

from pathlib import Path

#: The package ``segmentation``.
PACKAGE = Path(__file__).resolve().parents[1]
#: A wheel has ``conf/`` and ``experiments/`` inside the package; in a checkout they are next to
#: ``src/``.
INSTALLED = (PACKAGE / "conf").is_dir()
#: Folder that contains ``conf/`` and ``experiments/``.
ROOT = PACKAGE if INSTALLED else PACKAGE.parents[1]
#: Folder of the default store: in the checkout, or in the current directory when installed.
HOME = (Path.cwd() if INSTALLED else ROOT) / "mlruns"

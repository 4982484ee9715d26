"""Where the configs and the default store are, in a checkout and as installed."""

from __future__ import annotations

from pathlib import Path

#: The package ``segmentation``.
PACKAGE = Path(__file__).resolve().parents[1]
#: A wheel holds ``conf/`` and ``experiments/`` inside the package; in a checkout they lie beside
#: ``src/``.
INSTALLED = (PACKAGE / "conf").is_dir()
#: Folder of ``conf/`` and ``experiments/``.
ROOT = PACKAGE if INSTALLED else PACKAGE.parents[1]
#: Folder of the default store: the checkout's, or the current directory's when installed.
HOME = (Path.cwd() if INSTALLED else ROOT) / "mlruns"

"""``python -m segmentation`` is the same as ``segment``."""

from segmentation.cli import main

main()

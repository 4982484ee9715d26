"""``python -m segmentation`` is the same as ``segment``."""

from segmentation.cli.main import main

main()

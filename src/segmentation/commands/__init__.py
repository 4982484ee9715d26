"""One module a command, each with ``run(config, call)``; `segmentation.cli` calls them."""

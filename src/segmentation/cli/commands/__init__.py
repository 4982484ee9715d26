"""One module a command, each with ``run(config, call)``; `segmentation.cli.main` calls them."""

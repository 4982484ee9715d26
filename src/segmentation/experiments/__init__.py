"""One configuration, a sweep, and the ranking of runs."""

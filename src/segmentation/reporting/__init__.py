"""HTML pages of runs, sweeps and monitoring."""

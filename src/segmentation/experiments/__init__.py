"""Run one configuration or a sweep, and rank the runs."""

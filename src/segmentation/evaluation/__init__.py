"""Measure how good, how stable and how different clusterings are."""

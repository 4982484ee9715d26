"""Assign a segment to every customer of a file."""

"""The segment of every customer of a file."""

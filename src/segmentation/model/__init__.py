"""The portable model and its files."""

"""The ``segment`` command."""

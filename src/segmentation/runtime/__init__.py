"""Processes, threads and interrupts, and what is never printed."""

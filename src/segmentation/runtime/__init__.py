"""Processes, threads, interrupts, and the redaction of credentials."""

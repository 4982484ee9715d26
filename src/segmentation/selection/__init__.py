"""Which k, how sure, or none."""
